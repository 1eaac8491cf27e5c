"""Models of open_clip's, in its files, with the weights of the recordings in `tests/golden/open_clip*.safetensors`.

The recordings were made by open_clip 3.3.0, which need not be installed.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from support.golden import FOLDER, drawn_tensors, original_shapes
from support.tiny_teachers import save_tiny_clip


KINDS = ("open_clip_text", "open_clip_custom_text")


def recorded_config(name: str) -> dict:
    """What the model was made of, as its file says it."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        return json.loads(file.metadata()["config"])


def save_tiny_open_clip(folder: Path, name: str, vocab_size: int | None = None, **changes: object) -> Path:
    """The model of a recording, as open_clip and timm publish one.

    Args:
        folder (`Path`): Made if it is not there.
        name (`str`): One of `KINDS`.
        vocab_size (`int`, *optional*): Another than the recording's, for a tokenizer with more tokens.
        **changes: Fields of the text tower's configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config, shapes = recorded_config(name), original_shapes(name)
    if vocab_size is not None:
        config["text_cfg"]["vocab_size"] = vocab_size
        shapes = {k: [vocab_size, *v[1:]] if k.endswith("token_embedding.weight") else v for k, v in shapes.items()}
    config["text_cfg"] |= changes
    normalization = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": normalization}))
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_tiny", "num_classes": 24}))  # timm's
    tensors: dict[str, torch.Tensor] = drawn_tensors(shapes)
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


def add_tokenizer(folder: Path) -> int:
    """Put a tokenizer beside a model; returns how many tokens it has."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(save_tiny_clip(folder.with_name(f"{folder.name}-clip")))
    tokenizer.save_pretrained(folder)
    return len(tokenizer)
