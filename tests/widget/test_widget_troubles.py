"""What of the page may be missing or refused while the rest of it works."""

import DracoPy
import numpy as np
import pytest
from playwright.sync_api import Route
from support.compressed_gltf import packed
from support.gltf_writer import FLOAT, SQUARE, SQUARE_INDICES
from support.paths import DEMO_DATA
from support.textured_square import quarters, textured_square
from support.widget_page import STALL_LIMIT, impatient, open_page


CHAIR = DEMO_DATA / "shapes/chair.glb"
WITHOUT_WEBGL = """
    const getContext = HTMLCanvasElement.prototype.getContext;
    window.refused = 0;
    HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
        if (kind.startsWith("webgl") && this.id === "canvas" && window.lacksWebgl) return window.refused++, null;
        return getContext.call(this, kind, ...rest);
    };
    window.lacksWebgl = true;
"""


def test_a_collection_that_cannot_be_searched(browser, server):
    routes = {"**/collection.bin": lambda route: route.fulfill(status=404)}
    shown = open_page(browser, server, 900, 900, routes=routes)
    shown.give(CHAIR)
    assert "chair" in shown.labels[0] and not shown.problem
    assert "cannot be searched" in shown.page.inner_text("#collection-problem")
    assert shown.page.is_visible("#collection-problem") and shown.page.locator("#hits li").count() == 0
    shown.page.close()


def test_a_program_that_cannot_be_fetched(browser, server, tmp_path):
    data = DracoPy.encode(np.array(SQUARE, dtype=np.float32), np.array(SQUARE_INDICES).reshape(-1, 3))
    (tmp_path / "square.glb").write_bytes(packed(data, {"POSITION": 0}, {"POSITION": (FLOAT, "VEC3", False)}).glb())
    asked = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            return route.fulfill(status=503)
        return route.continue_()

    shown = open_page(browser, server, 900, 900, routes={"**/draco.wasm.gzip": answer})
    assert asked == []
    shown.give(tmp_path / "square.glb")
    assert "is compressed, and what unpacks it cannot be loaded" in shown.problem and "503" in shown.problem
    for _ in range(2):
        shown.give(tmp_path / "square.glb")
        assert not shown.problem and "2 triangles" in shown.page.inner_text("figcaption")
    # Kept once it is there.
    assert len(asked) == 2
    shown.page.close()


def test_a_browser_that_can_draw_again(browser, server):
    """As after a graphics card was lost."""
    shown = open_page(browser, server, 900, 900, script=WITHOUT_WEBGL)
    shown.give(CHAIR)
    assert "chair" in shown.labels[0] and shown.page.evaluate("window.refused") > 0
    assert not shown.page.is_visible("#canvas") and "cannot draw" in shown.page.inner_text("#warnings")
    shown.page.evaluate("window.lacksWebgl = false")
    shown.give(CHAIR)
    assert shown.page.is_visible("#canvas") and "cannot draw" not in shown.page.inner_text("#warnings")
    shown.page.close()


def test_a_file_that_is_too_large_is_not_read(browser, server, tmp_path):
    shown = open_page(browser, server, 900, 900)
    shown.give(CHAIR)
    assert "chair" in shown.labels[0] and shown.page.is_visible("#view")
    huge = tmp_path / "huge.glb"
    with huge.open("wb") as file:
        file.truncate(2**30)
    shown.give(huge)
    assert shown.problem == "huge.glb cannot be read: it has 1024 MiB; at most 512 are read."
    # Nothing of the shape before stands under the message.
    assert shown.labels == [] and not shown.page.is_visible("#view") and not shown.page.is_visible("#collection")
    shown.give(huge, CHAIR)
    assert "1024 MiB" in shown.problem
    # Beside a shape that does not name it, it is left alone.
    shown.give(CHAIR, huge.rename(tmp_path / "film.mp4"))
    assert "chair" in shown.labels[0] and not shown.problem
    shown.page.close()


def test_a_folder_is_told_of(browser, server, tmp_path):
    """One that is dropped is a file without content, which cannot be opened."""
    shown = open_page(browser, server, 900, 900)
    gone = tmp_path / "gone.glb"
    gone.write_bytes(CHAIR.read_bytes())
    shown.page.evaluate(
        """() => {
            window.kept = null;
            addEventListener("change", ({target}) => (window.kept ||= target.files[0]), true);
        }"""
    )
    shown.give(gone)
    gone.unlink()
    shown.page.evaluate(
        """() => {
            delete document.body.dataset.result;
            const files = new DataTransfer();
            files.items.add(window.kept);
            dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
        }"""
    )
    shown.page.wait_for_selector("#problem:not([hidden])")
    assert "gone.glb cannot be opened; it may be a folder" in shown.problem
    shown.page.close()


def test_a_finger_on_the_canvas_scrolls_a_phones_page(browser, server):
    shown = open_page(browser, server, 390, 500)
    shown.give(CHAIR)
    shown.page.wait_for_selector("#canvas")
    assert shown.page.evaluate("getComputedStyle(document.querySelector('#canvas')).touchAction") == "pan-y"
    shown.page.close()


def test_opened_as_a_file_it_says_that_it_needs_a_server(browser, site):
    shown = open_page(browser, (site / "index.html").as_uri(), 800, 600, fails=True)
    assert "python -m http.server -d FOLDER" in shown.problem
    assert shown.page.inner_text("#status") == "The page could not be loaded."
    shown.page.close()


@pytest.mark.parametrize("answer", [{"status": 404}, {"body": "1", "content_type": "application/octet-stream"}])
def test_without_its_program_it_says_so(browser, server, answer):
    routes = {"**/page.js": lambda route: route.fulfill(**answer)}
    shown = open_page(browser, server, 800, 600, routes=routes, fails=True)
    assert shown.problem.startswith("page.js, the page's program, could not be loaded.")
    shown.page.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 404}, "Widget.json is missing beside the page; mrd-hf push --widget writes it."),
        ({"status": 503}, "Widget.json: the server answers 503; try again later."),
        ({"body": "<html>"}, "Widget.json is no JSON."),
        (None, "Widget.json: nothing came for 60 seconds; try again."),
    ],
)
def test_settings_that_do_not_come(browser, server, answer, said):
    routes = {"**/widget.json": lambda route: None if answer is None else route.fulfill(**answer)}
    shown = open_page(browser, server, 800, 600, script=impatient(limits=(STALL_LIMIT,)), routes=routes, fails=True)
    assert shown.problem == said and shown.page.inner_text("#status") == "The encoder could not be loaded."
    assert not shown.page.is_visible("#progress")
    shown.page.close()


def test_pixels_that_the_browser_hides_are_told_of(browser, server, tmp_path):
    """As Firefox against recognition: white in their place."""
    textured_square(quarters().resize((64, 64))).export(tmp_path / "square.glb")

    def hidden(route: Route) -> None:
        white = "OffscreenCanvasRenderingContext2D.prototype.getImageData = (x, y, w, h) => new ImageData("
        white += "new Uint8ClampedArray(4 * w * h).fill(255), w, h);"
        answer = route.fetch()
        route.fulfill(response=answer, body=white + answer.text())

    shown = open_page(browser, server, 800, 600, routes={"**/worker.js": hidden})
    shown.give(tmp_path / "square.glb")
    assert "hides pixels of pictures" in shown.page.inner_text(
        "#warnings"
    ) and "textured" not in shown.page.inner_text("#facts")
    shown.page.close()
