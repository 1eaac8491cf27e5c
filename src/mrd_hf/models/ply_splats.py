"""Gaussian splats in PLY files, as points: those of the first publication, and those that PlayCanvas compresses.

Source: the layout of the files that 3D Gaussian Splatting (Kerbl et al., 2023) and PlayCanvas' SuperSplat write.
"""

import numpy as np

from .ply_text import Property


# The first spherical harmonic, a constant: splats store colours as its coefficients around 0.5.
HARMONIC = 0.28209479177387814
# Splats that are fainter hardly show; most of them are left over from fitting.
MIN_OPACITY = 0.1
CHUNK_SIZE = 256


def is_compressed(elements: dict[str, dict[str, Property]]) -> bool:
    """Whether the vertices are packed into four bytes each."""
    return "packed_position" in elements.get("vertex", {})


def unpack_splats(elements: dict[str, dict[str, Property]]) -> dict[str, Property]:
    """The properties x, y, z, f_dc_0, f_dc_1, f_dc_2 and opacity of compressed splats.

    256 of them share a chunk, which has the ranges of their positions and, in newer files, of their colours.

    Raises:
        ValueError: They are compressed in another way.
    """
    vertices, chunks = elements["vertex"], elements.get("chunk", {})
    packed, colors = vertices["packed_position"], vertices.get("packed_color")
    ranges = [chunks.get(f"{end}_{axis}") for end in ("min", "max") for axis in "xyz"]
    if not all(isinstance(values, np.ndarray) and values.dtype.kind in "uf" for values in (packed, colors, *ranges)):
        raise ValueError("its splats are compressed in a way that is not read; save them as a PLY file of splats")
    position, color = np.asarray(packed).astype(np.uint32), np.asarray(colors).astype(np.uint32)
    of_chunk = np.arange(len(position)) // CHUNK_SIZE
    if len(position) and of_chunk[-1] >= len(np.asarray(ranges[0])):
        raise ValueError(f"its {len(position):,} splats need more chunks than it has")

    def within(name: str, share: np.ndarray) -> np.ndarray:
        low, high = (np.asarray(chunks[f"{end}_{name}"], dtype=np.float64)[of_chunk] for end in ("min", "max"))
        return low + (high - low) * share

    found: dict[str, Property] = {
        "x": within("x", (position >> 21) / 2047),
        "y": within("y", (position >> 11 & 1023) / 1023),
        "z": within("z", (position & 2047) / 2047),
    }
    for number, (name, shift) in enumerate(zip("rgb", (24, 16, 8), strict=True)):
        share = (color >> shift & 255) / 255
        shown = within(name, share) if f"min_{name}" in chunks and f"max_{name}" in chunks else share
        found[f"f_dc_{number}"] = (shown - 0.5) / HARMONIC
    with np.errstate(divide="ignore"):
        opacity = (color & 255) / 255
        found["opacity"] = -np.log(1 / opacity - 1)
    return found


def splat_colors(coefficients: np.ndarray) -> np.ndarray:
    """uint8 of shape `(num_splats, 3)` of the coefficients `f_dc_0` to `f_dc_2`."""
    shown = np.nan_to_num(0.5 + HARMONIC * coefficients.astype(np.float64), nan=0.5)
    return np.round(np.clip(shown, 0, 1) * 255).astype(np.uint8)


def are_visible(opacity: np.ndarray) -> np.ndarray:
    """Which splats are opaque enough to show, of shape `(num_splats,)`; all where none is."""
    with np.errstate(over="ignore"):
        visible: np.ndarray = 1 / (1 + np.exp(-opacity.astype(np.float64))) >= MIN_OPACITY
    return visible if visible.any() else np.ones(len(opacity), dtype=bool)
