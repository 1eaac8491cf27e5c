"""What a ShapeIndex costs and finds: time to build and open, size, time a query, recall against exact search.

    python scripts/benchmarks/search_latency.py --count 1000000 --width 1280

The collection is clustered as embeddings of shapes are: clusters of very different sizes within larger ones, spread
more along some directions than along others. Queries are drawn from the same clusters, and, as texts are in another
part of the space than shapes, a second set of them is moved away from all shapes and blurred. Queries come one at a
time, and their time includes the reading of the items that were found. 4.5 GB of disk at a million of width 1,280.
"""

import argparse
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import torch

from mrd_hf.search import ShapeIndex
from mrd_hf.training.loop.throughput import peak_memory


GIB = 2**30
ROWS_AT_ONCE = 16_384
WARM_UP = 20
# Lengths, beside the cluster's centre of 1: of the larger cluster's centre, and of the spread within the cluster.
LARGER_CLUSTER, SPREAD = 0.7, 0.8
# Of what moves queries of the second kind: the same for all, and of each its own.
GAP, BLUR = 1.0, 0.7


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="shapes in the collection (default: 100000)")
    parser.add_argument("--width", type=int, default=1280, help="width of their embeddings (default: 1280)")
    parser.add_argument("--clusters", type=int, help="clusters they are in (default: one a 200 shapes)")
    parser.add_argument("--queries", type=int, default=200, help="queries of each kind (default: 200)")
    parser.add_argument("--k", type=int, default=10, help="shapes to find (default: 10)")
    parser.add_argument("--folder", type=Path, help="where to put the files meanwhile (default: a temporary folder)")
    return parser.parse_args()


class Clusters:
    """A mixture to draw unit vectors from.

    Args:
        count (`int`): Clusters; their sizes fall off as the inverse of their rank.
        width (`int`): Of the vectors.
    """

    def __init__(self, count: int, width: int) -> None:
        generator = np.random.default_rng(0)
        larger = unit(generator.standard_normal((max(1, count // 40), width), dtype=np.float32))
        own = unit(generator.standard_normal((count, width), dtype=np.float32))
        self.centers = own + LARGER_CLUSTER * larger[generator.integers(len(larger), size=count)]
        sizes = 1 / np.arange(10, count + 10)
        self.shares = sizes / sizes.sum()
        # How far a cluster reaches in each direction: half of it in the first few dozen.
        reach = (1 / np.sqrt(np.arange(1, width + 1))).astype(np.float32)
        self.reach = SPREAD * reach / np.linalg.norm(reach)
        self.gap = unit(generator.standard_normal((1, width), dtype=np.float32))

    def draw(self, count: int, generator: np.random.Generator) -> np.ndarray:
        chosen = generator.choice(len(self.centers), size=count, p=self.shares)
        noise = generator.standard_normal((count, len(self.reach)), dtype=np.float32)
        return unit(self.centers[chosen] + noise * self.reach)

    def draw_from_afar(self, count: int, generator: np.random.Generator) -> np.ndarray:
        drawn = self.draw(count, generator)
        return unit(drawn + GAP * self.gap + BLUR * unit(generator.standard_normal(drawn.shape, dtype=np.float32)))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_collection(path: Path, clusters: Clusters, count: int) -> np.ndarray:
    """Draw the collection into a memory-mapped file of float16."""
    collection = np.lib.format.open_memmap(path, "w+", np.float16, (count, clusters.centers.shape[1]))
    for start in range(0, count, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, count - start)
        collection[start : start + rows] = clusters.draw(rows, np.random.default_rng([1, start]))
    collection.flush()
    return np.load(path, mmap_mode="r")


def exact_neighbors(collection: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Rows of the `k` nearest of each query, by comparing it with all."""
    scores = np.full((len(queries), 0), 0, dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(collection), ROWS_AT_ONCE):
        cosines = queries @ unit(collection[start : start + ROWS_AT_ONCE].astype(np.float32)).T
        here = np.broadcast_to(np.arange(start, start + cosines.shape[1]), cosines.shape)
        scores, rows = np.concatenate([scores, cosines], axis=1), np.concatenate([rows, here], axis=1)
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return rows


def measure(index: ShapeIndex, collection: np.ndarray, queries: np.ndarray, k: int, kind: str) -> None:
    for query in queries[:WARM_UP]:
        index.search(query[None], k)
    seconds, found = [], []
    for query in queries:
        started = time.perf_counter()
        (hits,) = index.search(query[None], k)
        seconds.append(time.perf_counter() - started)
        found.append({hit.row for hit in hits})
    exact = exact_neighbors(collection, queries, k)
    recall = np.mean([len(rows & set(nearest)) / k for rows, nearest in zip(found, exact.tolist(), strict=True)])
    median, slow = 1000 * np.quantile(seconds, [0.5, 0.95])
    print(f"{kind}: {median:.1f} ms a query (median), {slow:.1f} ms (95%); recall at {k}: {recall:.3f}")


def main() -> None:
    arguments = parse_arguments()
    count, width = arguments.count, arguments.width
    clusters = Clusters(arguments.clusters or max(1, count // 200), width)
    threads = faiss.omp_get_max_threads()
    print(f"{count:,} embeddings of width {width} in {len(clusters.centers)} clusters; {threads} threads")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        collection = write_collection(Path(folder) / "collection.npy", clusters, count)
        items = [
            {"id": f"shape-{row:07d}", "path": f"meshes/{row % 1000:03d}/shape-{row:07d}.glb"} for row in range(count)
        ]
        started = time.perf_counter()
        index = ShapeIndex.build(Path(folder) / "index", collection, items, model="none")
        seconds = time.perf_counter() - started
        size = sum(file.stat().st_size for file in index.folder.iterdir())
        peak = peak_memory(torch.device("cpu"))
        memory = "" if peak is None else f"; peak memory so far {peak / GIB:.2f} GiB"
        kind = "exact" if index.is_exact else "approximate"
        print(f"built in {seconds:.0f} s ({kind}): {size / GIB:.2f} GiB on disk{memory}")
        started = time.perf_counter()
        index = ShapeIndex.open(index.folder)
        print(f"opened in {time.perf_counter() - started:.2f} s")
        generator = np.random.default_rng(2)
        queries = clusters.draw(arguments.queries, generator)
        measure(index, collection, queries, arguments.k, "queries like the shapes")
        queries = clusters.draw_from_afar(arguments.queries, generator)
        measure(index, collection, queries, arguments.k, "queries from afar, as texts are")


if __name__ == "__main__":
    main()
