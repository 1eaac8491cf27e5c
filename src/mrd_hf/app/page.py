"""The page: two tabs, and what happens when something is picked, uploaded, typed or pressed."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr

from ..search import Hit
from .collection import UP_AXIS
from .engine import Engine, UnusableQuery
from .labels import MAX_LABELS, UnusableLabels, parse_labels
from .opening import opening_labels, opening_shape
from .request_limits import MAX_UPLOAD
from .shape_reading import SUFFIXES, Shape, ShapeReader, UnreadableShape


TITLE = "Shapes, words and pictures"
INTRODUCTION = (
    f"<h1>{TITLE}</h1><p>A 3D encoder that was taught, by Multi-modal Relation Distillation, to place shapes where an "
    "image-text model places words and pictures: name what a shape may be, or search shapes by a text, a picture or "
    "another shape.</p>"
)
NUM_EXAMPLES = 12
NUM_RESULTS = 12
NUM_BARS = 12
KEPT_VIEWS = 64
QUERIES = ("a red armchair", "something to sleep in", "house plant", "kitchen sink", "a car", "office desk")
Y_UP, Z_UP = ("y (glTF, most models)", "y"), ("z (most scans, CAD)", "z")
EMPTY = "<p class='quiet'>Nothing is shown.</p>"
# Gradio's own name of an upload lacks characters that a file system may not like. This is run in the browser.
WITH_NAME = "file => [file, file ? file.orig_name : '']"
MAX_FILE_NAME = 255
# Of Gradio's queue: one call of the encoder at a time, two uploads being read, and no long line of waiting ones.
ENCODER: dict[str, Any] = {"concurrency_id": "encoder", "concurrency_limit": 1, "api_visibility": "private"}
READING: dict[str, Any] = {"concurrency_id": "reading", "concurrency_limit": 2, "api_visibility": "private"}
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
MAX_WAITING = 32
# What is shown and kept of a session is small, but there may be many.
MAX_SESSIONS = 500
KEPT_SECONDS = 3600

# A shape that was chosen: ("row", number) of the collection or ("file", (path, name)) of an upload.
Choice = tuple[str, Any]
Problem = (UnreadableShape, UnusableLabels, UnusableQuery)


class ViewFiles:
    """Where views lie while Gradio fetches them; it keeps copies of its own.

    Args:
        folder (`Path`)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def write(self, view: bytes) -> str:
        """Path of a file that holds a view."""
        path = self.folder / f"{hashlib.sha256(view).hexdigest()[:16]}.glb"
        with self._lock:
            if not path.is_file():
                path.write_bytes(view)
            self._names[path.name] = None
            self._names.move_to_end(path.name)
            while len(self._names) > KEPT_VIEWS:
                (self.folder / self._names.popitem(last=False)[0]).unlink(missing_ok=True)
        return str(path)


class Page:
    """What the events of the page do; [`build_page`] lays it out.

    Args:
        engine (`Engine`)
        reader (`ShapeReader`)
        views (`ViewFiles`)
    """

    def __init__(self, engine: Engine, reader: ShapeReader, views: ViewFiles) -> None:
        self.engine = engine
        self.collection = engine.collection
        self.reader = reader
        self.views = views
        self.labels = opening_labels(self.collection)
        first = opening_shape(engine, self.labels)
        others = (row for row in self.collection.spread(NUM_EXAMPLES) if row != first)
        self.examples = [first, *others][:NUM_EXAMPLES]

    # Of both tabs

    def gallery(self, rows: Sequence[int]) -> list[tuple[str, str]]:
        return [(self.collection.picture(row), self.collection.names[row]) for row in rows]

    def pick(self, event: gr.SelectData) -> tuple[Choice, str, None]:
        """The choice, the axis that is up in it, and no file."""
        return ("row", self.examples[event.index]), UP_AXIS, None

    def choose_file(self, path: str, name: str) -> Choice:
        # Gradio's paths are of a class of its own, which the process that reads the file would have to import.
        path = str(path)
        return "file", (path, name[:MAX_FILE_NAME] or Path(path).name)

    def shape(self, choice: Choice, up_axis: str) -> Shape:
        kind, what = choice
        if kind == "row":
            return self.collection.shape(what, up_axis)
        path, name = what
        return self.reader.read(path, up_axis, name)

    def show(self, choice: Choice | None, up_axis: str) -> tuple[str | None, str, str]:
        """The view, what is said below it, and the problem if there is one."""
        if choice is None:
            return None, EMPTY, ""
        try:
            shape = self.shape(choice, up_axis)
        except Problem as problem:
            return None, EMPTY, _alert(problem)
        kind, what = choice
        title = self.collection.names[what] if kind == "row" else what[1]
        notes = [self.collection.credits[what]] if kind == "row" else shape.notes
        return self.views.write(shape.view), _caption(title, notes), ""

    # Classify

    def classify(self, choice: Choice | None, up_axis: str, typed: str) -> tuple[dict[str, float] | None, str, str]:
        """Scores, the heading that counts them, and the problem if there is one."""
        if choice is None:
            return None, _heading("Scores"), _alert("pick a shape or upload one first.")
        try:
            labels = parse_labels(typed)
            scores = self.engine.classify(self.shape(choice, up_axis).points, up_axis, labels)
        except Problem as problem:
            return None, _heading("Scores"), _alert(problem)
        return scores, _scores_heading(len(scores)), ""

    # Search

    def search_by_text(self, text: str) -> tuple[Any, ...]:
        return self._results(lambda: self.engine.search_by_text(text, NUM_RESULTS))

    def search_by_shape(self, choice: Choice | None, up_axis: str) -> tuple[Any, ...]:
        if choice is None:
            return *NO_RESULTS, _alert("pick a shape or upload one first.")
        return self._results(
            lambda: self.engine.search_by_shape(self.shape(choice, up_axis).points, up_axis, NUM_RESULTS)
        )

    def search_by_own_picture(self, event: gr.SelectData) -> tuple[Any, ...]:
        return self._results(lambda: self.engine.search_by_own_picture(self.examples[event.index], NUM_RESULTS))

    def search_by_picture(self, path: str | None) -> tuple[Any, ...]:
        if path is None:
            return *NO_RESULTS, ""
        return self._results(lambda: self.engine.search_by_picture(path, NUM_RESULTS))

    def _results(self, search: Callable[[], list[Hit]]) -> tuple[Any, ...]:
        """Pictures with captions, their rows, the heading that counts them, and the problem if there is one."""
        try:
            hits = search()
        except Problem as problem:
            return *NO_RESULTS, _alert(problem)
        captions = [f"{hit.item['name']} · {hit.score:.2f}" for hit in hits]
        pictures = [self.collection.picture(hit.row) for hit in hits]
        heading = _results_heading(len(hits), len(self.collection))
        return list(zip(pictures, captions, strict=True)), [hit.row for hit in hits], heading, ""

    def show_first(self, rows: list[int]) -> tuple[str | None, str]:
        """View and caption of the best result, the first."""
        return self.show(("row", rows[0]) if rows else None, UP_AXIS)[:2]

    def show_result(self, rows: list[int], event: gr.SelectData) -> tuple[str | None, str]:
        return self.show(("row", rows[event.index]), UP_AXIS)[:2]


