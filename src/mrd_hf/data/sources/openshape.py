"""OpenShape's training data as a source of triplets: its point clouds, texts and cached embeddings of CLIP bigG-14.

A shape's file has 10,000 coloured points and, embedded by the teacher, its thumbnail, 12 renders, and texts of four
kinds. Source of the choice among them: OpenShape (arXiv 2305.10764) and its training code. What is taken:

- points and colours as they are: y up, in the published order; only centred and scaled to the unit sphere;
- the embeddings of the thumbnail (Objaverse's shapes only, as OpenShape has it), then of the renders. The pictures
  themselves are not published with them;
- as texts of source `name` what the dataset says of the shape: of Objaverse its name, unless GPT-4 rejected it; of
  the others every text. Then the captions (`caption_blip`, `caption_azure`) and the retrieved texts (`retrieval`);
- for names and captions the embedding averaged over prompts, for retrieved texts their own.

Embeddings keep their direction; their length becomes 1, as everywhere in a triplet dataset. A shape is skipped where
points, colours, all pictures or all texts cannot be used; lesser defects are warnings. Categories are those of
Objaverse-LVIS.
"""

import hashlib
import json
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from datasets import Features

from ...errors import UserError
from ...files.plain_pickle import read_plain_npy
from ..preparation.dataset_writing import PreparedShape, Run, prepare_dataset
from ..schema import triplet_features
from .openshape_files import ArchiveReader, FolderReader, ListedShape, MetaData, shapes_by_source
from .published_fields import UnusableField, drawn_points, float_rows, unit_sphere, what


TEACHER = "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"
EMBEDDING_DIM = 1280
# How far beyond 0 and 1 a colour may be, as rounding has it.
COLOR_TOLERANCE = 1e-3
# Of a shape, in a list. OpenShape has a few; a crafted file may name one again and again.
MAX_TEXTS = 10_000


@dataclass(frozen=True)
class ShapeJob:
    """The wanted shape of a number in an archive or an unpacked folder. Which it is shows when the archive is read.

    Args:
        source (`str`): Path of the archive or folder, below that of the download.
        number (`int`): From 0, in the order of the archive.
    """

    source: str
    number: int

    def __str__(self) -> str:
        return f"{self.source}: shape {self.number}"


def openshape_features() -> Features:
    """The triplet schema with embeddings as wide as the teacher's."""
    return triplet_features(embedding_dim=EMBEDDING_DIM)


