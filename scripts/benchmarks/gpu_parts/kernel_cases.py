"""The Triton kernels beside the torch path on random clouds, index for index.

    python scripts/benchmarks/gpu_parts/kernel_cases.py --cases 10000               # by Triton's interpreter, on a CPU
    python scripts/benchmarks/gpu_parts/kernel_cases.py --cases 2000 --device cuda  # the compiled kernels

Clouds are random, full of duplicates, on a line, on a lattice, or of twins at nearly the same distance, which a fused
multiply-add would tell apart otherwise. The interpreter's have up to 200 points, and blocks are made small, so that
they have seams; a GPU's have up to 40,000. Gradients of the gathering are added up in any order, so they are compared
within rounding. Prints one JSON object; a difference makes the exit status 1.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


KINDS = ("random", "duplicates", "line", "lattice", "twins")
BLOCKS = {  # of the kernels, in cases by the interpreter
    "as on a GPU": {},
    "small": {"ON_CHIP_POINTS": 64, "RESIDENT_POINTS": 32, "BLOCK_POINTS": 32, "PART_POINTS": 32, "BALL_POINTS": 16},
    "smallest": dict.fromkeys(("ON_CHIP_POINTS", "RESIDENT_POINTS", "BLOCK_POINTS", "PART_POINTS", "BALL_POINTS"), 16),
}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="random cases (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the cases (default: 0)")
    parser.add_argument("--device", default="cpu", help="cpu is Triton's interpreter (default: cpu)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many (default: never)")
    parser.add_argument("--output", "-o", type=Path, help="file for the JSON, also written on the way")
    return parser.parse_args(argv)


def make_cloud(kind: str, num_points: int, rng: np.random.Generator) -> np.ndarray:
    """`(num_points, 3)`, float32."""
    if kind == "duplicates":
        return rng.standard_normal((3, 3), dtype=np.float32)[rng.integers(0, 3, num_points)]
    if kind == "line":
        return np.outer(rng.permutation(num_points), [1, 0, 0]).astype(np.float32)
    if kind == "lattice":
        return rng.integers(0, 3, (num_points, 3)).astype(np.float32)
    points = rng.standard_normal((num_points, 3), dtype=np.float32)
    if kind == "twins":
        points[num_points // 2 :] = -points[: num_points - num_points // 2][:, [1, 2, 0]]
        points[0] = 0
    return points


def patch_once() -> None:
    """Make Triton's interpreter twice as fast.

    It patches its own module at every call of a function in a kernel; here only if that has not been done. And it
    looks for overflow in every sum of integers.
    """
    from triton.runtime import interpreter

    def call(function: Any, *arguments: Any, **keywords: Any) -> Any:
        core = interpreter.tl.core
        modules = [m for m in function.fn.__globals__.values() if m is core or m is interpreter.tl]
        if any(core.is_builtin(module.load) for module in modules):
            interpreter._patch_lang(function.fn)
        return function.rewrite()(*arguments, **keywords)

    interpreter.InterpretedFunction.__call__ = call
    builder = interpreter.interpreter_builder
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)


def run_case(seed: int, device: torch.device, kernels: Any, sampling: Any, grouping: Any) -> dict[str, Any]:
    """What differs, and what the case was."""
    rng = np.random.default_rng(seed)
    on_gpu = device.type == "cuda"
    most = 2**15.3 if on_gpu else min(200, 3 * kernels.ON_CHIP_POINTS)
    num_points = int(most ** rng.uniform(0, 1))
    num_samples = int(rng.integers(1, 80 if on_gpu else 13))
    batch, num_centers = int(rng.integers(1, 5 if on_gpu else 3)), int(rng.integers(1, 40 if on_gpu else 3))
    kind, scale = KINDS[rng.integers(len(KINDS))], np.float32([1, 1, 1e-3, 100][rng.integers(4)])
    cpu_points = torch.from_numpy(np.stack([make_cloud(kind, num_points, rng) for _ in range(batch)]) * scale)
    chosen = torch.from_numpy(rng.integers(0, num_points, (batch, num_centers)))
    cpu_centers = sampling.gather_points(cpu_points, chosen)
    radius = float(rng.uniform(0.1, 3) * scale)
    points, centers = cpu_points.to(device), cpu_centers.to(device)
    fewer = min(num_samples, num_points)
    found = {
        "farthest point sampling": kernels.sample_farthest(points, num_samples),
        "ball query": kernels.query_balls(centers, points, radius, num_samples),
        "nearest neighbours": kernels.query_nearest(centers, points, fewer),
    }
    expected = {
        "farthest point sampling": torch.from_numpy(sampling._sample_with_numpy(cpu_points.numpy(), num_samples)),
        "ball query": sampling.ball_query(cpu_centers, cpu_points, radius, num_samples),
        "nearest neighbours": sampling.knn_query(cpu_centers, cpu_points, fewer),
    }
    different = [name for name, index in found.items() if not torch.equal(index.cpu(), expected[name])]

    positions, colors = bool(rng.integers(2)), bool(rng.integers(2))
    values = torch.cat([cpu_points, torch.from_numpy(rng.random(cpu_points.shape, dtype=np.float32))], dim=-1)
    inputs = {
        where: (values.to(where).requires_grad_(), cpu_centers.to(where).requires_grad_()) for where in ("cpu", device)
    }
    members = expected["ball query"]
    groups = grouping.copy_groups(*inputs[device], members.to(device), positions, colors)
    plain = sampling.gather_groups(*inputs["cpu"], members, positions, colors)
    if not torch.equal(groups.cpu(), plain):
        different.append("gather")
    weights = torch.from_numpy(rng.random(plain.shape, dtype=np.float32))
    gradients = torch.autograd.grad((groups * weights.to(device)).sum(), inputs[device])
    expected_gradients = torch.autograd.grad((plain * weights).sum(), inputs["cpu"])
    if not all(
        torch.allclose(a.cpu(), b, rtol=1e-4, atol=1e-4) for a, b in zip(gradients, expected_gradients, strict=True)
    ):
        different.append("gradient")
    case = {"kind": kind, "batch": batch, "points": num_points, "samples": num_samples, "centers": num_centers}
    return {"different": different, "seed": seed, **case, "scale": float(scale), "radius": radius}


def compare(
    num_cases: int,
    seed: int,
    device: torch.device,
    minutes: float,
    kernels: Any,
    sampling: Any,
    grouping: Any,
    report: Callable[[dict[str, Any]], None] = lambda summary: None,
) -> dict[str, Any]:
    """Run cases until there are enough, or for so many minutes; `report` sees the summary on the way."""
    sizes = {name: getattr(kernels, name) for name in BLOCKS["small"]}
    started, done = time.perf_counter(), 0
    kinds: Counter[str] = Counter()
    differences: list[dict[str, Any]] = []

    def summary() -> dict[str, Any]:
        return {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu, Triton's interpreter",
            "torch": torch.__version__,
            "triton": kernels.triton.__version__,
            "cases": done,
            "kinds": dict(kinds),
            "differences": len(differences),
            "first differences": differences[:20],
            "seconds": round(time.perf_counter() - started, 1),
        }

    try:
        for case in range(num_cases):
            if time.perf_counter() - started > 60 * minutes:
                break
            blocks = list(BLOCKS)[case % 3] if device.type == "cpu" else "as on a GPU"
            for name, size in {**sizes, **BLOCKS[blocks]}.items():
                setattr(kernels, name, size)
            result = run_case(seed + case, device, kernels, sampling, grouping)
            done += 1
            kinds[result["kind"]] += 1
            if result["different"]:
                differences.append({**result, "blocks": blocks})
            if done % 50 == 0:
                report(summary())
    finally:
        for name, size in sizes.items():
            setattr(kernels, name, size)
    return summary()


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    device = torch.device(arguments.device)
    if device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
    from mrd_hf.models import grouping_kernels, point_sampling, sampling_kernels

    if sampling_kernels.triton is None:
        print("Triton is not installed: pip install triton", file=sys.stderr)
        return 2
    if device.type == "cpu":
        patch_once()
        torch.set_num_threads(1)  # fastest on clouds as small as these

    def write(summary: dict[str, Any]) -> None:
        if arguments.output:
            arguments.output.write_text(json.dumps(summary, indent=2) + "\n")

    modules = (sampling_kernels, point_sampling, grouping_kernels)
    summary = compare(arguments.cases, arguments.seed, device, arguments.minutes, *modules, report=write)
    write(summary)
    print(json.dumps(summary, indent=2))
    return 1 if summary["differences"] else 0


if __name__ == "__main__":
    sys.exit(main())
