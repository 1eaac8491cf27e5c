"""PointBERT configuration."""

from typing import Any, Literal, Self

from huggingface_hub.dataclasses import strict

from .configuration_checks import check_patch_encoder
from .configuration_point_encoder import PointEncoderConfig


# Fields that differ from the defaults of [`PointBertConfig`]. OpenShape's scalings are all projected into the space of
# its largest teacher, ViT-bigG-14 (width 1280).
_COARSE_PATCHES = {"num_patches": 64, "patch_radius": 0.4, "patch_size": 256}
_FINE_PATCHES = {"num_patches": 512, "patch_radius": 0.2, "patch_size": 64, "patch_feature_size": 256}
_ULIP: dict[str, Any] = {
    "hidden_size": 384,
    "num_attention_heads": 6,
    "num_patches": 512,
    "grouping": "nearest",
    "patch_size": 32,
    "patch_positions": False,
    "patch_network": "mini_pointnet",
    "patch_hidden_size": 128,
    "position_embedding": "every_block",
    "final_norm": True,
    "pooling": "cls_max",
    "projection_bias": False,
}
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
    "ulip": {"num_hidden_layers": 12, "patch_colors": False, "projection_dim": 512, **_ULIP},
    "ulip-2": {"num_hidden_layers": 18, **_ULIP},
    "mrd-307m": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        **_FINE_PATCHES,
    },
}


@strict
class PointBertConfig(PointEncoderConfig):
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
        grouping (`"ball"` or `"nearest"`, defaults to `"ball"`):
            A patch is the first points, in index order, within `patch_radius` of its centre, or the nearest points.
        patch_radius (`float`, defaults to 0.2): Radius of a patch's ball, in units of the normalised cloud.
        patch_size (`int`, defaults to 64): Points in a patch.
        patch_positions (`bool`, defaults to `True`):
            Whether the patch network sees where its points are in the cloud, besides where in the patch.
        patch_colors (`bool`, defaults to `True`): Whether the patch network sees its points' colours.
        patch_network (`"pointnet"` or `"mini_pointnet"`, defaults to `"pointnet"`):
            [`PointNet`], OpenShape's, or [`MiniPointNet`], Point-BERT's and ULIP's.
        patch_hidden_size (`int`, defaults to 64): Width of the patch network's first layer.
        patch_feature_size (`int`, defaults to 256): Width of a patch's feature, before it becomes a token.
        position_embedding (`"concatenated"` or `"every_block"`, defaults to `"concatenated"`):
            A patch's centre is made part of its feature before that becomes a token; or an MLP makes embeddings of the
            centres, which every block adds to its input (the class token has a learned one).
        position_hidden_size (`int`, defaults to 128): Width of that MLP, with `position_embedding="every_block"`.
        final_norm (`bool`, defaults to `False`): Whether a layer norm follows the last block.
        pooling (`"cls"` or `"cls_max"`, defaults to `"cls"`):
            What represents the cloud: the class token, or it and the maximum over the patch tokens, one after the
            other.
        projection_dim (`int`, *optional*, defaults to 1280):
            Width of the embedding space, the teacher's. `None`: no projection, `pooler_output` is the embedding.
        projection_bias (`bool`, defaults to `True`): Whether the projection has a bias.
        teacher_id, teacher_revision, text_tower_id, logit_scale (*optional*):
            Whose space the embeddings live in, see [`PointEncoderConfig`].
        initializer_range (`float`, defaults to 0.02): Standard deviation of the initial weights.
        classifier_dropout (`float`, defaults to 0.0):
            Dropout before the last layer of [`PointBertForShapeClassification`] and [`PointBertForPartSegmentation`],
            in training.
        object_parts (`dict[str, list[int]]`, *optional*):
            Of [`PointBertForPartSegmentation`]: by the name of each class of objects, the labels of the parts that its
            objects can have. The classes are numbered in the alphabetical order of their names.
        part_hidden_size (`int`, defaults to 256): Width of that model's head.
        part_colors (`bool`, defaults to `True`):
            Whether it was trained on shapes with colours. If not, it is shown shapes without theirs, in the grey that
            it knows.
        semantic_loss_ignore_index (`int`, defaults to 255): The label of points that its loss leaves out.

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
    grouping: Literal["ball", "nearest"] = "ball"
    patch_radius: float = 0.2
    patch_size: int = 64
    patch_positions: bool = True
    patch_colors: bool = True
    patch_network: Literal["pointnet", "mini_pointnet"] = "pointnet"
    patch_hidden_size: int = 64
    patch_feature_size: int = 256
    position_embedding: Literal["concatenated", "every_block"] = "concatenated"
    position_hidden_size: int = 128
    final_norm: bool = False
    pooling: Literal["cls", "cls_max"] = "cls"
    projection_bias: bool = True
    initializer_range: float = 0.02
    classifier_dropout: float | int = 0.0
    object_parts: dict[str, list[int]] | None = None
    part_hidden_size: int = 256
    part_colors: bool = True
    semantic_loss_ignore_index: int = 255

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> Self:
        """The configuration of a published network, or of one of its family.

        Args:
            name (`str`): A key of `POINT_BERT_PRESETS`: `"openshape-1"` to `"openshape-6"` are the scalings of
                OpenShape, the fourth its checkpoint `pointbert-vitg14-rgb`; `"openshape-vitl14"` and
                `"openshape-vitb32"` its other two checkpoints; `"ulip"` and `"ulip-2"` are the PointBERTs of ULIP and
                (with colours) ULIP-2; `"mrd-307m"` is about as large as MRD's largest network
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

    @property
    def pooled_size(self) -> int:
        """Width of `pooler_output`."""
        return self.hidden_size * (2 if self.pooling == "cls_max" else 1)

    @property
    def min_points(self) -> int:
        """The fewest points that a shape must have: a patch's centre each."""
        return self.num_patches

    @property
    def object_class_names(self) -> list[str]:
        """The keys of `object_parts` in the order of their numbers: sorted, as files of configurations have them."""
        return sorted(self.object_parts or {})

    def validate_architecture(self) -> None:
        """Part of `@strict` validation: fields that must fit together."""
        super().validate_architecture()
        check_patch_encoder(self, positive=("patch_radius", "part_hidden_size"), shares=("classifier_dropout",))
        for name, parts in (self.object_parts or {}).items():
            wrong = [part for part in parts if not 0 <= part < self.num_labels]
            if wrong or not parts:
                found = f"has {wrong[0]}, and num_labels is {self.num_labels}" if wrong else "is empty"
                raise ValueError(f"object_parts of '{name}' {found}; expected labels from 0 to num_labels - 1.")


__all__ = ["POINT_BERT_PRESETS", "PointBertConfig"]
