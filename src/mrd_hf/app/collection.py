"""The shapes that can be picked and searched: a triplet dataset, its pictures and its clouds."""

import hashlib
import io
import json
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, concatenate_datasets
from PIL import Image, ImageOps

from ..data.embedding.cached_teacher import origins_in_dataset, the_teacher
from ..data.loading import load_all_splits
from ..data.schema import category_names, check_columns
from ..errors import UserError
from ..models.image_flattening import flatten_onto_white
from ..models.shape_limits import check_image, check_pixels
from .shape_reading import Shape
from .view_glb import cloud_view


UP_AXIS = "y"  # the schema's
# Others have readers of their own kind: Pillow hands EPS to Ghostscript, which runs what is in it.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
# Of a picture as it is shown, in pixels.
MAX_SIDE = 1024

logger = logging.getLogger(__name__)


class Collection:
    """A triplet dataset as the page shows it: those of its shapes that have a picture, of all its splits.

    The dataset is untrusted input. So a picture is one whose bytes it holds: a path could be that of any file of this
    machine, which the page would publish.

    Args:
        name (`str`): A folder or an id on the Hub.
        picture_folder (`Path`): Where pictures are written as they are shown; the page serves them from there.

    Attributes:
        shapes (`datasets.Dataset`): Points and colours, as numpy arrays.
        ids, names, credits (`list[str]`): A credit is creator, licence and source in a line.
        categories (`list[str | None]`): The class that each shape belongs to, where the dataset says so.
        image_teacher (`str`, *optional*): Whose the embeddings are that come with the pictures, where there are such
            and the dataset says so.
        is_held_out (`list[bool]`): Of a split that encoders are not trained on, where the dataset has such.

    Raises:
        UserError: There is no such dataset, it lacks a column, or no shape has a picture.
    """

    def __init__(self, name: str, picture_folder: Path) -> None:
        splits = load_all_splits(name)
        for split, rows in splits.items():
            check_columns(rows.features, ("id", "points", "colors", "images"), f"{name} ({split})")
        table = concatenate_datasets(list(splits.values()))
        with_picture = np.flatnonzero(_has_picture(table.data.column("images")))
        held_out = np.repeat(
            [not split.startswith("train") for split in splits], [len(rows) for rows in splits.values()]
        )
        table = table.select(with_picture)
        if len(table) == 0:
            raise UserError(
                f"{name}: no shape has a picture in the column 'images', and the page shows shapes by their pictures. "
                "They are to be in the dataset, as mrd-hf prepare writes them; a path alone is not followed."
            )
        self.name = name
        self.ids: list[str] = table["id"][:]
        names = table["name"][:] if "name" in table.column_names else self.ids
        self.names: list[str] = [found or shape_id for found, shape_id in zip(names, self.ids, strict=True)]
        self.credits = _credits(table)
        self.categories = category_names(table, name)
        self.is_held_out: list[bool] = held_out[with_picture].tolist()
        self.shapes = table.select_columns(["points", "colors"]).with_format("numpy")
        self._images = table.select_columns(["images"]).with_format("arrow")
        has_embeds = "image_embeds" in table.column_names
        self._image_embeds = table.select_columns(["image_embeds"]).with_format("numpy") if has_embeds else None
        self.image_teacher: str | None = None
        if has_embeds:
            with suppress(UserError):  # it does not say, or they are of several
                self.image_teacher = the_teacher([origins_in_dataset(rows) for rows in splits.values()], name)
        self._folder = picture_folder

    def __len__(self) -> int:
        return len(self.ids)

    def picture(self, row: int) -> str:
        """Path of a shape's first picture; of a plain one, with a warning, where that cannot be read."""
        path = self._folder / f"picture-{row}.png"
        if not path.is_file():
            try:
                image = self.read_picture(row)
            except Exception as error:  # of many kinds in damaged pictures; the other shapes are to be shown
                reason = str(error).partition(" <_io")[0]  # the address of the buffer says nothing
                logger.warning(f"{self.name}: the first picture of {self.ids[row]} cannot be shown ({reason}).")
                image = Image.new("RGB", (64, 64), "lightgray")
            shown = io.BytesIO()
            image.save(shown, "PNG")
            path.write_bytes(shown.getvalue())
        return str(path)

    def read_picture(self, row: int) -> Image.Image:
        """A shape's first picture; a damaged one raises errors of many kinds."""
        return _read_picture(self._images[row]["images"][0].as_py()[0]["bytes"])

    def picture_embed(self, row: int) -> np.ndarray | None:
        """Embedding of that picture by `image_teacher`, float32 of shape `(width,)`, where the dataset has it."""
        if self._image_embeds is None:
            return None
        return np.asarray(self._image_embeds[row]["image_embeds"][0], dtype=np.float32)

    def shape(self, row: int, up_axis: str = UP_AXIS) -> Shape:
        """A shape as if it had been uploaded, and `up_axis` said of it."""
        cloud = self.shapes[row]
        points, colors = cloud["points"].astype(np.float64), cloud["colors"] / 255
        return Shape(np.concatenate([points, colors], axis=1), cloud_view(points, colors, up_axis), [], up_axis)

    def in_turns(self, categories: Sequence[str]) -> list[int]:
        """Rows of these categories: the first of each in turn, then the second ...; held-out rows before others.

        Upper and lower case are not told apart.
        """
        places = {category.casefold(): place for place, category in enumerate(categories)}
        turns: Counter[tuple[bool, int]] = Counter()
        found = []
        for row, (category, is_held_out) in enumerate(zip(self.categories, self.is_held_out, strict=True)):
            place = places.get(category.casefold()) if category is not None else None
            if place is not None:
                found.append((not is_held_out, turns[is_held_out, place], place, row))
                turns[is_held_out, place] += 1
        return [row for *_, row in sorted(found)]

    def spread(self, count: int) -> list[int]:
        """Rows to offer: of each category in turn, held-out ones first; without categories at equal distances."""
        rows = self.in_turns(sorted({category for category in self.categories if category is not None}))
        if not rows:
            rows = sorted(range(len(self)), key=lambda row: not self.is_held_out[row])
            rows = rows[:: max(1, len(rows) // count)]
        return rows[:count]

    def fingerprint(self) -> str:
        """Changes whenever a shape or its name does."""
        digest = hashlib.sha256(json.dumps([self.ids, self.names]).encode())
        for rows in self.shapes.iter(256):
            for column in ("points", "colors"):
                for cloud in rows[column]:
                    digest.update(np.ascontiguousarray(cloud).tobytes())
        return digest.hexdigest()


def _has_picture(images: pa.ChunkedArray) -> np.ndarray:
    """Of each row of the column, whether its first picture's bytes are there. The bytes themselves are not read."""
    kind = images.type.value_type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:  # as a list of paths
        return np.zeros(len(images), dtype=bool)
    found = [np.zeros(0, dtype=bool)]
    for chunk in images.chunks:
        rows = chunk.is_valid().to_numpy(zero_copy_only=False) & (np.diff(chunk.offsets) > 0)
        has_bytes = pc.struct_field(chunk.values, "bytes").is_valid().to_numpy(zero_copy_only=False)
        rows[rows] = has_bytes[chunk.offsets.to_numpy()[:-1][rows]]
        found.append(rows)
    return np.concatenate(found)


def _read_picture(content: bytes) -> Image.Image:
    """A picture of `MAX_SIDE` at most, as a teacher sees it: turned as its EXIF data says, on white."""
    with Image.open(io.BytesIO(content), formats=PICTURE_FORMATS) as image:
        check_image(image)
        check_pixels(*image.size, len(content))
        image.draft("RGB", (MAX_SIDE, MAX_SIDE))
        shown = flatten_onto_white(ImageOps.exif_transpose(image))
    shown.thumbnail((MAX_SIDE, MAX_SIDE))
    return shown


def _credits(table: Dataset) -> list[str]:
    columns: list[Sequence[str | None]] = [
        table[column][:] for column in ("creator", "license", "source") if column in table.column_names
    ]
    if not columns:
        return [""] * len(table)
    return [" · ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]
