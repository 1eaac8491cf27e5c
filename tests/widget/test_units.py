"""What of the page needs no browser: its own tests in Node."""

from support.widget_tool import WIDGET, run_node


def test_they_pass():
    files = sorted((WIDGET / "tests").glob("*.test.mjs"))
    assert files
    run_node("--test", *files)
