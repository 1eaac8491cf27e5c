"""Shapes a second a core that `prepare_dataset.py meshes` makes of a folder of generated GLBs, on this machine.

    python scripts/benchmarks/mesh_preparation.py --meshes outputs/benchmark_meshes --num_views 0 4 12

The meshes are lumpy ellipsoids of one to four parts, 4,000 triangles in the median and up to 40,000, every other one
with a texture of 512 pixels a side. They are written once. Each figure is shapes by the CPU seconds of the command,
run with one worker: what one core makes in a second, start included.
"""

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from tqdm import tqdm


SCRIPT = Path(__file__).parent.parent / "prepare_dataset.py"
TEXTURE_SIZE = 512
# Of an icosphere's subdivisions: 320, 1,280, 5,120 and 20,480 triangles.
SUBDIVISIONS, SHARES = (2, 3, 4, 5), (0.15, 0.45, 0.35, 0.05)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshes", default="outputs/benchmark_meshes", type=Path, help="folder of the meshes")
    parser.add_argument("--count", type=int, default=1000, help="meshes to write (default: 1000)")
    parser.add_argument("--num_views", type=int, nargs="+", default=[0, 4, 12], help="pictures a shape; 0: none")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median counts (default: 3)")
    return parser.parse_args()


def write_mesh(path: Path, rng: np.random.Generator, textured: bool) -> int:
    """Write one GLB; returns its number of triangles."""
    scene = trimesh.Scene()
    for _ in range(rng.integers(1, 5)):
        part = trimesh.creation.icosphere(subdivisions=int(rng.choice(SUBDIVISIONS, p=SHARES)))
        directions = part.vertices.copy()
        part.vertices *= 1 + 0.2 * np.sin(directions @ rng.normal(0, 4, (3, 3))).mean(axis=1, keepdims=True)
        part.vertices = part.vertices * rng.uniform(0.1, 1, 3) + rng.uniform(-1, 1, 3)
        if textured:
            coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            texture = Image.fromarray(coarse).resize((TEXTURE_SIZE, TEXTURE_SIZE), Image.Resampling.BICUBIC)
            uv = np.stack([np.arctan2(directions[:, 2], directions[:, 0]), directions[:, 1]], axis=1) / 4 + 0.5
            material = trimesh.visual.material.PBRMaterial(baseColorTexture=texture)
            part.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
        else:
            color = [*rng.integers(0, 256, 3), 255]
            part.visual = trimesh.visual.ColorVisuals(part, vertex_colors=np.tile(color, (len(directions), 1)))
        scene.add_geometry(part)
    scene.export(path)
    return sum(len(part.faces) for part in scene.geometry.values())


def prepare(meshes: Path, out: Path, num_views: int) -> tuple[float, float]:
    """CPU and wall seconds of the command."""
    pictures = ["--num_views", str(num_views)] if num_views else ["--no_images"]
    command = [sys.executable, str(SCRIPT), "meshes", str(meshes), "--out", str(out), *pictures]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*command, "--num_workers", "1"], check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    arguments = parse_arguments()
    if not arguments.meshes.exists():
        arguments.meshes.mkdir(parents=True)
        numbers = tqdm(range(arguments.count), desc="writing meshes", unit="mesh")
        triangles = [
            write_mesh(
                arguments.meshes / f"lumpy_shape_{number:05d}.glb", np.random.default_rng(number), number % 2 == 0
            )
            for number in numbers
        ]
        print(f"triangles: {statistics.median(triangles):,.0f} in the median, {max(triangles):,} at most")
    count = len(list(arguments.meshes.glob("*.glb")))
    print(f"{count} GLBs, median of {arguments.runs} runs (lowest to highest)")
    print("| pictures | shapes per CPU second | shapes per second |\n|---|---|---|")
    for num_views in arguments.num_views:
        rates = []
        for _ in range(arguments.runs):
            out = Path(tempfile.mkdtemp(prefix="mesh-preparation-"))
            cpu, wall = prepare(arguments.meshes, out / "dataset", num_views)
            shutil.rmtree(out)
            rates.append((count / cpu, count / wall))
        cells = [f"{statistics.median(r):.1f} ({min(r):.1f} to {max(r):.1f})" for r in zip(*rates, strict=True)]
        print(f"| {num_views} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
