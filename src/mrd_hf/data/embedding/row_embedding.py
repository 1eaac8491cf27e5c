"""A frozen teacher's embeddings of the rows of a triplet dataset, whatever their images are like."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features
from datasets.table import table_cast
from PIL import Image

from ...errors import UserError
from ...teacher import Teacher, flatten_onto_white
from ..pictures import decode_picture
from ..schema import EMBEDDING_COLUMNS, TEACHER_COLUMNS, triplet_features


# How a text is embedded that no prompt is put around.
NO_PROMPT = ("{}",)
# Retrieved texts are captions of other pictures: OpenShape (arXiv 2305.10764) puts all others into prompts.
UNPROMPTED_SOURCES = ("retrieval",)
# Texts whose embeddings are kept at hand, 160 MB of width 1280: names and tags occur again and again.
KNOWN_TEXTS = 65_536
# They decode images while the model embeds those before.
DECODING_THREADS = 4

# An embedding, (embedding_dim,), or why there is none.
Result = np.ndarray | str


@dataclass
class Throughput:
    """What a teacher has embedded, and how long it took.

    Args:
        images (`int`), image_seconds (`float`): Decoding counts where the model had to wait for it.
        texts (`int`), text_seconds (`float`): A text in several prompts counts several times.
    """

    images: int = 0
    image_seconds: float = 0.0
    texts: int = 0
    text_seconds: float = 0.0

    def __str__(self) -> str:
        images = f"{self.images} images ({_rate(self.images, self.image_seconds)})"
        return f"{images} and {self.texts} texts ({_rate(self.texts, self.text_seconds)})"


class RowEmbedder:
    """Adds a teacher's embeddings to tables of rows, replacing older ones.

    An image that cannot be decoded, and an image or text whose embedding is not finite, is left out of its row
    together with its embedding, and noted.

    Args:
        teacher ([`Teacher`]): The frozen image-text model.
        batch_size (`int`): How many images, or texts, the teacher embeds at a time.
        text_templates (sequence of `str`):
            Prompts, each with one `{}`: a text's embedding is their mean, re-normalised. Texts of the sources in
            `UNPROMPTED_SOURCES` are embedded as they are.

    Attributes:
        throughput ([`Throughput`]): So far.
        left_out (`list[dict]`): `id` and `why` of each image and text left out so far.
    """

    def __init__(self, teacher: Teacher, batch_size: int, text_templates: Sequence[str] = NO_PROMPT) -> None:
        added = triplet_features(embedding_dim=teacher.embedding_dim)
        self.added = Features({column: added[column] for column in (*EMBEDDING_COLUMNS, *TEACHER_COLUMNS)})
        self.teacher = teacher
        self.batch_size = batch_size
        self.text_templates = tuple(text_templates)
        self.throughput = Throughput()
        self.left_out: list[dict[str, str]] = []
        self._known_texts: dict[tuple[str, bool], np.ndarray] = {}

    def features(self, features: Features) -> Features:
        """Those of the rows of a dataset with `features`, once embedded."""
        return Features({**_without(features, self.added), **self.added})

    def embed(self, table: pa.Table, features: Features) -> pa.Table:
        """Rows with their embeddings.

        Args:
            table (`pa.Table`): Rows of the triplet schema.
            features (`datasets.Features`): Of these rows.

        Returns:
            `pa.Table`: With `image_embeds` (num_images, embedding_dim) and `text_embeds` (num_texts, embedding_dim),
            float16 with L2-normalised rows, `teacher`, `teacher_revision` and `image_backend`. Other columns stay as
            they are.

        Raises:
            UserError: when a row has embeddings of images that it does not have.
        """
        _refuse_to_lose_embeddings(table)
        kept = _without(features, self.added)
        table = table_cast(table.select(list(kept)), kept.arrow_schema)
        table, image_embeds = self._embed_column(table, "images", self._embed_images)
        table, text_embeds = self._embed_column(table, "texts", self._embed_texts)
        columns = {
            "image_embeds": image_embeds,
            "text_embeds": text_embeds,
            "teacher": [self.teacher.identifier] * len(table),
            "teacher_revision": [self.teacher.revision] * len(table),
            "image_backend": [self.teacher.image_backend] * len(table),
        }
        added = Dataset.from_dict(columns, features=self.added).data.table
        for name in self.added:
            table = table.append_column(name, added[name])
        return table.replace_schema_metadata(self.features(features).arrow_schema.metadata)

    def _embed_column(
        self, table: pa.Table, column: str, embed: Callable[[list[Any]], Iterator[Result]]
    ) -> tuple[pa.Table, list[np.ndarray]]:
        """The table without those entries of a column of lists that came to nothing; each row's other embeddings."""
        rows = [row or [] for row in table[column].to_pylist()]
        ids = table["id"].to_pylist() if "id" in table.column_names else [None] * len(rows)
        results = embed([entry for row in rows for entry in row])
        usable_rows, embeds = [], []
        for shape_id, row in zip(ids, rows, strict=True):
            usable, usable_embeds = [], []
            for place, entry in enumerate(row):
                result = next(results)
                if isinstance(result, str):
                    self.left_out.append({"id": shape_id, "why": f"{column}[{place}]: {result}"})
                else:
                    usable.append(entry)
                    usable_embeds.append(result)
            usable_rows.append(usable)
            embeds.append(np.array(usable_embeds, np.float16).reshape(len(usable), self.teacher.embedding_dim))
        if usable_rows != rows:
            place = table.column_names.index(column)
            table = table.set_column(place, column, pa.array(usable_rows, type=table.schema.field(column).type))
        return table, embeds

    def _embed_images(self, entries: list[dict[str, Any] | None]) -> Iterator[Result]:
        started = time.perf_counter()
        results: list[Result] = []
        for decoded in _decode_ahead(entries, self.batch_size):
            images = [image for image in decoded if not isinstance(image, str)]
            embeds = iter(self.teacher.embed_images(images).cpu().numpy())
            results += [image if isinstance(image, str) else _checked(next(embeds)) for image in decoded]
            self.throughput.images += len(images)
        self.throughput.image_seconds += time.perf_counter() - started
        return iter(results)

    def _embed_texts(self, entries: list[dict[str, Any] | None]) -> Iterator[Result]:
        started = time.perf_counter()
        keys = [
            None
            if entry is None or entry["text"] is None
            else (entry["text"], entry["source"] not in UNPROMPTED_SOURCES)
            for entry in entries
        ]
        distinct = [key for key in dict.fromkeys(keys) if key is not None]
        # Taken out, and put back last, so that those not asked for in the longest time come first.
        embeds = {key: self._known_texts.pop(key) for key in distinct if key in self._known_texts}
        for prompted, templates in ((True, self.text_templates), (False, NO_PROMPT)):
            new = [key for key in distinct if key not in embeds and key[1] == prompted]
            rows = self.teacher.embed_classes([text for text, _ in new], templates, self.batch_size)
            embeds.update(zip(new, rows.cpu().numpy().astype(np.float16), strict=True))
            self.throughput.texts += len(new) * len(templates)
        self._known_texts |= reversed(embeds.items())
        for key in list(islice(self._known_texts, max(0, len(self._known_texts) - KNOWN_TEXTS))):
            del self._known_texts[key]
        self.throughput.text_seconds += time.perf_counter() - started
        return iter(["null" if key is None else _checked(embeds[key]) for key in keys])


