"""The card of a fine-tuned network, written from what really ran."""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from .card_license import license_fields
from .model_card import hub_repository, on_hub


TEMPLATE = Path(__file__).parent / "templates" / "finetuned.md"


def write_finetuned_card(
    folder: Path,
    name: str,
    parts: bool,
    dataset: str,
    encoder: str | None = None,
    licensed: dict[str, Any] | None = None,
    **facts: Any,
) -> None:
    """Write the README.md of a fine-tuned network; [`write_results`] adds an evaluation.

    Args:
        folder (`Path`): The network's.
        name (`str`): What to load it by: its folder, as it will be typed.
        parts (`bool`): Whether it says parts of objects; else classes of shapes.
        dataset (`str`): What it was trained on: a dataset on the Hub, a benchmark's name, or a local folder.
        encoder (`str`, *optional*): What it started from: an encoder on the Hub, or a local folder.
        licensed (`dict`, *optional*): As [`license_fields`] says of `encoder`; default: Apache-2.0.
        **facts: The template's variables.
    """
    task = "point-cloud-part-segmentation" if parts else "point-cloud-classification"
    data = ModelCardData(
        **(licensed or license_fields(None)),
        library_name="transformers",
        tags=["point-cloud", "3d", task, "mrd-hf"],
        base_model=hub_repository(encoder),
        datasets=[dataset] if on_hub(dataset) else None,
    )
    shown = {"name": name, "parts": parts, "dataset": dataset, "encoder": encoder, **facts}
    card = ModelCard.from_template(data, template_str=TEMPLATE.read_text(encoding="utf-8"), **shown)
    card.save(folder / "README.md")
