"""The Triton kernels beside torch: the same indices, and the time of each. On a CPU by Triton's interpreter."""

import os
from typing import Any

import torch


if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported

from gpu_parts.part import Part, models_alone, shape_clouds  # noqa: E402


def large_clouds(part: Part, sampling: Any, kernels: Any) -> None:
    """Clouds as in training, by the kernels and by torch on the device, and some of them by numpy."""
    batch, num_points, num_centers, size = (2, 40, 4, 4) if part.tiny else (64, 10_000, 384, 64)
    points = shape_clouds(batch, num_points, part.device)[..., :3].contiguous()
    few = slice(0, 2 if part.tiny else 8)
    torch_picks = sampling._sample_with_torch
    picked = kernels.sample_farthest(points, num_centers)
    centers = sampling.gather_points(points, picked)
    shape = f"{num_centers} of {num_points} points, {batch} clouds"
    # The torch path, as it is on a device without Triton.
    works, sampling._kernels_work = sampling._kernels_work, lambda device: False
    try:
        pairs = {
            "farthest point sampling": (
                lambda: kernels.sample_farthest(points, num_centers),
                lambda: torch_picks(points, num_centers),
                lambda: sampling.farthest_point_sampling(points[few].cpu(), num_centers),
            ),
            f"ball query, radius 0.2, {size} each": (
                lambda: kernels.query_balls(centers, points, 0.2, size),
                lambda: sampling.ball_query(centers, points, 0.2, size),
                lambda: sampling.ball_query(centers[few].cpu(), points[few].cpu(), 0.2, size),
            ),
            f"nearest neighbours, {size} each": (
                lambda: kernels.query_nearest(centers, points, size),
                lambda: sampling.knn_query(centers, points, size),
                lambda: sampling.knn_query(centers[few].cpu(), points[few].cpu(), size),
            ),
        }
        for name, (kernel, plain, on_cpu) in pairs.items():
            found, expected, recorded = kernel(), plain(), on_cpu()
            part.row(
                f"Kernels beside torch, {shape}",
                what=name,
                kernel_ms=part.median_ms(kernel),
                torch_ms=part.median_ms(plain, runs=3, warm_up=1),
                differs_from_torch=int((found != expected).sum()),
                differs_from_numpy=int((found[few].cpu() != recorded).sum()),
            )
    finally:
        sampling._kernels_work = works


def gathering(part: Part, sampling: Any, grouping: Any) -> None:
    batch, num_points, num_centers, size = (1, 30, 3, 4) if part.tiny else (64, 10_000, 384, 64)
    values = shape_clouds(batch, num_points, part.device).requires_grad_()
    index = torch.randint(0, num_points, (batch, num_centers), device=part.device)
    members = torch.randint(0, num_points, (batch, num_centers, size), device=part.device)
    centers = sampling.gather_points(values[..., :3], index).detach()
    weights = torch.rand(batch, num_centers, size, 9, device=part.device)

    def plain() -> torch.Tensor:
        chosen = sampling.gather_points(values, members)
        return torch.cat([chosen[..., :3] - centers[:, :, None], chosen], dim=-1)

    def kernel() -> torch.Tensor:
        return grouping.copy_groups(values, centers, members, True, True)

    gradients = [torch.autograd.grad((function() * weights).sum(), values)[0] for function in (kernel, plain)]
    part.row(
        f"Gathering groups, {batch} clouds of {num_centers} groups of {size}",
        kernel_ms=part.median_ms(kernel),
        torch_ms=part.median_ms(plain),
        kernel_with_gradient_ms=part.median_ms(lambda: torch.autograd.grad((kernel() * weights).sum(), values)),
        torch_with_gradient_ms=part.median_ms(lambda: torch.autograd.grad((plain() * weights).sum(), values)),
        elements_that_differ=int((kernel() != plain()).sum()),
        gradients_differ_by=f"{(gradients[0] - gradients[1]).abs().max().item():.1e}",
    )


def block_sizes(part: Part, sampling: Any, kernels: Any) -> None:
    """Ball query's constants, for whoever wants to tune them."""
    points = shape_clouds(64, 10_000, part.device)[..., :3].contiguous()
    centers = points[:, :384]
    for block in (128, 256, 512, 1024):
        for warps in (1, 2, 4):
            if part.seconds_left() < 5:
                return
            kernels.BALL_POINTS, kernels.BALL_WARPS = block, warps
            milliseconds = part.median_ms(lambda: kernels.query_balls(centers, points, 0.2, 64), runs=5)
            part.row("Ball query by block", points_at_a_time=block, warps=warps, kernel_ms=milliseconds)


def main(argv: list[str] | None = None) -> None:
    from gpu_parts import kernel_cases  # the interpreter's setting is read by now

    part = Part(__doc__, argv)
    modules = [models_alone(name) for name in ("sampling_kernels", "point_sampling", "grouping_kernels")]
    kernels, sampling, grouping = modules
    if kernels.triton is None:
        part.note("Triton is not installed; torch samples and groups.")
        part.finish()
        return
    part.fact("check on first use", sampling._kernel_fault(part.device) or "good")
    large_clouds(part, sampling, kernels)
    gathering(part, sampling, grouping)
    wanted = 2 if part.tiny else 2000
    minutes = max(0.1, (part.seconds_left() - 15) / 60)
    cases = kernel_cases.compare(wanted, 0, part.device, minutes, *modules)
    part.fact("random cases, kernels beside the CPU path", cases["cases"])
    part.fact("cases with a difference", cases["differences"])
    if cases["differences"]:
        part.fact("first differences", cases["first differences"])
    if part.on_gpu:
        block_sizes(part, sampling, kernels)
    part.finish()


if __name__ == "__main__":
    main()
