"""The page's server, as a user starts it."""

import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from support.paths import ROOT


START_TIMEOUT = 90  # seconds


@dataclass
class Server:
    """The running page: its address, its process, and requests that it made to the world."""

    url: str
    process: subprocess.Popen
    calls_home: list[str]


def start_server(encoder: Path, index: Path, proxy: str, port: int = 7930) -> subprocess.Popen:
    """Start the page as `make app` does."""
    # Of the tests' own, `HF_HUB_OFFLINE` would hide requests from the proxy.
    others = ("MRD_", "GRADIO_", "HF_HUB_OFFLINE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    environment |= {"http_proxy": proxy, "https_proxy": proxy, "HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
    environment |= {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "scripts/app/app.py", "--model", str(encoder), "--index", str(index)]
    return subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def wait_for_address(process: subprocess.Popen) -> str:
    """The address that a server prints once it is there."""
    lines = []
    timer = threading.Timer(START_TIMEOUT, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"The page is at (\S+)", line):
                # Whatever it says from now on must not fill the pipe.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return found[1]
    finally:
        timer.cancel()
    raise RuntimeError(f"the server did not start within {START_TIMEOUT} s:\n{''.join(lines)[-3000:]}")
