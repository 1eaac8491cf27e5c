"""How the page is laid out, two tabs, and which of its parts calls what when it is used."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from .labels import MAX_LABELS
from .page import AS_FILE_SAYS, Page
from .picture_upload import picture_upload
from .request_limits import MAX_UPLOAD
from .shape_reading import SUFFIXES
from .wording import EMPTY, INTRODUCTION, NO_RESULTS, NUM_BARS, TITLE, titled, what_to_expect, why_own


QUERIES = ("a red armchair", "something to sleep in", "house plant", "kitchen sink", "a car", "office desk")
UP_AXES = (("as the file says, else y", AS_FILE_SAYS), ("y (most models)", "y"), ("z (most scans, CAD)", "z"))
# Gradio's own name of an upload lacks characters that a file system may not like. This is run in the browser.
WITH_NAME = "file => [file, file ? file.orig_name : '']"
# Of Gradio's queue: one call of the encoder at a time, two uploads being read, and no long line of waiting ones.
ENCODER: dict[str, Any] = {"concurrency_id": "encoder", "concurrency_limit": 1, "api_visibility": "private"}
READING: dict[str, Any] = {"concurrency_id": "reading", "concurrency_limit": 2, "api_visibility": "private"}
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
MAX_WAITING = 32
# What is shown and kept of a session is small, but there may be many.
MAX_SESSIONS = 500
KEPT_SECONDS = 3600
CLEANING_SECONDS = KEPT_SECONDS // 4


def build_page(page: Page) -> gr.Blocks:
    """Lay out the page and connect its events."""
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(CLEANING_SECONDS, KEPT_SECONDS), fill_width=False
    ) as blocks:
        gr.HTML(INTRODUCTION, elem_id="introduction")
        with gr.Tab("Classify", elem_id="classify-tab"):
            _build_classify(page, blocks)
        with gr.Tab("Search", elem_id="search-tab"):
            _build_search(page)
        gr.HTML(what_to_expect(page.engine), elem_id="limits")
    return blocks.queue(max_size=MAX_WAITING, api_open=False)


def theme() -> gr.themes.Base:
    """Calm colours, text that can be read on them, and fonts that are on the reader's machine."""
    return gr.themes.Default(
        primary_hue="indigo",
        neutral_hue="slate",
        font=["system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"],
        font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"],
    ).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_title_text_weight="600",
    )


def _build_classify(page: Page, blocks: gr.Blocks) -> None:
    chosen = gr.State(("row", page.examples[0]))
    # What is shown and what it is called come first: in a narrow window all stands in one column.
    with gr.Row():
        with gr.Column(min_width=300):
            view, caption = _viewer("classify")
        with gr.Column(min_width=300):
            typed = gr.Textbox(
                ", ".join(page.labels),
                label=f"Labels, separated by commas (at most {MAX_LABELS})",
                lines=2,
                max_lines=8,
                elem_id="labels",
            )
            button = gr.Button("Classify", variant="primary", elem_id="classify-button")
            problem = gr.HTML("", elem_id="classify-problem")
            heading = gr.HTML(titled("Scores"), elem_id="scores-heading")
            bars = gr.Label(
                label="Scores", show_label=False, num_top_classes=NUM_BARS, show_heading=False, elem_id="scores"
            )
    with gr.Row():
        with gr.Column(min_width=300):
            examples = _picker(
                page, "classify-examples", "Pick a shape of the collection", "It is classified at once."
            )
        with gr.Column(min_width=300):
            up_axis, file, file_name = _upload("classify", "Or upload a mesh or a point cloud")

    shown = _event(page.show, [chosen, up_axis], [view, caption, problem], view, READING)
    scored = _event(page.classify, [chosen, up_axis, typed], [bars, heading, problem], bars, ENCODER)
    examples.select(page.pick, None, [chosen, up_axis, file], **QUIET).then(**shown).then(**scored)
    file.upload(page.choose_file, [file, file_name], [chosen], js=WITH_NAME, **QUIET).then(**shown).then(**scored)
    up_axis.input(**shown).then(**scored)
    button.click(**scored)
    blocks.load(**shown).then(**scored)


