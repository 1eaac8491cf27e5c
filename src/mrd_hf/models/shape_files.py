"""From any file of a shape to coloured points: which reader it takes, and what is drawn of a mesh's surface."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from .left_out_parts import PartChoice
from .point_cloud_files import load_point_cloud
from .shape_limits import check_size, few_warnings
from .shape_suffixes import CLOUD_SUFFIXES, SHAPE_SUFFIXES
from .shapes import FLOAT32_MAX, ColoredPoints, PointCloud, TexturedMesh, check_colored_points
from .surface_sampling import sample_surface


def read_shape(
    path: str | os.PathLike, keep_collision: bool = False, skip_parts: str | None = None
) -> TexturedMesh | PointCloud:
    """Read a mesh with its colours and textures or, of a file without any face, the points.

    Args:
        path (`str` or `Path`):
            A file whose suffix is one of `SHAPE_SUFFIXES`. Files that it names are read from its own folder and those
            below, nowhere else; [`colored_points`] makes points of what is returned.
        keep_collision (`bool`, defaults to `False`):
            Whether collision meshes are read: those that are named as engines name them, see docs/formats.md. Without
            it they are left out, and a warning says which.
        skip_parts (`str`, *optional*):
            A regular expression. Parts in whose name, or in the name of whose object, group, mesh or node above,
            something matches it are left out as well.

    Raises:
        ValueError: It is a folder, of another kind, too large, damaged or empty; the message names it. Or
            `skip_parts` is no regular expression, or matches all parts.
        FileNotFoundError: There is no such file.
        ImportError: It may hold a mesh, and Pillow is missing.
    """
    path, choice = Path(path), PartChoice(keep_collision, skip_parts)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the files in it.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    suffix = path.suffix.lower()
    if suffix not in SHAPE_SUFFIXES:
        known = ", ".join(sorted(SHAPE_SUFFIXES))
        raise ValueError(f"{path}: files with the suffix '{suffix}' are not known; expected one of {known}.")
    try:
        check_size(path.stat().st_size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from None
    with np.errstate(all="ignore"):  # numbers that are none, and what follows from them, are refused below, by name
        shape = _load(path, choice)
    if isinstance(shape, PointCloud):
        shape = _without_gaps(shape)
        points = check_colored_points(shape.points, str(path))
        return replace(shape, points=points, warnings=few_warnings(shape.warnings))
    return shape


def _load(path: Path, choice: PartChoice) -> TexturedMesh | PointCloud:
    if path.suffix.lower() in CLOUD_SUFFIXES:
        return load_point_cloud(path)
    from .mesh_loading import load_mesh  # which needs Pillow

    return load_mesh(path, choice)


def _without_gaps(cloud: PointCloud) -> PointCloud:
    """The cloud without points that are not finite, as scanners write where they see nothing; alone, they stay."""
    xyz, rgb = cloud.points
    if xyz.dtype.kind != "f" or xyz.ndim != 2 or not len(xyz) or (rgb is not None and len(rgb) != len(xyz)):
        return cloud
    if xyz.min() >= -FLOAT32_MAX and xyz.max() <= FLOAT32_MAX:  # False for nan as well
        return cloud
    kept = (np.abs(xyz) <= FLOAT32_MAX).all(axis=1)
    if not kept.any():
        return cloud
    warning = f"{int((~kept).sum()):,} of {len(kept):,} points dropped: coordinates that are not finite"
    points = ColoredPoints(xyz[kept], None if rgb is None else rgb[kept])
    return replace(cloud, points=points, warnings=[*cloud.warnings, warning])


def colored_points(
    shape: TexturedMesh | PointCloud, num_points: int, generator: np.random.Generator | None = None
) -> ColoredPoints:
    """Points of a shape that was read: drawn from a mesh's surface, uniformly by area; those of a cloud as they are.

    Args:
        shape (`TexturedMesh` or `PointCloud`)
        num_points (`int`): How many to draw from a surface.
        generator (`np.random.Generator`, *optional*): Source of all randomness. Default: one with the seed 0.

    Returns:
        `ColoredPoints`: without colours where the file says none.
    """
    if isinstance(shape, PointCloud):
        return shape.points
    points = sample_surface(shape, num_points, generator or np.random.default_rng(0))
    return points if shape.is_colored else ColoredPoints(points.xyz, None)