def prepare_openshape(
    folder: str | Path,
    out: str | Path,
    split: str = "train_all",
    num_points: int = 10_000,
    seed: int = 0,
    **run: Unpack[Run],
) -> dict[str, Any]:
    """Make a triplet dataset from OpenShape's training data.

    Archives are read where they are, not unpacked. Each worker reads them from start to end, since a compressed
    archive cannot be entered in its middle; so unpacked folders are faster with many workers or shards.

    Args:
        folder (`str` or `Path`): Of the download: the archives or their unpacked folders, and the meta data.
        out (`str` or `Path`): Folder of the dataset.
        split (`str`, defaults to `"train_all"`): Of the lists in `meta_data/split`.
        num_points (`int`, defaults to 10000): Points a shape; from clouds with more, so many are drawn.
        seed (`int`, defaults to 0): Seed of that drawing.
        run ([`Run`]): `num_workers`, `overwrite`, `num_shards` and `shard_index`, see [`prepare_dataset`].

    Returns:
        `dict`: The report that is also written to `report.json`, see [`prepare_dataset`].

    Raises:
        UserError: `folder` is no such download, a list in it is damaged, or `out` has another dataset already.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected the download of OpenShape/openshape-training-data.")
    sources = shapes_by_source(folder, MetaData(folder).shapes(split))
    # Workers read the list of one archive at a time: that of all would be a gigabyte in each.
    with tempfile.TemporaryDirectory(prefix="mrd-hf-openshape-") as lists:
        digest = hashlib.sha256()
        for source, shapes in sources.items():
            content = json.dumps([[shape.key, shape.path, shape.keep_name, shape.category] for shape in shapes])
            digest.update(f"{source} {content}\n".encode())
            _list_file(lists, source).write_text(content, encoding="utf-8")
        # A shape's number in an archive depends on what the archive has, which a further download may change.
        archives = {source: (folder / source).stat().st_size for source in sources if (folder / source).is_file()}
        return prepare_dataset(
            [ShapeJob(source, number) for source, shapes in sources.items() for number in range(len(shapes))],
            partial(prepare_shape, folder=str(folder), lists=lists, num_points=num_points, seed=seed),
            openshape_features(),
            out,
            settings={
                "source": "openshape",
                "split": split,
                "teacher": TEACHER,
                "num_points": num_points,
                "seed": seed,
                # Of what is wanted of which archive, GPT-4's verdicts and categories included.
                "lists": digest.hexdigest()[:16],
                "archives": hashlib.sha256(json.dumps(archives).encode()).hexdigest()[:16],
            },
            **run,
            input_file=lambda job: _file_of(folder, job, sources[job.source]),
        )


def prepare_shape(job: ShapeJob, folder: str, lists: str, num_points: int, seed: int) -> PreparedShape:
    """Make one row of the dataset.

    Args:
        job ([`ShapeJob`]): Which shape.
        folder (`str`): Of the download.
        lists (`str`): Folder with a list of the wanted shapes for each archive.
        num_points (`int`), seed (`int`): See [`prepare_openshape`].
    """
    reader, listed = _open_source(folder, lists, job.source)
    found = reader.shape(job.number)
    if found.content is None:
        return PreparedShape(found.key, skipped=found.problem)
    where = f"{job.source}:{found.key}.npy" if isinstance(reader, ArchiveReader) else f"{found.key}.npy"
    try:
        content = read_plain_npy(found.content, where)
        row, warnings = shape_row(content, listed[found.key], num_points, seed)
    except UserError as error:
        return PreparedShape(found.key, skipped=str(error))
    except UnusableField as error:
        return PreparedShape(found.key, skipped=f"{where}: {error}.")
    return PreparedShape(found.key, row, warnings=[f"{where}: {warning}." for warning in warnings])


def shape_row(content: Any, listed: ListedShape, num_points: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """The row of a shape, and what of its file was left out.

    Args:
        content: What the file holds.
        listed ([`ListedShape`]): What the lists say of the shape.
        num_points (`int`), seed (`int`): See [`prepare_openshape`].
    """
    if not isinstance(content, dict):
        raise UnusableField(f"holds a {type(content).__name__}; expected a dictionary")
    warnings: list[str] = []
    points, colors = _cloud(content, num_points, np.random.default_rng([seed, zlib.crc32(listed.key.encode())]))
    image_embeds = _image_embeds(content, listed, warnings)
    if not image_embeds:
        raise UnusableField(f"no image embedding that can be used ({'; '.join(warnings)})")
    texts, text_embeds = [], []
    for text, source, embed in _texts(content, listed, warnings):
        texts.append({"text": text, "source": source})
        text_embeds.append(embed)
    if not texts:
        raise UnusableField("; ".join(["no text with an embedding", *warnings]))
    row = {
        "id": listed.key,
        "source": listed.key.partition("/")[0].lower(),
        "name": _own_name(content),
        "category": listed.category,
        "license": None,
        "creator": None,
        "points": points,
        "colors": colors,
        "images": [],
        "texts": texts,
        "image_embeds": np.concatenate(image_embeds).astype(np.float16),
        "text_embeds": np.stack(text_embeds).astype(np.float16),
        "teacher": TEACHER,
        "teacher_revision": None,
        "image_backend": None,
    }
    return row, warnings


def _cloud(content: dict[str, Any], num_points: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points, float16 (num_points, 3), and colours, uint8 (num_points, 3)."""
    xyz, rgb = float_rows(content.get("xyz"), "xyz", 3), float_rows(content.get("rgb"), "rgb", 3)
    if len(rgb) != len(xyz):
        raise UnusableField(f"rgb: has {len(rgb)} rows, xyz {len(xyz)}")
    if rgb.min() < -COLOR_TOLERANCE or rgb.max() > 1 + COLOR_TOLERANCE:
        raise UnusableField(f"rgb: reaches from {rgb.min():g} to {rgb.max():g}; expected 0 to 1")
    kept = drawn_points(xyz, "xyz", num_points, generator)
    return unit_sphere(xyz[kept], "xyz"), np.round(rgb[kept].clip(0, 1) * 255).astype(np.uint8)


def _image_embeds(content: dict[str, Any], listed: ListedShape, warnings: list[str]) -> list[np.ndarray]:
    """The embeddings that can be used, float64 (n, embedding_dim) each: of the thumbnail, and of the renders."""
    embeds = []
    for field in ("thumbnail_feat", "image_feat") if _is_of_objaverse(listed) else ("image_feat",):
        try:
            embeds.append(_unit_rows(content.get(field), field))
        except UnusableField as error:
            warnings.append(str(error))
    return embeds


