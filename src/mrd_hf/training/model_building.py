"""The model of a run, from its arguments and the teacher's width."""

from huggingface_hub.errors import StrictDataclassError

from ..errors import UserError
from ..models.configuration_mrd import MRDConfig
from ..models.configuration_point_bert import PointBertConfig
from ..models.modeling_mrd import MRDForPretraining
from ..models.modeling_point_bert import PointBertModel
from .arguments import ModelArguments, parse_config


def build_model(arguments: ModelArguments, width: int, teacher_id: str) -> MRDForPretraining:
    """A new model, or one that starts from a pretrained encoder.

    Args:
        arguments ([`ModelArguments`])
        width (`int`): Of the teacher's embeddings; the projection's width where the arguments do not give one.
        teacher_id (`str`): Recorded in the encoder's configuration.

    Raises:
        UserError: when a field is unknown or does not fit, or the encoder's width is not the teacher's.
    """
    changes = parse_config(arguments.point_config, "point_config", PointBertConfig)
    mrd_changes = parse_config(arguments.mrd_config, "mrd_config", MRDConfig)
    try:
        if arguments.encoder is not None:
            encoder = PointBertModel.from_pretrained(arguments.encoder, **changes)
            point_config = encoder.config
        else:
            encoder = None
            point_config = PointBertConfig(**{"projection_dim": width, **changes})
        point_config.teacher_id = teacher_id
        model_width = point_config.embedding_size
        if model_width != width:
            raise UserError(
                f"the model's embeddings have width {model_width} (point_config.projection_dim), those of the teacher "
                f"{teacher_id} width {width}; leave projection_dim out, or use embeddings of width {model_width}."
            )
        model = MRDForPretraining(MRDConfig(point_config=point_config, **mrd_changes))
    except (StrictDataclassError, OSError) as error:
        raise UserError(f"cannot make the model: {error}") from None
    if encoder is not None:
        model.point_bert.load_state_dict(encoder.state_dict())
    return model
