"""Read an uploaded shape in a process of its own, which may not take long, nor much memory.

An upload is whatever a stranger sends. The readers refuse what they know to be harmful, and a process that can be
ended is the answer to what they do not know: the server goes on whatever happens in it. It comes from a server of
forks that has imported all it needs, so that it starts in milliseconds; what it found comes back as plain files.
"""

import json
import multiprocessing
import re
import resource
import sys
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from ..models.shape_files import SHAPE_SUFFIXES, colored_points, read_shape
from ..models.shapes import ColoredPoints, TexturedMesh, check_colored_points
from .view_glb import cloud_view, mesh_view


SUFFIXES = tuple(sorted(SHAPE_SUFFIXES))
TIME_LIMIT = 20.0  # seconds
MEMORY_LIMIT = 2 * 2**30  # bytes beyond what the process has at its start
# No encoder sees more; a larger cloud is thinned by a fixed random choice, as the feature extractor does.
MAX_POINTS = 200_000
KEPT = 16
NOTES_LISTED = 3
MAX_MESSAGE = 600
TOO_LARGE = "reading it takes more memory than there is for it; simplify the shape."

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["mrd_hf.app.shape_reading", "mrd_hf.models.mesh_loading"])


class UnreadableShape(ValueError):
    """An upload that cannot be read; the message is for the person who sent it, and names the file as they do."""


@dataclass(frozen=True)
class Shape:
    """A shape as the pipelines take it, and as the page shows it.

    Args:
        points (`np.ndarray` of shape `(num_points, 3)` or `(num_points, 6)`): xyz in the file's own frame and unit,
            and rgb in 0..1 where the file has colours.
        view (`bytes`): The GLB to show.
        notes (`list[str]`): What the reader had to replace or leave out, and what the view leaves out.
    """

    points: np.ndarray
    view: bytes
    notes: list[str]


class ShapeReader:
    """Reads uploads, and keeps the last ones.

    Args:
        num_points (`int`): Points that the encoder sees; as many are drawn from a mesh's surface.
        time_limit (`float`, defaults to `TIME_LIMIT`): In seconds.
        memory_limit (`int`, defaults to `MEMORY_LIMIT`): In bytes.
    """

    def __init__(self, num_points: int, time_limit: float = TIME_LIMIT, memory_limit: int = MEMORY_LIMIT) -> None:
        self.num_points = num_points
        self.time_limit = time_limit
        self.memory_limit = memory_limit
        self._kept: OrderedDict[tuple[str, str, str], Shape | UnreadableShape] = OrderedDict()
        self._lock = Lock()

    def warm_up(self) -> None:
        """Start the server of forks, so that the first upload does not wait for its imports."""
        process = _forks.Process(target=_do_nothing)
        process.start()
        process.join()

    def read(self, path: str, up_axis: str, name: str | None = None) -> Shape:
        """Read a file.

        Args:
            path (`str`): Nothing outside its folder is read.
            up_axis (`"y"` or `"z"`): For the view.
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
        if isinstance(found, UnreadableShape):
            raise UnreadableShape(str(found))
        return found

    def _read_elsewhere(self, path: str, up_axis: str, name: str) -> Shape:
        suffix = Path(path).suffix.lower()
        if suffix not in SUFFIXES:
            raise UnreadableShape(
                f"{name}: files with the suffix '{suffix[:20]}' are not shapes known here; give one of "
                f"{', '.join(SUFFIXES)}."
            )
        with tempfile.TemporaryDirectory(prefix="mrd-shape-") as folder:
            process = _forks.Process(
                target=_read_into,
                args=(path, up_axis, name, self.num_points, folder, self.memory_limit, self.time_limit),
                daemon=True,
            )
            process.start()
            process.join(self.time_limit)
            if process.exitcode is None:
                process.kill()
                process.join()
                raise UnreadableShape(
                    f"{name}: reading it takes more than {self.time_limit:g} seconds; simplify the shape."
                )
            result = Path(folder) / "result.json"
            if process.exitcode != 0 or not result.is_file():
                raise UnreadableShape(f"{name}: {TOO_LARGE}")
            found = json.loads(result.read_text())
            if "error" in found:
                raise UnreadableShape(found["error"])
            points = np.load(Path(folder) / "points.npy", allow_pickle=False)
            return Shape(points, (Path(folder) / "view.glb").read_bytes(), found["notes"])


def _do_nothing() -> None:
    """In the other process."""


def _read_into(
    path: str, up_axis: str, name: str, num_points: int, folder: str, memory_limit: int, time_limit: float
) -> None:
    """In the other process: read a file, and write what the page needs of it into `folder`."""
    if sys.platform == "linux":  # elsewhere the time limit alone holds
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + memory_limit,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time_limit) + 1,) * 2)  # should the server end before this does
    result: dict[str, str | list[str]]
    try:
        points, view, notes = read_upload(Path(path), up_axis, num_points)
        np.save(Path(folder) / "points.npy", points, allow_pickle=False)
        (Path(folder) / "view.glb").write_bytes(view)
        result = {"notes": notes}
    except MemoryError:
        result = {"error": f"{name}: {TOO_LARGE}"}
    except Exception as error:  # of many readers: whatever is raised here is about the file
        message = _named(str(error), path, name)
        result = {"error": (message if name in message else f"{name}: {message}")[:MAX_MESSAGE]}
    (Path(folder) / "result.json").write_text(json.dumps(result))


def _named(message: str, path: str, name: str) -> str:
    """A reader's message with the sender's name of the file in the place of its path on this machine."""
    known_as = rf"{re.escape(path)}|(?<!\w){re.escape(Path(path).name)}(?!\w)"
    return re.sub(known_as, lambda _: name, message)


def read_upload(path: Path, up_axis: str, num_points: int) -> tuple[np.ndarray, bytes, list[str]]:
    """What [`Shape`] has of a file: the points as the feature extractor would take them, the view and the notes.

    Raises:
        ValueError: It cannot be read; the message names it.
    """
    found = read_shape(path)
    points, notes = colored_points(found, num_points), []
    check_colored_points(points, path.name)
    if isinstance(found, TexturedMesh):
        view, is_surface = mesh_view(found, up_axis)
        notes = [f"{warning}." for warning in found.warnings[:NOTES_LISTED]]
        if len(found.warnings) > NOTES_LISTED:
            notes.append(f"... and {len(found.warnings) - NOTES_LISTED} more of this kind.")
        if not is_surface:
            notes.append("Shown by points of its surface, as it is large.")
        return _joined(points), view, notes
    if len(points.xyz) > MAX_POINTS:
        notes.append(f"{MAX_POINTS:,} of its {len(points.xyz):,} points are used.")
        kept = np.random.default_rng(0).permutation(len(points.xyz))[:MAX_POINTS]
        points = ColoredPoints(points.xyz[kept], None if points.rgb is None else points.rgb[kept])
    return _joined(points), cloud_view(points.xyz, points.rgb, up_axis), notes


def _joined(points: ColoredPoints) -> np.ndarray:
    """Points and colours, if there are any, in one array of float64, colours in 0..1."""
    xyz, rgb = points
    if rgb is None:
        return xyz.astype(np.float64)
    return np.concatenate([xyz, rgb / (255 if rgb.dtype.kind in "iu" else 1)], axis=1, dtype=np.float64)
