"""The model of a run, from its arguments and the teacher's width."""

from huggingface_hub.errors import StrictDataclassError

from ..data.embedding.cached_teacher import are_one, split_identifier
from ..encoder import load_point_bert, recorded_teacher
from ..errors import UserError
from ..models.configuration_mrd import MRDConfig
from ..models.configuration_point_bert import PointBertConfig
from ..models.model_sources import check_text_tower_id
from ..models.modeling_mrd import MRDForPretraining
from ..teacher import folder_identifier
from .arguments import ModelArguments
from .recipe_files import parse_config, parse_mapping


def build_model(
    arguments: ModelArguments, embedding_dim: int, teacher_id: str, teacher_logit_scale: float | None = None
) -> MRDForPretraining:
    """A new model, or one that starts from a pretrained encoder.

    Args:
        arguments ([`ModelArguments`])
        embedding_dim (`int`): Of the teacher; the projection's width where the arguments do not give one.
        teacher_id (`str`):
            The teacher's name, or `name@commit`: where the embeddings come from. Recorded in the encoder's
            configuration.
        teacher_logit_scale (`float`, *optional*): The teacher's own, where it is known and the arguments give none.

    Raises:
        UserError: when a field is unknown or does not fit, the encoder's width is not the teacher's, or the embeddings
            are not of the teacher that the arguments ask for or that the encoder was trained towards.
    """
    if arguments.teacher_id is not None and not are_one(teacher_id, folder_identifier(arguments.teacher_id)):
        raise UserError(
            f"the embeddings are those of the teacher {teacher_id}, and teacher_id asks for {arguments.teacher_id}; "
            "give the dataset that mrd-hf embed-teacher made with it."
        )
    changes = parse_config(arguments.point_config, "point_config", PointBertConfig)
    text_tower = _text_tower(arguments.text_towers, teacher_id)
    mrd_changes = parse_config(arguments.mrd_config, "mrd_config", MRDConfig)
    if teacher_logit_scale is not None:
        mrd_changes.setdefault("teacher_logit_scale", teacher_logit_scale)
    encoder = None
    try:
        if arguments.encoder is not None:
            encoder = load_point_bert(arguments.encoder, **changes)
            point_config = encoder.config
            _check_encoder(arguments.encoder, point_config, teacher_id)
        else:
            point_config = PointBertConfig(**{"projection_dim": embedding_dim, **changes})
        if text_tower is not None:
            point_config.text_tower_id = text_tower
        elif point_config.teacher_id is None and "text_tower_id" not in changes:
            point_config.text_tower_id = None  # an encoder's that changes its teacher
        point_config.teacher_id, point_config.teacher_revision = split_identifier(teacher_id)
        found = point_config.embedding_dim
        if found != embedding_dim:
            raise UserError(
                f"the model's embeddings have width {found} (point_config.projection_dim), those of the teacher "
                f"{teacher_id} width {embedding_dim}; leave projection_dim out, or use embeddings of width {found}."
            )
        model = MRDForPretraining(MRDConfig(point_config=point_config, **mrd_changes))
    except StrictDataclassError as error:
        raise UserError(f"cannot make the model: {error}") from None
    if encoder is not None:
        model.point_bert.load_state_dict(encoder.state_dict())
    return model


def _text_tower(text_towers: str, teacher_id: str) -> str | None:
    """What embeds texts into a teacher's space, if it is among `text_towers`, a JSON mapping."""
    found = None
    for teacher, text_tower in parse_mapping(text_towers, "text_towers").items():
        try:
            check_text_tower_id(text_tower)
        except ValueError as error:
            raise UserError(f"text_towers, of {teacher}: {error}") from None
        if are_one(teacher, teacher_id):
            found = text_tower
    return found


def _check_encoder(name: str, config: PointBertConfig, teacher_id: str) -> None:
    """Raise a [`UserError`] if an encoder was trained towards another teacher, in whose space it lives."""
    own = recorded_teacher(config)
    if own is not None and not are_one(own, teacher_id):
        raise UserError(
            f"the encoder {name} was trained towards the teacher {own}, and the embeddings are those of {teacher_id}; "
            "embed the dataset with the encoder's own teacher (mrd-hf embed-teacher), or, to change its teacher, "
            """set point_config to '{"teacher_id": null, "teacher_revision": null}'."""
        )
