"""How long the classification of one mesh takes, its reading included: again and again, and the first time.

    python scripts/benchmarks/classification_latency.py
    python scripts/benchmarks/classification_latency.py --text_tower openai/clip-vit-base-patch32 --mesh chair.glb

The encoder is OpenShape's smallest (5.1M parameters, 10,000 points) with random weights, or one that is given. Without
a text tower labels come embedded, at random, as those of a fixed set would. Each process starts afresh, so that its
first call has the import and the loading before it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


# Run in a process of its own: what a script would do to classify one shape.
FIRST_CALL = """
import json, sys, time
arguments = json.loads(sys.argv[1])
import mrd_hf
import numpy as np
from transformers import pipeline
imported = time.time()
tower = {"text_tower": arguments["text_tower"]} if arguments["text_tower"] else {}
classify = pipeline("zero-shot-point-cloud-classification", model=arguments["model"], **tower)
embeds = None
if not tower:
    width = classify.model.config.embedding_dim
    embeds = np.random.default_rng(0).standard_normal((len(arguments["labels"]), width))
loaded = time.time()
seconds = []
for _ in range(1 + arguments["runs"]):
    started = time.perf_counter()
    classify(arguments["mesh"], candidate_labels=arguments["labels"], class_embeds=embeds)
    seconds.append(time.perf_counter() - started)
print(json.dumps({"imported": imported, "loaded": loaded, "seconds": seconds}))
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the encoder (default: preset openshape-1 with random weights)")
    parser.add_argument("--text_tower", help="what embeds the labels (default: they come embedded)")
    parser.add_argument("--mesh", type=Path, help="the mesh (default: a textured .glb of 20,000 faces)")
    parser.add_argument("--labels", type=int, default=20, help="labels to choose from (default: 20)")
    parser.add_argument("--runs", type=int, default=20, help="warm calls, of which the median counts (default: 20)")
    parser.add_argument("--processes", type=int, default=3, help="fresh processes (default: 3)")
    return parser.parse_args()


def save_encoder(folder: Path, width: int | None) -> None:
    from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor

    config = PointBertConfig.from_preset("openshape-1", **({} if width is None else {"projection_dim": width}))
    PointBertModel(config).save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=10_000).save_pretrained(folder)


def save_mesh(path: Path) -> None:
    """A ball of about 20,000 faces with a texture of 512 x 512 pixels."""
    import numpy as np
    import trimesh
    from PIL import Image

    ball = trimesh.creation.icosphere(subdivisions=5)
    texture = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(texture))
    ball.visual = trimesh.visual.TextureVisuals(uv=(ball.vertices[:, :2] + 1) / 2, material=material)
    ball.export(path, file_type="glb")


def text_width(name: str) -> int:
    from mrd_hf.models.text_tower import TextTower

    return TextTower.from_pretrained(name).embedding_dim


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = arguments.model
        if model is None:
            model = str(folder / "encoder")
            save_encoder(folder / "encoder", text_width(arguments.text_tower) if arguments.text_tower else None)
        mesh = arguments.mesh
        if mesh is None:
            mesh = folder / "ball.glb"
            save_mesh(mesh)
        task = {
            "model": model,
            "text_tower": arguments.text_tower,
            "mesh": str(mesh),
            "labels": [f"label number {number}" for number in range(arguments.labels)],
            "runs": arguments.runs,
        }
        rows = []
        for _ in range(arguments.processes):
            started = time.time()
            command = [sys.executable, "-c", FIRST_CALL, json.dumps(task)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            result = json.loads(done.stdout.splitlines()[-1])
            first, *warm = result["seconds"]
            rows.append(
                {
                    "import": result["imported"] - started,
                    "load": result["loaded"] - result["imported"],
                    "first call": first,
                    "all of it, from the process's start": result["loaded"] - started + first,
                    "warm call": statistics.median(warm),
                }
            )
    print(
        f"{mesh.name}, {arguments.labels} labels; median of {arguments.processes} processes of {arguments.runs} calls"
    )
    for what in rows[0]:
        print(f"{what}: {statistics.median(row[what] for row in rows):.2f} s")


if __name__ == "__main__":
    main()
