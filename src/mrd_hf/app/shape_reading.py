"""Read an uploaded shape in a process of its own, which may not take long, nor much memory.

The readers refuse what they know to be harmful, and a process that can be ended is the answer to what they do not
know: the server stays up whatever happens in it. What it found comes back as plain files.
"""

import re
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from typing import Any

import numpy as np

from ..hub.endpoint.isolation import IsolatedReader
from ..models.shape_files import colored_points, read_shape
from ..models.shape_limits import SPACE_MEMORY, TIME_LIMIT, ran_out_of_memory
from ..models.shape_suffixes import SHAPE_SUFFIXES
from ..models.shapes import ColoredPoints, TexturedMesh, check_colored_points
from .view_glb import cloud_view, mesh_view


SUFFIXES = tuple(sorted(SHAPE_SUFFIXES))
# No encoder sees more; a larger cloud is thinned by a fixed random choice, as the feature extractor does.
MAX_POINTS = 200_000
# As many are read at the same time.
NUM_PROCESSES = 2
KEPT = 16
NOTES_LISTED = 3
MAX_MESSAGE = 600


class UnreadableShape(ValueError):
    """An upload that cannot be read; the message is for the person who sent it, and names the file as they do."""


class _OutOfTime(UnreadableShape):
    """One that says nothing of the file where the machine was busy."""

    was_told = False


@dataclass(frozen=True)
class Shape:
    """A shape as the pipelines take it, and as the page shows it.

    Args:
        points (`np.ndarray` of shape `(num_points, 3)` or `(num_points, 6)`): xyz in the file's own frame and unit,
            and rgb in 0..1 where the file has colours.
        view (`bytes`): The GLB to show.
        notes (`list[str]`): What the reader had to replace or leave out, and what the view leaves out.
        up_axis (`"y"` or `"z"`): Which axis is up in the points.
    """

    points: np.ndarray
    view: bytes
    notes: list[str]
    up_axis: str


class ShapeReader:
    """Reads uploads, and keeps the last ones.

    Args:
        num_points (`int`): Points that the encoder sees; as many are drawn from a mesh's surface.
        up_axis (`"y"` or `"z"`, defaults to `"y"`): Which axis the encoder's extractor takes for up where neither the
            person nor the file says it.
        time_limit (`float`, defaults to `TIME_LIMIT`): In seconds.
        memory_limit (`int`, defaults to `SPACE_MEMORY`): In bytes.
    """

    def __init__(
        self,
        num_points: int,
        up_axis: str = "y",
        time_limit: float = TIME_LIMIT,
        memory_limit: int = SPACE_MEMORY,
    ) -> None:
        self.time_limit = time_limit
        # The last one that was used is taken first, so that the others start only when they are needed.
        self._free: LifoQueue[IsolatedReader] = LifoQueue()
        for _ in range(NUM_PROCESSES):
            self._free.put(IsolatedReader(__name__, str(num_points), up_axis, timeout=time_limit, memory=memory_limit))
        self._kept: OrderedDict[tuple[str, str | None, str], Shape | UnreadableShape] = OrderedDict()
        self._lock = Lock()

    def warm_up(self) -> None:
        """Start a process, so that the first upload does not wait for its imports."""
        process = self._free.get()
        process.start()
        self._free.put(process)

    def close(self) -> None:
        """End the processes."""
        for _ in range(NUM_PROCESSES):
            self._free.get().close()

    def read(self, path: str, up_axis: str | None, name: str | None = None) -> Shape:
        """Read a file.

        Args:
            path (`str`): Nothing outside its folder is read.
            up_axis (`"y"` or `"z"`, *optional*): Default: as the file says, else the reader's.
            name (`str`, *optional*): What messages call it, as a server keeps uploads under names without the
                characters that its file system may not like. Default: the name that it has in `path`.

        Raises:
            UnreadableShape: It cannot be read, or not within the limits.
        """
        name = name or Path(path).name
        key = (path, up_axis, name)
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            try:
                found = self._read_elsewhere(path, up_axis, name)
            except UnreadableShape as error:
                found = error  # which is asked for again as well, once to show the shape and once to classify it
        with self._lock:
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            if isinstance(found, _OutOfTime) and found.was_told:
                del self._kept[key]  # perhaps the machine was busy: it is read when it is given once more
            elif isinstance(found, _OutOfTime):
                found.was_told = True
        if isinstance(found, UnreadableShape):
            raise UnreadableShape(str(found))
        return found

    def _read_elsewhere(self, path: str, up_axis: str | None, name: str) -> Shape:
        suffix = Path(path).suffix.lower()
        if suffix not in SUFFIXES:
            raise UnreadableShape(
                f"{name}: files with the suffix '{suffix[:20]}' are not shapes known here; give one of "
                f"{', '.join(SUFFIXES)}."
            )
        process = self._free.get()
        try:
            with tempfile.TemporaryDirectory(prefix="mrd-shape-") as folder:
                found = process.ask({"path": path, "up_axis": up_axis, "name": name, "folder": folder})
                if "error" in found:
                    raise UnreadableShape(found["error"])
                points = np.load(Path(folder) / "points.npy", allow_pickle=False)
                view = (Path(folder) / "view.glb").read_bytes()
                return Shape(points, view, found["notes"], found["up_axis"])
        except TimeoutError:
            raise _OutOfTime(
                f"{name}: reading it takes more than {self.time_limit:g} seconds; simplify the shape."
            ) from None
        except (MemoryError, EOFError):
            raise UnreadableShape(
                f"{name}: reading it takes more memory than there is for it; simplify the shape."
            ) from None
        finally:
            self._free.put(process)


