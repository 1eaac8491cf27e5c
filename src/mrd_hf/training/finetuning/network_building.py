"""The network to fine-tune: an encoder, pretrained or new, with a new head."""

from typing import Any

from huggingface_hub.errors import StrictDataclassError

from ...encoder import load_encoder
from ...errors import UserError
from ...models.configuration_point_bert import PointBertConfig
from ...models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from ...models.modeling_point_bert import PointBertForShapeClassification, PointBertModel
from ...models.modeling_point_bert_parts import PointBertForPartSegmentation
from ..recipe_files import parse_config
from .arguments import FinetunedModelArguments


NUM_POINTS = 1024
Network = PointBertForShapeClassification | PointBertForPartSegmentation


def build_network(
    arguments: FinetunedModelArguments,
    label_names: list[str],
    object_parts: dict[str, list[int]] | None,
    num_points: int | None,
) -> tuple[Network, PointCloudFeatureExtractor]:
    """A network whose head is new, and its feature extractor.

    Args:
        arguments ([`FinetunedModelArguments`])
        label_names (`list[str]`): The classes of shapes or, with `object_parts`, the parts.
        object_parts (`dict[str, list[int]]`, *optional*): The parts of each class of objects.
        num_points (`int`, *optional*): Points of a shape; default: the encoder's own, or 1,024.

    Raises:
        UserError: when there is no such encoder, it is no PointBERT, or the configuration does not fit.
    """
    changes = parse_config(arguments.point_config, "point_config", PointBertConfig)
    labels: dict[str, Any] = {
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: label for label, name in enumerate(label_names)},
        "object_parts": object_parts,
    }
    encoder, fields = None, {}
    extractor = PointCloudFeatureExtractor(num_points=num_points or NUM_POINTS)
    if arguments.model is not None:
        # Its projection is left out below, so one that has none already, as a fine-tuned network, will do.
        encoder = load_encoder(arguments.model, new_projection=True)
        if not isinstance(encoder.model, PointBertModel):
            raise UserError(
                f"{arguments.model} is of the kind {encoder.config.model_type}; only a point_bert is fine-tuned."
            )
        fields, extractor = encoder.config.to_dict(), encoder.extractor
        extractor.num_points = num_points or extractor.num_points
    try:
        config = PointBertConfig.from_dict({**fields, "logit_scale": None, **changes, **labels})
        if config.num_patches > extractor.num_points:
            raise UserError(
                f"num_points is {extractor.num_points}, fewer than the encoder's {config.num_patches} patches; give "
                "more."
            )
        model_class = PointBertForShapeClassification if object_parts is None else PointBertForPartSegmentation
        model = model_class(config)
        if encoder is not None:
            weights = encoder.model.state_dict()
            # The head reads tokens, not their projection into the teacher's space.
            weights = {name: value for name, value in weights.items() if not name.startswith("projection.")}
            model.point_bert.load_state_dict(weights)
    except StrictDataclassError as error:
        raise UserError(f"cannot make the network: {error}") from None
    except RuntimeError as error:
        raise UserError(f"the weights of {arguments.model} do not fit point_config: {error}") from None
    return model, extractor
