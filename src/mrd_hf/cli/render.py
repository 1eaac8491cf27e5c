"""`mrd-hf render`: pictures of a mesh or a point cloud."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..data.rendering import RenderSettings, render_views
from ..errors import UserError
from ..evaluation.plots.point_drawing import AZIMUTH, MAX_POINTS, draw_points
from ..files.atomic_file import atomic_file, check_vacant
from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from ..models.shape_files import read_shape
from ..models.shapes import ColoredPoints, PointCloud, TexturedMesh
from .output import one_line, print_json, printable
from .shape_files import READING_ERRORS, UpAxis


if TYPE_CHECKING:
    from .drawing.object_parts import FoundPart


logger = logging.getLogger(__name__)

# Of all views together: 8192 x 8192, 0.2 GB.
MAX_PIXELS = 2**26
VIEWS_A_ROW = 6
# Grey level of points without colours: lighter than the encoders', which is dark on white.
DRAWN_GREY = 0.65
DPI = 100
# Of the figure: discs reach over the edge of the axes.
WITH_MARGIN = (0.04, 0.04, 0.92, 0.92)


def run(options: argparse.Namespace) -> int:
    """Draw a file; returns the exit code."""
    path = Path(options.file)
    output = Path(options.output or f"{path.stem}-views.png")
    if output.suffix.lower() != ".png" or output.is_dir():
        raise UserError(f"--output {output}: expected a file with the suffix .png.")
    check_vacant(output, options.overwrite)
    if options.views * options.size**2 > MAX_PIXELS:
        raise UserError(
            f"--views {options.views} of --size {options.size} are over {MAX_PIXELS:,} pixels; ask for less."
        )
    if options.object_class is not None and options.part_model is None:
        raise UserError("--object-class is of --part-model, which is not given; give it or leave both out.")
    settings = RenderSettings(options.views, options.size)
    parts: list[FoundPart] = []
    try:
        shape = read_shape(path, options.keep_collision, options.skip_parts)
        if options.part_model is not None:
            from .drawing.object_parts import find_parts  # which imports torch

            shape, parts = find_parts(shape, options.part_model, options.object_class, options.up_axis)
        views = _views(path, shape, settings, options.up_axis)
    except READING_ERRORS as error:
        raise UserError(one_line(str(error) or type(error).__name__)) from None
    with atomic_file(output) as sink:
        Image.fromarray(contact_strip(views)).save(sink, "PNG")
    if options.json:
        told = {"parts": [part._asdict() for part in parts]} if options.part_model is not None else {}
        print_json({"output": str(output), "views": len(views), **told})
    else:
        print(printable(str(output)))
        for part in parts:
            print(f"  {part.color}  {part.share:4.0%}  {printable(part.name)}")
    return 0


def _views(path: Path, shape: TexturedMesh | PointCloud, settings: RenderSettings, up_axis: UpAxis) -> np.ndarray:
    """Pictures, uint8 of shape `(num_views, size, size, 3)`, of a mesh or, where a file has no faces, its points."""
    for warning in shape.warnings:
        logger.warning(f"{path}: {warning}.")
    if isinstance(shape, PointCloud):
        return draw_cloud(shape.points, settings, up_axis or shape.up_axis)
    # Seen straight from the front, two sides of a box are lit alike.
    return render_views(shape.y_up(up_axis).rotated(_turn(np.degrees(AZIMUTH))), settings)


def _turn(degrees: float) -> np.ndarray:
    """The rotation that shows the front what a camera sees this much further around, seen from above."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def draw_cloud(points: ColoredPoints, settings: RenderSettings, up_axis: UpAxis) -> np.ndarray:
    """Pictures of a point cloud from around it, the first from the front and a little to the right.

    Args:
        points (`ColoredPoints`)
        settings (`RenderSettings`): How many views, and their resolution.
        up_axis (`"y"` or `"z"`, *optional*): As [`PointCloudFeatureExtractor`] takes it.

    Returns:
        `np.ndarray` of shape `(num_views, resolution, resolution, 3)`: uint8 sRGB.
    """
    extractor = PointCloudFeatureExtractor(num_points=MAX_POINTS, default_color=DRAWN_GREY)
    (values,) = extractor(points.xyz, points.rgb, up_axis=up_axis, return_tensors="np")["point_values"]
    values = np.unique(values, axis=0)  # of a small cloud the extractor repeats the points
    views = []
    for view in range(settings.num_views):
        turned = values[:, :3] @ _turn(360 * view / settings.num_views).T
        figure = Figure(figsize=(settings.resolution / DPI,) * 2, dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        draw_points(figure.add_axes(WITH_MARGIN), turned, values[:, 3:] * 255)
        canvas.draw()
        views.append(np.asarray(canvas.buffer_rgba())[..., :3])
    return np.stack(views)


def contact_strip(views: np.ndarray) -> np.ndarray:
    """Pictures side by side, `VIEWS_A_ROW` in a row, white where the last row ends early.

    Args:
        views (`np.ndarray` of shape `(num_views, height, width, 3)`): uint8.
    """
    count, height, width, _ = views.shape
    columns = min(count, VIEWS_A_ROW)
    rows = -(-count // columns)
    padded = np.full((rows * columns, height, width, 3), 255, dtype=np.uint8)
    padded[:count] = views
    return padded.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