def reader(num_points: str, up_axis: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """In the other process: what answers its requests."""
    from ..models import mesh_loading  # noqa: F401  (so that the first upload does not wait for it)

    return partial(_read_into_folder, int(num_points), up_axis)


def _read_into_folder(num_points: int, up_axis: str, request: dict[str, Any]) -> dict[str, Any]:
    """Read a file, and write what the page needs of it into a folder."""
    path, name, folder = request["path"], request["name"], Path(request["folder"])
    try:
        shape = read_upload(Path(path), request["up_axis"], num_points, up_axis)
        np.save(folder / "points.npy", shape.points, allow_pickle=False)
        (folder / "view.glb").write_bytes(shape.view)
        return {"notes": shape.notes, "up_axis": shape.up_axis}
    except Exception as error:  # of many readers: whatever is raised here is about the file
        if ran_out_of_memory(error):
            raise MemoryError from None
        message = _named(str(error), path, name)
        return {"error": (message if name in message else f"{name}: {message}")[:MAX_MESSAGE]}


def _named(message: str, path: str, name: str) -> str:
    """A reader's message with the sender's name of the file in the place of its path on this machine."""
    known_as = rf"{re.escape(path)}|(?<!\w){re.escape(Path(path).name)}(?!\w)"
    return re.sub(known_as, lambda _: name, message)


def read_upload(path: Path, up_axis: str | None, num_points: int, otherwise: str = "y") -> Shape:
    """Read a file in this process, its points as the feature extractor would take them.

    Args:
        path (`Path`)
        up_axis (`"y"` or `"z"`, *optional*): Default: as the file says.
        num_points (`int`): Points to draw from a mesh's surface.
        otherwise (`"y"` or `"z"`, defaults to `"y"`): Which axis is up where the file does not say it either.

    Raises:
        ValueError: It cannot be read; the message names it.
    """
    found = read_shape(path)
    points = check_colored_points(colored_points(found, num_points), path.name)
    notes = [f"{warning}." for warning in found.warnings[:NOTES_LISTED]]
    if len(found.warnings) > NOTES_LISTED:
        notes.append(f"... and {len(found.warnings) - NOTES_LISTED} more of this kind.")
    up_axis = up_axis or found.up_axis or otherwise
    if isinstance(found, TexturedMesh):
        view, is_surface = mesh_view(found, up_axis)
        if not is_surface:
            notes.append("Shown by points of its surface, as it is large.")
        return Shape(_joined(points), view, notes, up_axis)
    if len(points.xyz) > MAX_POINTS:
        notes.append(f"{MAX_POINTS:,} of its {len(points.xyz):,} points are used.")
        kept = np.random.default_rng(0).permutation(len(points.xyz))[:MAX_POINTS]
        points = ColoredPoints(points.xyz[kept], None if points.rgb is None else points.rgb[kept])
    return Shape(_joined(points), cloud_view(points.xyz, points.rgb, up_axis), notes, up_axis)


def _joined(points: ColoredPoints) -> np.ndarray:
    """Points and colours, if there are any, in one array of float64, colours in 0..1."""
    xyz, rgb = points
    if rgb is None:
        return xyz.astype(np.float64)
    return np.concatenate([xyz, rgb / (255 if rgb.dtype.kind in "iu" else 1)], axis=1, dtype=np.float64)
