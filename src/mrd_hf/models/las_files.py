"""LAS and LAZ, the formats of laser scans, into coloured points.

Positions are scaled integers with an offset, and z points up, by the standard. Its colours have 16 bits. Many programs
write bytes all the same: where no channel of any point goes beyond 255, they are taken for bytes.

Source: ASPRS, LAS specification 1.4.
"""

import io

import numpy as np

from .shape_limits import ShapeBudget, check_size
from .shapes import ColoredPoints, PointCloud


def read_las(data: bytes) -> PointCloud:
    """Read a LAS or LAZ file.

    Args:
        data (`bytes`): The file.

    Raises:
        ValueError: It cannot be read, is too large, or laspy or lazrs is missing; the message says which.
    """
    try:
        import laspy
    except ImportError as error:
        raise ValueError(f"laser scans need laspy: pip install 'mrd-hf[formats]' ({error})") from error
    try:
        with laspy.open(io.BytesIO(data), read_evlrs=False) as file:
            header = file.header
            ShapeBudget(len(data)).take("points", header.point_count)
            check_size(len(data), header.point_count * header.point_format.size)
            if not header.are_points_compressed and header.point_count * header.point_format.size > len(data):
                raise ValueError(f"cut off: its header promises {header.point_count:,} points")
            points = file.read_points(-1)
        if len(points) != header.point_count:
            raise ValueError(f"cut off: {len(points):,} of {header.point_count:,} points")
    except laspy.errors.LaspyException as error:
        if "lazrs" in str(error).lower() or "backend" in str(error).lower():
            raise ValueError(f"LAZ needs lazrs: pip install 'mrd-hf[formats]' ({error})") from error
        raise ValueError(f"damaged ({error})") from error
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # of lazrs, and of laspy in a damaged header
        raise ValueError(f"damaged ({type(error).__name__}: {error})") from error
    xyz = np.stack([np.asarray(points.x), np.asarray(points.y), np.asarray(points.z)], axis=1)
    rgb = None
    if {"red", "green", "blue"} <= set(points.point_format.dimension_names):
        rgb = _bytes(np.stack([np.asarray(points[name]) for name in ("red", "green", "blue")], axis=1))
    warnings = []
    withheld = np.asarray(points.withheld, dtype=bool)
    if withheld.any() and not withheld.all():
        xyz, rgb = xyz[~withheld], None if rgb is None else rgb[~withheld]
        warnings.append(f"{int(withheld.sum()):,} of {len(withheld):,} points left out: withheld")
    return PointCloud(ColoredPoints(xyz, rgb), None if rgb is None else "vertex colours", warnings, "z")


def _bytes(colors: np.ndarray) -> np.ndarray | None:
    """Colours of 8 bits, or None where all are zero, which files without colours have."""
    if not colors.any():
        return None
    if colors.max() <= 255:
        return colors.astype(np.uint8)
    return np.round(colors / 257).astype(np.uint8)
