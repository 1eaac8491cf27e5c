"""The encoder that the command line was told to use, and files through it.

Imports torch for an encoder that runs by it, and does not for one in an ONNX file.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar, Union

import numpy as np

from mrd_hf_cli.encoder_choice import MODEL_VARIABLE, ONNX_SUFFIX

from ..errors import UserError
from ..exporting.onnx_encoder import OnnxEncoder, open_onnx_encoder
from .output import progress, report_failure
from .shape_files import UpAxis, reading_error


if TYPE_CHECKING:
    import torch

    from ..encoder import Encoder

Shape = TypeVar("Shape")
AnyEncoder = Union["Encoder", OnnxEncoder]

# What says by which encoder, and how files are read.
MODEL_OPTIONS = ("model", "revision", "dtype")
READING_OPTIONS = ("up_axis", "keep_collision", "skip_parts")

CONVERT = "mrd-hf convert OpenShape/openshape-pointbert-vitg14-rgb --output models/openshape"


def check_unused(options: argparse.Namespace, names: Sequence[str], purpose: str) -> None:
    """Raise a [`UserError`] for an option that is given and would do nothing."""
    for name in names:
        if getattr(options, name):
            raise UserError(f"--{name.replace('_', '-')} is {purpose}; leave it out.")


def chosen_encoder(options: argparse.Namespace) -> AnyEncoder:
    """Load the encoder that `--model` names, or else `MRD_MODEL` does, to read the parts that options choose.

    Raises:
        UserError: There is no name, no such encoder, or it is something else.
    """
    name = options.model or os.environ.get(MODEL_VARIABLE)
    if not name:
        raise UserError(
            f"which encoder? Give --model or set {MODEL_VARIABLE}, to a folder or an id on the Hub. There is no "
            "default: no weights trained on Objaverse have been published with this package yet. For a strong "
            f"encoder convert OpenShape's: {CONVERT}. `make demo` trains a small one into outputs/demo/encoder. "
            "More in the documentation, docs/checkpoints.md."
        )
    encoder: AnyEncoder
    if name.endswith(ONNX_SUFFIX):
        if options.revision is not None:
            raise UserError(f"--revision is for an encoder on the Hub, and {name} is a file.")
        if options.dtype is not None:
            raise UserError(f"--dtype is for an encoder that torch runs; {name} has its own.")
        encoder = open_onnx_encoder(name, options.device)
    else:
        if options.revision is not None and os.path.isdir(name):
            raise UserError(f"--revision is for an encoder on the Hub, and {name} is a folder.")
        from ..encoder import load_encoder

        dtype = _chosen_dtype(options.dtype, options.device)
        encoder = load_encoder(name, options.revision, options.device, dtype)
    # What its extractor was saved with holds where the command line says nothing.
    if options.keep_collision:
        encoder.extractor.keep_collision = True
    if options.skip_parts is not None:
        encoder.extractor.skip_parts = options.skip_parts
    return encoder


def _chosen_dtype(dtype: str | None, device: str) -> "torch.dtype | None":
    import torch

    from ..encoder import fastest_dtype

    if dtype != "fastest":
        return None if dtype is None else {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    try:
        return fastest_dtype(device)
    except RuntimeError:  # no device has that name, which loading will say
        return None


def embed_files(
    encoder: AnyEncoder,
    files: Sequence[str],
    up_axis: UpAxis,
    batch_size: int,
    failures: list[dict[str, str]],
    what: str = "Embedding shapes",
    quiet: bool = False,
    num_batches: int = 0,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Embed files, see [`embed_shapes`].

    Args:
        encoder ([`Encoder`] or [`OnnxEncoder`])
        files (sequence of `str`)
        up_axis (`"y"` or `"z"`, *optional*): Which axis points up in them. Default: as each file says, else y.
        batch_size, failures, what, quiet, num_batches: See [`embed_shapes`].
    """

    def read(file: str) -> np.ndarray:
        return prepare(encoder, file, up_axis)

    return embed_shapes(encoder, files, read, str, batch_size, failures, what, quiet, num_batches)


def embed_shapes(
    encoder: AnyEncoder,
    shapes: Sequence[Shape],
    read: Callable[[Shape], np.ndarray],
    name_of: Callable[[Shape], str],
    batch_size: int,
    failures: list[dict[str, str]],
    what: str = "Embedding shapes",
    quiet: bool = False,
    num_batches: int = 0,
) -> Iterator[tuple[list[Shape], np.ndarray]]:
    """Embed shapes, with a progress bar; what cannot be read or embedded is reported and left out.

    Args:
        encoder ([`Encoder`] or [`OnnxEncoder`])
        shapes (sequence): Their files, or whatever `read` finds them by.
        read (callable): Gives the `point_values` of one, float32 of shape `(1, num_points, 6)`.
        name_of (callable): What messages call one.
        batch_size (`int`):
            Shapes to encode at once, at most: the first batches are of 1, 2, 4 ... shapes, so that something is
            seen at once.
        failures (`list[dict]`): Gets `file`, which is its name, and `error` of each that is left out.
        what (`str`), quiet (`bool`): See [`progress`].
        num_batches (`int`, defaults to 0): How many there were before these shapes.

    Yields:
        `tuple(list, np.ndarray)`: shapes, and their embeddings, float32 of shape `(len(shapes), embedding_dim)`.
    """
    batch: list[Shape] = []
    values: list[np.ndarray] = []
    size = min(2**num_batches, batch_size)
    for shape in progress(shapes, what, quiet):
        try:
            values.append(read(shape))
            batch.append(shape)
        except Exception as error:  # whatever a library makes of one bad file among thousands
            name = name_of(shape)
            failures.append({"file": name, "error": report_failure(name, reading_error(error))})
        if len(batch) == size:
            yield _embed(encoder, batch, values, name_of, failures)
            batch, values, size = [], [], min(2 * size, batch_size)
    if batch:
        yield _embed(encoder, batch, values, name_of, failures)


def prepare(
    encoder: AnyEncoder, shape: str | np.ndarray, up_axis: UpAxis, colors: np.ndarray | None = None
) -> np.ndarray:
    """`point_values` of a file, or of points and colors, float32 of shape `(1, num_points, 6)`."""
    if isinstance(encoder, OnnxEncoder):
        return encoder.extractor.point_values(shape, colors, up_axis)
    return encoder.extractor(shape, colors, up_axis, return_tensors="np")["point_values"]


def embed(encoder: AnyEncoder, point_values: np.ndarray) -> np.ndarray:
    """Embeddings, float32 of shape `(batch, embedding_dim)`, of `point_values` `(batch, num_points, 6)`."""
    if isinstance(encoder, OnnxEncoder):
        return encoder.embed(point_values)
    import torch

    from ..evaluation.encoding import encode_shapes

    return encode_shapes(encoder.model, [torch.from_numpy(point_values)]).numpy()


def _embed(
    encoder: AnyEncoder,
    batch: list[Shape],
    values: list[np.ndarray],
    name_of: Callable[[Shape], str],
    failures: list[dict[str, str]],
) -> tuple[list[Shape], np.ndarray]:
    embeds = embed(encoder, np.concatenate(values))
    finite = np.isfinite(embeds).all(axis=1)
    for place in np.flatnonzero(~finite).tolist():
        error = "its embedding is not finite; look for coordinates that are out of bounds."
        name = name_of(batch[place])
        failures.append({"file": name, "error": report_failure(name, error)})
    return [shape for shape, good in zip(batch, finite, strict=True) if good], embeds[finite]
