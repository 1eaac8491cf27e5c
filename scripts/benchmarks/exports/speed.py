"""onnxruntime's time beside torch's: embedding clouds, and from the start of the process to the answer.

    python scripts/benchmarks/exports/speed.py --threads 2
    python scripts/benchmarks/exports/speed.py --model outputs/demo/encoder --starts 5

Embedding is timed in one process, torch and onnxruntime in turn, by the clock and by the processor's; medians. A start
is `mrd-hf classify` of a shape with embeddings of labels in a file, each in a process of its own.
"""

import argparse
import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor
from mrd_hf.encoder import Encoder, load_encoder
from mrd_hf.exporting.writing import DTYPES, export_encoder


CHAIR = Path(__file__).parents[2] / "demo_data" / "shapes" / "chair.glb"


def save_encoder(folder: Path) -> None:
    """OpenShape's smallest (5.1M parameters, 10,000 points) with random weights."""
    torch.manual_seed(0)
    PointBertModel(PointBertConfig.from_preset("openshape-1")).save_pretrained(folder)
    PointCloudFeatureExtractor().save_pretrained(folder)


def time_in_turn(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each call by the clock and by the processor, after one that does not count."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for run in range(runs + 1):
        for name, call in calls.items():
            began, worked = time.perf_counter(), time.process_time()
            call()
            if run:
                seconds[name].append((time.perf_counter() - began, time.process_time() - worked))
    return {
        name: (statistics.median(clock for clock, _ in both), statistics.median(worked for _, worked in both))
        for name, both in seconds.items()
    }


def time_embedding(encoder: Encoder, files: dict[str, Path], batches: list[int], runs: int, threads: int) -> None:
    torch.set_num_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads would go on looking for work while it is torch's turn: one shape took torch three times as long.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    sessions = {
        dtype: onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for dtype, file in files.items()
    }
    num_points = encoder.extractor.num_points
    print(f"{num_points:,} points, {threads} threads; milliseconds a shape by the clock (by the processor)")
    print(f"| shapes | torch | {' | '.join(sessions)} |\n|---|---|{'---|' * len(sessions)}")
    for batch in batches:
        generator = np.random.default_rng(0)
        values = generator.random((batch, num_points, 6), dtype=np.float32)
        values[..., :3] = encoder.extractor([*(values[..., :3] - 0.5)], return_tensors="np")["point_values"][..., :3]

        @torch.inference_mode()
        def by_torch(values: np.ndarray = values) -> torch.Tensor:
            return encoder.model.get_point_features(torch.from_numpy(values))

        calls: dict[str, Callable[[], object]] = {"torch": by_torch}
        for dtype, session in sessions.items():
            calls[dtype] = functools.partial(session.run, None, {"point_values": values})
        medians = time_in_turn(calls, runs)
        cells = [f"{1000 * clock / batch:.1f} ({1000 * worked / batch:.1f})" for clock, worked in medians.values()]
        print(f"| {batch} | {' | '.join(cells)} |", flush=True)


def time_starts(folder: Path, files: dict[str, Path], classes: Path, starts: int) -> None:
    print("from the start of the process to the answer, seconds by the clock (by the processor)")
    models = {"torch": folder, **files}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for _ in range(starts):
        for name, model in models.items():
            words = ["classify", str(CHAIR), "--class-texts", str(classes), "--model", str(model)]
            began, before = time.perf_counter(), os.times()
            subprocess.run([sys.executable, "-m", "mrd_hf_cli.main", *words], check=True, stdout=subprocess.DEVNULL)
            after = os.times()
            worked = after.children_user + after.children_system - before.children_user - before.children_system
            seconds[name].append((time.perf_counter() - began, worked))
    for name, both in seconds.items():
        clock, worked = (statistics.median(times) for times in zip(*both, strict=True))
        print(f"| {name} | {clock:.2f} ({worked:.2f}) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the encoder's folder (default: openshape-1 with random weights)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="shapes at once (default: 1 32)")
    parser.add_argument("--runs", type=int, default=9, help="of which the median counts (default: 9)")
    parser.add_argument("--threads", type=int, default=2, help="of each (default: 2)")
    parser.add_argument("--starts", type=int, default=5, help="processes of each kind (default: 5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = arguments.model
        if folder is None:
            folder = scratch / "encoder"
            save_encoder(folder)
        encoder = load_encoder(str(folder))
        files: dict[str, Path] = {}
        for dtype in DTYPES:
            export_encoder(encoder, scratch / dtype, dtype)
            files[dtype] = scratch / dtype / "encoder.onnx"
        embeds = np.random.default_rng(0).standard_normal((20, encoder.embedding_dim)).astype(np.float32)
        labels = [f"label {number}" for number in range(20)]
        pq.write_table(pa.table({"label": labels, "text_embed": list(embeds)}), scratch / "classes.parquet")
        time_embedding(encoder, files, arguments.batches, arguments.runs, arguments.threads)
        time_starts(folder, files, scratch / "classes.parquet", arguments.starts)


if __name__ == "__main__":
    main()
