"""Whether a folder can be that of an encoder, before transformers looks into it."""

from pathlib import Path

from .errors import UserError


# What save_pretrained of the encoder and of its feature extractor writes, the latter possibly within a processor.
NEEDED = (("config.json",), ("preprocessor_config.json", "processor_config.json"))


def check_model_folder(name: str) -> None:
    """Raise a [`UserError`] if this is a file, or a folder that lacks a file of an encoder's; ids of the Hub pass.

    Args:
        name (`str`): What the user gave as the model.
    """
    folder = Path(name)
    if folder.is_file():
        raise UserError(f"cannot load the model {name}: it is a file; give the folder that it is in.")
    missing = [files[0] for files in NEEDED if not any((folder / file).is_file() for file in files)]
    if not folder.is_dir() or not missing:
        return
    within = folder / "encoder"  # where pretraining writes it
    remedy = (
        f"did you mean {within}?" if (within / "config.json").is_file() else "give one that save_pretrained wrote."
    )
    raise UserError(f"cannot load the model {name}: the folder has no {missing[0]}; {remedy}")
