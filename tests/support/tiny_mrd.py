"""A small model for pretraining, and embeddings of a teacher for it."""

import torch

from mrd_hf import MRDConfig, MRDForPretraining
from support.tiny_encoders import TINY


WIDTH = TINY["projection_dim"]


def tiny_mrd(**changes) -> MRDForPretraining:
    torch.manual_seed(0)
    return MRDForPretraining(MRDConfig(**{"point_config": TINY, **changes}))


def teacher_embeds(batch: int = 6, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, WIDTH, generator=generator)
    return image, image + 0.7 * torch.randn(batch, WIDTH, generator=generator)
