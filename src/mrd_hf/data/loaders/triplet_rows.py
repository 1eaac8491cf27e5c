"""Batches from rows of a triplet dataset's Arrow table."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Features
from PIL import Image

from ...errors import UserError
from ..pictures import decode_picture
from ..schema import EMBEDDING_COLUMNS, SHAPE_COLUMNS, SOURCE_COLUMNS, check_columns
from .arrow_rows import ArrayRows, ListRows
from .choices import ChoiceConfig, pick_image, pick_text, uniform_draws


# What the draws for a shape are for.
IMAGE, TEXT, POINTS = range(3)


def columns_to_read(features: Features, cached: bool, choice: ChoiceConfig, name: str) -> list[str]:
    """The columns that batches are made from.

    Args:
        features (`datasets.Features`): Of the dataset.
        cached (`bool`): Whether to read cached embeddings, or the images and texts for a teacher to embed.
        choice ([`ChoiceConfig`])
        name (`str`): The dataset's folder or Hub id, for messages.

    Raises:
        UserError: when a column is missing or of another type.
    """
    check_columns(features, (*SHAPE_COLUMNS, *(EMBEDDING_COLUMNS if cached else SOURCE_COLUMNS)), name)
    columns = [*SHAPE_COLUMNS, *(("image_embeds", "text_embeds") if cached else SOURCE_COLUMNS)]
    if "texts" in features and "texts" not in columns:
        check_columns(features, ["texts"], name)
        columns.append("texts")
    elif choice.text_weights and "texts" not in features:
        raise UserError(f"{name}: no column 'texts', so its texts have no sources; leave text_weights out.")
    if choice.first_image_probability:
        if "source" not in features:
            raise UserError(f"{name}: no column 'source' (of the shapes); leave first_image_probability out.")
        columns.append("source")
    return columns


class TripletRows:
    """Makes batches from rows of a table, with one image and one text drawn for each.

    Args:
        table (`pa.Table`): Of the columns that [`columns_to_read`] names.
        embedding_dim (`int`): Width of the cached embeddings.
        cached (`bool`): Whether batches have cached embeddings, or images and texts.
        choice ([`ChoiceConfig`])
        seed (`int`)
        name (`str`): The dataset's folder or Hub id, for messages.

    Raises:
        UserError: when points, colours or embeddings have nulls.
    """

    def __init__(
        self, table: pa.Table, embedding_dim: int, cached: bool, choice: ChoiceConfig, seed: int, name: str
    ) -> None:
        self.cached = cached
        self.choice = choice
        self.seed = seed
        self.name = name
        self.ids = table.column("id")
        self.sources = table.column("source") if choice.first_image_probability else None
        # Few shapes differ in the sources of their texts. Of each chunk that was read, its rows' sources.
        self.text_sources: dict[int, list[tuple[str, ...]]] = {}
        self.probabilities: dict[tuple[str, ...], np.ndarray] = {}
        self.texts = ListRows(table.column("texts")) if "texts" in table.column_names else None
        self.points, self.colors = (self._arrays(table, column, 3) for column in ("points", "colors"))
        if cached:
            self.image_embeds, self.text_embeds = (
                self._arrays(table, column, embedding_dim) for column in ("image_embeds", "text_embeds")
            )
        else:
            self.images = ListRows(table.column("images"))

    def _arrays(self, table: pa.Table, column: str, width: int) -> ArrayRows:
        try:
            return ArrayRows(table.column(column), width)
        except pa.ArrowInvalid as error:
            raise UserError(f"{self.name}: column '{column}' has nulls ({error}); prepare it again.") from None

    def usable(self) -> np.ndarray:
        """Which rows have points, an image and a text, bool `(num_rows,)`."""
        needed: list[ArrayRows | ListRows] = [self.points]
        if self.cached:
            needed += [self.image_embeds, self.text_embeds]
        else:
            needed += [self.images]
        found = [rows.lengths() > 0 for rows in needed]
        return np.logical_and.reduce(found if self.cached else [*found, self._num_texts() > 0])

    def _num_texts(self) -> np.ndarray:
        """How many texts each row has that are no nulls."""
        assert self.texts is not None
        counts = []
        for offsets, values in zip(self.texts.offsets, self.texts.values, strict=True):
            usable = values.field("text").is_valid().to_numpy(zero_copy_only=False)
            before = np.concatenate([[0], np.cumsum(usable)])
            counts.append(before[offsets[1:]] - before[offsets[:-1]])
        return np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)

    def batch(self, rows: np.ndarray, indices: np.ndarray, epochs: np.ndarray, num_points: int) -> dict[str, Any]:
        """A batch of some rows, all of them usable; see [`TripletDataset`] for what is in it.

        Args:
            rows (`np.ndarray` of shape `(batch,)`): Places in the table.
            indices, epochs (`np.ndarray` of shape `(batch,)`): What, with the seed, decides the draws.
            num_points (`int`): Points a shape.

        Raises:
            UserError: when a row's columns do not fit together.
        """
        places: list[int] = rows.tolist()
        draws = {stream: uniform_draws(self.seed, stream, epochs, indices) for stream in (IMAGE, TEXT, POINTS)}
        batch: dict[str, Any] = {"ids": [self.ids[row].as_py() for row in places]}
        batch |= self._clouds(places, draws[POINTS], num_points)
        images = [self._image(row, draw) for row, draw in zip(places, draws[IMAGE].tolist(), strict=True)]
        texts = [self._text(row, draw) for row, draw in zip(places, draws[TEXT].tolist(), strict=True)]
        if self.cached:
            for name, embeds, picked in (
                ("image_embeds", self.image_embeds, images),
                ("text_embeds", self.text_embeds, texts),
            ):
                chosen = [embeds[row][number] for row, number in zip(places, picked, strict=True)]
                batch[name] = torch.from_numpy(np.stack(chosen).astype(np.float32))
        else:
            assert self.texts is not None
            batch["images"] = [self._picture(row, number) for row, number in zip(places, images, strict=True)]
            batch["texts"] = [
                self.texts[row].field("text")[number].as_py() for row, number in zip(places, texts, strict=True)
            ]
        return batch

    def _picture(self, row: int, number: int) -> Image.Image:
        try:
            return decode_picture(self.images[row][number].as_py())
        except Exception as error:  # whatever Pillow makes of one bad file among thousands
            raise UserError(
                f"{self.name}: picture {number} of {self.ids[row]} cannot be decoded ({error}); train on embeddings "
                "instead: mrd-hf embed-teacher leaves such pictures out."
            ) from None

    def _clouds(self, places: list[int], draws: np.ndarray, num_points: int) -> dict[str, torch.Tensor]:
        """Points and colours. Points are stored in random order, so any stretch of them is a random sample."""
        clouds = {}
        for name, column in (("points", self.points), ("colors", self.colors)):
            dtype = column.numbers[0].dtype
            clouds[name] = np.empty((len(places), num_points, 3), dtype=dtype)
        for position, (row, draw) in enumerate(zip(places, draws.tolist(), strict=True)):
            points, colors = self.points[row], self.colors[row]
            if len(points) != len(colors):
                found = f"{self.ids[row]} has {len(points)} points, but {len(colors)} colors"
                raise UserError(f"{self.name}: {found}; prepare it again.")
            for name, values in (("points", points), ("colors", colors)):
                if len(values) >= num_points:
                    start = int(draw * (len(values) - num_points + 1))
                    clouds[name][position] = values[start : start + num_points]
                else:
                    clouds[name][position] = np.resize(values, (num_points, 3))  # repeats them
        return {name: torch.from_numpy(values) for name, values in clouds.items()}

    def _image(self, row: int, draw: float) -> int:
        count = len(self.image_embeds[row] if self.cached else self.images[row])
        source = self.sources[row].as_py() if self.sources is not None else None
        return pick_image(draw, count, self.choice.first_image_share(source, count))

    def _text_sources(self, row: int) -> tuple[str, ...]:
        assert self.texts is not None
        chunk, place = self.texts.locate(row)
        if chunk not in self.text_sources:
            offsets = self.texts.offsets[chunk]
            sources = [source or "" for source in self.texts.values[chunk].field("source").to_pylist()]
            rows = [tuple(sources[start:end]) for start, end in pairwise(offsets.tolist())]
            for of_row in set(rows) - self.probabilities.keys() - {()}:
                self.probabilities[of_row] = self.choice.text_probabilities(of_row)
            # The same objects again, so that they take little memory.
            known = {of_row: of_row for of_row in self.probabilities}
            self.text_sources[chunk] = [known.get(of_row, of_row) for of_row in rows]
        return self.text_sources[chunk][place]

    def _text(self, row: int, draw: float) -> int:
        if self.texts is None:
            return int(draw * len(self.text_embeds[row]))
        sources = self._text_sources(row)
        if self.cached and len(sources) != (count := len(self.text_embeds[row])):
            found = f"{self.ids[row]} has {len(sources)} texts, but {count} text_embeds"
            raise UserError(f"{self.name}: {found}; embed them again with mrd-hf embed-teacher.")
        probabilities = self.probabilities[sources]
        if self.cached:
            return pick_text(draw, probabilities)
        usable = self.texts[row].field("text").is_valid().to_numpy(zero_copy_only=False)
        if usable.all():
            return pick_text(draw, probabilities)
        # A null is embedded by no teacher: the others as if it were not there.
        places = np.flatnonzero(usable)
        others = self.choice.text_probabilities(tuple(sources[place] for place in places))
        return int(places[pick_text(draw, others)])
