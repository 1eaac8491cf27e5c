"""A shape encoder with its feature extractor, loaded in one way wherever one is needed."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from .errors import UserError
from .files.digests import files_sha256
from .models.configuration_mrd import MRDConfig
from .models.configuration_point_encoder import PointEncoderConfig
from .models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from .models.model_sources import ModelSource, find_model
from .models.shapes import UpAxis


try:
    from torch.cpu import get_capabilities
except ImportError:  # torch before 2.10 does not tell
    get_capabilities = dict  # type: ignore[assignment]


CANNOT_LOAD = "cannot load the encoder"
# What transformers, torch and safetensors make of values of another kind in a configuration, and of damaged weights.
DAMAGED = (TypeError, AttributeError, LookupError, RuntimeError, SafetensorError)
LOADING_ERRORS = (OSError, ValueError, ImportError, StrictDataclassError, *DAMAGED)
# What save_pretrained of the encoder and of its feature extractor writes, the latter possibly within a processor.
ENCODER_FILES = ("config.json",)
EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")
# What a CPU has whose products in bfloat16 are faster than those in float32: 2.2 times with AVX512-BF16, as measured.
FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16")
# Of a configuration, what says nothing of the network: who wrote it, in what precision, what else lies beside it, and
# whose space it is in.
BESIDE_THE_NETWORK = (
    *("transformers_version", "architectures", "_name_or_path", "dtype", "auto_map", "custom_pipelines"),
    *("teacher_id", "teacher_revision", "text_tower_id", "logit_scale"),
)


@dataclass(frozen=True)
class Encoder:
    """A shape encoder, its feature extractor, and what tells it from others. [`load_encoder`] makes it.

    Args:
        model (`PreTrainedModel`): Has `get_point_features`; in eval mode.
        extractor (`PointCloudFeatureExtractor`): Its own.
        name (`str`): A folder's name, or `id@commit` of the Hub.
        folder (`Path`): Where its files are, in the Hub's cache if it is from there.
    """

    model: PreTrainedModel
    extractor: PointCloudFeatureExtractor
    name: str
    folder: Path

    @property
    def config(self) -> PreTrainedConfig:
        return self.model.config

    @property
    def teacher(self) -> str | None:
        """The image-text model whose space the embeddings are in: `id`, or `id@commit`."""
        return recorded_teacher(self.config)

    @property
    def text_tower(self) -> str | None:
        """What embeds texts into the same space, where that is not the teacher as a whole."""
        return self.config.text_tower_id

    @property
    def embedding_dim(self) -> int:
        return self.config.embedding_dim

    @cached_property
    def sha256(self) -> str:
        """Digest of its weights' file; of all of them, one after the other, where there are several."""
        return files_sha256(sorted(self.folder.glob("*.safetensors")))

    @cached_property
    def config_sha256(self) -> str:
        """Digest of what is made of the weights, see [`config_sha256`]."""
        return config_sha256(self.config)


def fastest_dtype(device: str | torch.device = "cpu") -> torch.dtype:
    """The precision that encoders are fastest in on a device: bfloat16 where it multiplies that, else float32.

    By what the device says of itself, so it is the same each time. Embeddings in bfloat16 differ from those in float32
    by less than 1%. `dtype="auto"` of transformers is another thing: the precision that a checkpoint was saved in.

    Example:

    ```python
    >>> import mrd_hf
    >>> from transformers import AutoModel

    >>> model = AutoModel.from_pretrained("outputs/demo/encoder", dtype=mrd_hf.fastest_dtype())
    ```
    """
    kind = torch.device(device).type
    if kind == "cuda":
        if not torch.cuda.is_available():
            return torch.float32
        with torch.cuda.device(device):
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    found = get_capabilities() if kind == "cpu" else {}
    return torch.bfloat16 if any(found.get(name) for name in FAST_BFLOAT16) else torch.float32


