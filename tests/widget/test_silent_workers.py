"""A worker that says nothing any more, as one that ran out of memory, or that cannot load; and shapes in a row."""

from support.paths import DEMO_DATA
from support.widget_page import impatient, open_page


CHAIR = DEMO_DATA / "shapes/chair.glb"


def test_one_that_does_not_load_is_started_again_without_threads(browser, server):
    shown = open_page(browser, server, 800, 600, script=impatient("message.isCareful === false"))
    shown.give(CHAIR)
    assert "chair" in shown.labels[0] and "threads" not in shown.page.inner_text("#runtime")
    shown.page.close()


def test_each_download_is_heard_of_while_it_comes(browser, server):
    """A slow one is no silent worker: of each there are messages, which begin the limit again."""
    heard = """
        window.heard = [];
        window.Worker = class extends Worker {
            constructor(...given) {
                super(...given);
                this.addEventListener("message", ({ data }) => {
                    if (data.type === "progress") window.heard.push(data.text);
                });
            }
        };
    """
    shown = open_page(browser, server, 800, 600, script=heard)
    assert {"Labels", "Runtime", "Encoder", "Collection"} <= set(shown.page.evaluate("window.heard"))
    shown.page.close()


def test_one_that_does_not_answer_is_given_up_and_the_page_goes_on(browser, server):
    # Of the first file alone. While the encoder loads, half a second may pass, and it is started again.
    lost = "message.type === 'read' && !window.wasLost && (window.wasLost = true)"
    shown = open_page(browser, server, 800, 600, script=impatient(lost))
    shown.give(CHAIR)
    assert shown.problem == "chair.glb took too long. Try a smaller file."
    shown.page.evaluate("delete document.body.dataset.ready")
    shown.page.wait_for_selector("body[data-ready]")
    shown.page.set_input_files("#file", CHAIR)
    shown.page.wait_for_selector("body[data-result]")
    assert "chair" in shown.labels[0] and not shown.problem
    shown.page.close()


def test_one_that_always_stops_is_tried_twice_and_the_page_says_so(browser, server):
    stopping = """
        window.started = 0;
        window.Worker = class extends Worker {
            constructor() {
                super("data:text/javascript,throw 1", { type: "module" });
                window.started++;
            }
        };
    """
    shown = open_page(browser, server, 800, 600, script=stopping, fails=True)
    shown.page.wait_for_timeout(500)
    assert shown.page.evaluate("window.started") == 2
    assert shown.problem.startswith("The computation stops while it loads.")
    shown.give(CHAIR)
    assert shown.problem.startswith("The computation stops while it loads.")
    shown.page.close()


def test_after_an_encoder_that_cannot_be_loaded_each_shape_is_told_why(browser, server):
    routes = {"**/encoder/encoder.json": lambda route: route.fulfill(status=404)}
    shown = open_page(browser, server, 800, 600, routes=routes, fails=True)
    reason = shown.problem
    assert "encoder.json: 404" in reason
    shown.give(CHAIR)
    assert shown.problem == reason and shown.page.inner_text("#status") == "The encoder could not be loaded."
    shown.page.close()


def test_of_two_shapes_in_a_row_the_second_is_shown_without_the_firsts_error(browser, server):
    shown = open_page(browser, server, 800, 600)
    shown.page.evaluate(
        """content => {
            for (const [name, bytes] of [["empty.glb", []], ["chair.glb", content]]) {
                const files = new DataTransfer();
                files.items.add(new File([new Uint8Array(bytes)], name));
                dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
            }
        }""",
        list(CHAIR.read_bytes()),
    )
    shown.page.wait_for_selector("body[data-result='chair.glb']")
    assert "chair" in shown.labels[0] and not shown.problem
    shown.page.close()
