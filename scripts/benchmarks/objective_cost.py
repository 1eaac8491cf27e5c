"""What the objective costs beside the encoder: time and peak memory of forward and backward pass, on this machine.

    python scripts/benchmarks/objective_cost.py

Each figure comes from a process of its own, so that peak memory is its own. The encoder's step at the objective's
batch is extrapolated from a batch that fits.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from mrd_hf import MRDConfig, PointBertConfig, PointBertModel
from mrd_hf.models.mrd_objective import MRDObjective
from mrd_hf.models.relation_distillation import RELATION_TERMS


WIDTH = 1280
GIB = 2**30


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096, help="batch to compare at (default: 4096)")
    parser.add_argument("--large_batch", type=int, default=16384, help="batch to show the memory of (default: 16384)")
    parser.add_argument("--encoder_batch", type=int, default=8, help="batch of the encoder's step (default: 8)")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median counts (default: 3)")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # what a process of its own is to measure
    return parser.parse_args()


def objective_step(batch: int, form: str) -> None:
    """All six relations besides the alignment."""
    objective = MRDObjective(MRDConfig(relation_terms=list(RELATION_TERMS), relation_form=form))
    generator = torch.Generator().manual_seed(0)
    point, image, text = (torch.randn(batch, WIDTH, generator=generator) for _ in range(3))
    point.requires_grad_()
    started = time.perf_counter()
    objective(point, image, text).loss.backward()
    report(started)


def encoder_step(batch: int) -> None:
    """The default encoder, 32M parameters, on 10,000 points, with its optimizer."""
    model = PointBertModel(PointBertConfig(projection_dim=WIDTH)).train()
    optimizer = torch.optim.AdamW(model.parameters())
    points = torch.rand(batch, 10_000, 6, generator=torch.Generator().manual_seed(0))
    for timed in (False, True):  # the first step makes the optimizer's state
        started = time.perf_counter()
        model.get_point_features(points).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if timed:
            report(started)


def report(started: float) -> None:
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def measure(what: str, runs: int) -> tuple[float, float]:
    """Median seconds and largest peak memory in bytes, of processes of their own."""
    results = []
    for _ in range(runs):
        command = [sys.executable, __file__, "--measure", what]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    return statistics.median(r["seconds"] for r in results), max(r["peak"] for r in results)


def main() -> None:
    arguments = parse_arguments()
    if arguments.measure:
        what, _, batch = arguments.measure.partition(":")
        encoder_step(int(batch)) if what == "encoder" else objective_step(int(batch), what)
        return
    print(f"{torch.get_num_threads()} threads, width {WIDTH}, all relations; median of {arguments.runs} runs")
    empty = measure("normalized_similarity:2", 1)[1]
    print(f"a process with nothing to do: {empty / GIB:.2f} GiB")
    seconds, peak = measure(f"encoder:{arguments.encoder_batch}", arguments.runs)
    extrapolated = seconds * arguments.batch / arguments.encoder_batch
    print(f"encoder's step, batch {arguments.encoder_batch}: {seconds:.2f} s, peak {peak / GIB:.2f} GiB")
    print(f"encoder's step, batch {arguments.batch}, extrapolated: {extrapolated:.0f} s")
    for form in ("normalized_similarity", "euclidean", "partial_order"):
        seconds, peak = measure(f"{form}:{arguments.batch}", arguments.runs)
        share = seconds / (seconds + extrapolated)
        print(
            f"objective, {form}, batch {arguments.batch}: {seconds:.2f} s, {share:.2%} of the whole step, "
            f"peak {peak / GIB:.2f} GiB"
        )
    seconds, peak = measure(f"normalized_similarity:{arguments.large_batch}", 1)
    large = f"objective, normalized_similarity, batch {arguments.large_batch}"
    print(f"{large}: {seconds:.1f} s, peak {peak / GIB:.2f} GiB")


if __name__ == "__main__":
    main()
