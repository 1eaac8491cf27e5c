"""The objective alone, forward and backward pass, at a large batch."""

from typing import Any

import torch

from gpu_parts.part import Part


def main(argv: list[str] | None = None) -> None:
    part = Part(__doc__, argv)
    from mrd_hf import MRDConfig
    from mrd_hf.models.mrd_objective import MRDObjective
    from mrd_hf.models.relation_distillation import RELATION_TERMS

    batch, width = (16, 8) if part.tiny else (4096, 1280)
    torch.manual_seed(0)
    embeds = [torch.randn(batch, width, device=part.device) for _ in range(3)]
    kinds: dict[str, dict[str, Any]] = {"none, alignment alone": {"loss": "contrastive"}}
    for form in ("normalized_similarity", "euclidean", "partial_order"):
        kinds[f"all {len(RELATION_TERMS)}, {form}"] = {"relation_terms": list(RELATION_TERMS), "relation_form": form}
    for name, fields in kinds.items():
        if part.seconds_left() < 2:
            break
        objective = MRDObjective(MRDConfig(**fields)).to(part.device)
        point = embeds[0].clone().requires_grad_()

        def step(objective: MRDObjective = objective, point: torch.Tensor = point) -> None:
            objective(point, *embeds[1:]).loss.backward()

        if part.on_gpu:
            torch.cuda.reset_peak_memory_stats(part.device)
        part.row(
            f"Objective, batch {batch}, width {width}, float32",
            relations=name,
            step_ms=part.median_ms(step, runs=5),
            peak_GiB=round(torch.cuda.max_memory_allocated(part.device) / 2**30, 2) if part.on_gpu else None,
        )
    part.finish()


if __name__ == "__main__":
    main()
