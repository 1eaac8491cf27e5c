"""The model of a run, from its arguments and the teacher's width."""

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING

from ..data.embedding.cached_teacher import are_one, split_identifier
from ..encoder import load_encoder_to_train, recorded_teacher
from ..errors import UserError
from ..models.configuration_mrd import MRDConfig
from ..models.configuration_point_bert import PointBertConfig
from ..models.configuration_point_encoder import PointEncoderConfig
from ..models.model_sources import check_text_tower_id
from ..models.modeling_mrd import MRDForPretraining
from ..teacher import folder_identifier
from .arguments import ModelArguments
from .recipe_files import check_fields, parse_config, parse_mapping


# Set after the encoder's own teacher is known.
OF_TEACHER = {"teacher_id", "teacher_revision"}


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
    text_tower = _text_tower(arguments.text_towers, teacher_id)
    mrd_changes = parse_mrd_config(arguments.mrd_config)
    if teacher_logit_scale is not None:
        mrd_changes.setdefault("teacher_logit_scale", teacher_logit_scale)
    encoder, own_teacher = None, None
    try:
        if arguments.encoder is not None:
            changes = parse_mapping(arguments.point_config, "point_config")
            kind = changes.pop("model_type", None)
            others = {name: value for name, value in changes.items() if name not in OF_TEACHER}
            encoder = load_encoder_to_train(arguments.encoder, others)
            point_config = encoder.config
            own_teacher = recorded_teacher(point_config)
            for name in changes.keys() & OF_TEACHER:
                setattr(point_config, name, changes[name])
            check_fields(changes, "point_config", type(point_config))
            _check_encoder(arguments.encoder, point_config, kind, teacher_id)
        else:
            changes = parse_mapping(arguments.point_config, "point_config")
            point_config = new_encoder_config(arguments.point_config, projection_dim=embedding_dim)
        if "text_tower_id" in changes:
            pass  # the word of who runs it, before a recipe's list
        elif text_tower is not None:
            point_config.text_tower_id = text_tower
        elif own_teacher is None or not are_one(own_teacher, teacher_id):
            point_config.text_tower_id = None  # it was of the teacher that the encoder had
        point_config.teacher_id, point_config.teacher_revision = split_identifier(teacher_id)
        found = point_config.embedding_dim
        if found != embedding_dim:
            raise UserError(
                f"the model's embeddings have width {found} (point_config.projection_dim), those of the teacher "
                f"{teacher_id} width {embedding_dim}; leave projection_dim out, or use embeddings of width {found}."
            )
        model = MRDForPretraining(MRDConfig(point_config=point_config, **mrd_changes))
    except StrictDataclassError as error:
        said = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"cannot make the model of point_config and mrd_config: {said}") from None
    if encoder is not None:
        model.encoder.load_state_dict(encoder.state_dict())
    return model


def parse_mrd_config(text: str) -> dict[str, Any]:
    """The JSON mapping given as the argument `mrd_config`.

    Raises:
        UserError: when it is no mapping, or has a key that is no field, or is the encoder's, an argument of its own.
    """
    changes = parse_config(text, "mrd_config", MRDConfig)
    if "point_config" in changes:
        raise UserError("mrd_config: point_config is an argument of its own, beside mrd_config; move it there.")
    return changes


def new_encoder_config(text: str, **defaults: Any) -> PointEncoderConfig:
    """The configuration that the argument `point_config` asks for: PointBERT's, or that of its `model_type`.

    Args:
        text (`str`): The argument, a JSON mapping.
        **defaults: Fields where it gives none.

    Raises:
        UserError: when there is no such encoder, or it has no such field.
    """
    changes = parse_mapping(text, "point_config")
    kind = changes.pop("model_type", PointBertConfig.model_type)
    try:
        found = CONFIG_MAPPING[kind]  # with what users have registered, which its `get` does not know
    except KeyError:
        found = None
    if found is None or not issubclass(found, PointEncoderConfig):
        raise UserError(
            f"point_config: model_type is '{kind}', which is no encoder of shapes here; give point_bert, uni3d, or "
            "one of your own, whose code must have registered it with AutoConfig and AutoModel."
        )
    check_fields(changes, "point_config", found)
    return found(**{**defaults, **changes})


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


def _check_encoder(name: str, config: PointEncoderConfig, kind: str | None, teacher_id: str) -> None:
    """Raise a [`UserError`] if an encoder is of another kind than was said, or was trained towards another teacher, in
    whose space it lives."""
    if kind is not None and kind != config.model_type:
        raise UserError(
            f"the encoder {name} is a {config.model_type}, and point_config's model_type is {kind}; leave it out."
        )
    own = recorded_teacher(config)
    if own is not None and not are_one(own, teacher_id):
        raise UserError(
            f"the encoder {name} was trained towards the teacher {own}, and the embeddings are those of {teacher_id}; "
            "embed the dataset with the encoder's own teacher (mrd-hf embed-teacher), or, to change its teacher, "
            """set point_config to '{"teacher_id": null, "teacher_revision": null}'."""
        )