def _decode_ahead(entries: list[Any], batch_size: int) -> Iterator[list[Image.Image | str]]:
    """Images, or why there is none, in batches; while one is in use the next is being decoded."""
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        ahead: deque[list[Future[Image.Image | str]]] = deque()
        for start in range(0, len(entries), batch_size):
            ahead.append([pool.submit(_decode, entry) for entry in entries[start : start + batch_size]])
            if len(ahead) > 1:
                yield [future.result() for future in ahead.popleft()]
        for batch in ahead:
            yield [future.result() for future in batch]


def _decode(entry: dict[str, Any] | None) -> Image.Image | str:
    if entry is None:
        return "null"
    try:
        # As training on the fly would see it: turned the way that its EXIF data says.
        return flatten_onto_white(decode_picture(entry))
    except Exception as error:  # whatever Pillow makes of one bad file among thousands
        return f"{type(error).__name__}: {error}"


def _checked(embed: np.ndarray) -> Result:
    return embed if np.isfinite(embed).all() else "its embedding is not finite"


def _refuse_to_lose_embeddings(table: pa.Table) -> None:
    """Raise a [`UserError`] for a row whose image embeddings have no images beside them, as OpenShape's."""
    if "image_embeds" not in table.column_names:
        return
    embeds = table["image_embeds"].combine_chunks()
    counts = pc.list_value_length(embeds.storage if isinstance(embeds, pa.ExtensionArray) else embeds)
    images = pc.list_value_length(table["images"].combine_chunks())
    # Of a row without a list, null, there are as few as of an empty one.
    lost = pc.and_(pc.greater(pc.fill_null(counts, 0), 0), pc.less(pc.fill_null(images, 0), 1))
    if pc.any(lost).as_py():
        first = table["id"][lost.index(True).as_py()] if "id" in table.column_names else "a row"
        raise UserError(
            f"{first}: has embeddings of images, but no images to embed again, so they would be lost; train with the "
            "embeddings that the dataset has, or add images."
        )


def _without(features: Features, columns: Features) -> Features:
    return Features({name: feature for name, feature in features.items() if name not in columns})


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds if count else 0:.1f} a second"
