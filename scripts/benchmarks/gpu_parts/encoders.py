"""Training steps of encoders: time, shapes a second, memory, the share of sampling and grouping, and the floor.

The floor is the time that the step's matrix products take at the rate of a large product on this device. "Kernels" is
the package as it is, "torch" the same without Triton, and "loops and sorts" samples by a loop over picks and groups by
sorting the whole table of distances, as OpenShape's torch code does.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from speed_parts.floors import encoder_flops, product, product_size
from speed_parts.one_figure import encoder, encoder_call
from speed_parts.plain_encoder import sorted_ball_query

from gpu_parts.part import Part, shape_clouds


NUM_POINTS = 10_000
# In this order, until the time is over: name, batch, how points are grouped, whether torch.compile compiles the model.
RUNS = [
    ("openshape-4", 256, "kernels", False),
    ("openshape-4", 256, "torch", False),
    ("openshape-4", 64, "loops and sorts", False),
    ("openshape-1", 256, "kernels", False),
    ("openshape-1", 256, "torch", False),
    ("openshape-4", 64, "kernels", False),
    ("openshape-4", 64, "torch", False),
    ("mrd-307m", 64, "kernels", False),
    ("openshape-1", 64, "kernels", False),
    ("openshape-1", 64, "torch", False),
    ("openshape-4", 128, "kernels", False),
    ("openshape-1", 128, "kernels", False),
    ("mrd-307m", 128, "kernels", False),
    ("mrd-307m", 64, "torch", False),
    ("openshape-4", 256, "kernels", True),
    ("openshape-1", 256, "kernels", True),
    ("mrd-307m", 64, "kernels", True),
]
# Seconds that must be left for a run; to compile dozens of blocks takes a minute.
COMPILING, RUNNING = 75, 8
TINY_RUNS = [("tiny", 2, "kernels", False), ("tiny", 2, "loops and sorts", False)]


@contextmanager
def grouped_by(how: str) -> Iterator[None]:
    from mrd_hf.models import modeling_point_bert, point_sampling

    before = point_sampling._kernels_work, modeling_point_bert.ball_query
    if how != "kernels":
        point_sampling._kernels_work = lambda device: False  # type: ignore
    if how == "loops and sorts":
        modeling_point_bert.ball_query = sorted_ball_query
    try:
        yield
    finally:
        point_sampling._kernels_work, modeling_point_bert.ball_query = before


def timed(part: Part, function: Callable[[], Any], limit: float) -> float:
    """Median seconds of up to 8 calls, of as many as fit into so many seconds."""
    times: list[float] = []
    until = time.monotonic() + limit
    while len(times) < 2 or (len(times) < 8 and time.monotonic() < until):
        part.wait()
        started = time.perf_counter()
        function()
        part.wait()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def run(part: Part, name: str, batch: int, how: str, compiled: bool, floor: float) -> dict[str, Any]:
    model = encoder(name, part.device)
    clouds = shape_clouds(batch, 100 if part.tiny else NUM_POINTS, part.device)
    step = encoder_call(model, clouds, "step", plain=False, half=True, compiled=compiled)
    started = time.perf_counter()
    step()
    step()
    part.wait()
    warm_up = time.perf_counter() - started
    if part.on_gpu:
        torch.cuda.reset_peak_memory_stats(part.device)
    seconds = timed(part, step, 3.0)
    peak = round(torch.cuda.max_memory_allocated(part.device) / 2**30, 1) if part.on_gpu else None
    with torch.no_grad():
        grouping = timed(part, lambda: model.embeddings.group(clouds), 1.0)
    return {
        "step_ms": round(1000 * seconds, 1),
        "shapes_per_s": round(batch / seconds),
        "floor_ms": round(1000 * floor, 1),
        "times_the_floor": round(seconds / floor, 2),
        "sampling_and_grouping_ms": round(1000 * grouping, 1),
        "their_share": f"{grouping / seconds:.0%}",
        "peak_GiB": peak,
        "two_first_steps_s": round(warm_up, 1),
    }


def main(argv: list[str] | None = None) -> None:
    part = Part(__doc__, argv)
    size = product_size(part.device, part.tiny)
    milliseconds = part.median_ms(product(size, part.device, torch.bfloat16))
    rate = 2 * size**3 / (milliseconds / 1000)
    part.fact("bfloat16 products", f"{rate / 1e12:.1f} TFLOP/s")
    flops: dict[str, int] = {}
    skipped = []
    for name, batch, how, compiled in TINY_RUNS if part.tiny else RUNS:
        if part.seconds_left() < (COMPILING if compiled else RUNNING) and not part.tiny:
            skipped.append(f"{name}, batch {batch}, {how}{', compiled' if compiled else ''}")
            continue
        if name not in flops:
            flops[name] = encoder_flops(encoder(name, "meta"), backward=True)["whole"]
        try:
            with grouped_by(how):
                cells = run(part, name, batch, how, compiled, flops[name] * batch / rate)
        except Exception as error:  # of any kind, out of memory among them; the others are to run
            cells = {"step_ms": f"{type(error).__name__}: {str(error)[:200]}"}
        part.row(
            f"Training steps in bfloat16, {100 if part.tiny else NUM_POINTS} points",
            encoder=name,
            batch=batch,
            grouped_by=how,
            compiled=compiled,
            **cells,
        )
        torch.compiler.reset()
        gc.collect()  # a model that ran out of memory
        if part.on_gpu:
            torch.cuda.empty_cache()
    if skipped:
        part.note(f"No time was left for: {'; '.join(skipped)}.")
    part.finish()


if __name__ == "__main__":
    main()
