"""A command of `mrd-hf` that ends with the process that started it, however that ends.

    python -m mrd_hf_cli.attended pretrain --config demo

It reads from its standard input, which is a pipe whose other end only the starter has. When the starter is gone, even
by SIGKILL, the system closes that end, and this process exits at once.
"""

import os
import sys
import threading

from .main import main


ABANDONED = 143  # as of a process that SIGTERM ended


def watch() -> None:
    """Wait for the end of standard input, and end this process."""
    # By the file descriptor: a thread inside sys.stdin would stop the interpreter from ending in order.
    while os.read(0, 1024):
        pass
    os._exit(ABANDONED)


if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    main(sys.argv[1:])
