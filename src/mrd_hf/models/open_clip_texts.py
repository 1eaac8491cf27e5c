"""Texts of models that open_clip publishes, such as Uni3D's teacher: read from its files into transformers' CLIP.

Its text towers are CLIP's under other names, so neither open_clip nor torchvision, which it needs, must be installed.

Source: open_clip's `CLIPTextCfg` and `TextTransformer` (github.com/mlfoundations/open_clip).
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import CLIPConfig, CLIPModel
from transformers.utils import cached_file

from .model_sources import ModelSource, named_loading_errors


CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
# The fields that are read, and those that are as they are in CLIP when they have these values.
READ = ("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio")
OF_CLIP: dict[str, tuple[Any, ...]] = {
    "pool_type": ("argmax",),
    "proj_type": ("linear",),
    **dict.fromkeys(("embed_cls", "no_causal_mask", "final_ln_after_pool", "proj_bias", "output_tokens"), (False,)),
    **dict.fromkeys(("ls_init_value", "act_kwargs", "norm_kwargs", "hf_model_name"), (None,)),
}
# Of texts' tokens, whatever makes them.
INDIFFERENT = ("hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "pad_id", "eos_id")
NAMES = (
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^transformer\.resblocks\.(\d+)\.ln_(\d)\.", r"text_model.encoder.layers.\1.layer_norm\2."),
    (r"^transformer\.resblocks\.(\d+)\.attn\.out_proj\.", r"text_model.encoder.layers.\1.self_attn.out_proj."),
    (r"^transformer\.resblocks\.(\d+)\.mlp\.c_fc\.", r"text_model.encoder.layers.\1.mlp.fc1."),
    (r"^transformer\.resblocks\.(\d+)\.mlp\.c_proj\.", r"text_model.encoder.layers.\1.mlp.fc2."),
)
PACKED = re.compile(r"^transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)$")
POOL_AT_LARGEST_ID = 2  # an eos_token_id by which transformers' CLIP pools at the largest id, as open_clip does


def open_clip_file(source: ModelSource, file: str) -> Path | None:
    """One of open_clip's files in a folder or repository; None if it is not there."""
    found = cached_file(source.path, file, _raise_exceptions_for_missing_entries=False, **source.arguments)
    return None if found is None else Path(found)


def is_open_clip(source: ModelSource) -> bool:
    """Whether a folder or repository holds a model of open_clip's, and none that transformers loads.

    Many hold both. timm's have a config.json as well, which names no `model_type`.

    Raises:
        ValueError: If the Hub cannot say, or a configuration is damaged.
    """
    with named_loading_errors(source):
        config = open_clip_file(source, "config.json")
        if config is not None and "model_type" in json.loads(config.read_text(encoding="utf-8")):
            return False
        return open_clip_file(source, CONFIG_FILE) is not None


def read_model_config(source: ModelSource) -> dict[str, Any]:
    """What the file says of the model: `embed_dim`, `text_cfg`, `vision_cfg`, ...

    Raises:
        ValueError: If it is no such file.
    """
    file = open_clip_file(source, CONFIG_FILE)
    content = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
    model = content.get("model_cfg", content) if isinstance(content, dict) else {}
    if not {"embed_dim", "text_cfg"} <= model.keys():
        raise ValueError(f"teacher '{source.reference}': {CONFIG_FILE} has no embed_dim or no text_cfg.")
    return model


def load_open_clip_texts(
    source: ModelSource, dtype: torch.dtype, model_class: type[CLIPModel] = CLIPModel
) -> CLIPModel:
    """The text half of a model of open_clip's, as a CLIP without an image half.

    Args:
        source ([`ModelSource`]): Of which [`is_open_clip`] holds.
        dtype (`torch.dtype`): Precision of the weights.
        model_class (`type`): To make; `CLIPModel`, or one derived from it.

    Raises:
        ValueError: If its text tower is not CLIP's, or its weights are not there in safetensors, or damaged.
    """
    with named_loading_errors(source):
        return _load_texts(source, dtype, model_class)


def _load_texts(source: ModelSource, dtype: torch.dtype, model_class: type[CLIPModel]) -> CLIPModel:
    model = read_model_config(source)
    text = model["text_cfg"]
    for name, value in text.items():
        # What is not known here is something that CLIP does not have, and off when it is false or none.
        if name not in (*READ, *INDIFFERENT) and value not in OF_CLIP.get(name, (False, None)):
            raise ValueError(
                f"teacher '{source.reference}': its text tower has {name} = {value!r} in {CONFIG_FILE}, which CLIP's "
                "does not have; embed class names with open_clip itself and give them by --class-texts."
            )
    file = open_clip_file(source, WEIGHTS_FILE)
    if file is None:
        raise ValueError(
            f"teacher '{source.reference}': it has no {WEIGHTS_FILE}; weights are read from safetensors alone."
        )
    width = text.get("width", 512)
    config = CLIPConfig(
        text_config={
            "vocab_size": text.get("vocab_size", 49408),
            "max_position_embeddings": text.get("context_length", 77),
            "hidden_size": width,
            "intermediate_size": int(width * text.get("mlp_ratio", 4.0)),
            "num_hidden_layers": text.get("layers", 12),
            "num_attention_heads": text.get("heads", 8),
            "hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu",
            "bos_token_id": None,
            "eos_token_id": POOL_AT_LARGEST_ID,
        },
        vision_config={"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1},
        projection_dim=model["embed_dim"],
    )
    clip = model_class(config)
    clip.vision_model, clip.visual_projection = None, None
    missing, _ = clip.load_state_dict(_read_texts(file), strict=False)
    if missing:
        raise ValueError(f"teacher '{source.reference}': {WEIGHTS_FILE} has nothing for {', '.join(missing[:3])}.")
    return clip.to(dtype).eval()


def _read_texts(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of the text half, under transformers' names."""
    tensors: dict[str, torch.Tensor] = {}
    with safe_open(file, "pt") as weights:
        names = list(weights.keys())
        # A text tower of its own has a prefix; otherwise the image half alone has one.
        prefix = "text." if "text.token_embedding.weight" in names else ""
        for name in names:
            if name == "logit_scale":
                tensors[name] = weights.get_tensor(name).reshape(())
            elif name.startswith(prefix) and not name.startswith("visual."):
                tensors |= _renamed(name.removeprefix(prefix), weights.get_tensor(name))
    return tensors


def _renamed(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    if name == "text_projection":
        return {"text_projection.weight": tensor.T.contiguous()}
    packed = PACKED.match(name)
    if packed is not None:
        layer = f"text_model.encoder.layers.{packed[1]}.self_attn."
        return {f"{layer}{part}_proj.{packed[2]}": rows for part, rows in zip("qkv", tensor.chunk(3), strict=True)}
    for pattern, replacement in NAMES:
        new, count = re.subn(pattern, replacement, name)
        if count:
            return {new: tensor}
    return {}


__all__ = ["is_open_clip", "load_open_clip_texts"]
