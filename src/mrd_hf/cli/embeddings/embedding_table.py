"""The parquet files of `mrd-hf embed`: a row a shape, with what made the embeddings in the file's metadata."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import UserError
from ...models.point_preparation import ENCODERS_SETTINGS
from ..encoder import AnyEncoder


KEY = b"mrd_hf"
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class EmbeddingFacts:
    """What made embeddings.

    Args:
        model (`str`): The encoder's name.
        model_sha256 (`str`): Digest of its weights.
        teacher (`str`, *optional*): The image-text model whose space they are in.
        width (`int`): Of the embeddings.
        text_tower (`str`, *optional*): What embeds texts, where that is not the teacher as a whole.
        config_sha256 (`str`, *optional*): Digest of the encoder's configuration; files of earlier versions lack it.
        input (`dict`, *optional*): [`ENCODERS_SETTINGS`] of its extractor; files of earlier versions lack them.
    """

    model: str
    model_sha256: str
    teacher: str | None
    width: int
    text_tower: str | None = None
    config_sha256: str | None = None
    input: dict[str, Any] | None = None

    @classmethod
    def of(cls, encoder: AnyEncoder) -> Self:
        """Those of an encoder's embeddings."""
        return cls(
            encoder.name,
            encoder.sha256,
            encoder.teacher,
            encoder.embedding_dim,
            encoder.text_tower,
            encoder.config_sha256,
            {name: getattr(encoder.extractor, name) for name in ENCODERS_SETTINGS},
        )

    def for_index(self) -> dict[str, Any]:
        """Those that [`ShapeIndex.build`] takes."""
        return {name: value for name, value in vars(self).items() if name != "width"}


class EmbeddingWriter:
    """Writes rows of `path`, `embedding` (fixed-size list of float32) and `model`.

    Args:
        sink (`BinaryIO`): Open for writing.
        facts ([`EmbeddingFacts`])
    """

    def __init__(self, sink: BinaryIO, facts: EmbeddingFacts) -> None:
        self._facts = facts
        self._waiting: list[tuple[list[str], np.ndarray]] = []
        fields = [("path", pa.string()), ("embedding", pa.list_(pa.float32(), facts.width)), ("model", pa.string())]
        self._schema = pa.schema(fields, metadata={KEY: json.dumps(facts.__dict__)})
        self._writer = pq.ParquetWriter(sink, self._schema, compression="zstd", use_dictionary=["model"])

    def write(self, paths: list[str], embeds: np.ndarray) -> None:
        """Add rows; `embeds` is float32 of shape `(len(paths), embedding_dim)`."""
        self._waiting.append((paths, embeds))
        while sum(len(names) for names, _ in self._waiting) >= ROWS_AT_ONCE:
            self._write_group()

    def _write_group(self) -> None:
        """Write the rows that wait, up to `ROWS_AT_ONCE`: files of the same rows are the same, however they came."""
        paths = [path for names, _ in self._waiting for path in names]
        embeds = np.concatenate([part for _, part in self._waiting])
        self._waiting = [(paths[ROWS_AT_ONCE:], embeds[ROWS_AT_ONCE:])]
        paths, embeds = paths[:ROWS_AT_ONCE], embeds[:ROWS_AT_ONCE]
        flat = pa.array(np.ascontiguousarray(embeds).reshape(-1))
        columns = [
            pa.array(paths, pa.string()),
            pa.FixedSizeListArray.from_arrays(flat, self._facts.width),
            pa.array([self._facts.model] * len(paths), pa.string()),
        ]
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def close(self) -> None:
        if any(paths for paths, _ in self._waiting):
            self._write_group()
        self._writer.close()


def open_embeddings(path: Path) -> tuple[EmbeddingFacts, int, Iterator[tuple[list[str], np.ndarray]]]:
    """The facts of a file, how many rows it has, and its rows, some thousand at a time.

    Raises:
        UserError: It is not of `mrd-hf embed`; or, from the iterator, it is damaged or an embedding is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected one of `mrd-hf embed`.")
    try:
        file = pq.ParquetFile(path)
        facts = EmbeddingFacts(**json.loads(file.schema_arrow.metadata[KEY]))
        types = {field.name: field.type for field in file.schema_arrow}
        if types["embedding"] != pa.list_(pa.float32(), facts.width) or types["path"] != pa.string():
            raise ValueError(f"columns {types}")
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not a file of `mrd-hf embed` ({type(error).__name__}: {error}).") from None
    return facts, file.metadata.num_rows, _rows(path, file, facts.width)


def _rows(path: Path, file: pq.ParquetFile, width: int) -> Iterator[tuple[list[str], np.ndarray]]:
    batches = file.iter_batches(ROWS_AT_ONCE, columns=["path", "embedding"])
    while True:
        try:
            batch = next(batches, None)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path}: is damaged ({error}); embed the shapes once more.") from None
        if batch is None:
            return
        embeds = batch.column("embedding")
        if embeds.null_count > 0:
            raise UserError(f"{path}: a row has no embedding.")
        yield batch.column("path").to_pylist(), embeds.flatten().to_numpy().reshape(-1, width)
