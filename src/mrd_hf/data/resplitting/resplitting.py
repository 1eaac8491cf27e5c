"""Write a triplet dataset with other splits, other labels or other embeddings, and a report of it."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
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
from ..class_texts import CLASS_TEXTS_FILE, check_width, read_class_texts
from ..embedding.cached_teacher import check_class_texts_are_of
from ..embedding.embedded_files import footer_digest, new_record, read_record, to_footer
from ..loading import load_all_splits
from ..preparation.dataset_writing import ROWS_PER_GROUP
from ..preparation.parquet_writing import dataset_writer, row_groups
from ..schema import check_columns, embedding_dim, triplet_features
from .name_splits import SPLITS, count_splits, splits_of_names
from .teacher_changes import OtherTeacher, TeacherChanges, generator, with_noise, wrong_partners


EMBEDDINGS = ("image_embeds", "text_embeds")
PICTURES = ("images", "image_embeds")
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
            that is no class, or the class texts are of another teacher than the dataset.
    """
    folder, changes = Path(out), changes or TeacherChanges()
    check_replaceable(folder, ("data", REPORT_FILE), "prepared dataset", (dataset, labels, class_texts))
    check_vacant(folder, overwrite)
    rows, order = _all_rows(load_all_splits(dataset), dataset)
    told = {name: rows[name][:] for name in ("id", "name", "teacher", "category") if name in rows.features}
    told = {name: [values[row] for row in order] for name, values in told.items()}
    ids, names = told["id"], told["name"]
    if None in names:
        raise UserError(f"{dataset}: shape '{ids[names.index(None)]}' has no name to divide by.")
    splits = splits_of_names(names, test_share, validation_share, seed, dataset)
    teachers = sorted({teacher for teacher in told["teacher"] if teacher is not None})
    classes = None
    if class_texts is not None:
        classes = read_class_texts(class_texts)
        check_width(classes[1], embedding_dim(rows.features), class_texts, dataset)
        check_class_texts_are_of(class_texts, f"those of {dataset}", *teachers)
    categories: list[str | None] = told.get("category", [None] * len(rows))
    features = Features(rows.features)
    replaced: dict[str, Sequence[str | None]] = {}
    if labels is not None:
        replaced["category"] = categories = _read_labels(Path(labels), ids)
        if classes is not None and (odd := sorted({label for label in categories if label} - set(classes[0]))):
            raise UserError(f"{labels}: the label '{odd[0]}' is no class of {class_texts}; make the two fit.")
    if "split" in features:
        replaced["split"] = splits
    other = None
    if changes.teacher_width is not None:
        other = OtherTeacher(embedding_dim(features), changes.teacher_width, changes.teacher_noise, seed)
        features |= {name: triplet_features(embedding_dim=changes.teacher_width)[name] for name in EMBEDDINGS}
        replaced["teacher"] = [changes.teacher_name(teacher, seed) for teacher in told["teacher"]]
    features |= dict.fromkeys(replaced, Value("string"))
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
        "labeled": {
            s: sum(c is not None for c, of in zip(categories, splits, strict=True) if of == s) for s in SPLITS
        },
        "ids_sha256": hashlib.sha256(json.dumps(sorted(zip(ids, splits, strict=True))).encode()).hexdigest(),
        "sources": digests_of_sources(dataset, labels, class_texts),
        "skipped": [],
        "warnings": [],
        "missing": [],
    }
    with atomic_folder(folder) as partial:
        for split in SPLITS:
            places = np.flatnonzero(np.array(splits) == split).tolist()
            of_split = {name: [values[place] for place in places] for name, values in replaced.items()}
            parts = _changed_parts(
                rows, [order[place] for place in places], of_split, features, changes, other, seed, split
            )
            with (
                atomic_file(partial / "data" / f"{split}-00000-of-00001.parquet") as sink,
                dataset_writer(sink, features.arrow_schema) as writer,
            ):
                shapes = (part.slice(place, 1) for part in parts for place in range(len(part)))
                for group in row_groups(shapes, ROWS_PER_GROUP):
                    writer.write_table(group.combine_chunks())
        if classes is not None and class_texts is not None:
            embeds = classes[1] if other is None else other(classes[1])
            # Whose they are, as the rows say it: checks compare the two.
            renamed = None if other is None or not teachers else changes.teacher_name(teachers[0], seed)
            footer = _footer_of_classes(Path(class_texts), renamed)
            _write_classes(partial / CLASS_TEXTS_FILE, classes[0], embeds, footer)
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


