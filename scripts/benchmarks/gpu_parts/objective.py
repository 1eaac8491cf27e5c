"""The objective alone, forward and backward pass, at a large batch."""

import torch
from speed_parts.one_figure import objective_step

from gpu_parts.part import Part


def main(argv: list[str] | None = None) -> None:
    part = Part(__doc__, argv)
    batch, width = (16, 8) if part.tiny else (4096, 1280)
    for kind in ("contrastive", "normalized_similarity", "euclidean", "partial_order"):
        if part.seconds_left() < 2:
            break
        step = objective_step(kind, batch, width, part.device)
        if part.on_gpu:
            torch.cuda.reset_peak_memory_stats(part.device)
        part.row(
            f"Objective, batch {batch}, width {width}, float32",
            relations="none, alignment alone" if kind == "contrastive" else f"all, {kind}",
            step_ms=part.median_ms(step, runs=5),
            peak_GiB=round(torch.cuda.max_memory_allocated(part.device) / 2**30, 2) if part.on_gpu else None,
        )
    part.finish()


if __name__ == "__main__":
    main()
