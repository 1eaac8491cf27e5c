"""LAS and LAZ, the formats of laser scans, into coloured points.

Positions are scaled integers with an offset, and z points up, by the standard. Its colours have 16 bits. Many programs
write bytes all the same: where no channel of any point goes beyond 255, they are read as bytes.

Source: ASPRS, LAS specification 1.4.
"""

import io
import struct

import numpy as np

from .shape_limits import ShapeBudget, check_size
from .shapes import ColoredPoints, PointCloud


# Of version 1.0, the shortest; and of a record's own header.
HEADER_BYTES, RECORD_BYTES = 227, 54


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
    is_packed = _check_header(data)
    # The other one that lazrs has takes memory as the file's table of chunks says, whether it is there or not.
    backend = laspy.LazBackend.Lazrs
    if is_packed and not backend.is_available():
        raise ValueError("LAZ needs lazrs: pip install 'mrd-hf[formats]'")
    try:
        with laspy.open(io.BytesIO(data), read_evlrs=False, laz_backend=backend) as file:
            header = file.header
            ShapeBudget(len(data)).take("points", header.point_count)
            check_size(len(data), header.point_count * header.point_format.size)
            if not is_packed and header.point_count * header.point_format.size > len(data):
                raise ValueError(f"cut off: its header promises {header.point_count:,} points")
            points = file.read_points(-1)
        if len(points) != header.point_count:
            raise ValueError(f"cut off: {len(points):,} of {header.point_count:,} points")
    except laspy.errors.LaspyException as error:
        raise ValueError(f"damaged ({error})") from error
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # of lazrs, and of laspy in a damaged header
        raise ValueError(f"damaged ({type(error).__name__}: {error})") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # lazrs' own, which is no `Exception`
            raise
        raise ValueError(f"damaged ({error})") from error
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


def _check_header(data: bytes) -> bool:
    """Whether the points are compressed. Checks the counts that laspy and lazrs believe, whatever the file's size.

    Raises:
        ValueError: The header is damaged.
    """
    if data[:4] != b"LASF":
        raise ValueError("it is no LAS file: it does not begin with LASF")
    if len(data) < HEADER_BYTES:
        raise ValueError("cut off in its header")
    size, start, num_records, kind = struct.unpack_from("<HIIB", data, 94)
    num_points = struct.unpack_from("<I", data, 107)[0]
    if data[25] >= 4 and len(data) >= 255:  # from version 1.4 on
        num_points = struct.unpack_from("<Q", data, 247)[0]
    if start > len(data) or num_records * RECORD_BYTES > max(start - size, 0):
        raise ValueError(f"damaged: {num_records:,} records before its points, which begin at {start:,}")
    is_packed = bool(kind & 0xC0)
    if is_packed and num_points:
        if start + 8 > len(data):
            raise ValueError("cut off before its points")
        (table,) = struct.unpack_from("<q", data, start)
        if table == -1:  # written as a stream: the last bytes say it
            (table,) = struct.unpack_from("<q", data, len(data) - 8)
        if not start < table <= len(data) - 8:
            raise ValueError("cut off before its table of chunks")
        (num_chunks,) = struct.unpack_from("<I", data, table + 4)
        if num_chunks > num_points:
            raise ValueError(f"damaged: {num_chunks:,} chunks of {num_points:,} points")
    return is_packed


def _bytes(colors: np.ndarray) -> np.ndarray | None:
    """Colours of 8 bits, or None where all are zero, which files without colours have."""
    if not colors.any():
        return None
    if colors.max() <= 255:
        return colors.astype(np.uint8)
    return np.round(colors / 257).astype(np.uint8)
