"""How much of an evaluation on ModelNet40's test set is not encoding, on this machine.

    python scripts/benchmarks/evaluation_cost.py --data outputs/evaluation_cost --preset openshape-1

Writes 2,468 random clouds of 10,000 points in OpenShape's layout, an encoder of random weights and random class
embeddings, and runs `scripts/evaluate.py` on them in a process of its own: reading, metrics, intervals, pictures and
caching, all that a user waits for besides the encoder.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mrd_hf import POINT_BERT_PRESETS, PointBertConfig, PointBertModel, PointCloudFeatureExtractor
from mrd_hf.evaluation.classes.class_names import MODELNET40


SCRIPT = Path(__file__).parent.parent / "evaluate.py"
NUM_SHAPES, NUM_POINTS = 2468, 10_000


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="outputs/evaluation_cost", type=Path, help="folder of what is written")
    parser.add_argument("--preset", default="openshape-1", choices=list(POINT_BERT_PRESETS), help="the encoder")
    parser.add_argument("--batch_size", default=64, type=int, help="shapes encoded at once (default: 64)")
    return parser.parse_args()


def write_benchmark(folder: Path) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    names = [MODELNET40[row % len(MODELNET40)] for row in range(NUM_SHAPES)]
    shapes = [{"name": f"{name}_{row}", "category": name} for row, name in enumerate(names)]
    (folder / "test_split.json").write_text(json.dumps(shapes))
    clouds = np.empty(NUM_SHAPES, dtype=object)
    for row in range(NUM_SHAPES):
        points = rng.standard_normal((NUM_POINTS, 3), dtype=np.float32)
        clouds[row] = {"xyz": points, "rgb": np.full((NUM_POINTS, 3), 0.4, dtype=np.float32)}
    np.save(folder / "test_pc.npy", clouds, allow_pickle=True)


def main() -> None:
    arguments = parse_arguments()
    if not (arguments.data / "modelnet40").exists():
        write_benchmark(arguments.data / "modelnet40")
    encoder, out = arguments.data / arguments.preset, arguments.data / "out"
    config = PointBertConfig.from_preset(arguments.preset, teacher_id="a-teacher")
    PointBertModel(config).save_pretrained(encoder)
    PointCloudFeatureExtractor(num_points=NUM_POINTS).save_pretrained(encoder)
    embeds = np.random.default_rng(1).standard_normal((len(MODELNET40), config.embedding_dim))
    classes = pa.table({"label": list(MODELNET40), "text_embed": embeds.tolist()})
    pq.write_table(classes, arguments.data / "class_texts.parquet")
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, str(SCRIPT), "--model", str(encoder), "--benchmark", "modelnet40", "--out", str(out)]
    command += ["--data", str(arguments.data / "modelnet40"), "--batch_size", str(arguments.batch_size)]
    command += ["--class_texts", str(arguments.data / "class_texts.parquet")]
    finished = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True)
    found = re.search(r"([\d.]+) s, of which encoding ([\d.]+) s", finished.stderr)
    assert found is not None
    total, encoding = float(found[1]), float(found[2])
    print(
        f"{arguments.preset}: {total:.1f} s after the imports, of which all but encoding {total - encoding:.1f} s",
        end="",
    )
    print(f", {100 * (1 - encoding / total):.1f}%")


if __name__ == "__main__":
    main()
