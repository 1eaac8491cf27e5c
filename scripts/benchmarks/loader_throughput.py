"""Shapes a second that the loaders deliver, beside reading OpenShape's files, and their memory, on this machine.

    python scripts/benchmarks/loader_throughput.py --data outputs/loader_throughput

Shapes are synthetic, of OpenShape's sizes: 10,000 points of six numbers, 13 image and 5 text embeddings of 1,280.
They are written once, as parquet files and as one pickled .npy a shape in OpenShape's layout; with the copy that
`datasets` makes, that takes 0.7 MB of disk a shape. Each figure comes from a process of its own, which delivers
batches of 256, as training gets them but for the augmentation; the kinds take turns, and the median counts. "Cold" is
with the files' pages dropped from the system's cache beforehand, which leaves whatever the disk itself caches.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader

from mrd_hf.data.loaders.batch_sampler import ShuffledBatchSampler
from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.loaders.triplet_shards import TripletShards
from mrd_hf.data.loaders.triplet_stream import TripletStream
from mrd_hf.data.loading import load_triplets
from mrd_hf.data.preparation.dataset_writing import write_parquet
from mrd_hf.data.schema import triplet_features


BATCH, NUM_POINTS, WIDTH, RENDERS = 256, 10_000, 1280, 12
TEXT_SOURCES = ("name", "caption_blip", "caption_azure", "retrieval", "retrieval")
SHARD = 1024
KINDS = ("map-style", "streaming", "npy")
MIB = 2**20


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="outputs/loader_throughput", type=Path, help="folder of the shapes")
    parser.add_argument("--shapes", type=int, default=4096, help="shapes to write (default: 4096)")
    parser.add_argument("--delivered", type=int, default=8192, help="shapes to time (default: 8192)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="data processes (default: 1 2)")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median counts (default: 3)")
    parser.add_argument("--memory", type=int, default=100_000, help="shapes to watch the memory over; 0: none")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)  # kind, workers, cache of a process of its own
    return parser.parse_args()


def write_shapes(folder: Path, count: int) -> None:
    """Each shape once in each layout."""
    features = triplet_features(embedding_dim=WIDTH)
    (folder / "npy").mkdir(parents=True, exist_ok=True)
    shards = -(-count // SHARD)

    def rows(shard: int) -> Iterator[dict[str, Any]]:
        for number in range(shard * SHARD, min((shard + 1) * SHARD, count)):
            rng = np.random.default_rng(number)
            points = rng.uniform(-0.5, 0.5, (NUM_POINTS, 3)).astype(np.float32)
            colors = rng.integers(0, 256, (NUM_POINTS, 3), dtype=np.uint8)
            embeds = rng.standard_normal((RENDERS + 1 + len(TEXT_SOURCES), WIDTH)).astype(np.float32)
            embeds /= np.linalg.norm(embeds, axis=1, keepdims=True)
            images, texts = embeds[: RENDERS + 1], embeds[RENDERS + 1 :]
            save_npy(folder / "npy" / f"{number}.npy", points, colors, images, texts)
            yield {
                **dict.fromkeys(features),
                "schema_version": 1,
                "id": f"Objaverse/{number}",
                "source": "objaverse",
                "points": points.astype(np.float16),
                "colors": colors,
                "images": [],
                "texts": [{"text": f"{source} {number}", "source": source} for source in TEXT_SOURCES],
                "image_embeds": images.astype(np.float16),
                "text_embeds": texts.astype(np.float16),
                "teacher": "synthetic",
            }

    for shard in range(shards):
        write_parquet(rows(shard), features, folder / "data" / f"train-{shard:05d}-of-{shards:05d}.parquet")


def save_npy(path: Path, points: np.ndarray, colors: np.ndarray, images: np.ndarray, texts: np.ndarray) -> None:
    """As OpenShape publishes a shape."""
    feats = [{"original": text[None], "prompt_avg": text[None]} for text in texts]
    content = {
        "dataset": "Objaverse",
        "group": "000-000",
        "id": path.stem,
        "xyz": points,
        "rgb": colors.astype(np.float32) / 255,
        "image_feat": images[1:],
        "thumbnail_feat": images[:1],
        "text": ["name"],
        "text_feat": feats[:1],
        "blip_caption": "caption",
        "blip_caption_feat": feats[1],
        "msft_caption": "caption",
        "msft_caption_feat": feats[2],
        "retrieval_text": ["text", "text"],
        "retrieval_text_feat": feats[3:],
    }
    np.save(path, np.array(content, dtype=object), allow_pickle=True)


class NpyDataset(torch.utils.data.Dataset):
    """One pickled file a shape, written by this script, read as OpenShape's training code does."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.npy"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        content = np.load(self.files[index], allow_pickle=True).item()
        image = content["thumbnail_feat"] if index % 2 else content["image_feat"][index % RENDERS]
        return {
            "points": torch.from_numpy(content["xyz"]).float(),
            "colors": torch.from_numpy(content["rgb"]).float(),
            "image_embeds": torch.from_numpy(image).float().reshape(-1),
            "text_embeds": torch.from_numpy(content["text_feat"][0]["prompt_avg"]).float().reshape(-1),
        }


