"""Cache a frozen teacher's embeddings of a triplet dataset's images and texts as columns of it."""

import hashlib
import json
import shutil
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features
from huggingface_hub import DatasetCard
from tqdm import tqdm

from ...errors import UserError
from ...files.atomic_file import atomic_file, remove_partial
from ...teacher import Teacher
from ..class_texts import CLASS_TEXTS_FILE, read_class_names, readable, spelling_key
from ..loading import check_whole
from ..preparation.dataset_writing import ROWS_PER_GROUP, check_vacant
from ..preparation.parquet_writing import dataset_writer
from ..schema import SOURCE_COLUMNS, category_names, check_columns, check_schema_version
from .embedded_files import EmbeddedFiles, new_record, read_record, reading, to_footer
from .row_embedding import NO_PROMPT, UNPROMPTED_SOURCES, RowEmbedder, Throughput


# Of the rows of several row groups. Those of one may be more.
BYTES_AT_ONCE = 2**30


def embed_dataset(dataset: Dataset, teacher: Teacher, batch_size: int = 64, name: str = "the dataset") -> Dataset:
    """Add a teacher's embeddings of all images and texts to a triplet dataset, replacing older ones.

    Args:
        dataset (`datasets.Dataset`):
            Has the columns `images` and `texts` of the triplet schema; its other columns are kept.
        teacher ([`Teacher`]):
            The frozen image-text model.
        batch_size (`int`, defaults to 64):
            How many images, or texts, the teacher embeds at a time.
        name (`str`):
            What messages and the progress bar call the dataset.

    Returns:
        `datasets.Dataset`: With the columns that [`RowEmbedder.embed`] adds. A text that occurs many times is embedded
        once. An image that cannot be embedded is left out of its row, with a warning.

    Raises:
        UserError: If a column is missing or of another type.
    """
    check_columns(dataset.features, SOURCE_COLUMNS, name)
    embedder, features = RowEmbedder(teacher, batch_size), dataset.features
    embedded = dataset.with_format("arrow").map(
        lambda table: embedder.embed(table, features),
        batched=True,
        batch_size=batch_size,
        features=embedder.features(features),
        remove_columns=dataset.column_names,
        desc=f"Embedding {name}",
        # Fingerprinting the function would serialise the whole teacher; a fresh name also means: never from the cache.
        new_fingerprint=uuid.uuid4().hex,
    )
    for left_out in embedder.left_out:
        warnings.warn(f"{name}: left out of {left_out['id']}: {left_out['why']}", stacklevel=2)
    return embedded.with_format(None)


