"""PointBERT configuration."""

from typing import Any, Self

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig


# Fields that differ from the defaults of [`PointBertConfig`]. OpenShape's scalings are all projected into the space of
# its largest teacher, ViT-bigG-14 (width 1280).
_COARSE_PATCHES = {"num_patches": 64, "patch_radius": 0.4, "patch_size": 256}
_FINE_PATCHES = {"num_patches": 512, "patch_radius": 0.2, "patch_size": 64, "patch_feature_size": 256}
POINT_BERT_PRESETS: dict[str, dict[str, Any]] = {
    "openshape-1": {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "patch_feature_size": 96,
        **_COARSE_PATCHES,
    },
    "openshape-2": {
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "patch_feature_size": 128,
        **_COARSE_PATCHES,
    },
    "openshape-3": {
        "intermediate_size": 1024,
        "patch_feature_size": 128,
        "num_patches": 128,
        "patch_radius": 0.35,
        "patch_size": 128,
    },
    "openshape-4": {},
    "openshape-5": {
        "hidden_size": 768,
        "intermediate_size": 2304,
        "num_attention_heads": 12,
        **_FINE_PATCHES,
    },
    "openshape-6": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 24,
        "num_attention_heads": 12,
        **_FINE_PATCHES,
    },
    "openshape-vitl14": {
        "intermediate_size": 1024,
        "patch_feature_size": 128,
        "projection_dim": 768,
        **_COARSE_PATCHES,
    },
    "openshape-vitb32": {
        "intermediate_size": 1024,
        "patch_feature_size": 128,
        "projection_dim": None,
        **_COARSE_PATCHES,
    },
    "mrd-307m": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        **_FINE_PATCHES,
    },
}


@strict
class PointBertConfig(PreTrainedConfig):
    r"""
    Configuration of a [`PointBertModel`]. The defaults give the network of OpenShape's `pointbert-vitg14-rgb`
    (arXiv 2305.10764, "scaling 4", 32.3M parameters).

    Args:
        hidden_size (`int`, defaults to 512): Width of the transformer.
        intermediate_size (`int`, defaults to 1536): Width of the transformer's MLPs.
        num_hidden_layers (`int`, defaults to 12): Number of transformer blocks.
        num_attention_heads (`int`, defaults to 8): Number of attention heads; must divide `hidden_size`.
        hidden_act (`str`, defaults to `"gelu"`): Activation of the transformer's MLPs.
        layer_norm_eps (`float`, defaults to 1e-5): Epsilon of the layer norms.
        attention_dropout (`float`, defaults to 0.0): Dropout of the attention probabilities, in training.
        drop_path_rate (`float`, defaults to 0.0):
            Stochastic depth in training: the rate grows linearly from 0 at the first block to this at the last.
        patch_dropout (`float`, defaults to 0.0): Share of the patches left out in training.
        num_patches (`int`, defaults to 384): Patch centres, picked by farthest point sampling.
        patch_radius (`float`, defaults to 0.2): Radius of a patch's ball, in units of the normalised cloud.
        patch_size (`int`, defaults to 64): Points in a patch.
        patch_hidden_size (`int`, defaults to 64): Width of the first two layers of the patch network.
        patch_feature_size (`int`, defaults to 256): Width of a patch's feature, before it becomes a token.
        projection_dim (`int`, *optional*, defaults to 1280):
            Width of the embedding space, the teacher's. `None`: no projection, the class token is the embedding.
        teacher_id (`str`, *optional*):
            The frozen image-text model in whose space the embeddings live, as a Hub id or a name.
        teacher_revision (`str`, *optional*): The commit of the teacher's repository.
        initializer_range (`float`, defaults to 0.02): Standard deviation of the initial weights.
        classifier_dropout (`float`, defaults to 0.0):
            Dropout before the head of [`PointBertForShapeClassification`], in training.

    Example:

    ```python
    >>> from mrd_hf import PointBertConfig, PointBertModel

    >>> model = PointBertModel(PointBertConfig(num_patches=64, patch_radius=0.4, projection_dim=512))
    ```
    """

    model_type = "point_bert"

    hidden_size: int = 512
    intermediate_size: int = 1536
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float | int = 0.0
    drop_path_rate: float | int = 0.0
    patch_dropout: float | int = 0.0
    num_patches: int = 384
    patch_radius: float = 0.2
    patch_size: int = 64
    patch_hidden_size: int = 64
    patch_feature_size: int = 256
    projection_dim: int | None = 1280
    teacher_id: str | None = None
    teacher_revision: str | None = None
    initializer_range: float = 0.02
    classifier_dropout: float | int = 0.0

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> Self:
        """The configuration of a published network, or of one of its family.

        Args:
            name (`str`): A key of `POINT_BERT_PRESETS`: `"openshape-1"` to `"openshape-6"` are the scalings of
                OpenShape, the fourth its checkpoint `pointbert-vitg14-rgb`; `"openshape-vitl14"` and
                `"openshape-vitb32"` its other two checkpoints; `"mrd-307m"` is about as large as MRD's largest network
                (303.8M: its widths are unpublished, ours are those of ViT-L).
            **changes: Fields that differ from the preset.

        Raises:
            ValueError: when no preset has that name; the message lists those there are.

        Example:

        ```python
        >>> from mrd_hf import PointBertConfig

        >>> config = PointBertConfig.from_preset("openshape-3", projection_dim=512)
        ```
        """
        if name not in POINT_BERT_PRESETS:
            raise ValueError(f"There is no preset {name!r}; choose one of {', '.join(POINT_BERT_PRESETS)}.")
        return cls(**{**POINT_BERT_PRESETS[name], **changes})

    def validate_architecture(self) -> None:
        """Part of `@strict` validation: fields that must fit together."""
        if self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})."
            )
        for name in ("num_hidden_layers", "num_patches", "patch_size", "patch_radius"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.projection_dim is not None and self.projection_dim <= 0:
            raise ValueError(f"projection_dim must be positive or None, got {self.projection_dim}.")
        for name in ("attention_dropout", "drop_path_rate", "patch_dropout", "classifier_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}.")


__all__ = ["POINT_BERT_PRESETS", "PointBertConfig"]
