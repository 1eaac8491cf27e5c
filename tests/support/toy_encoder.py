"""An encoder as a user writes one: no patches, no transformer, and nothing of the package but its configuration."""

from dataclasses import dataclass

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils import ModelOutput

from mrd_hf import PointEncoderConfig


@strict
class ToyConfig(PointEncoderConfig):
    model_type = "toy_points"

    hidden_size: int = 16


@dataclass
class ToyOutput(ModelOutput):
    point_embeds: torch.Tensor | None = None


class ToyModel(PreTrainedModel):
    config: ToyConfig
    main_input_name = "point_values"

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.of_points = nn.Linear(6, config.hidden_size)
        self.projection = nn.Linear(config.hidden_size, config.embedding_dim)
        self.post_init()

    def forward(self, point_values: torch.Tensor, **kwargs: object) -> ToyOutput:
        return ToyOutput(self.projection(self.of_points(point_values).relu().amax(dim=1)))

    def get_point_features(self, point_values: torch.Tensor) -> torch.Tensor:
        return self(point_values).point_embeds


AutoConfig.register("toy_points", ToyConfig)
AutoModel.register(ToyConfig, ToyModel)
