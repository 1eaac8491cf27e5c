"""What an exported encoder's user has to know: its input, its sampling, its output, and whose space that is.

It stands as JSON beside the files, for pages in a browser, and in the ONNX files' own metadata, for [`OnnxEncoder`].
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ..errors import UserError


FORMAT, FORMAT_VERSION = "mrd_hf encoder", 1
# The entry of an ONNX file's metadata.
METADATA_KEY = "mrd_hf"

ENCODER_FILE = "encoder.onnx"
SAMPLING_FILE = "sampling.onnx"
NETWORK_FILE = "network.onnx"
PROGRAM_FILE = "encoder.pt2"
DESCRIPTION_FILE = "encoder.json"
CLASSES_FILE = "class_embeddings.bin"


@dataclass(frozen=True)
class EncoderDescription:
    """An exported encoder, as its JSON has it.

    Args:
        name (`str`): That of the encoder that was exported.
        weights_sha256 (`str`): Digest of that encoder's weights, see [`Encoder`].
        model_type (`str`): `"point_bert"` or `"uni3d"`.
        dtype (`str`): `"float32"`, `"float16"` or `"int8"`, of the transformer's blocks.
        opset (`int`): Version of ONNX's operators.
        input (`dict`): The settings of [`PointCloudFeatureExtractor`], by their names there.
        sampling (`dict`): Those of [`Sampling`].
        embedding_dim (`int`): Width of the embeddings.
        logit_scale (`float`): What cosines are multiplied with before the softmax over labels.
        teacher_id (`str`, *optional*), teacher_revision (`str`, *optional*), text_tower_id (`str`, *optional*):
            As in the encoder's configuration: what embeds texts into the same space.
        config_sha256 (`str`, *optional*): Digest of that configuration; files of earlier versions lack it.
    """

    name: str
    weights_sha256: str
    model_type: str
    dtype: str
    opset: int
    input: dict[str, Any]
    sampling: dict[str, Any]
    embedding_dim: int
    logit_scale: float
    teacher_id: str | None = None
    teacher_revision: str | None = None
    text_tower_id: str | None = None
    config_sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        facts = asdict(self)
        width = facts.pop("embedding_dim")
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **facts,
            "input": {"name": "point_values", "channels": ["x", "y", "z", "r", "g", "b"], **self.input},
            "output": {"name": "point_embeds", "embedding_dim": width, "normalized": False},
        }

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """Read what [`to_dict`] made.

        Args:
            text (`str`): JSON.
            source (`str`): What messages call it.

        Raises:
            UserError: It is something else, or of a later version.
        """
        try:
            facts = json.loads(text)
            if facts["format"] != FORMAT:
                raise ValueError(f"format {facts['format']!r}")
            version = facts["format_version"]
            if version != FORMAT_VERSION:  # before its fields, which may be others
                raise UserError(f"{source}: of version {version}, and {FORMAT_VERSION} is known here; update mrd-hf.")
            settings = {name: value for name, value in facts["input"].items() if name not in ("name", "channels")}
            facts = {
                "config_sha256": None,
                **facts,
                "input": settings,
                "embedding_dim": facts["output"]["embedding_dim"],
            }
            description = cls(**{field.name: facts[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{source}: not an encoder that `mrd-hf export` wrote ({type(error).__name__}: {error})."
            ) from None
        return description
