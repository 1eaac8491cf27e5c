"""The card of a fine-tuned network, written from what really ran."""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData


TEMPLATE = Path(__file__).parent / "templates" / "finetuned.md"


def write_finetuned_card(folder: Path, name: str, parts: bool, **facts: Any) -> None:
    """Write the README.md of a fine-tuned network; [`write_results`] adds an evaluation.

    Args:
        folder (`Path`): The network's.
        name (`str`): What to load it by: its folder, as it will be typed.
        parts (`bool`): Whether it says parts of objects; else classes of shapes.
        **facts: The template's variables.
    """
    task = "point-cloud-part-segmentation" if parts else "point-cloud-classification"
    data = ModelCardData(license="apache-2.0", library_name="transformers", tags=["point-cloud", "3d", task, "mrd-hf"])
    template = TEMPLATE.read_text(encoding="utf-8")
    card = ModelCard.from_template(data, template_str=template, name=name, parts=parts, **facts)
    card.save(folder / "README.md")
