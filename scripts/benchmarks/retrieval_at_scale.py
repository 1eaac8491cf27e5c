"""Time and peak memory of retrieval at the size of Objaverse and beyond, on this machine.

    python scripts/benchmarks/retrieval_at_scale.py --queries 100000 --gallery 100000 --width 1280

Embeddings are random, each query a noisy copy of a gallery item of its key. The measured process holds both sets, in
float32, and all of Python besides. By default only that very item is a match; with --matches 2500, as with forty
categories among 100,000 shapes, that many gallery items are.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np
import torch

from mrd_hf.evaluation.scores.retrieval import retrieval_recall
from mrd_hf.training.loop.throughput import peak_memory


CPU = torch.device("cpu")
GIB = 2**30
STEP = 1024  # rows made at a time
NOISE = 8.0  # in deviations of a coordinate: at width 1,280 some of 100,000 items are nearer than the right one


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=20_000, help="how many queries (default: 20,000)")
    parser.add_argument("--gallery", type=int, default=20_000, help="how many gallery items (default: 20,000)")
    parser.add_argument("--width", type=int, default=1280, help="width of embeddings (default: 1,280)")
    parser.add_argument("--matches", type=int, default=1, help="gallery items of each key (default: 1)")
    parser.add_argument("--measured", action="store_true", help=argparse.SUPPRESS)  # the process of its own
    return parser.parse_args()


def measured(num_queries: int, num_items: int, width: int, matches: int) -> None:
    generator = np.random.default_rng(0)
    gallery = generator.standard_normal((num_items, width), dtype=np.float32)
    queries = np.empty((num_queries, width), dtype=np.float32)
    targets = generator.integers(0, num_items, num_queries)
    for start in range(0, num_queries, STEP):
        rows = slice(start, min(start + STEP, num_queries))
        queries[rows] = gallery[targets[rows]]
        queries[rows] += NOISE * generator.standard_normal(queries[rows].shape, dtype=np.float32)
    item_keys = np.arange(num_items) // matches
    empty = peak_memory(CPU)
    started = time.perf_counter()
    result = retrieval_recall(queries, gallery, item_keys[targets].tolist(), item_keys.tolist())
    figures = {
        "recall at 1": result.recall[1],
        "median rank": result.median_rank,
        "mean average precision": result.mean_average_precision,
    }
    seconds, peak = time.perf_counter() - started, peak_memory(CPU)
    print(json.dumps({"seconds": seconds, "before": empty, "peak": peak, "figures": figures}))


def main() -> None:
    arguments = parse_arguments()
    if arguments.measured:
        measured(arguments.queries, arguments.gallery, arguments.width, arguments.matches)
        return
    done = subprocess.run([sys.executable, __file__, "--measured", *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"the measured process ended with exit code {done.returncode}")
    result = json.loads(done.stdout.splitlines()[-1])
    operations = 2 * arguments.queries * arguments.gallery * arguments.width
    print(
        f"{arguments.queries:,} queries, {arguments.gallery:,} items of {arguments.width}, {arguments.matches} a key"
    )
    print(f"{result['seconds']:.1f} s, {operations / result['seconds'] / 1e9:.0f} GFLOP/s over all of it")
    print(f"peak memory {result['peak'] / GIB:.2f} GiB, of which {result['before'] / GIB:.2f} GiB before retrieval")
    print(", ".join(f"{name} {value:.4f}" for name, value in result["figures"].items()))


if __name__ == "__main__":
    main()
