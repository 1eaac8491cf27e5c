"""Whether USD survives a binary file (.usdc): its reader ends the process at some that are damaged.

So another process reads all of the file first. It costs about half a second, most of it for its start.
"""

import json
import subprocess
import sys
from pathlib import Path


CRATE = b"PXR-USDC"
TIMEOUT = 120.0  # seconds
# Bytes that the process may take: some in any case, and some for each of the file's.
HARMLESS_MEMORY, MEMORY_A_BYTE = 2**32, 64
CODE = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, ValueError, OSError):
    pass  # no such limits on this system, or lower ones already
from pxr import Sdf
layer = Sdf.Layer.FindOrOpen(sys.argv[1])
assert layer is not None
layer.ExportToString()
"""


def check_survives(file: Path) -> None:
    """Raise a `ValueError` for a binary USD file that another process could not read."""
    size = file.stat().st_size
    memory = HARMLESS_MEMORY + MEMORY_A_BYTE * size
    command = [sys.executable, "-c", CODE, str(file), json.dumps(sys.path), str(memory)]
    try:
        found = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it takes more than {TIMEOUT:g} seconds") from None
    if found.returncode:
        said = found.stderr.decode("utf-8", "replace")
        reason = "its reader ended" if found.returncode < 0 or "Error in" not in said else said.partition(" : '")[2]
        raise ValueError(f"damaged: {' '.join(reason.split())[:200].strip(chr(39))}")