def embed_dataset_folder(
    folder: Path,
    out: Path,
    teacher: Teacher,
    class_templates: Sequence[str],
    text_templates: Sequence[str] = NO_PROMPT,
    batch_size: int = 64,
    overwrite: bool = False,
    num_shards: int = 1,
    shard_index: int = 0,
    class_names: Sequence[str] | None = None,
) -> tuple[dict[str, Any], Throughput]:
    """Embed a prepared dataset's folder and write the result as a folder of the same layout, file by file.

    A run leaves alone the files that an earlier one, with the same teacher and settings, has finished. Of several runs
    with the same `num_shards`, each makes the files that fall to its `shard_index`, in one shared folder; the run that
    finds every file finished writes `report.json`. No more than a few hundred rows are in memory.

    `class_texts.parquet` (columns `label`, `text_embed`) has the teacher's embeddings of `class_names` or, without
    them, of those in the folder's file of that name, if it has one; `README.md` and `ATTRIBUTION.md` come along. These
    fall to shard 0.

    Args:
        folder (`Path`): The prepared dataset: `data/<split>-*.parquet`.
        out (`Path`): The folder to write. Its files appear only when complete.
        teacher ([`Teacher`]): The frozen image-text model.
        class_templates (sequence of `str`): Prompt templates, each with one `{}`, for the class texts.
        text_templates (sequence of `str`): Those for the texts of shapes, see [`RowEmbedder`].
        batch_size (`int`, defaults to 64): How many images, or texts, the teacher embeds at a time.
        overwrite (`bool`, defaults to `False`): Whether to replace the files of this run, and remove those of others.
        num_shards (`int`, defaults to 1), shard_index (`int`, defaults to 0):
            This run makes the files k with `k % num_shards == shard_index`.
        class_names (sequence of `str`, *optional*): For the class texts, as [`categories_of`] gives them.

    Returns:
        The report, see [`EmbeddedFiles.assemble`], and the [`Throughput`] of this run.

    Raises:
        UserError: If the folder is no prepared dataset, or a part of one is missing or cannot be read, or `out` has
            another dataset or one of another teacher or other settings.
    """
    if not 0 <= shard_index < num_shards:
        raise UserError(f"--shard-index must be from 0 to {num_shards - 1}, below --num-shards, not {shard_index}.")
    check_whole(folder)
    settings = {
        "teacher": teacher.identifier,
        "image_backend": teacher.image_backend,
        "dtype": str(teacher.model.dtype).removeprefix("torch."),
        "text_templates": list(text_templates),
        "unprompted_sources": list(UNPROMPTED_SOURCES),
        # Only where it is done, so that what was embedded by other teachers before it was can be resumed.
        **({"lower_case": True} if teacher.text_tower.lower_case else {}),
    }
    files = EmbeddedFiles(folder, out, settings)
    if not files.sources:
        raise UserError(f"{folder}: has no data/<split>-*.parquet; prepare it with mrd-hf prepare.")
    for source in files.sources:
        _check_file(source)
    mine = range(shard_index, len(files.sources), num_shards)
    if overwrite:
        (out / "report.json").unlink(missing_ok=True)
        files.remove(mine)
        if shard_index == 0:
            files.remove_others()
            (out / CLASS_TEXTS_FILE).unlink(missing_ok=True)
    else:
        files.refuse_others()

    embedder = RowEmbedder(teacher, batch_size, text_templates)
    num_rows = {index: pq.read_metadata(files.sources[index]).num_rows for index in mine}
    todo = [index for index in mine if files.finished(index) is None]
    done = sum(num_rows[index] for index in mine if index not in todo)
    bar = tqdm(total=sum(num_rows.values()), initial=done, unit="row", desc=f"Embedding {folder.name}", disable=None)
    with bar as progress:
        for index in todo:
            _embed_file(files, index, embedder, progress)
    if shard_index == 0:
        class_settings = settings | {"class_templates": list(class_templates), "class_names": "readable"}
        if class_names is not None:
            digest = hashlib.sha256(json.dumps(list(class_names)).encode()).hexdigest()
            record = {"source": digest, "settings": class_settings, "left_out": []}
            _write_class_texts(class_names, record, out / CLASS_TEXTS_FILE, teacher, class_templates, batch_size)
        elif (folder / CLASS_TEXTS_FILE).is_file():
            record = new_record(folder / CLASS_TEXTS_FILE, class_settings, left_out=[])
            labels = read_class_names(folder / CLASS_TEXTS_FILE)
            _write_class_texts(labels, record, out / CLASS_TEXTS_FILE, teacher, class_templates, batch_size)
        _copy_documents(folder, out)
    return files.assemble(), embedder.throughput


def categories_of(folder: Path) -> list[str]:
    """The categories of a prepared dataset's shapes, of all its splits, sorted: its classes.

    Raises:
        UserError: The dataset is unfinished or has no categories, or they are no names, or two of them differ in
            spelling alone; or it has class texts of its own, which then say what the classes are.
    """
    check_whole(folder)
    if (folder / CLASS_TEXTS_FILE).is_file():
        raise UserError(
            f"{folder / CLASS_TEXTS_FILE}: says already which classes there are, and is embedded as it is; leave out "
            "--class-texts, or delete the file."
        )
    categories: set[str] = set()
    for source in sorted((folder / "data").glob("*.parquet")):
        with reading(source):
            if "category" in pq.read_schema(source).names:
                column = Dataset(pq.read_table(source, columns=["category"]))
                categories |= {name for name in category_names(column, str(source)) if name is not None}
    if not categories:
        raise UserError(
            f"{folder}: no shape has a 'category' to make --class-texts of; give the classes in the column 'category' "
            "of the metadata, and prepare it again with mrd-hf prepare, or leave out --class-texts."
        )
    spellings: dict[str, str] = {}
    for category in sorted(categories):
        other = spellings.setdefault(spelling_key(category), category)
        if other != category:
            raise UserError(
                f"{folder}: the categories '{other}' and '{category}' differ in spelling alone; make them one, and "
                "prepare it again with mrd-hf prepare."
            )
    return sorted(categories)


