"""A server of a folder's files, as a static Space's is: with its headers, and without compression."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


@contextmanager
def static_server(folder: Path, isolated: bool = True) -> Iterator[tuple[str, list[str]]]:
    """The address of the server, and the paths that it was asked for.

    Args:
        folder (`Path`): With a README.md whose `custom_headers` are sent.
        isolated (`bool`, defaults to `True`): Whether they are.
    """
    settings = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for name, value in settings["custom_headers"].items() if isolated else ():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", asked
    finally:
        server.shutdown()
        server.server_close()
