"""A worker that says nothing any more, as one that ran out of memory, or whose threads never began."""

from support.paths import DEMO_DATA
from support.widget_page import open_page


CHAIR = DEMO_DATA / "shapes/chair.glb"
# Half a second stands for the page's half minute and more; the messages that `lost` says never arrive.
IMPATIENT = """
    const wait = setTimeout;
    window.setTimeout = (act, time) => wait(act, time >= 30000 ? 500 : time);
    window.Worker = class extends Worker {
        postMessage(message) { if (!(LOST)) super.postMessage(message); }
    };
"""


def test_one_that_does_not_load_is_started_again_without_threads(browser, server):
    shown = open_page(browser, server, 800, 600, script=IMPATIENT.replace("LOST", "message.mayThread"))
    shown.give(CHAIR)
    assert "chair" in shown.labels[0] and "threads" not in shown.page.inner_text("#runtime")
    shown.page.close()


def test_one_that_does_not_answer_is_given_up_and_the_page_goes_on(browser, server):
    # Of the first file alone. While the encoder loads, half a second may pass, and it is started again.
    lost = "message.type === 'read' && !window.wasLost && (window.wasLost = true)"
    shown = open_page(browser, server, 800, 600, script=IMPATIENT.replace("LOST", lost))
    shown.give(CHAIR)
    assert shown.problem == "chair.glb took too long. Try a smaller file."
    shown.page.evaluate("delete document.body.dataset.ready")
    shown.page.wait_for_selector("body[data-ready]")
    shown.page.set_input_files("#file", CHAIR)
    shown.page.wait_for_selector("body[data-result]")
    assert "chair" in shown.labels[0] and not shown.problem
    shown.page.close()
