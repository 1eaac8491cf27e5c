"""What the page asks for: scores of labels for a shape, and the collection's shapes nearest to a query."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm
from transformers import pipeline

from ..data.embedding.cached_teacher import are_one
from ..data.pictures import turned_upright
from ..encoder import load_encoder, recorded_teacher, weights_sha256
from ..errors import UserError
from ..evaluation.classes.prompt_templates import SIMPLE_TEMPLATES
from ..models.model_sources import text_tower_of
from ..models.shape_limits import check_image, check_pixels
from ..models.text_tower import TextTower
from ..search import Hit, ShapeIndex
from ..teacher import Teacher
from .collection import PICTURE_FORMATS, UP_AXIS, Collection


# The small teacher of scripts/demo_data.
DEMO_TEACHER = "demo-teacher-minilm-l6-efficientnet-lite2"
BATCH_SIZE = 32
MAX_QUERY = 500


class UnusableQuery(ValueError):
    """A text or a picture that cannot be searched by; the message says why."""


class Engine:
    """One encoder, one text tower and one collection.

    Args:
        model (`str`): The encoder: a folder or an id on the Hub.
        text_tower (`str`, *optional*): Folder or Hub id of its teacher, or of the teacher's text side. Default: the
            text tower that the encoder's configuration names, or else its teacher.
        collection (`Collection`)
        index_folder (`Path`): Where the collection's embeddings are kept for the next start.

    Attributes:
        teacher ([`Teacher`], *optional*): There where the text tower is half of an image-text model, which embeds
            pictures as well.

    Raises:
        UserError: One of them cannot be loaded, or they do not fit each other.
    """

    def __init__(self, model: str, text_tower: str | None, collection: Collection, index_folder: Path) -> None:
        loaded = load_encoder(model)
        encoder, extractor, config = loaded.model, loaded.extractor, loaded.config
        self.model_name = model
        self.num_points: int = extractor.num_points
        self.up_axis: str = extractor.up_axis
        self.is_demo = config.teacher_id == DEMO_TEACHER
        name, revision = text_tower_of(config) if text_tower is None else (text_tower, None)
        if name is None:
            raise UserError(f"the encoder {model} does not say who its teacher is; give it by --text-tower.")
        self.teacher_name = name
        # A text tower of its own is there because the teacher as a whole cannot be had.
        is_teacher = text_tower is not None or config.text_tower_id is None
        self.teacher, self._tower = _load_towers(name, revision, is_teacher)
        if self._tower.embedding_dim != config.embedding_dim:
            raise UserError(
                f"{self.teacher_name} embeds texts into width {self._tower.embedding_dim}, the encoder {model} shapes "
                f"into {config.embedding_dim}; give its teacher by --text-tower."
            )
        self._classify = pipeline(
            "zero-shot-point-cloud-classification", encoder, feature_extractor=extractor, text_tower=self._tower
        )
        self._embed = pipeline("point-cloud-feature-extraction", encoder, feature_extractor=extractor)
        self.collection = collection
        known = (recorded_teacher(config), self.teacher.identifier if self.teacher is not None else None)
        whose = collection.image_teacher
        self._has_picture_embeds = whose is not None and any(are_one(whose, one) for one in known if one is not None)
        self._index = self._open_index(index_folder, model)

    def classify(self, points: np.ndarray, up_axis: str, labels: Sequence[str]) -> dict[str, float]:
        """Score of each label, which sum to 1, the highest first."""
        found = self._classify(points, list(labels), hypothesis_template=SIMPLE_TEMPLATES, up_axis=up_axis)
        return {entry["label"]: entry["score"] for entry in found}

    def search_by_text(self, text: str, k: int) -> list[Hit]:
        """Raises an [`UnusableQuery`] for a text that is empty or too long."""
        text = " ".join(text.split())
        if not text:
            raise UnusableQuery("type what to look for, such as: a red armchair.")
        if len(text) > MAX_QUERY:
            raise UnusableQuery(f"that is {len(text):,} characters; at most {MAX_QUERY} are searched by.")
        return self._search(self._tower.embed([text]).numpy(), k)

    def search_by_shape(self, points: np.ndarray, up_axis: str, k: int) -> list[Hit]:
        return self._search(self._embed(points, up_axis=up_axis, return_tensors=True).numpy()[None], k)

    def search_by_own_picture(self, row: int, k: int) -> list[Hit]:
        """By a picture of the collection's own: by the embedding that comes with it, where that is of the encoder's
        teacher, or else by that of the `teacher`.

        Raises:
            UnusableQuery: There is neither, or the picture cannot be read.
        """
        if self._has_picture_embeds:
            embed = self.collection.picture_embed(row)
            if embed is not None and len(embed) == self._tower.embedding_dim:
                return self._search(embed[None], k)
        if self.teacher is None:
            raise UnusableQuery(
                "the collection has no embeddings of its pictures by this encoder's teacher (mrd-hf embed-teacher)."
            )
        try:
            picture = self.collection.read_picture(row)
        except Exception as error:  # of many kinds
            raise UnusableQuery("the picture cannot be read.") from error
        return self._search(self.teacher.embed_images([picture]).numpy(), k)

    def search_by_picture(self, path: str, k: int) -> list[Hit]:
        """By any picture, where there is a `teacher`; raises an [`UnusableQuery`] for one that cannot be read."""
        if self.teacher is None:
            raise UnusableQuery("this encoder's teacher does not embed pictures here.")
        try:
            with Image.open(path, formats=PICTURE_FORMATS) as image:
                check_image(image)
                check_pixels(*image.size, os.path.getsize(path))
                image.draft("RGB", (1024, 1024))
                image.thumbnail((1024, 1024))
                embeds = self.teacher.embed_images([turned_upright(image)])
        except UnidentifiedImageError as error:  # whose message is a path of this machine
            raise UnusableQuery("the picture cannot be read: it is none of PNG, JPEG, WEBP, GIF and BMP.") from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UnusableQuery(f"the picture cannot be read: {error}") from error
        return self._search(embeds.numpy(), k)

    def _search(self, queries: np.ndarray, k: int) -> list[Hit]:
        return self._index.search(queries, k)[0]

    def _open_index(self, folder: Path, model: str) -> ShapeIndex:
        """The collection's embeddings by this encoder, from an earlier start where there was one."""
        digest = hashlib.sha256(self._embed.feature_extractor.to_json_string().encode())
        digest.update(self._embed.model.config.to_json_string().encode())
        digest.update(weights_sha256(self._embed.model).encode())
        digest.update(self.collection.fingerprint().encode())
        place = folder / digest.hexdigest()[:16]
        try:
            return ShapeIndex.open(place)
        except UserError:  # none, or a damaged one
            embeds = self._embed(self.collection.shapes, batch_size=BATCH_SIZE, up_axis=UP_AXIS, return_tensors=True)
            progress = tqdm(embeds, desc="Encoding the collection", total=len(self.collection))
            items = [
                {"id": shape_id, "name": name}
                for shape_id, name in zip(self.collection.ids, self.collection.names, strict=True)
            ]
            place.parent.mkdir(parents=True, exist_ok=True)
            return ShapeIndex.build(place, torch.stack(list(progress)).numpy(), items, model, self.teacher_name)


def _load_towers(name: str, revision: str | None, may_be_teacher: bool) -> tuple[Teacher | None, TextTower]:
    """Both sides of an image-text model, or a text encoder alone."""
    if may_be_teacher:
        try:
            teacher = Teacher.from_pretrained(name, revision)
            return teacher, teacher.text_tower
        except UserError:  # no dual encoder, or none at all
            pass
    try:
        return None, TextTower.from_pretrained(name, revision)
    except ValueError as error:
        raise UserError(f"cannot load the text tower: {error} If you have it elsewhere, give --text-tower.") from None
