"""Clouds and labels in HDF5 files, of which only the rows asked for are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .fields import integer_labels


def open_h5(file: Path) -> Any:
    """An HDF5 file, to be used in a `with`.

    Raises:
        UserError: h5py is missing, or the file is missing or damaged.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(f"{file}: reading HDF5 needs h5py: pip install 'mrd-hf[benchmarks]'.") from None
    if not file.is_file():
        raise UserError(f"{file}: no such file; download it again.")
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise UserError(f"{file}: cannot be read as HDF5 ({error}); download it again.") from None


def read_labels(file: Path) -> np.ndarray:
    """The labels of a file, int64 (n,), once it is sure that there is a cloud to each.

    Raises:
        UserError: It has no clouds `data` (n, m, 3), or no labels `label` for them.
    """
    with open_h5(file) as content:
        for field in ("data", "label"):
            if field not in content:
                raise UserError(f"{file}: has no dataset '{field}' (it has {', '.join(content) or 'none'}).")
        shape = content["data"].shape
        if len(shape) != 3 or shape[2] != 3 or shape[1] == 0 or content["data"].dtype.kind != "f":
            raise UserError(f"{file}: 'data' has shape {shape} of {content['data'].dtype}; expected floats (n, m, 3).")
        labels = integer_labels(_read(content["label"], slice(None), file), f"{file}: 'label'")
    if len(labels) != shape[0]:
        raise UserError(f"{file}: has {shape[0]} clouds in 'data' and {len(labels)} in 'label'; expected as many.")
    return labels


def read_clouds(file: Path, rows: Sequence[int]) -> list[np.ndarray]:
    """The clouds (m, 3) of some rows, in their order."""
    places, back = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
    with open_h5(file) as content:
        # h5py takes rows in rising order, each once.
        clouds = _read(content["data"], places, file)
    return [clouds[place] for place in back]


def _read(dataset: Any, rows: Any, file: Path) -> np.ndarray:
    try:
        return dataset[rows]
    except OSError as error:  # cut off, or a broken chunk
        raise UserError(f"{file}: cannot read '{dataset.name[1:]}' ({error}); download it again.") from None
