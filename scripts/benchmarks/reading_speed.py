"""What reading a shape file costs, sampling 10,000 points included, beside trimesh's loading of the same file.

    python scripts/benchmarks/reading_speed.py

The files are of a sphere: a GLB and an OBJ of 20,000 faces with a texture of 1,024 pixels a side, and a coloured
binary PLY and an OBJ of about 100 MB. CPU seconds are medians of runs that alternate between the two readers, each in
a process of its own, without imports. trimesh draws no points and no colours; mrd-hf does. Memory is the peak beyond
what the process had before reading; it needs Linux.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from mrd_hf.models.shape_files import colored_points, read_shape


NUM_POINTS = 10_000
TEXTURE_SIZE = 1024
READERS = ("mrd-hf", "trimesh")
# Rings of the spheres: 20,000 faces, and as many as make 100 MB.
SMALL, LARGE_PLY, LARGE_OBJ = 100, 1540, 900


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each reader and file (default: 5)")
    return parser.parse_args()


def sphere(rings: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces and texture coordinates of a sphere of `2 * rings ** 2` faces."""
    u, v = np.meshgrid(np.linspace(0, 1, rings + 1), np.linspace(0.01, 0.99, rings + 1))
    around, down = 2 * np.pi * u, np.pi * v
    vertices = np.stack([np.cos(around) * np.sin(down), np.cos(down), np.sin(around) * np.sin(down)], axis=-1)
    corner = np.arange(rings * (rings + 1)).reshape(rings, rings + 1)[:, :rings].reshape(-1)
    below = corner + rings + 1
    faces = np.concatenate([np.stack([corner, corner + 1, below], 1), np.stack([corner + 1, below + 1, below], 1)])
    return vertices.reshape(-1, 3), faces, np.stack([u.reshape(-1), 1 - v.reshape(-1)], axis=1)


def write_files(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    texture = coarse.resize((TEXTURE_SIZE, TEXTURE_SIZE), Image.Resampling.BICUBIC)
    vertices, faces, uv = sphere(SMALL)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=texture)
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    small = trimesh.Trimesh(vertices, faces, process=False, visual=visual)
    small.export(folder / "textured.glb")
    small.export(folder / "textured.obj")
    vertices, faces, _ = sphere(LARGE_PLY)
    colors = rng.integers(0, 256, (len(vertices), 3), dtype=np.uint8)
    trimesh.Trimesh(vertices, faces, process=False, vertex_colors=colors).export(folder / "large.ply")
    vertices, faces, uv = sphere(LARGE_OBJ)
    with open(folder / "large.obj", "w") as file:
        np.savetxt(file, vertices, fmt="v %.6f %.6f %.6f")
        np.savetxt(file, uv, fmt="vt %.6f %.6f")
        np.savetxt(file, np.repeat(faces + 1, 2, axis=1), fmt="f %d/%d %d/%d %d/%d")
    return [folder / name for name in ("textured.glb", "textured.obj", "large.ply", "large.obj")]


def measure(reader: str, path: Path) -> tuple[float, float]:
    """CPU seconds and MiB of one reading, in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (reader, path))


def _measure(reader: str, path: Path) -> tuple[float, float]:
    before = _peak(since_now=True)
    started = time.process_time()
    if reader == "trimesh":
        found = trimesh.load(path, process=False)
        if isinstance(found, trimesh.Scene):
            found.to_mesh()
    else:
        colored_points(read_shape(path), NUM_POINTS)
    return time.process_time() - started, _peak() - before


def _peak(since_now: bool = False) -> float:
    """Of this process's memory, in MiB."""
    if since_now:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    arguments = parse_arguments()
    print("| file | MB | " + " | ".join(f"{reader}: CPU s (lowest to highest) | MiB" for reader in READERS) + " |")
    print("|---|---|" + "---|---|" * len(READERS))
    with tempfile.TemporaryDirectory() as name:
        for path in write_files(Path(name)):
            found: dict[str, list[tuple[float, float]]] = {reader: [] for reader in READERS}
            for _ in range(arguments.runs):
                for reader in READERS:
                    found[reader].append(measure(reader, path))
            cells = []
            for reader in READERS:
                seconds, memory = zip(*found[reader], strict=True)
                cells.append(f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})")
                cells.append(f"{statistics.median(memory):,.0f}")
            print(f"| {path.name} | {path.stat().st_size / 1e6:.1f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