def check_folders(folder: Path, out: Path, overwrite: bool) -> None:
    """Refuse a dataset that is not there, and an output folder that is the dataset's or holds another's files.

    Raises:
        UserError: With the remedy.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such dataset folder; prepare one with mrd-hf prepare.")
    if out.resolve() == folder.resolve():
        raise UserError(f"{out}: is the dataset's own folder, which is left as it is; give --output another folder.")
    # Files that this script made may be there to go on with; whether they are is seen once the teacher is loaded.
    known = all(read_record(file) is not None for file in (out / "data").glob("*.parquet"))
    check_vacant(out, overwrite or known)


def _check_file(source: Path) -> None:
    """Raise a [`UserError`] if a file of a dataset does not have what is to be embedded."""
    schema = pq.read_schema(source)
    check_columns(Features.from_arrow_schema(schema), SOURCE_COLUMNS, str(source))
    if "schema_version" in schema.names:
        with reading(source):
            versions = Dataset(pq.read_table(source, columns=["schema_version"]))
        check_schema_version(versions, str(source))


def _embed_file(files: EmbeddedFiles, index: int, embedder: RowEmbedder, progress: tqdm) -> None:
    source, target = files.sources[index], files.file(index)
    features = Features.from_arrow_schema(pq.read_schema(source))
    embedder.left_out = []
    remove_partial(target)
    with atomic_file(target) as sink:
        schema = embedder.features(features).arrow_schema
        with dataset_writer(sink, schema) as writer:
            for rows in _read(source, max(ROWS_PER_GROUP, embedder.batch_size)):
                writer.write_table(embedder.embed(rows, features), row_group_size=ROWS_PER_GROUP)
                progress.update(len(rows))
            writer.add_key_value_metadata(to_footer(new_record(source, files.settings, embedder.left_out)))


def _read(source: Path, num_rows: int) -> Iterator[pa.Table]:
    """The rows of a parquet file, so many at a time; fewer where those of several row groups are large."""
    rest: pa.Table | None = None
    with pq.ParquetFile(source) as file:
        # By row groups, as pyarrow cannot read 2 GiB of a column of structs at once, such as that of meshes.
        for group in range(file.num_row_groups):
            batches = file.iter_batches(batch_size=num_rows, row_groups=[group])
            while True:
                with reading(source):
                    batch = next(batches, None)
                if batch is None:
                    break
                rows = pa.Table.from_batches([batch])
                if rest is not None and rest.nbytes + rows.nbytes > BYTES_AT_ONCE:
                    yield rest
                elif rest is not None:
                    rows = pa.concat_tables([rest, rows]).combine_chunks()
                if len(rows) >= num_rows:
                    yield rows.slice(0, num_rows)
                    rows = rows.slice(num_rows)
                rest = rows if len(rows) else None
    if rest is not None:
        yield rest


def _write_class_texts(
    labels: Sequence[str],
    record: dict[str, Any],
    target: Path,
    teacher: Teacher,
    templates: Sequence[str],
    batch_size: int,
) -> None:
    """Write the file of class texts, unless it is there; `record` says what it is made of.

    A label stays as it is spelled; a prompt has its name as [`readable`] makes it, like those of benchmarks.
    """
    if read_record(target) == record:
        return
    names = [readable(label) for label in labels]
    embeds = teacher.embed_classes(names, templates, batch_size).cpu().numpy().astype(np.float16)
    text_embed = pa.FixedSizeListArray.from_arrays(pa.array(embeds.reshape(-1)), embeds.shape[1])
    with atomic_file(target) as sink:
        pq.write_table(
            pa.table({"label": list(labels), "text_embed": text_embed}).replace_schema_metadata(to_footer(record)),
            sink,
        )


def _copy_documents(folder: Path, out: Path) -> None:
    if (folder / "ATTRIBUTION.md").is_file():
        shutil.copyfile(folder / "ATTRIBUTION.md", out / "ATTRIBUTION.md")
    if (folder / "README.md").is_file():
        text = (folder / "README.md").read_text(encoding="utf-8")
        if "dataset_info:" in text:
            # A schema in the card's header would be the one without embeddings, and loading would fail on it.
            card = DatasetCard(text)
            card.data.pop("dataset_info", None)
            text = str(card)
        (out / "README.md").write_text(text, encoding="utf-8")