def load_encoder(
    name: str,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    new_projection: bool = False,
) -> Encoder:
    """Load an encoder with its extractor from a folder or from the Hub; of a model in pretraining, its encoder.

    Weights that are pickled are not loaded. Where the Hub does not answer within seconds, what is in its cache is.

    Args:
        name (`str`): A folder that `save_pretrained` wrote, or an id on the Hub, also as `id@revision`.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.
        device (`str` or `torch.device`, defaults to `"cpu"`): Where it computes.
        dtype (`torch.dtype`, *optional*): What its blocks compute in, by default what they were saved in.
        new_projection (`bool`, defaults to `False`): Whether one that was saved without its projection, as fine-tuned
            networks are, is given a new one of random weights.

    Raises:
        UserError: There is no such encoder, it is something else, it lacks weights, or the device cannot be used.
    """
    source, model = _load(name, (ENCODER_FILES, EXTRACTOR_FILES), revision, dtype, new_projection=new_projection)
    if model.config.model_type == "mrd":
        model = model.encoder
    try:
        extractor = AutoFeatureExtractor.from_pretrained(source.path, **source.arguments)
        folder = Path(str(cached_file(source.path, "config.json", **source.arguments))).parent
    except LOADING_ERRORS as error:
        raise _failure(source, error) from None
    try:
        model = model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"cannot compute on the device {device}: {error}") from None
    # The Hub's cache keeps each commit in a folder of that name.
    full_name = Path(name).resolve().name if os.path.isdir(source.path) else f"{source.path}@{folder.name}"
    return Encoder(model, extractor, full_name, folder)


def load_encoder_to_train(name: str, changes: dict[str, Any]) -> PreTrainedModel:
    """Load an encoder to train further; its folder need not have an extractor, nor a projection, which is then new.

    Args:
        name (`str`): A folder that `save_pretrained` wrote, or an id on the Hub.
        changes (`dict`): Fields of its configuration, and what they are to be.

    Raises:
        UserError: There is no such encoder, it is something else, or its weights do not fit the changes.
    """
    _, model = _load(name, (ENCODER_FILES,), changes=changes, new_projection=True)
    if model.config.model_type == "mrd":
        raise UserError(f"{CANNOT_LOAD} '{name}': it is a whole model in pretraining; give its encoder's folder.")
    return model


def trained_up_axis(name: str) -> UpAxis:
    """Which axis points up in the shapes that an encoder was trained on: as its extractor says; y where it has none.

    Args:
        name (`str`): A folder that `save_pretrained` wrote, or an id on the Hub.

    Raises:
        UserError: There is no such encoder, or its extractor cannot be read.
    """
    try:
        source = find_model(name, None, CANNOT_LOAD)
    except ValueError as error:
        raise UserError(str(error)) from None
    try:
        found = (
            cached_file(source.path, file, _raise_exceptions_for_missing_entries=False, **source.arguments)
            for file in EXTRACTOR_FILES
        )
        if not any(found):
            return "y"
        extractor = AutoFeatureExtractor.from_pretrained(source.path, **source.arguments)
        return getattr(extractor, "encoder_up_axis", "y")  # which one of a user's own need not have
    except LOADING_ERRORS as error:
        raise _failure(source, error) from None


def weights_sha256(model: nn.Module) -> str:
    """Hash of a model's weights and buffers, with their names: what tells a checkpoint, whatever it is called."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def config_sha256(config: PreTrainedConfig) -> str:
    """Hash of what a configuration says of its network: the same weights make other embeddings with another one.

    Values that are the defaults do not count, so that a field that a later version adds changes nothing.
    """
    defaults = type(config)().to_dict()  # transformers asks for a default of each argument
    told = {
        name: value
        for name, value in config.to_dict().items()
        if name not in BESIDE_THE_NETWORK and (name not in defaults or value != defaults[name])
    }
    told["model_type"] = config.model_type
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def recorded_teacher(config: PreTrainedConfig) -> str | None:
    """The identifier of the teacher that an encoder's configuration names."""
    id_, revision = config.teacher_id, config.teacher_revision
    return f"{id_}@{revision}" if id_ and revision else id_


