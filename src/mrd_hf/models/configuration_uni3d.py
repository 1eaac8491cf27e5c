"""Uni3D configuration."""

from typing import Any, Self

from huggingface_hub.dataclasses import strict

from .configuration_checks import check_patch_encoder
from .configuration_point_encoder import PointEncoderConfig


# The published figures (6.4M, 22.8M, 89M, 307M, 1.02B) also count what the trunk has for images, which Uni3D leaves
# unused: patch and position embeddings, the class token, the head.
UNI3D_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {  # EVA02 tiny, 6.2M parameters
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 12,
        "num_attention_heads": 3,
        "hidden_act": "silu",
        "gated_mlp": True,
        "mlp_norm": False,
    },
    "small": {  # EVA02 small, 22.5M
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "hidden_act": "silu",
        "gated_mlp": True,
        "mlp_norm": False,
    },
    "base": {  # EVA02 base, 87.0M
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "silu",
        "gated_mlp": True,
        "mlp_norm": True,
    },
    "large": {  # EVA02 large, 304.7M
        "hidden_size": 1024,
        "intermediate_size": 2730,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "hidden_act": "silu",
        "gated_mlp": True,
        "mlp_norm": True,
    },
    "giant": {  # EVA (the first) giant, 1.01B
        "hidden_size": 1408,
        "intermediate_size": 6144,
        "num_hidden_layers": 40,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
        "gated_mlp": False,
        "mlp_norm": False,
    },
}


@strict
class Uni3DConfig(PointEncoderConfig):
    r"""
    Configuration of a [`Uni3DModel`]. The defaults give the network of Uni3D base (arXiv 2310.06773, 87M parameters);
    [`Uni3DConfig.from_preset`] gives the other published sizes.

    Args:
        hidden_size (`int`, defaults to 768): Width of the transformer.
        intermediate_size (`int`, defaults to 2048): Width of the transformer's MLPs.
        num_hidden_layers (`int`, defaults to 12): Number of transformer blocks.
        num_attention_heads (`int`, defaults to 12): Number of attention heads; must divide `hidden_size`.
        hidden_act (`str`, defaults to `"silu"`): Activation of the transformer's MLPs.
        gated_mlp (`bool`, defaults to `True`):
            Whether the activation is that of a gate by which the MLP's inner features are multiplied (SwiGLU, all
            sizes but giant).
        mlp_norm (`bool`, defaults to `True`): Whether the MLP's inner features are normalised (base and large).
        layer_norm_eps (`float`, defaults to 1e-6): Epsilon of the layer norms.
        attention_dropout (`float`, defaults to 0.0): Dropout of the attention probabilities, in training.
        drop_path_rate (`float`, defaults to 0.0):
            Stochastic depth in training: the rate grows linearly from 0 at the first block to this at the last.
        patch_dropout (`float`, defaults to 0.0): Share of the patches left out in training.
        num_patches (`int`, defaults to 512): Patch centres, picked by farthest point sampling.
        patch_size (`int`, defaults to 64): Points in a patch: the nearest to its centre.
        patch_hidden_size (`int`, defaults to 128):
            Width of the patch network's first layer. The further ones have 2 and 4 times this.
        patch_feature_size (`int`, defaults to 512): Width of a patch's feature, before it becomes a token.
        position_hidden_size (`int`, defaults to 128): Width of the MLP that makes position embeddings of the centres.
        projection_dim (`int`, *optional*, defaults to 1024):
            Width of the embedding space, the teacher's. `None`: no projection, the normalised class token is the
            embedding.
        teacher_id, teacher_revision, text_tower_id, logit_scale (*optional*):
            Whose space the embeddings live in, see [`PointEncoderConfig`].
        initializer_range (`float`, defaults to 0.02): Standard deviation of the initial weights.

    Example:

    ```python
    >>> from mrd_hf import Uni3DConfig, Uni3DModel

    >>> model = Uni3DModel(Uni3DConfig.from_preset("tiny", projection_dim=512))
    ```
    """

    model_type = "uni3d"

    hidden_size: int = 768
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "silu"
    gated_mlp: bool = True
    mlp_norm: bool = True
    layer_norm_eps: float = 1e-6
    attention_dropout: float | int = 0.0
    drop_path_rate: float | int = 0.0
    patch_dropout: float | int = 0.0
    num_patches: int = 512
    patch_size: int = 64
    patch_hidden_size: int = 128
    patch_feature_size: int = 512
    position_hidden_size: int = 128
    projection_dim: int | None = 1024
    initializer_range: float = 0.02

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> Self:
        """The configuration of a published size.

        Args:
            name (`str`): A key of `UNI3D_PRESETS`: `"tiny"`, `"small"`, `"base"`, `"large"` or `"giant"`.
            **changes: Fields that differ from the preset.

        Raises:
            ValueError: when no preset has that name; the message lists those there are.
        """
        if name not in UNI3D_PRESETS:
            raise ValueError(f"There is no preset {name!r}; choose one of {', '.join(UNI3D_PRESETS)}.")
        return cls(**{**UNI3D_PRESETS[name], **changes})

    @property
    def pooled_size(self) -> int:
        """Width of `pooler_output`."""
        return self.hidden_size

    @property
    def min_points(self) -> int:
        """The fewest points that a shape must have: a patch's centre each."""
        return self.num_patches

    def validate_architecture(self) -> None:
        """Part of `@strict` validation: fields that must fit together."""
        super().validate_architecture()
        check_patch_encoder(self)


__all__ = ["UNI3D_PRESETS", "Uni3DConfig"]
