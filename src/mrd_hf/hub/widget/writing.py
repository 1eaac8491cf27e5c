"""Writing the page with an exported encoder, for a static Space or any server of files."""

import json
import re
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import SpaceCardData

from ...errors import UserError
from ..model_card import hub_repository


# What `make widget` builds, and wheels have.
BUNDLE = "bundle"
TITLE = "What is this shape?"
SETTINGS_FILE, COLLECTION_FILE, COLLECTION_EMBEDS = "widget.json", "collection.json", "collection.bin"
DESCRIPTION_FILE = "encoder.json"
# Of an export's folder; torch.export's program is of no use in a browser.
ENCODER_FILES = ("encoder.json", "encoder.onnx", "sampling.onnx", "network.onnx", "class_embeddings.bin")
NEEDED = ENCODER_FILES[:4]
# A visitor fetches the whole of it.
MAX_COLLECTION_BYTES = 64 * 2**20
CARD_START, CARD_END = "<!-- the page in the browser -->", "<!-- end of the page in the browser -->"


@dataclass(frozen=True)
class Collection:
    """A collection that the page searches.

    Args:
        embeds (`np.ndarray` of shape `(count, embedding_dim)`): float32, L2-normalised.
        items (`list[dict]`): Of each, in the same order, the `name` and, or null, the `url`.
    """

    embeds: np.ndarray
    items: list[dict[str, str | None]]


def write_widget(export: Path, folder: Path, collection: Collection | None = None) -> list[str]:
    """Write the page, with an encoder, into an empty folder.

    Args:
        export (`Path`): As `mrd-hf export` wrote it.
        folder (`Path`): It is there, and empty.
        collection ([`Collection`], *optional*): What the page searches.

    Returns:
        `list[str]`: What was written, by path.

    Raises:
        UserError: This installation has no page, the folder is no export, or the collection does not fit it.
    """
    description = read_description(export)
    source = _bundle()
    for name in sorted(entry.name for entry in source.iterdir()):
        shutil.copyfile(str(source / name), folder / name)
    (folder / "encoder").mkdir()
    for name in ENCODER_FILES:
        if (export / name).is_file():
            shutil.copyfile(export / name, folder / "encoder" / name)
    settings = {
        "title": TITLE,
        "encoder": "encoder/",
        "collection": None if collection is None else COLLECTION_FILE,
    }
    _write_json(folder / SETTINGS_FILE, settings)
    if collection is not None:
        _write_collection(collection, description, folder)
    # The Hub shows the page beside the encoder's repository.
    (folder / "README.md").write_text(_readme(hub_repository(description["name"])), encoding="utf-8")
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def read_description(export: Path) -> dict[str, Any]:
    """The encoder.json of an export's folder.

    Raises:
        UserError: It is no such folder.
    """
    missing = [name for name in NEEDED if not (export / name).is_file()]
    if missing:
        raise UserError(
            f"{export}: has no {missing[0]}; give a folder that `mrd-hf export MODEL --to DIR` wrote. Add "
            "--class-texts to that, so that the page has labels."
        )
    try:
        description = json.loads((export / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        if description["format"] != "mrd_hf encoder":
            raise ValueError(f"format {description['format']!r}")
        return {**description, "name": str(description["name"]), "width": int(description["output"]["embedding_dim"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{export / DESCRIPTION_FILE}: cannot be read ({error}); export the encoder again.") from None


def link_card(text: str, page: str) -> str:
    """A model card with a link to the page, before its first section; one that is there is replaced.

    Args:
        text (`str`): The card.
        page (`str`): The page's address.
    """
    block = (
        f"{CARD_START}\n[Try it in your browser]({page}): the shape is classified on your own machine, which nothing "
        f"leaves.\n{CARD_END}\n\n"
    )
    text = re.sub(rf"{re.escape(CARD_START)}.*?{re.escape(CARD_END)}\n*", "", text, flags=re.DOTALL)
    section = re.search(r"^## ", text, flags=re.MULTILINE)
    place = section.start() if section is not None else len(text)
    return text[:place] + block + text[place:]


def _bundle() -> Path:
    bundle = Path(str(resources.files(__package__))) / BUNDLE
    if not (bundle / "index.html").is_file():
        raise UserError(
            "this installation of mrd-hf was built without the page for browsers. The wheels of releases have it "
            "(pip install mrd-hf); in a clone, `make widget` builds it, for which it needs Node.js."
        )
    return bundle


def _write_collection(collection: Collection, description: dict[str, Any], folder: Path) -> None:
    width = description["width"]
    if collection.embeds.shape != (len(collection.items), width):
        raise UserError(
            f"the collection's embeddings have width {collection.embeds.shape[1]}, the encoder's {width}; index the "
            "collection with this encoder."
        )
    if collection.embeds.nbytes > MAX_COLLECTION_BYTES:
        raise UserError(
            f"the collection has {collection.embeds.nbytes / 2**20:.0f} MiB of embeddings, which every visitor would "
            f"fetch; at most {MAX_COLLECTION_BYTES // 2**20} are put beside a page. Index a part of it."
        )
    (folder / COLLECTION_EMBEDS).write_bytes(collection.embeds.astype("<f4").tobytes())
    _write_json(folder / COLLECTION_FILE, {"file": COLLECTION_EMBEDS, "width": width, "items": collection.items})


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _readme(model: str | None) -> str:
    data = SpaceCardData(
        title=TITLE,
        sdk="static",
        app_file="index.html",
        license="apache-2.0",
        models=None if model is None else [model],
        tags=["3d", "point-cloud", "mrd-hf"],
        # Isolated pages may compute with several threads.
        custom_headers={
            "cross-origin-embedder-policy": "require-corp",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "cross-origin",
        },
    )
    return (
        f"---\n{data.to_yaml()}\n---\n\n# {TITLE}\n\nA page that classifies a 3D shape in the visitor's browser: "
        "nothing leaves their machine, and no server computes. Written by `mrd-hf push --widget`.\n"
    )