def _build_search(page: Page) -> None:
    rows = gr.State([])
    chosen = gr.State(None)
    with gr.Row():
        with gr.Column(min_width=300, scale=2), gr.Tabs(elem_id="search-kinds"):
            with gr.Tab("By text"):
                text = gr.Textbox(label="What to look for", placeholder=QUERIES[0], elem_id="query", max_lines=3)
                button = gr.Button("Search", variant="primary", elem_id="search-button")
                queries = gr.Dataset(
                    components=[gr.Textbox(visible=False)],
                    samples=[[query] for query in QUERIES],
                    label="Or try",
                    elem_id="queries",
                )
            with gr.Tab("By picture"):
                picture = picture_upload(
                    label="A picture of one thing",
                    sources=["upload"],
                    height=180,
                    visible=page.engine.teacher is not None,
                    elem_id="picture",
                )
                pictures = _picker(page, "search-pictures", "Pick a picture of the collection", why_own(page.engine))
            with gr.Tab("By shape"):
                shapes = _picker(page, "search-shapes", "Pick a shape of the collection")
                up_axis, file, file_name = _upload("search", "Or upload a mesh or a point cloud")
        with gr.Column(min_width=300, scale=3):
            problem = gr.HTML("", elem_id="search-problem")
            heading = gr.HTML(NO_RESULTS[-1], elem_id="results-heading")
            results = gr.Gallery(**_as_pictures("results"))
            view, caption = _viewer("search")

    found = [results, rows, heading, problem]
    shown_first = _event(page.show_first, [rows], [view, caption], view, READING)
    by_text = _event(page.search_by_text, [text], found, results, ENCODER)
    button.click(**by_text).then(**shown_first)
    text.submit(**by_text).then(**shown_first)
    queries.click(lambda sample: sample[0], queries, text, **QUIET).then(**by_text).then(**shown_first)
    by_picture = _event(page.search_by_picture, [picture], found, results, ENCODER)
    picture.upload(**by_picture).then(**shown_first)
    by_own_picture = _event(page.search_by_own_picture, None, found, results, ENCODER)
    pictures.select(**by_own_picture).then(**shown_first)
    shown = _event(page.show, [chosen, up_axis], [view, caption, problem], view, READING)
    by_shape = _event(page.search_by_shape, [chosen, up_axis], found, results, ENCODER)
    shapes.select(page.pick, None, [chosen, up_axis, file], **QUIET).then(**shown).then(**by_shape)
    file.upload(page.choose_file, [file, file_name], [chosen], js=WITH_NAME, **QUIET).then(**shown).then(**by_shape)
    up_axis.input(**shown).then(**by_shape)
    results.select(**_event(page.show_result, [rows], [view, caption], view, READING))


def _event(
    function: Callable[..., Any], inputs: list[Any] | None, outputs: list[Any], waiting: Any, limits: dict[str, Any]
) -> dict[str, Any]:
    """Arguments of an event that shows its progress on one component, `waiting`."""
    shared = {"fn": function, "inputs": inputs, "outputs": outputs, "show_progress_on": waiting}
    # Gradio drops what is asked for while the answer before is still on its way; the last of it must be answered.
    return {**shared, "trigger_mode": "always_last", **limits}


def _viewer(name: str) -> tuple[gr.Model3D, gr.HTML]:
    view = gr.Model3D(
        label="The shape",
        show_label=False,
        interactive=False,
        height=400,
        clear_color=(0, 0, 0, 0),  # style.css gives what lies behind, which the dark mode changes
        camera_position=(60, 72, 1.3),
        elem_id=f"{name}-view",
        elem_classes="view",
    )
    return view, gr.HTML(EMPTY, elem_id=f"{name}-caption")


def _upload(name: str, heading: str) -> tuple[gr.Radio, gr.File, gr.Textbox]:
    """Which axis is up, the file, and what the file was called where it comes from."""
    gr.HTML(titled(heading, f"{', '.join(SUFFIXES)}; at most {MAX_UPLOAD // 2**20} MB"))
    file = gr.File(
        label="A mesh or a point cloud",
        show_label=False,
        file_types=list(SUFFIXES),
        type="filepath",
        height=120,
        elem_id=f"{name}-file",
    )
    axis = gr.Radio(UP_AXES, value=AS_FILE_SAYS, label="Which of its axes points up", elem_id=f"{name}-axis")
    return axis, file, gr.Textbox(visible=False)


def _picker(page: Page, elem_id: str, heading: str, hint: str = "") -> gr.Gallery:
    gr.HTML(titled(heading, hint))
    return gr.Gallery(page.gallery(page.examples), **_as_pictures(elem_id, "picker"))


def _as_pictures(elem_id: str, *classes: str) -> dict[str, Any]:
    return {
        "show_label": False,
        "columns": 4,
        "height": "auto",
        "object_fit": "contain",
        "allow_preview": False,
        "interactive": False,
        "buttons": [],
        "elem_id": elem_id,
        "elem_classes": ["pictures", *classes],
    }
