"""The encoder that the command line was told to use."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from .. import MRDForPretraining, PointBertModel, PointCloudFeatureExtractor, Uni3DModel
from ..errors import UserError
from ..evaluation.encoding import encode_shapes
from ..model_folder import check_model_folder
from ..models.model_sources import find_model
from .output import one_line, progress, report_failure
from .shape_files import READING_ERRORS, UpAxis, check_size


MODEL_VARIABLE = "MRD_HF_MODEL"
CONVERT = "python scripts/convert_checkpoint.py OpenShape/openshape-pointbert-vitg14-rgb --to models/openshape"


@dataclass(frozen=True)
class Encoder:
    """A shape encoder, and what tells it from others.

    Args:
        model (`PreTrainedModel`): Has `get_point_features`.
        extractor (`PointCloudFeatureExtractor`): Its own.
        name (`str`): A folder's name, or `id@commit` of the Hub.
        sha256 (`str`): Digest of its weights' file; of all of them, one after the other, where there are several.
    """

    model: PreTrainedModel
    extractor: PointCloudFeatureExtractor
    name: str
    sha256: str

    @classmethod
    def load(cls, name: str | None, revision: str | None, device: str) -> "Encoder":
        """Load the encoder of this name or else of the environment variable `MRD_HF_MODEL`.

        Raises:
            UserError: There is no name, no such encoder, or it is something else.
        """
        name = name or os.environ.get(MODEL_VARIABLE)
        if not name:
            raise UserError(
                f"which encoder? Give --model or set {MODEL_VARIABLE}, to a folder or an id on the Hub. There is no "
                "default: no weights trained on Objaverse have been published with this package yet. For a strong "
                f"encoder convert OpenShape's: {CONVERT}. `make demo` trains a small one into outputs/demo/encoder. "
                "README: Which weights?"
            )
        check_model_folder(name)
        try:
            source = find_model(name, revision, "cannot load the encoder")
        except ValueError as error:
            raise UserError(one_line(str(error))) from None
        try:
            # Weights that are pickled are not loaded.
            model = AutoModel.from_pretrained(source.path, use_safetensors=True, **source.arguments)
            if not isinstance(model, (PointBertModel, Uni3DModel, MRDForPretraining)):
                raise UserError(f"{name} is a {type(model).__name__}, no encoder of shapes; give another --model.")
            extractor = AutoFeatureExtractor.from_pretrained(source.path, **source.arguments)
            config_file = cached_file(source.path, "config.json", **source.arguments)
        except (OSError, ValueError, ImportError) as error:
            kind = "" if os.path.isdir(source.path) else "no such folder, and not to be had from the Hub: "
            raise UserError(f"cannot load the encoder {name}: {kind}{one_line(str(error))}") from None
        try:
            model = model.to(device).eval()
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"cannot compute on --device {device}: {one_line(str(error))}") from None
        folder = Path(str(config_file)).parent
        # The Hub's cache keeps each commit in a folder of that name.
        full_name = Path(name).resolve().name if os.path.isdir(source.path) else f"{name}@{folder.name}"
        return cls(model, extractor, full_name, _weights_digest(folder))

    @property
    def config(self) -> PreTrainedConfig:
        """The encoder's own configuration, of a model in pretraining as well."""
        return self.model.config.point_config if self.model.config.model_type == "mrd" else self.model.config

    @property
    def teacher(self) -> str | None:
        """The image-text model whose space the embeddings are in: `id`, or `id@commit`."""
        id_, revision = self.config.teacher_id, self.config.teacher_revision
        return f"{id_}@{revision}" if id_ and revision else id_

    @property
    def text_tower(self) -> str | None:
        """What embeds texts into the same space, where that is not the teacher as a whole."""
        return self.config.text_tower_id

    @property
    def width(self) -> int:
        """Of the embeddings."""
        return self.config.embedding_size

    def read(self, path: str, up_axis: UpAxis) -> torch.Tensor:
        """A file as `point_values` of shape `(1, num_points, 6)`; raises one of `READING_ERRORS`."""
        check_size(path)
        return self.extractor(path, up_axis=up_axis)["point_values"]

    def embed_files(
        self,
        files: Sequence[str],
        up_axis: UpAxis,
        batch_size: int,
        failures: list[dict[str, str]],
        what: str = "Embedding shapes",
        quiet: bool = False,
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Embed files, with a progress bar; what cannot be read or embedded is reported and left out.

        Args:
            files (sequence of `str`)
            up_axis (`"y"` or `"z"`, *optional*): Which axis points up in them.
            batch_size (`int`):
                Shapes to encode at once, at most: the first batches are of 1, 2, 4 ... shapes, so that something is
                seen at once.
            failures (`list[dict]`): Gets `file` and `error` of each file that is left out.
            what (`str`), quiet (`bool`): See [`progress`].

        Yields:
            `tuple(list[str], np.ndarray)`: files, and their embeddings, float32 of shape `(len(files), width)`.
        """
        names: list[str] = []
        values: list[torch.Tensor] = []
        size = 1
        for file in progress(files, what, quiet):
            try:
                values.append(self.read(file, up_axis))
                names.append(file)
            except READING_ERRORS as error:
                failures.append({"file": file, "error": report_failure(file, error)})
            if len(names) == min(size, batch_size):
                yield self._encode(names, values, failures)
                names, values, size = [], [], 2 * size
        if names:
            yield self._encode(names, values, failures)

    def _encode(
        self, names: list[str], values: list[torch.Tensor], failures: list[dict[str, str]]
    ) -> tuple[list[str], np.ndarray]:
        embeds = encode_shapes(self.model, [torch.cat(values)]).numpy()
        finite = np.isfinite(embeds).all(axis=1)
        for place in np.flatnonzero(~finite).tolist():
            error = ValueError("its embedding is not finite; look for coordinates that are out of bounds.")
            failures.append({"file": names[place], "error": report_failure(names[place], error)})
        return [name for name, good in zip(names, finite, strict=True) if good], embeds[finite]


def _weights_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            while block := opened.read(2**20):
                digest.update(block)
    return digest.hexdigest()