def _load(
    name: str,
    needed: Sequence[tuple[str, ...]],
    revision: str | None = None,
    dtype: torch.dtype | None = None,
    changes: dict[str, Any] | None = None,
    new_projection: bool = False,
) -> tuple[ModelSource, Any]:
    """Where an encoder is, and the model; `needed` are names of files, of each of which a folder must have one."""
    folder = Path(name)
    if folder.is_file():
        raise UserError(f"{CANNOT_LOAD} '{name}': it is a file; give the folder that it is in.")
    missing = [files[0] for files in needed if not any((folder / file).is_file() for file in files)]
    if folder.is_dir() and missing:
        within = folder / "encoder"  # where pretraining writes it
        is_within = (within / "config.json").is_file()
        remedy = f"did you mean {within}?" if is_within else "give one that save_pretrained wrote."
        raise UserError(f"{CANNOT_LOAD} '{name}': the folder has no {missing[0]}; {remedy}")
    try:
        source = find_model(name, revision, CANNOT_LOAD)
    except ValueError as error:
        raise UserError(str(error)) from None
    changes, reshaped = changes or {}, set()
    try:
        config = AutoConfig.from_pretrained(source.path, **changes, **source.arguments)
        if not isinstance(config, (PointEncoderConfig, MRDConfig)):  # whose weights are not downloaded
            raise UserError(f"{name} is of the kind {config.model_type}, no encoder of shapes; give another.")
        if changes and isinstance(config, PointEncoderConfig):
            own = AutoConfig.from_pretrained(source.path, **source.arguments)
            reshaped = _reshaped_tensors(own, changes)
            if not all(name.startswith("projection.") for name in reshaped):
                raise _misfit(source, own, changes)
        precision = {} if dtype is None else {"dtype": dtype}
        model, info = AutoModel.from_pretrained(
            source.path, config=config, use_safetensors=True, output_loading_info=True, **precision, **source.arguments
        )
    except LOADING_ERRORS as error:
        if isinstance(error, RuntimeError) and reshaped:  # a projection, which the folder need not have, but has
            raise _misfit(source, own, changes) from None
        raise _failure(source, error) from None
    _check_no_weights_missing(source, info["missing_keys"], config.model_type == "mrd", new_projection)
    return source, model


def _reshaped_tensors(config: PreTrainedConfig, changes: dict[str, Any]) -> set[str]:
    """Names of an encoder's tensors that changes to its configuration add, take away or make of another shape."""
    changed_config = type(config).from_dict({**config.to_dict(), **changes})
    with torch.device("meta"):
        own, changed = (
            {name: tensor.shape for name, tensor in AutoModel.from_config(one).state_dict().items()}
            for one in (config, changed_config)
        )
    return {name for name in own.keys() | changed.keys() if own.get(name) != changed.get(name)}


def _misfit(source: ModelSource, config: PreTrainedConfig, changes: dict[str, Any]) -> UserError:
    """What to say of changes that an encoder's weights do not fit: which of them it is."""

    def is_unfit(name: str) -> bool:
        try:
            return bool(_reshaped_tensors(config, {name: changes[name]}))
        except LOADING_ERRORS:  # alone it makes no configuration, as heads that do not divide the width
            return True

    return UserError(
        f"the weights of {source.reference} do not fit point_config ({', '.join(filter(is_unfit, changes))}); leave "
        "these fields out, or all of a recipe's by --point-config '{}'."
    )


def _check_no_weights_missing(
    source: ModelSource, names: Iterable[str], in_pretraining: bool, new_projection: bool
) -> None:
    """Refuse an encoder some of whose weights transformers had to draw at random, which it only warns of."""
    if in_pretraining:  # where only the encoder is of use
        names = [name.removeprefix("point_bert.") for name in names if name.startswith("point_bert.")]
    missing = sorted(names)
    if all(name.startswith("projection.") for name in missing):
        if missing and not new_projection:
            raise UserError(
                f"{CANNOT_LOAD} '{source.reference}': it has no projection into its teacher's space, as a network "
                "that was fine-tuned has none; give the encoder that it was made of."
            )
        return
    raise UserError(
        f"{CANNOT_LOAD} '{source.reference}': its weights lack {missing[0]}"
        f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}; download or save it again."
    )


def _failure(source: ModelSource, error: Exception) -> UserError:
    kind = "" if os.path.isdir(source.path) else "no such folder, and not to be had from the Hub: "
    if isinstance(error, DAMAGED):
        kind = f"its weights or its configuration are damaged; download or save it again ({type(error).__name__}): "
    return UserError(f"{CANNOT_LOAD} '{source.reference}': {kind}{' '.join(str(error).split())}")
