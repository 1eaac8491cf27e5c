"""Write a triplet dataset with other splits, other labels or other embeddings, and a report of it."""

import csv
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Features, List, Value, concatenate_datasets

from ...errors import UserError
from ...files.atomic_file import atomic_file, check_vacant
from ...files.atomic_folder import atomic_folder, check_replaceable
from ...files.digests import files_sha256
from ..class_texts import CLASS_TEXTS_FILE, read_class_texts
from ..embedding.embedded_files import footer_digest
from ..loading import load_all_splits
from ..preparation.parquet_writing import dataset_writer
from ..schema import check_columns, embedding_dim, triplet_features
from .name_splits import SPLITS, count_splits, splits_of_names
from .teacher_changes import OtherTeacher, TeacherChanges, generator, with_noise, wrong_partners


EMBEDDINGS = ("image_embeds", "text_embeds")
REPORT_FILE = "report.json"


def resplit_dataset(
    dataset: str,
    out: str | Path,
    seed: int = 0,
    test_share: float = 0.3,
    validation_share: float = 0.2,
    labels: str | Path | None = None,
    class_texts: str | Path | None = None,
    changes: TeacherChanges | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Divide all shapes of a dataset into train, validation and test by their names, see [`splits_of_names`].

    The rows are sorted by id, so the result does not depend on the splits that the dataset had.

    Args:
        dataset (`str`): Triplet dataset: a folder, or an id on the Hub.
        out (`str` or `Path`): Folder to write; it takes its name once it is complete.
        seed (`int`, defaults to 0): Of the division and of the changes.
        test_share (`float`, defaults to 0.3): Share of the names.
        validation_share (`float`, defaults to 0.2): Share of the names that are not in test.
        labels (`str` or `Path`, *optional*):
            CSV file with the columns `id` and `label`, which becomes the column `category`; an empty label is none.
        class_texts (`str` or `Path`, *optional*): Classes with their text embeddings, to lie beside the data.
        changes ([`TeacherChanges`], *optional*): What is done to the cached embeddings.
        overwrite (`bool`, defaults to `False`): Whether `out` may be replaced.

    Returns:
        `dict`: The report, which is `report.json` in the folder: `settings`, `prepared`, `splits`, `names` (how many
        of each split), and digests: `ids_sha256` of which shape is where, `sources` of what it was made of, see
        [`digests_of_sources`], and `contents_sha256` of the files that were made.

    Raises:
        UserError: The dataset cannot be read, lacks names or embeddings, or a shape has no row in `labels` or a label
            that is no class.
    """
    folder, changes = Path(out), changes or TeacherChanges()
    check_replaceable(folder, ("data", REPORT_FILE), "prepared dataset", (dataset, labels, class_texts))
    check_vacant(folder, overwrite)
    rows = _all_rows(load_all_splits(dataset), dataset)
    names = rows["name"][:]
    if None in names:
        raise UserError(f"{dataset}: shape '{rows['id'][names.index(None)]}' has no name to divide by.")
    splits = splits_of_names(names, test_share, validation_share, seed, dataset)
    table, features = rows.data.table.combine_chunks(), Features(rows.features)
    classes = None if class_texts is None else read_class_texts(class_texts)
    if labels is not None:
        found = _read_labels(Path(labels), rows["id"][:])
        if classes is not None and (odd := sorted({label for label in found if label} - set(classes[0]))):
            raise UserError(f"{labels}: the label '{odd[0]}' is no class of {class_texts}; make the two fit.")
        features["category"] = Value("string")
        table = _with_column(table, "category", pa.array(found, pa.string()))
    if "split" in features:
        features["split"] = Value("string")
        table = _with_column(table, "split", pa.array(splits, pa.string()))

    width = embedding_dim(rows.features)
    other = None
    if changes.teacher_width is not None:
        other = OtherTeacher(width, changes.teacher_width, changes.teacher_noise, seed)
        features |= {name: triplet_features(embedding_dim=changes.teacher_width)[name] for name in EMBEDDINGS}
        renamed = [changes.teacher_name(teacher, seed) for teacher in table["teacher"].to_pylist()]
        table = _with_column(table, "teacher", pa.array(renamed, pa.string()))
    table = table.replace_schema_metadata(features.arrow_schema.metadata)
    report = {
        "settings": {
            "source": "resplit",
            "dataset": str(dataset),
            "seed": seed,
            "test_share": test_share,
            "validation_share": validation_share,
            "labels": None if labels is None else str(labels),
            "class_texts": None if class_texts is None else str(class_texts),
            "changes": asdict(changes),
        },
        "prepared": len(rows),
        "splits": count_splits(splits),
        "names": {s: len({n for n, of in zip(names, splits, strict=True) if of == s}) for s in SPLITS},
        "labeled": {s: _count_labels(table, splits, s) for s in SPLITS},
        "ids_sha256": hashlib.sha256(json.dumps(sorted(zip(rows["id"][:], splits, strict=True))).encode()).hexdigest(),
        "sources": digests_of_sources(dataset, labels, class_texts),
        "skipped": [],
        "warnings": [],
        "missing": [],
    }
    with atomic_folder(folder) as partial:
        for split in SPLITS:
            part = table.take(pa.array(np.flatnonzero(np.array(splits) == split)))
            part = _changed(part, features, changes, other, seed, split)
            with atomic_file(partial / "data" / f"{split}-00000-of-00001.parquet") as sink:
                writer = dataset_writer(sink, part.schema)
                writer.write_table(part, row_group_size=128)
                writer.close()
        if classes is not None:
            _write_classes(partial / CLASS_TEXTS_FILE, classes[0], classes[1] if other is None else other(classes[1]))
        report["contents_sha256"] = files_sha256(sorted(partial.rglob("*.parquet")))
        (partial / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def digests_of_sources(
    dataset: str, labels: str | Path | None, class_texts: str | Path | None
) -> dict[str, str | None]:
    """What a division is made of, so that a change is noticed: digests of the footers of a local dataset's files and
    of the two other files; None for what there is not, and for a dataset on the Hub."""
    parquet = sorted((Path(dataset) / "data").glob("*.parquet"))
    footers = hashlib.sha256("".join(footer_digest(file) for file in parquet).encode()).hexdigest()
    return {
        "dataset": footers if parquet else None,
        "labels": None if labels is None else files_sha256([Path(labels)]),
        "class_texts": None if class_texts is None else files_sha256([Path(class_texts)]),
    }


def _all_rows(splits: DatasetDict, name: str) -> Dataset:
    """The shapes of all splits, sorted by id."""
    parts = list(splits.values())
    for part in parts:
        check_columns(part.features, ["id", "texts", *EMBEDDINGS, "teacher"], name)
        if "name" not in part.features:
            raise UserError(f"{name}: no column 'name' to divide by; prepare it with mrd-hf prepare.")
    joined = concatenate_datasets(parts)
    ids = joined["id"][:]
    if len(set(ids)) < len(ids):
        raise UserError(f"{name}: has an id in two splits; each shape needs one of its own.")
    return joined.select(sorted(range(len(ids)), key=ids.__getitem__)).flatten_indices()


def _read_labels(file: Path, ids: list[str]) -> list[str | None]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            columns = list(reader.fieldnames or ())
            if not {"id", "label"} <= set(columns):
                raise UserError(f"{file}: needs the columns 'id' and 'label', has {', '.join(columns)}.")
            label_of: dict[str, str | None] = {}
            for row in reader:
                if row["id"] in label_of:
                    raise UserError(f"{file}: has two rows for the shape '{row['id']}'; leave one of them out.")
                label_of[row["id"]] = row["label"] or None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the labels {file}: {error}.") from None
    missing = [shape_id for shape_id in ids if shape_id not in label_of]
    if missing:
        raise UserError(f"{file}: has no row for the shape '{missing[0]}'; add one, with its label or none.")
    return [label_of[shape_id] for shape_id in ids]


def _count_labels(table: pa.Table, splits: list[str], split: str) -> int:
    if "category" not in table.column_names:
        return 0
    of_shapes = table["category"].to_pylist()
    return sum(category is not None for category, of in zip(of_shapes, splits, strict=True) if of == split)


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    if name not in table.column_names:
        return table.append_column(name, values)
    return table.set_column(table.column_names.index(name), name, values)


def _changed(
    part: pa.Table, features: Features, changes: TeacherChanges, other: OtherTeacher | None, seed: int, split: str
) -> pa.Table:
    """A split's rows with the teacher's changes; noise and wrong images are of the training shapes alone."""
    if changes.wrong_images and split == "train":
        partners = pa.array(wrong_partners(len(part), changes.wrong_images, seed))
        for column in ("images", "image_embeds"):
            if column in part.column_names:
                part = _with_column(part, column, part[column].take(partners).combine_chunks())
    noisy = bool(changes.embedding_noise) and split == "train"
    if not noisy and other is None:
        return part
    for column in EMBEDDINGS:
        rows = [np.asarray(row, dtype=np.float64) for row in part[column].to_pylist()]
        rng = generator(seed, f"noise on {column}")
        if other is not None:
            rows = [other(row) if len(row) else row.reshape(0, other.projection.shape[1]) for row in rows]
        if noisy:
            rows = [with_noise(row, changes.embedding_noise, rng) if len(row) else row for row in rows]
        made = Dataset.from_dict(
            {column: [row.astype(np.float16) for row in rows]}, features=Features({column: features[column]})
        )
        part = _with_column(part, column, made.data.table[column].combine_chunks())
    return part.replace_schema_metadata(features.arrow_schema.metadata)


def _write_classes(file: Path, names: list[str], embeds: np.ndarray) -> None:
    features = Features({"label": Value("string"), "text_embed": List(Value("float16"), length=embeds.shape[1])})
    rows = {"label": names, "text_embed": list(embeds.astype(np.float16))}
    with atomic_file(file) as sink:
        pq.write_table(Dataset.from_dict(rows, features=features).data.table, sink)
