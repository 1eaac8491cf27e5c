"""What happens on the page when something is picked, uploaded, typed or pressed."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr

from ..search import Hit
from .collection import UP_AXIS
from .engine import Engine, UnusableQuery
from .labels import UnusableLabels, parse_labels
from .opening import opening_labels, opening_shape
from .shape_reading import Shape, ShapeReader, UnreadableShape
from .wording import EMPTY, NO_RESULTS, alert, captioned, results_heading, scores_heading, titled


NUM_EXAMPLES = 12
NUM_RESULTS = 12
KEPT_VIEWS = 64
MAX_FILE_NAME = 255
# The choice of an axis that leaves it to the file.
AS_FILE_SAYS = "file"
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
    """What the events of the page do; [`layout.build_page`] lays it out.

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
        """The choice, no word on which axis is up, and no file."""
        return ("row", self.examples[event.index]), AS_FILE_SAYS, None

    def choose_file(self, path: str, name: str) -> Choice:
        # Gradio's paths are of a class of its own, which the process that reads the file would have to import.
        path = str(path)
        return "file", (path, name[:MAX_FILE_NAME] or Path(path).name)

    def shape(self, choice: Choice, up_axis: str) -> Shape:
        kind, what = choice
        chosen = None if up_axis == AS_FILE_SAYS else up_axis
        if kind == "row":
            return self.collection.shape(what, chosen or UP_AXIS)
        path, name = what
        return self.reader.read(path, chosen, name)

    def show(self, choice: Choice | None, up_axis: str) -> tuple[str | None, str, str]:
        """The view, what is said below it, and the problem if there is one."""
        if choice is None:
            return None, EMPTY, ""
        try:
            shape = self.shape(choice, up_axis)
        except Problem as problem:
            return None, EMPTY, alert(problem)
        kind, what = choice
        title = self.collection.names[what] if kind == "row" else what[1]
        notes = [self.collection.credits[what]] if kind == "row" else shape.notes
        return self.views.write(shape.view), captioned(title, notes), ""

    # Classify

    def classify(self, choice: Choice | None, up_axis: str, typed: str) -> tuple[dict[str, float] | None, str, str]:
        """Scores, the heading that counts them, and the problem if there is one."""
        if choice is None:
            return None, titled("Scores"), alert("pick a shape or upload one first.")
        try:
            labels = parse_labels(typed)
            shape = self.shape(choice, up_axis)
            scores = self.engine.classify(shape.points, shape.up_axis, labels)
        except Problem as problem:
            return None, titled("Scores"), alert(problem)
        return scores, scores_heading(len(scores)), ""

    # Search

    def search_by_text(self, text: str) -> tuple[Any, ...]:
        return self._results(lambda: self.engine.search_by_text(text, NUM_RESULTS))

    def search_by_shape(self, choice: Choice | None, up_axis: str) -> tuple[Any, ...]:
        if choice is None:
            return *NO_RESULTS, alert("pick a shape or upload one first.")

        def search() -> list[Hit]:
            shape = self.shape(choice, up_axis)
            return self.engine.search_by_shape(shape.points, shape.up_axis, NUM_RESULTS)

        return self._results(search)

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
            return *NO_RESULTS, alert(problem)
        captions = [f"{hit.item['name']} · {hit.score:.2f}" for hit in hits]
        pictures = [self.collection.picture(hit.row) for hit in hits]
        heading = results_heading(len(hits), len(self.collection))
        return list(zip(pictures, captions, strict=True)), [hit.row for hit in hits], heading, ""

    def show_first(self, rows: list[int]) -> tuple[str | None, str]:
        """View and caption of the best result, the first."""
        return self.show(("row", rows[0]) if rows else None, UP_AXIS)[:2]

    def show_result(self, rows: list[int], event: gr.SelectData) -> tuple[str | None, str]:
        return self.show(("row", rows[event.index]), UP_AXIS)[:2]