def _texts(content: dict[str, Any], listed: ListedShape, warnings: list[str]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Each text, its source, and its embedding, float64 (embedding_dim,)."""
    prompted = ("prompt_avg", "original")
    candidates: list[tuple[str, str, Any, Any, tuple[str, ...]]] = []
    if listed.keep_name:
        # What follows the name of Objaverse's shapes, OpenShape leaves out.
        limit = 1 if _is_of_objaverse(listed) else None
        pairs = _pairs(content, "text", limit, warnings)
        candidates += [("text", "name", text, feat, prompted) for text, feat in pairs]
    for field, source in (("blip_caption", "caption_blip"), ("msft_caption", "caption_azure")):
        candidates.append((field, source, content.get(field), content.get(f"{field}_feat"), prompted))
    pairs = _pairs(content, "retrieval_text", None, warnings)
    candidates += [("retrieval_text", "retrieval", text, feat, ("original",)) for text, feat in pairs]

    for field, source, text, feat, kinds in candidates:
        try:
            if text is None or _checked_text(text, field).strip():
                yield _checked_text(text, field), source, _text_embed(feat, f"{field}_feat", kinds)
        except UnusableField as error:
            warnings.append(str(error))


def _pairs(content: dict[str, Any], field: str, limit: int | None, warnings: list[str]) -> list[tuple[Any, Any]]:
    """The first texts of a list, up to a limit, with what the file has as their embeddings."""
    lists = []
    for name in (field, f"{field}_feat"):
        found = content.get(name)
        if not isinstance(found, (list, tuple)):
            warnings.append(f"{name}: {what(found)}; expected a list")
            return []
        if len(found) > MAX_TEXTS:
            warnings.append(f"{name}: has {len(found)}; at most {MAX_TEXTS} are read")
            return []
        lists.append(found[:limit])
    texts, feats = lists
    if len(texts) != len(feats):
        warnings.append(f"{field}: has {len(texts)} to use, {field}_feat {len(feats)}")
    return list(zip(texts, feats, strict=False))


def _checked_text(text: Any, field: str) -> str:
    if not isinstance(text, str):
        raise UnusableField(f"{field}: {what(text)}; expected text")
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        raise UnusableField(f"{field}: is no Unicode text") from None
    return str(text)


def _text_embed(feat: Any, field: str, kinds: tuple[str, ...]) -> np.ndarray:
    if not isinstance(feat, dict):
        raise UnusableField(f"{field}: {what(feat)}; expected a dictionary")
    kind = next((kind for kind in kinds if kind in feat), None)
    if kind is None:
        raise UnusableField(f"{field}: has no {' and no '.join(map(repr, kinds))}")
    rows = _unit_rows(feat[kind], field)
    if len(rows) != 1:
        raise UnusableField(f"{field}: has {len(rows)} rows; expected 1")
    return rows[0]


def _unit_rows(value: Any, field: str) -> np.ndarray:
    """Embeddings, float64 (n, embedding_dim), of length 1."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value[None]
    rows = float_rows(value, field, EMBEDDING_DIM)
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise UnusableField(f"{field}: has rows of zeros, or too large")
    return rows / norms


def _own_name(content: dict[str, Any]) -> str | None:
    """The name that the source gives the shape, be it a good one or not."""
    texts = content.get("text")
    try:
        return _checked_text(texts[0], "text") if isinstance(texts, (list, tuple)) and texts else None
    except UnusableField:  # which `_texts` has said
        return None


def _is_of_objaverse(listed: ListedShape) -> bool:
    return listed.key.startswith("Objaverse/")


def _file_of(folder: Path, job: ShapeJob, shapes: Sequence[ListedShape]) -> Path:
    """The archive that a job's shape is in or, where the archive is unpacked, the shape's own file."""
    path = folder / job.source
    if job.source.endswith(".tar.gz"):
        return path
    return path / f"{shapes[job.number].key.rpartition('/')[2]}.npy"


def _list_file(lists: str, source: str) -> Path:
    return Path(lists) / f"{hashlib.sha256(source.encode()).hexdigest()[:32]}.json"


@lru_cache(maxsize=1)
def _open_source(folder: str, lists: str, source: str) -> tuple[ArchiveReader | FolderReader, dict[str, ListedShape]]:
    """A worker meets the shapes of an archive in rising order, one archive after the other."""
    shapes = [ListedShape(*entry) for entry in json.loads(_list_file(lists, source).read_text(encoding="utf-8"))]
    keys, path = [shape.key for shape in shapes], Path(folder) / source
    reader = (
        ArchiveReader(path, keys, source.removesuffix(".tar.gz"))
        if source.endswith(".tar.gz")
        else FolderReader(path, keys)
    )
    return reader, {shape.key: shape for shape in shapes}
