"""How fast encoders are, stage by stage, beside a plain one and the floor; and what distilling adds to a step.

    python scripts/benchmarks/encoder_speed.py --out outputs/encoder_speed.json
    OMP_NUM_THREADS=1 python scripts/benchmarks/encoder_speed.py --clock processor    # on a busy machine

Stages are sampling, grouping, patch network, trunk, whole forward pass, training step (with AdamW) and objective. Ours
and the plain one, from the definition (speed_parts/plain_encoder.py), with the same weights and inputs, are timed in
alternation in one process, and a large product with them; medians. The floor is the time that a stage's matrix
products take at that product's rate. Half precision: forward as `dtype=torch.bfloat16` loads the model, step under
autocast; the floor then has the rate of bfloat16. Peak memory, above the loaded model and its input, is that of a
process of its own.

With --overhead: what the objective adds to the encoder's step, by encoder, batch and relations, with its memory. The
encoder's step at that batch is extrapolated from --batch.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parent)]
from gpu_parts.part import shape_clouds  # noqa: E402
from gpu_report import table  # noqa: E402
from speed_parts import plain_encoder  # noqa: E402
from speed_parts.floors import counted, encoder_flops, product, product_size, seconds  # noqa: E402
from speed_parts.one_figure import encoder, encoder_call, in_half, in_own_process, objective_step  # noqa: E402


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
ENCODERS = ["tiny", *(f"openshape-{i}" for i in range(1, 7)), "openshape-vitl14", "mrd-307m"]
RELATIONS = ["contrastive", "mrd", "normalized_similarity", "euclidean", "partial_order"]
Calls = dict[str, tuple[Callable[[], Any], Callable[[], Any] | None, int]]  # ours, plain, operations of the floor


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=["openshape-1", "openshape-4"])
    parser.add_argument("--batch", type=int, default=4, help="clouds (default: 4)")
    parser.add_argument("--num-points", type=int, default=10_000, help="points of a cloud (default: 10000)")
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--compile", action="store_true", help="measure torch.compile of ours as well")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each stage (default: 10)")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="default: wall")
    parser.add_argument("--keep-freed-memory", action="store_true", help="as pretraining does on CPUs, for all stages")
    parser.add_argument("--no-plain", action="store_true", help="leave out the plain encoder")
    parser.add_argument("--memory-batch", type=int, default=8, help="clouds; 0 measures no memory (default: 8)")
    parser.add_argument("--objective-batch", type=int, default=1024, help="of the stage objective (default: 1024)")
    parser.add_argument("--overhead", nargs="*", type=int, metavar="BATCH", help="batches, by default 64 to 4096")
    parser.add_argument("--relations", nargs="+", choices=RELATIONS, default=RELATIONS[:3], help="of the overhead")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    return parser.parse_args(argv)


def stages(model: Any, fast: Any, clouds: torch.Tensor, half: bool, compiled: bool) -> Calls:
    """What is timed. `model` has float32 weights; `fast` is ours, in half precision with `half`."""
    from mrd_hf.models.point_sampling import ball_query, farthest_point_sampling, gather_groups, gather_points

    config, batch = model.config, len(clouds)
    forward, step = (
        {name: batch * flops for name, flops in encoder_flops(model, back).items()} for back in (False, True)
    )
    xyz = clouds[..., :3].contiguous()
    with torch.no_grad():
        picked = farthest_point_sampling(xyz, config.num_patches)
        centers = gather_points(xyz, picked)
        _, groups = model.embeddings.group(clouds)
        features = model.embeddings.patch_network(groups)
        tokens = model.embeddings(clouds)[0]

    def own_grouping() -> None:
        members = ball_query(centers, xyz, config.patch_radius, config.patch_size)
        gather_groups(clouds, centers, members, config.patch_positions, config.patch_colors)

    def own_trunk() -> None:
        hidden = tokens
        for layer in fast.layers:
            hidden = layer(hidden)

    def plain_trunk() -> None:
        with torch.autocast(clouds.device.type, torch.bfloat16, enabled=half):
            plain_encoder.trunk(model, centers, features)

    network = model.embeddings.patch_network
    without = torch.no_grad()
    calls: Calls = {}
    if not (compiled or half):  # these have no other form
        calls["sampling"] = (
            lambda: farthest_point_sampling(xyz, config.num_patches),
            without(lambda: plain_encoder.sample(xyz, config.num_patches)),
            0,
        )
        calls["grouping"] = without(own_grouping), without(lambda: plain_encoder.group(model, clouds, picked)), 0
        calls["patch network"] = (
            without(lambda: network(groups)),
            without(lambda: plain_encoder.patch_network(network, groups)),
            forward["patch network"],
        )
    if not compiled:
        calls["trunk"] = without(own_trunk), without(plain_trunk), forward["trunk"]
    calls["forward"] = (
        encoder_call(fast, clouds, "forward", plain=False, half=half, compiled=compiled),
        without(lambda: plain_encoder.encode(model.eval(), clouds)),
        forward["whole"],
    )
    # A model of its own: a step changes weights.
    calls["step"] = (
        encoder_call(_copy(model), clouds, "step", plain=False, half=half, compiled=compiled),
        encoder_call(_copy(model), clouds, "step", plain=True, half=half),
        step["whole"],
    )
    return calls


def _copy(model: Any) -> Any:
    copy = type(model)(model.config).to(model.device)
    copy.load_state_dict(model.state_dict())
    return copy


def alternate(calls: dict[str, Callable[[], Any]], limit: float, device: torch.device, clock: str) -> dict[str, float]:
    """Median seconds of each call, taken in turn after one round without a clock, until the time is over."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    until = time.monotonic() + limit
    for call in calls.values():
        call()
    while not all(times.values()) or (time.monotonic() < until and len(next(iter(times.values()))) < 51):
        for name, call in calls.items():
            times[name].append(seconds(call, device, CLOCKS[clock]))
    return {name: statistics.median(found) for name, found in times.items()}


