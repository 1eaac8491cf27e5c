"""What is known of a shape file: what it says of itself, and what was read of it."""

import os
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import numpy as np

from ..models.shape_files import colored_points, read_shape
from ..models.shapes import UNCOLORED, MeshPart, PointCloud, TexturedMesh
from .file_headers import FileHeader, read_header
from .output import one_line
from .shape_files import as_text, reading_error


# What the extractor takes where neither the format nor the caller says it.
ASSUMED_UP_AXIS = "y"
# Points that the mean colour is of: as many as encoders see.
NUM_POINTS = 10_000
# Beside the extra `formats`, what reads shape files.
READING_PACKAGES = ("numpy", "pillow", "mapbox_earcut")


def facts_of_file(file: str, keep_collision: bool = False, skip_parts: str | None = None) -> dict[str, Any]:
    """What a file says of itself and, under `error`, why it cannot be read, or what was read.

    Args:
        file (`str`): Its path.
        keep_collision, skip_parts: Which parts are read, see [`read_shape`].

    Returns:
        `dict[str, Any]`: Fit for JSON; docs/formats.md lists the keys.
    """
    facts: dict[str, Any] = {"file": as_text(file)}
    try:
        if os.path.isfile(file):  # whoever opens a pipe waits for ever
            header = read_header(Path(file))
            facts |= _facts_of_header(header, os.path.getsize(file))
        shape = read_shape(file, keep_collision, skip_parts)
    except Exception as error:  # whatever a library makes of one bad file among thousands
        return facts | {"error": one_line(reading_error(error))}
    return facts | _facts_of_shape(shape)


def _facts_of_header(header: FileHeader, size: int) -> dict[str, Any]:
    return {
        "bytes": size,
        "format": header.format,
        "format_version": header.version,
        "encoding": header.encoding,
        "generator": header.generator,
        "extensions": header.extensions,
    }


def _facts_of_shape(shape: TexturedMesh | PointCloud) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    shares: dict[str, float] = {}
    if isinstance(shape, PointCloud):
        kind, num_points, area = "point cloud", len(shape.points.xyz), 0.0
        corners = [shape.points.xyz]
        shares[shape.color_source or "none"] = 1.0
    else:
        kind, num_points = "mesh", 0
        parts = [_facts_of_part(part) for part in shape.parts]
        area = sum(part["area"] for part in parts)
        corners = [part.triangles.reshape(-1, 3) for part in shape.parts if len(part.triangles)]
        for part in parts:
            source = part["color_source"] or "none"
            shares[source] = shares.get(source, 0.0) + part["area"] / area
    low = np.min([corner.min(axis=0) for corner in corners], axis=0).astype(np.float64)
    high = np.max([corner.max(axis=0) for corner in corners], axis=0).astype(np.float64)
    facts = {
        "kind": kind,
        "num_parts": len(parts),
        "num_faces": sum(part["num_faces"] for part in parts),
        "num_points": num_points,
        "area": area,
        "bounding_box": [low.tolist(), high.tolist()],
        "extents": (high - low).tolist(),
        "up_axis": shape.up_axis or ASSUMED_UP_AXIS,
        "up_axis_is_assumed": shape.up_axis is None,
        "color_sources": dict(sorted(shares.items(), key=lambda item: -item[1])),
        "mean_color": _mean_color(shape),
        "warnings": [one_line(warning) for warning in shape.warnings],
        "parts": parts,
    }
    return facts | ({"extensions": shape.extensions} if shape.extensions else {})


def _facts_of_part(part: MeshPart) -> dict[str, Any]:
    return {
        "name": part.name,
        "num_faces": len(part.triangles),
        "area": float(part.areas.sum()),
        "color_source": part.color_source,
        "texture_size": None if part.texture is None else [part.texture.shape[1], part.texture.shape[0]],
        "wrap": None if part.texture is None else list(part.wrap),
    }


def _mean_color(shape: TexturedMesh | PointCloud) -> list[int]:
    """In 0..255, of the points that an encoder sees."""
    rgb = colored_points(shape, NUM_POINTS).rgb
    if rgb is None:
        return [round(255 * UNCOLORED)] * 3
    scale = 255 if rgb.dtype.kind == "f" else 1
    mean: list[int] = np.round(rgb.mean(axis=0, dtype=np.float64) * scale).astype(int).tolist()
    return mean


def versions() -> dict[str, str | None]:
    """Of this package and of those that read shape files, None for those that are not installed."""
    lines = [line for line in requires("mrd-hf") or [] if line.endswith(('"formats"', "'formats'"))]
    of_extra = [name for line in lines for name in re.findall(r"^[\w.-]+", line)]
    found: dict[str, str | None] = {}
    for name in ("mrd-hf", *READING_PACKAGES, *of_extra):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
