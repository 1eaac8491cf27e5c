"""Reading other projects' checkpoints without running anything they contain.

`torch.save` pickles, and a pickle can call any function. `torch.load(weights_only=True)` calls only those that make
tensors, and refuses a file that names another, even if only for an `argparse.Namespace` beside the weights. Here what
else a file names is replaced by a stand-in that does nothing, so that the weights can be read.
"""

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import safetensors
import torch
from safetensors.torch import load_file
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from ..errors import UserError


SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
# Where training scripts keep a model's tensors, the better one first.
_ENTRIES = ("state_dict_ema", "state_dict", "module", "model")
_ZIP_MAGIC = b"PK\x03\x04"
# Checkpoints name a few dozen classes at most, and torch takes a time quadratic in their number.
MAX_NAMES = 1000


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one model, out of a file.

    Args:
        tensors (`dict[str, torch.Tensor]`): By their names in the file.
        entry (`str`, *optional*): Under which the file keeps them; None if it holds nothing else.
        others (`tuple[str, ...]`): What else the file holds: optimizer states, counters, ...
        logit_scale (`float`, *optional*):
            What similarities were multiplied with in training: the exponential of what the file keeps by this name.
    """

    tensors: dict[str, torch.Tensor]
    entry: str | None
    others: tuple[str, ...]
    logit_scale: float | None = None


class _StandInRecord:
    """In the place of a class: its objects are dictionaries, with any attributes."""

    def __new__(cls, *args: Any) -> Any:
        return OrderedDict()


class _StandInObject:
    """In the place of one of numpy's classes or functions, whose state is not made of names and values."""

    def __new__(cls, *args: Any) -> Self:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def read_checkpoint(file: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed. The tensors are mapped from the file where its format allows.

    Args:
        file (`Path`): Of safetensors, or made by `torch.save`.

    Raises:
        UserError: when it is neither, is damaged, or holds no tensors by name.
    """
    if not file.is_file():
        raise UserError(f"{file}: there is no such file.")
    contents: Any = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    if not isinstance(contents, Mapping):
        raise UserError(
            f"{file.name}: holds a {type(contents).__name__}, not a dictionary of tensors; "
            "save the model's state_dict() instead."
        )
    entry = next((entry for entry in _ENTRIES if _tensors(contents.get(entry))), None)
    tensors = _tensors(contents if entry is None else contents[entry])
    if not tensors:
        raise UserError(
            f"{file.name}: no tensors, neither at the top nor under {', '.join(_ENTRIES)}; it holds "
            f"{', '.join(map(str, contents)) or 'nothing'}."
        )
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise UserError(f"{file.name}: the tensor {name} is sparse, quantized or without data; expected numbers.")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(
                f"{file.name}: the tensor {name} has the shape {tuple(tensor.shape)}, and the data of a smaller one; "
                "save it once more, contiguous."
            )
    others = (str(key) for key, value in contents.items() if key != entry and key not in tensors and value is not None)
    return Checkpoint(tensors, entry, tuple(others), _logit_scale(contents, tensors))


def _tensors(entry: Any) -> dict[str, torch.Tensor]:
    if not isinstance(entry, Mapping):
        return {}
    return {str(name): value for name, value in entry.items() if isinstance(value, torch.Tensor)}


def _logit_scale(contents: Mapping[str, Any], tensors: dict[str, torch.Tensor]) -> float | None:
    """Among the model's tensors, or in an entry of its own, whatever a wrapper puts before its name."""
    found = tensors | _tensors(contents) | _tensors(contents.get("logit_scale"))
    logarithms = [tensor for name, tensor in found.items() if name.rpartition(".")[2] == "logit_scale"]
    if len(logarithms) != 1 or logarithms[0].numel() != 1:
        return None
    scale = logarithms[0].double().exp().item()
    return scale if 0 < scale < float("inf") else None


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{file.name}: is not a readable safetensors file ({error}); download it again.") from None


def _read_torch(file: Path) -> Any:
    with file.open("rb") as opened:
        zipped = opened.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    if zipped:
        _check_archive(file)
    try:
        unsafe = get_unsafe_globals_in_checkpoint(file) if zipped else []
        if len(unsafe) > MAX_NAMES:
            raise ValueError(f"it names {len(unsafe)} classes, and at most {MAX_NAMES} are looked at")
        stand_ins: list[Any] = [
            (_StandInObject if name.startswith("numpy.") else _StandInRecord, name) for name in unsafe
        ]
        with safe_globals(stand_ins):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        # Torch's own words begin and end with advice, to load the file without this check among others.
        reasons = re.search(r"(?:WeightsUnpickler error: |(?=Trying to ))\s*(.+)", str(error))
        reason = reasons[1] if reasons else str(error).splitlines()[0]
        raise UserError(
            f"{file.name}: cannot be read without running what it contains, which is never done ({reason}). If you "
            "trust it, load it where it was made and save the model's state_dict() as safetensors."
        ) from None
    # A damaged file can make torch stumble over anything.
    except Exception as error:
        # Only these are written for people; what others say is of Python.
        said = str(error).strip() if isinstance(error, (ValueError, RuntimeError, OSError)) else ""
        reason = f" ({said.splitlines()[0]})" if said else ""
        raise UserError(
            f"{file.name}: is not a readable checkpoint{reason}; expected safetensors or a file made by torch.save."
        ) from None


def _check_archive(file: Path) -> None:
    """Refuse what begins like a file of `torch.save` and is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile:
        raise UserError(f"{file.name}: is cut short or damaged; download it again.") from None
    names = [member.filename.rpartition("/")[2] for member in members]
    if "constants.pkl" in names:
        raise UserError(
            f"{file.name}: is a TorchScript program, which is not run here; convert the checkpoint it was made from."
        )
    if "data.pkl" not in names:
        raise UserError(f"{file.name}: is a zip archive, but not one made by torch.save; unpack it first.")
    # A small file could unpack to any size.
    packed = next((member.filename for member in members if member.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise UserError(
            f"{file.name}: its {packed:.80} is compressed, which torch.save does not do; unpack the archive and "
            "pack it again without compression."
        )