def row(found: dict[str, float], size: int, flops: int) -> dict[str, Any]:
    rate = 2 * size**3 / found["product"]
    cells: dict[str, Any] = {"ours_ms": 1000 * found["ours"]}
    if "plain" in found:
        cells["plain_ms"] = 1000 * found["plain"]
    if flops:
        floor = flops / rate
        cells |= {"floor_ms": 1000 * floor, "times_the_floor": found["ours"] / floor}
        cells["GFLOP/s"] = flops / found["ours"] / 1e9
    return cells


def measure_encoder(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each stage, in each precision."""
    device = torch.device(arguments.device)
    clouds = shape_clouds(arguments.batch, arguments.num_points, device)
    rows = []
    for dtype in arguments.dtypes:
        half = dtype == "bfloat16"
        size = product_size(device, name == "tiny")
        reference = product(size, device, getattr(torch, dtype))
        model = encoder(name, device)
        fast = in_half(model) if half else model
        for compiled in (False, True) if arguments.compile else (False,):
            for stage, (ours, plain, flops) in stages(model, fast, clouds, half, compiled).items():
                calls = {"product": reference, "ours": ours}
                if plain is not None and not arguments.no_plain and not (half and stage == "forward"):
                    calls["plain"] = plain
                found = row(alternate(calls, arguments.seconds, device, arguments.clock), size, flops)
                if arguments.memory_batch and not compiled and stage in ("forward", "step"):
                    task = {"what": stage, "half": half, "encoder": name, "device": arguments.device}
                    task |= {"batch": arguments.memory_batch, "num_points": arguments.num_points}
                    found["peak_MiB"] = in_own_process(**task)["peak_MiB"]
                    if "plain" in calls:
                        found["plain_peak_MiB"] = in_own_process(**task, plain=True)["peak_MiB"]
                what = f"{stage}, compiled" if compiled else stage
                rows.append({"encoder": name, "dtype": dtype, "stage": what, **found})
                print_row(rows[-1])
            torch.compiler.reset()
    return rows


def measure_objective(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All six relations, which have no half precision."""
    device, batch = torch.device(arguments.device), arguments.objective_batch
    size = product_size(device, batch < 64)
    ours, plain = (objective_step(kind, batch, 1280, device) for kind in ("normalized_similarity", "plain"))
    calls = {"product": product(size, device, torch.float32), "ours": ours, "plain": plain}
    found = row(alternate(calls, arguments.seconds, device, arguments.clock), size, counted(ours))
    if arguments.memory_batch:
        task = {"what": "objective", "batch": batch, "width": 1280, "device": arguments.device}
        for column, kind in (("peak_MiB", "normalized_similarity"), ("plain_peak_MiB", "plain")):
            found[column] = in_own_process(**task, kind=kind)["peak_MiB"]
    found = {"encoder": f"batch {batch}", "dtype": "float32", "stage": "objective", **found}
    print_row(found)
    return [found]


def measure_overhead(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What the objective adds to a training step of each encoder."""
    clock = "processor_seconds" if arguments.clock == "processor" else "seconds"
    steps = {}
    for name in arguments.encoders:
        task = {"what": "step", "encoder": name, "batch": arguments.batch, "num_points": arguments.num_points}
        steps[name] = in_own_process(**task, runs=3, device=arguments.device)
    rows = []
    for batch in arguments.overhead or [64, 256, 1024, 4096]:
        losses = {}
        for kind in arguments.relations:
            task = {"what": "objective", "kind": kind, "batch": batch, "width": 1280, "device": arguments.device}
            losses[kind] = in_own_process(**task, runs=3)
        for name in arguments.encoders:
            step = steps[name][clock] * batch / arguments.batch
            for kind, loss in losses.items():
                cells = {"encoder": name, "batch": batch, "objective": kind, "objective_s": loss[clock]}
                cells |= {"encoder_step_s": step, "share": loss[clock] / (loss[clock] + step)}
                rows.append({**cells, "objective_peak_MiB": loss["peak_MiB"]})
                print_row(rows[-1])
        print(f"(an encoder's step at batch {arguments.batch}: ", end="")
        print("; ".join(f"{name} {steps[name]['peak_MiB']:,.0f} MiB" for name in steps), end=")\n", flush=True)
    return rows


def print_row(cells: dict[str, Any]) -> None:
    texts = [f"{name} {value:,.4g}" if isinstance(value, float) else str(value) for name, value in cells.items()]
    print("  ".join(texts), flush=True)


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    if arguments.keep_freed_memory:
        from mrd_hf.training.loop.freed_memory import keep_freed_memory

        keep_freed_memory()
    print(f"{arguments.device}, {torch.get_num_threads()} threads, torch {torch.__version__}, {arguments.clock} clock")
    results: dict[str, Any] = {"arguments": {k: str(v) for k, v in vars(arguments).items()}, "stages": []}
    results |= {"threads": torch.get_num_threads(), "torch": torch.__version__, "overhead": []}

    def write() -> None:
        if arguments.out is not None:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(results, indent=2) + "\n")

    if arguments.overhead is None:
        for name in arguments.encoders:
            results["stages"] += measure_encoder(name, arguments)
            write()
        results["stages"] += measure_objective(arguments)
    else:
        results["overhead"] = measure_overhead(arguments)
    write()
    print("\n" + "\n".join(table(results["overhead"] or results["stages"])))


if __name__ == "__main__":
    main()
