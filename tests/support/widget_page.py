"""The page that runs an encoder in the browser, opened in a window and watched."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np


# The tests in Node need no browser.
if TYPE_CHECKING:
    from playwright.sync_api import Browser, FilePayload, Page, Route


# In milliseconds, on a busy machine.
PAGE_TIMEOUT = 90_000
# Drawn in software, a shape that turns 60 times a second would leave the page no processor.
FEW_FRAMES = "window.requestAnimationFrame = draw => setTimeout(() => draw(performance.now()), 300)"

# How long the page waits, in milliseconds: for a worker to load, for a shape, for a download of which nothing comes.
LOAD_LIMIT, TIME_LIMIT, STALL_LIMIT = 30_000, 90_000, 60_000
IMPATIENT = """
    const wait = setTimeout;
    window.setTimeout = (act, time) => wait(act, SHORTENED.includes(time) ? 500 : time);
    window.Worker = class extends Worker {
        postMessage(message) { if (!(LOST)) super.postMessage(message); }
    };
"""


def impatient(lost: str = "false", limits: tuple[int, ...] = (LOAD_LIMIT, TIME_LIMIT)) -> str:
    """A script for `open_page`: the page waits half a second where it would wait half a minute and more.

    Args:
        lost (`str`, defaults to `"false"`): In JavaScript, whether a `message` to the worker never arrives.
        limits (tuple of `int`): For what it would wait so long, in milliseconds.
    """
    return IMPATIENT.replace("LOST", lost).replace("SHORTENED", str(list(limits)))


@dataclass
class Shown:
    """The page in a window, and what went wrong on it."""

    page: "Page"
    errors: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)

    def give(self, *files: "Path | FilePayload") -> None:
        """Choose files, and wait for the answer."""
        self.page.evaluate("delete document.body.dataset.result; document.querySelector('#problem').hidden = true")
        self.page.set_input_files("#file", list(files))
        self.page.wait_for_selector("body[data-result], #problem:not([hidden])")

    @property
    def labels(self) -> list[str]:
        return self.page.locator("#bars li span:first-child").all_inner_texts()

    @property
    def problem(self) -> str:
        return self.page.inner_text("#problem") if self.page.is_visible("#problem") else ""

    @property
    def embedding(self) -> np.ndarray:
        return np.array(list(self.page.evaluate("Array.from(window.lastEmbedding)")), dtype=np.float32)


def open_page(
    browser: "Browser",
    url: str,
    width: int,
    height: int,
    color_scheme: str = "light",
    script: str = "",
    routes: "Mapping[str, Callable[[Route], None]] | None" = None,
    fails: bool = False,
) -> Shown:
    """A new page at an address, once its encoder is loaded, or could not be if it `fails`.

    Args:
        browser (`playwright.sync_api.Browser`)
        url (`str`)
        width (`int`), height (`int`): Of the window.
        color_scheme (`str`, defaults to `"light"`)
        script (`str`, *optional*): Runs before the page's own.
        routes (`Mapping[str, Callable]`, *optional*): Who answers for the addresses of a pattern.
        fails (`bool`, defaults to `False`): Whether a problem is expected.
    """
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=color_scheme)
    page.set_default_timeout(PAGE_TIMEOUT)
    page.add_init_script(FEW_FRAMES)
    page.add_init_script(script)
    for pattern, answer in (routes or {}).items():
        page.context.route(pattern, answer)
    shown = Shown(page)
    page.on("console", lambda message: shown.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: shown.errors.append(str(error)))
    own = (url, "blob:", "data:")
    page.on("request", lambda request: None if request.url.startswith(own) else shown.external.append(request.url))
    page.goto(url)
    page.wait_for_selector("body[data-ready], #problem:not([hidden])")
    assert bool(shown.problem) == fails, shown.problem
    return shown