def make_loader(folder: Path, kind: str, workers: int) -> DataLoader:
    """A loader that delivers batches for longer than anything here takes."""
    endless = 10**9
    if kind == "npy":
        dataset = NpyDataset(folder / "npy")
        sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=endless)
        return DataLoader(dataset, BATCH, sampler=sampler, num_workers=workers)
    if kind == "streaming":
        shards = TripletShards(folder, "train", seed=0, cached=True)
        return DataLoader(TripletStream(shards, BATCH, endless, seed=0), batch_size=None, num_workers=workers)
    triplets = TripletDataset(load_triplets(folder, "train"), seed=0, cached=True, name=str(folder))
    order = ShuffledBatchSampler(len(triplets), BATCH, endless, seed=0)
    return DataLoader(triplets, sampler=order, batch_size=None, num_workers=workers)


def drop_from_cache(folder: Path) -> None:
    cached = [Path(file["filename"]) for file in load_triplets(folder, "train").cache_files]
    for file in [*cached, *folder.rglob("*.parquet"), *folder.rglob("*.npy")]:
        with open(file, "rb") as source:
            os.fsync(source.fileno())
            os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rate(loader: DataLoader, delivered: int) -> float:
    """Shapes a second, from the first batch on: what it takes to start is not counted."""
    batches = iter(loader)
    next(batches)
    started, count = time.perf_counter(), 0
    for batch in islice(batches, delivered // BATCH):
        count += len(batch["points"])
    return count / (time.perf_counter() - started)


def memory(loader: DataLoader, delivered: int) -> list[tuple[int, float, float]]:
    """Shapes delivered; MiB of this process and its workers: of their own, and of mapped files besides."""
    measured = []
    for number, _ in enumerate(islice(loader, delivered // BATCH), start=1):
        if number % (delivered // BATCH // 10) == 0:
            processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
            infos = [process.memory_info() for process in processes]
            own = sum(info.rss - info.shared for info in infos) / MIB
            measured.append((number * BATCH, own, sum(info.shared for info in infos) / MIB))
    return measured


def measure(arguments: argparse.Namespace, kind: str, workers: int, cache: str) -> Any:
    """What a process of its own finds."""
    command = [sys.executable, __file__, "--data", str(arguments.data), "--delivered", str(arguments.delivered)]
    command += ["--memory", str(arguments.memory), "--measure", kind, str(workers), cache]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    arguments = parse_arguments()
    if arguments.measure:
        kind, workers, cache = arguments.measure
        loader = make_loader(arguments.data, kind, int(workers))
        watch = cache == "memory"
        print(json.dumps(memory(loader, arguments.memory) if watch else rate(loader, arguments.delivered)))
        return
    if not arguments.data.exists():
        write_shapes(arguments.data, arguments.shapes)
    written = len(list((arguments.data / "npy").iterdir()))
    load_triplets(arguments.data, "train")  # made once, like the files
    print(f"{written} shapes, {arguments.delivered} delivered, median of {arguments.runs} runs (lowest to highest)")
    print("| loader | workers | warm, shapes/s | cold, shapes/s | load average |")
    print("|---|---|---|---|---|")
    results: dict[tuple[str, int, str], list[float]] = {}
    loads: list[float] = []
    for _ in range(arguments.runs):
        for workers in arguments.workers:
            for kind in KINDS:
                for cache in ("cold", "warm"):
                    if cache == "cold":
                        drop_from_cache(arguments.data)
                    results.setdefault((kind, workers, cache), []).append(measure(arguments, kind, workers, cache))
                    loads.append(os.getloadavg()[0])
    for workers in arguments.workers:
        for kind in KINDS:
            cells = []
            for cache in ("warm", "cold"):
                rates = results[kind, workers, cache]
                cells.append(f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})")
            print(f"| {kind} | {workers} | {cells[0]} | {cells[1]} | {min(loads):.1f} to {max(loads):.1f} |")
        ratio = statistics.median(results["map-style", workers, "warm"]) / statistics.median(
            results["npy", workers, "warm"]
        )
        print(f"map-style, {workers} workers, warm: {ratio:.1f} times npy")
    if arguments.memory:
        for kind in KINDS[:2]:
            print(f"{kind}, 1 worker; shapes delivered: MiB of the processes' own + of mapped files and shared memory")
            found = measure(arguments, kind, 1, "memory")
            print(", ".join(f"{count:,}: {own:.0f} + {mapped:.0f}" for count, own, mapped in found))


if __name__ == "__main__":
    main()
