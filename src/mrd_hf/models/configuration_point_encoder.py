"""What the configuration of every point cloud encoder says: what goes in, what comes out, and in whose space."""

from huggingface_hub.dataclasses import strict

from .custom_pipelines import CarriesPipelines
from .model_sources import check_text_tower_id


@strict
class PointEncoderConfig(CarriesPipelines):
    r"""
    Base of the encoders' configurations: of [`PointBertConfig`], [`Uni3DConfig`], and one of your own, which then is
    trained, evaluated and served like them.

    The model that belongs to it is a `PreTrainedModel`. Its `forward(point_values, **kwargs)` takes points and colours
    of shape `(batch, num_points, 6)`, as [`PointBertModel.forward`] describes them, and returns a `ModelOutput` whose
    `point_embeds`, of shape `(batch, embedding_dim)`, are the embeddings, not normalised. Its
    `get_point_features(point_values)` returns these alone. Both are registered:
    `AutoConfig.register("my-encoder", MyConfig)` and `AutoModel.register(MyConfig, MyModel)`.

    Args:
        projection_dim (`int`, *optional*, defaults to 1280):
            Width of the embedding space, the teacher's. `None`: no projection, `pooler_output` is the embedding.
        teacher_id (`str`, *optional*):
            The frozen image-text model in whose space the embeddings live, as a Hub id or a name.
        teacher_revision (`str`, *optional*): The commit of the teacher's repository, or the digest of its folder.
        text_tower_id (`str`, *optional*):
            What embeds texts into the same space, where that is not the teacher as a whole: a Hub id, `id@commit`, or
            `package:NAME/FOLDER`, a folder in the Python package of that name. Never a path, which other machines do
            not have.
        logit_scale (`float`, *optional*):
            What similarities were multiplied with in training, the inverse of the temperature, as it was at its end.
            Scores of zero-shot classification are softmaxes of that; where it is unknown, 100, CLIP's, is taken.
    """

    projection_dim: int | None = 1280
    teacher_id: str | None = None
    teacher_revision: str | None = None
    text_tower_id: str | None = None
    logit_scale: float | int | None = None

    @property
    def pooled_size(self) -> int:
        """Width of the embeddings of a network without a projection. To be overridden where there is such a one."""
        raise ValueError(f"projection_dim must be given: a {self.model_type} has no embeddings without a projection.")

    @property
    def embedding_dim(self) -> int:
        """Width of the embeddings: the projection's, or without one that of what would be projected."""
        return self.pooled_size if self.projection_dim is None else self.projection_dim

    @property
    def min_points(self) -> int:
        """The fewest points that a shape must have. To be overridden where that is more than one."""
        return 1

    def validate_architecture(self) -> None:
        """Part of `@strict` validation: fields that must fit together."""
        check_text_tower_id(self.text_tower_id)
        if self.projection_dim is not None and self.projection_dim <= 0:
            raise ValueError(f"projection_dim must be positive or None, got {self.projection_dim}.")
        if self.logit_scale is not None and not 0 < self.logit_scale < float("inf"):
            raise ValueError(f"logit_scale must be positive or None, got {self.logit_scale}.")


__all__ = ["PointEncoderConfig"]
