"""An exported encoder that runs by onnxruntime. Imports neither torch nor transformers."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..models.point_preparation import PointPreparation
from .description import DESCRIPTION_FILE, METADATA_KEY, EncoderDescription
from .sessions import open_session


if TYPE_CHECKING:
    from onnxruntime import InferenceSession


@dataclass(frozen=True)
class OnnxEncoder:
    """A shape encoder in an ONNX file. [`open_onnx_encoder`] makes it; for the most part it is like [`Encoder`].

    Args:
        session (`onnxruntime.InferenceSession`)
        config ([`EncoderDescription`]): What it is.
        extractor ([`PointPreparation`]): Makes its input.
        file (`Path`): Where it is.
    """

    session: "InferenceSession"
    config: EncoderDescription
    extractor: PointPreparation
    file: Path

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def teacher(self) -> str | None:
        """The image-text model whose space the embeddings are in: `id`, or `id@commit`."""
        id_, revision = self.config.teacher_id, self.config.teacher_revision
        return f"{id_}@{revision}" if id_ and revision else id_

    @property
    def text_tower(self) -> str | None:
        return self.config.text_tower_id

    @property
    def embedding_dim(self) -> int:
        return self.config.embedding_dim

    @property
    def sha256(self) -> str:
        """Digest of the weights that it was exported from: its embeddings can be compared with theirs."""
        return self.config.weights_sha256

    @property
    def config_sha256(self) -> str | None:
        """Digest of the configuration that it was exported with; None of an earlier version's files."""
        return self.config.config_sha256

    def embed(self, point_values: np.ndarray) -> np.ndarray:
        """Embeddings, float32 of shape `(batch, embedding_dim)`, not normalised, of `point_values` `(batch,
        num_points, 6)`."""
        values = point_values.astype(np.float32, copy=False)
        # In int8 the scale of each product's input is that of all shapes which it has at once.
        size = 1 if self.config.dtype == "int8" else max(1, len(values))
        parts = [values[start : start + size] for start in range(0, max(1, len(values)), size)]
        return np.concatenate([self.session.run(["point_embeds"], {"point_values": part})[0] for part in parts])


def open_onnx_encoder(file: str | os.PathLike, device: str = "cpu") -> OnnxEncoder:
    """Load an `encoder.onnx` of `mrd-hf export`, alone or in its folder.

    Args:
        file (`str` or `Path`)
        device (`str`, defaults to `"cpu"`): See [`open_session`].

    Raises:
        UserError: There is no such file, it is something else, or onnxruntime is missing.
    """
    session = open_session(file, device)
    name = os.fspath(file)
    metadata = session.get_modelmeta().custom_metadata_map
    if METADATA_KEY not in metadata or [value.name for value in session.get_inputs()] != ["point_values"]:
        raise UserError(f"{name}: not an encoder.onnx that `mrd-hf export` wrote.")
    description = EncoderDescription.from_json(metadata[METADATA_KEY], name)
    try:
        extractor = PointPreparation(**description.input)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: its description of the input is damaged ({error}); export it again.") from None
    return OnnxEncoder(session, description, extractor, Path(name))


def read_classes(encoder: OnnxEncoder) -> tuple[list[str], np.ndarray]:
    """The labels that lie beside an encoder, and their embeddings, float32 `(num_labels, embedding_dim)`, normalised.

    Raises:
        UserError: There are none, they are of another encoder, or they are damaged.
    """
    file = encoder.file.with_name(DESCRIPTION_FILE)
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        classes = facts["classes"]
        if classes is None:
            raise FileNotFoundError
        if facts["weights_sha256"] != encoder.sha256:
            raise UserError(
                f"{file}: is of another encoder ({facts['name']}) than {encoder.file.name} beside it, and so are its "
                "labels; keep the files of an export together, or give --labels, --labels-file or --class-texts."
            )
        labels = [str(label) for label in classes["labels"]]
        # By its name alone, so that no description leads to another folder.
        embeds = np.fromfile(file.with_name(Path(classes["file"]).name), dtype="<f4")
        embeds = embeds.reshape(len(labels), encoder.embedding_dim).astype(np.float32)
    except FileNotFoundError:
        raise UserError(
            f"{encoder.file}: no labels lie beside it; give --labels, --labels-file or --class-texts, or export the "
            "encoder with --class-texts."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: its classes cannot be read ({type(error).__name__}: {error}).") from None
    if not labels or not np.isfinite(embeds).all():
        raise UserError(f"{file}: it has no labels, or embeddings that are not finite; export the encoder again.")
    return labels, embeds
