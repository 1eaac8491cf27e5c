"""MRD pretraining: an encoder with the objective of Multi-modal Relation Distillation (arXiv 2407.14007)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel, PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_mrd import MRDConfig
from .modeling_point_bert import PointBertModel
from .modeling_uni3d import Uni3DModel
from .mrd_objective import Gather, MRDForPretrainingOutput, MRDObjective


class MRDPreTrainedModel(PreTrainedModel):
    config: MRDConfig
    base_model_prefix = "mrd"
    main_input_name = "point_values"
    input_modalities = ("point_cloud",)
    supports_gradient_checkpointing = True
    _keep_in_fp32_modules_strict = ["objective"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MRDObjective):
            module.reset_parameters()


class MRDForPretraining(MRDPreTrainedModel):
    """A point cloud encoder trained towards a frozen image-text teacher, by alignment and by relation distillation.

    The encoder is a [`PointBertModel`], a [`Uni3DModel`], or one of your own, see [`PointEncoderConfig`]. The teacher
    is not part of the model: its embeddings are inputs.
    """

    def __init__(self, config: MRDConfig) -> None:
        super().__init__(config)
        # Called so whichever it is: checkpoints name weights by it, and were there before other encoders.
        self.point_bert = _make_encoder(cast(PreTrainedConfig, config.point_config))
        self.objective = MRDObjective(config)
        self.post_init()

    @property
    def encoder(self) -> PreTrainedModel:
        """What is trained, and what is left of the model when it is."""
        return self.point_bert

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.encoder.set_input_embeddings(value)

    def get_point_features(self, point_values: torch.Tensor) -> torch.Tensor:
        """As [`PointBertModel.get_point_features`]."""
        return self.encoder.get_point_features(point_values)

    @can_return_tuple
    def forward(
        self,
        point_values: torch.Tensor,
        image_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        gather: Gather | None = None,
        encoder_batch_size: int | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MRDForPretrainingOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            point_values (`torch.Tensor` of shape `(batch, num_points, 6)`): As for [`PointBertModel.forward`].
            image_embeds (`torch.Tensor` of shape `(batch, projection_dim)`):
                The teacher's embedding of an image of each shape.
            text_embeds (`torch.Tensor` of shape `(batch, projection_dim)`):
                The teacher's embedding of a text about each shape.
            gather (`Gather`, *optional*):
                Joins embeddings over processes, so that the loss sees the global batch.
                [`mrd_hf.training.distributed.DistributedGather`] is one.
            encoder_batch_size (`int`, *optional*):
                How many shapes the encoder sees at a time, so that a batch trains on a machine that can hold a part of
                it (see [`encode_in_parts`]). Default: all at once.

        Returns:
            [`MRDForPretrainingOutput`], or a tuple with `return_dict=False`.

        Raises:
            ValueError: when the embeddings' shape is not that of the shapes' embeddings.

        Example:

        ```python
        >>> import torch
        >>> from mrd_hf import MRDConfig, MRDForPretraining

        >>> model = MRDForPretraining(MRDConfig(point_config={"projection_dim": 32, "num_hidden_layers": 2}))
        >>> output = model(torch.rand(4, 1024, 6), torch.randn(4, 32), torch.randn(4, 32))
        >>> output.loss.backward()
        ```
        """
        if encoder_batch_size is None:
            encoded = self.encoder(point_values, return_dict=True, **kwargs)
            # Without a projection there are none.
            point_embeds = encoded.pooler_output if encoded.point_embeds is None else encoded.point_embeds
        else:
            encoded = ModelOutput()
            point_embeds = encode_in_parts(self.encoder, point_values, encoder_batch_size)
        for name, embeds in (("image_embeds", image_embeds), ("text_embeds", text_embeds)):
            if embeds.shape != point_embeds.shape:
                raise ValueError(
                    f"{name} must have shape {tuple(point_embeds.shape)}, as the shapes' embeddings have "
                    f"(point_config.projection_dim = {self.encoder.config.projection_dim}), "
                    f"got {tuple(embeds.shape)}."
                )
        output = self.objective(point_embeds, image_embeds, text_embeds, gather)
        output.point_embeds = point_embeds
        # An encoder need not record them.
        output.hidden_states, output.attentions = encoded.get("hidden_states"), encoded.get("attentions")
        return output


def _make_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    # By the kind's name, not its class: code loaded from the Hub has a configuration's class once for the file that
    # it is in and once more for this one.
    own = {"point_bert": PointBertModel, "uni3d": Uni3DModel}
    if config.model_type in own:
        return own[config.model_type](config)
    # Not in the type in which it was saved: whoever trains wants what torch makes by default.
    return AutoModel.from_config(config, dtype=torch.get_default_dtype())


def encode_in_parts(encoder: PreTrainedModel, point_values: torch.Tensor, part_size: int) -> torch.Tensor:
    """Embed a batch part by part, with the gradients of the whole and the memory of a part: a gradient cache.

    A first pass keeps no activations but the embeddings and, of each part, the state of the random generators. The
    loss of the whole batch is computed on the embeddings; when its gradient comes back, the second pass encodes each
    part once more, with the same random numbers and under the same autocast, and takes the gradient through it.

    Batch norm in training mode sees a part at a time, so its gradients differ from those of the whole batch; its
    running statistics move once a part, in the first pass alone.

    Args:
        encoder (`PreTrainedModel`): As [`PointEncoderConfig`] describes it.
        point_values (`torch.Tensor` of shape `(batch, num_points, 6)`)
        part_size (`int`): Shapes that the encoder sees at a time.

    Returns:
        `torch.Tensor` of shape `(batch, embedding_dim)`.

    Source: GradCache (arXiv 2101.06983), by torch's activation checkpointing of the whole encoder.

    Raises:
        ValueError: when `part_size` is less than 1.
    """
    if part_size < 1:
        raise ValueError(f"encoder_batch_size must be at least 1, got {part_size}.")
    contexts = partial(_pass_contexts, encoder)
    return torch.cat(
        [
            checkpoint(encoder.get_point_features, part, use_reentrant=False, context_fn=contexts)
            for part in point_values.split(part_size)
        ]
    )


def _pass_contexts(encoder: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """What the first pass and the second run under."""
    return nullcontext(), _still_running_statistics(encoder)


@contextmanager
def _still_running_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms whose running statistics do not move. (Switching them off would change the graph.)"""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.num_batches_tracked is not None]
    momenta = [norm.momentum for norm in norms]
    counts = [cast(torch.Tensor, norm.num_batches_tracked).clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = count


__all__ = ["MRDForPretraining", "MRDForPretrainingOutput", "MRDPreTrainedModel", "encode_in_parts"]