def _all_rows(splits: DatasetDict, name: str) -> tuple[Dataset, list[int]]:
    """The shapes of all splits, and the order of their rows that sorts them by id."""
    parts = list(splits.values())
    for part in parts:
        check_columns(part.features, ["id", "texts", *EMBEDDINGS, "teacher"], name)
        if "name" not in part.features:
            raise UserError(f"{name}: no column 'name' to divide by; prepare it with mrd-hf prepare.")
    joined = concatenate_datasets(parts)
    ids = joined["id"][:]
    if len(set(ids)) < len(ids):
        raise UserError(f"{name}: has an id in two splits; each shape needs one of its own.")
    return joined, sorted(range(len(ids)), key=ids.__getitem__)


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


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    if name not in table.column_names:
        return table.append_column(name, values)
    return table.set_column(table.column_names.index(name), name, values)


def _changed_parts(
    rows: Dataset,
    of_split: Sequence[int],
    replaced: Mapping[str, Sequence[str | None]],
    features: Features,
    changes: TeacherChanges,
    other: OtherTeacher | None,
    seed: int,
    split: str,
) -> Iterator[pa.Table]:
    """A split, a row group at a time, as all of a large dataset is neither for memory nor for one array of arrow's.

    It has the teacher's changes; noise and wrong images are of the training shapes alone.

    Args:
        rows (`datasets.Dataset`): Of all splits.
        of_split (sequence of `int`): Which of them are of this one.
        replaced (mapping of `str` to sequence): New values of some columns, one for each of `of_split`.
        features (`datasets.Features`): Of what is made.
        changes ([`TeacherChanges`]), other ([`OtherTeacher`], *optional*), seed (`int`), split (`str`)
    """
    stored = rows.with_format("arrow")
    pictures = stored.select_columns([name for name in PICTURES if name in rows.column_names])
    share = changes.wrong_images if split == "train" else 0.0
    shown = [of_split[partner] for partner in wrong_partners(len(of_split), share, seed)]
    noise = changes.embedding_noise if split == "train" else 0.0
    generators = {name: generator(seed, f"noise on {name}") for name in EMBEDDINGS}
    for start in range(0, len(of_split), ROWS_PER_GROUP):
        group = slice(start, start + ROWS_PER_GROUP)
        part = stored[of_split[group]]
        for name, values in replaced.items():
            part = _with_column(part, name, pa.array(values[group], pa.string()))
        if share:
            for name, column in zip(pictures.column_names, pictures[shown[group]].columns, strict=True):
                part = _with_column(part, name, column)
        if noise or other is not None:
            for name, rng in generators.items():
                made = _changed_embeds(part[name], other, noise, rng)
                column = Dataset.from_dict({name: made}, features=Features({name: features[name]}))
                part = _with_column(part, name, column.data.table[name])
        yield part.replace_schema_metadata(features.arrow_schema.metadata)


def _changed_embeds(
    column: pa.ChunkedArray, other: OtherTeacher | None, noise: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Each row's embeddings as another teacher has them, if there is one, and with noise."""
    rows = [np.asarray(row, dtype=np.float64) for row in column.to_pylist()]
    if other is not None:
        rows = [other(row) if len(row) else row.reshape(0, other.projection.shape[1]) for row in rows]
    if noise:
        rows = [with_noise(row, noise, rng) if len(row) else row for row in rows]
    return [row.astype(np.float16) for row in rows]


def _footer_of_classes(source: Path, teacher: str | None) -> dict[str, str]:
    """What the footer of class texts made of `source` says of their making: as there, by `teacher` if it is given."""
    record = read_record(source)
    if record is None:
        return {}
    settings = record["settings"] | ({} if teacher is None else {"teacher": teacher})
    return to_footer(new_record(source, settings, record["left_out"]))


def _write_classes(file: Path, names: list[str], embeds: np.ndarray, footer: dict[str, str]) -> None:
    features = Features({"label": Value("string"), "text_embed": List(Value("float16"), length=embeds.shape[1])})
    rows = {"label": names, "text_embed": list(embeds.astype(np.float16))}
    table = Dataset.from_dict(rows, features=features).data.table
    with atomic_file(file) as sink:
        pq.write_table(table.replace_schema_metadata(table.schema.metadata | footer), sink)
