"""Debian's Chromium, without a graphics card."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright


# Software rendering, as on a machine without a graphics card; root needs the first.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, until the block ends."""
    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError("no program 'chromium'; on Debian: apt-get install chromium (make test-browser does).")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=CHROMIUM_ARGUMENTS)
        yield started
        started.close()