def build_page(page: Page) -> gr.Blocks:
    """Lay out the page and connect its events."""
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(KEPT_SECONDS // 4, KEPT_SECONDS), fill_width=False
    ) as blocks:
        gr.HTML(INTRODUCTION, elem_id="introduction")
        with gr.Tab("Classify", elem_id="classify-tab"):
            _build_classify(page, blocks)
        with gr.Tab("Search", elem_id="search-tab"):
            _build_search(page)
        gr.HTML(_limits(page.engine), elem_id="limits")
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
            heading = gr.HTML(_heading("Scores"), elem_id="scores-heading")
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
                picture = gr.Image(
                    label="A picture of one thing",
                    type="filepath",
                    sources=["upload"],
                    height=180,
                    visible=page.engine.teacher is not None,
                    elem_id="picture",
                )
                pictures = _picker(page, "search-pictures", "Pick a picture of the collection", _why_own(page.engine))
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
    gr.HTML(_heading(heading, f"{', '.join(SUFFIXES)}; at most {MAX_UPLOAD // 2**20} MB"))
    file = gr.File(
        label="A mesh or a point cloud",
        show_label=False,
        file_types=list(SUFFIXES),
        type="filepath",
        height=120,
        elem_id=f"{name}-file",
    )
    axis = gr.Radio([Y_UP, Z_UP], value="y", label="Which of its axes points up", elem_id=f"{name}-axis")
    return axis, file, gr.Textbox(visible=False)


def _picker(page: Page, elem_id: str, heading: str, hint: str = "") -> gr.Gallery:
    gr.HTML(_heading(heading, hint))
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


def _alert(problem: Exception | str) -> str:
    message = str(problem)
    if not isinstance(problem, UnreadableShape):  # which begins with the name of a file
        message = message[:1].upper() + message[1:]
    # Whatever of a message comes from a file, a file's name or a label is text, not a page.
    return f"<div class='problem' role='alert'>{escape(message)}</div>"


def _caption(title: str, notes: Sequence[str]) -> str:
    lines = "".join(f"<p class='quiet'>{escape(note)}</p>" for note in notes if note)
    return f"<h2 class='title'>{escape(title)}</h2>{lines}"


def _limits(engine: Engine) -> str:
    what = (
        "This encoder is a demonstration: it was trained for minutes, on two CPU cores, on 584 shapes of furniture "
        "and household things. It often errs, and knows next to nothing beyond them."
        if engine.is_demo
        else f"The encoder is <code>{escape(_short(engine.model_name))}</code>, which knows what it was trained on; "
        "its model card says what that is, and how well it does."
    )
    return (
        f"<h2 class='heading'>What to expect</h2><p>{what}</p><p>Scores compare the labels with each other and sum to "
        "100%, so some label comes first even where none fits. Uploads are read in a process of their own, kept for "
        f"an hour at most and sent nowhere. The collection has {len(engine.collection):,} shapes of "
        f"<code>{escape(_short(engine.collection.name))}</code>; creator, licence and source stand below each.</p>"
    )


def _short(name: str) -> str:
    """An id on the Hub as it is; of a folder its name alone, as its place is nobody's business."""
    return Path(name).name if Path(name).is_dir() else name


def _why_own(engine: Engine) -> str:
    """Why pictures cannot be uploaded, if they cannot."""
    if engine.teacher is not None:
        return ""
    why = (
        "the image side of this demo's small teacher is not distributed"
        if engine.is_demo
        else "its text tower has no image side"
    )
    return f"Other pictures cannot be uploaded here: {why}."


def _heading(title: str, hint: str = "") -> str:
    return f"<h2 class='heading'>{escape(title)}</h2>" + (f"<p class='quiet'>{escape(hint)}</p>" if hint else "")


def _scores_heading(count: int) -> str:
    return _heading(f"Scores of {count} labels" if count <= NUM_BARS else f"The {NUM_BARS} highest of {count} scores")


def _results_heading(count: int, total: int) -> str:
    return _heading(
        f"The {count} nearest of {total:,} shapes, with their cosine to the query", "Click one to see it turn."
    )


# No pictures, no rows, and a heading that counts none.
NO_RESULTS: tuple[Any, ...] = ([], [], _heading("Nearest shapes", "Here come the shapes that a search finds."))
