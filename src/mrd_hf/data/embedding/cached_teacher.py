"""Whose the cached embeddings of a dataset are: one teacher's, of one revision, by one image backend, in every row.

A teacher's identifier, as the column `teacher` has it, is `org/model@commit` of one on the Hub, and of one in a local
folder `name@sha256:...`: the folder's name and a digest of its content. Older datasets have names alone.
"""

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset

from ...errors import UserError
from ...models.teacher_folder import FOLDER_REVISION, is_folder_revision
from ..schema import TEACHER_COLUMNS
from .embedded_files import read_record


logger = logging.getLogger(__name__)

ORIGIN_COLUMNS = ("teacher", *TEACHER_COLUMNS)
WITH_REVISION = re.compile(rf"(?P<name>.+)@(?P<revision>[0-9a-f]{{7,40}}|{FOLDER_REVISION.pattern})")

# For each of `ORIGIN_COLUMNS` that is there, the values that it has.
Origins = dict[str, set[str | None]]


def origins_in_dataset(dataset: Dataset) -> Origins:
    """What all rows of a dataset say of the origin of their embeddings."""
    return {column: set(dataset.unique(column)) for column in ORIGIN_COLUMNS if column in dataset.features}


def origins_in_file(file: pq.ParquetFile) -> Origins:
    """What all rows of a parquet file say: by its footer, if that has the extremes, which tell one from several."""
    metadata = file.metadata
    origins: Origins = {}
    for place in range(metadata.num_columns):
        column = file.schema.column(place).path
        if column not in ORIGIN_COLUMNS:
            continue
        chunks = [metadata.row_group(group).column(place).statistics for group in range(metadata.num_row_groups)]
        if all(chunk is not None and (chunk.has_min_max or chunk.num_values == 0) for chunk in chunks):
            origins[column] = {value for chunk in chunks if chunk.has_min_max for value in (chunk.min, chunk.max)}
            if any(chunk.null_count for chunk in chunks):
                origins[column].add(None)
        else:
            origins[column] = set(file.read([column]).column(0).unique().to_pylist())
    return origins


def the_teacher(origins: Iterable[Origins], dataset_name: str) -> str:
    """The identifier of the one teacher that the parts of a dataset are embedded by.

    Raises:
        UserError: If there is none or several, or several revisions or image backends of it.
    """
    values: Origins = {}
    for part in origins:
        # A part may lack what older versions did not write, but not the teacher, whatever the other parts say.
        for column, found in ({"teacher": {None}} | part).items():
            values.setdefault(column, set()).update(found)
    for column, found in values.items():
        if len(found) > 1:
            first, second = sorted(map(str, found))[:2]
            raise UserError(
                f"{dataset_name}: column '{column}' says {first} in some rows and {second} in others, and embeddings "
                "of several origins cannot be compared; embed all of it again with mrd-hf embed-teacher."
            )
    teacher = next(iter(values.get("teacher", {None})), None)
    if teacher is None:
        raise UserError(
            f"{dataset_name}: column 'teacher' does not say whose the embeddings are; embed it again with "
            "mrd-hf embed-teacher."
        )
    return teacher


def check_same_teacher(dataset: Dataset, teacher: str, dataset_name: str) -> None:
    """Raise a [`UserError`] if a dataset to evaluate on is not embedded by the teacher of the one to train on."""
    found = the_teacher([origins_in_dataset(dataset)], dataset_name)
    if found != teacher:
        raise UserError(
            f"{dataset_name}: its embeddings are those of the teacher {found}, and training's are those of {teacher}; "
            "embed both with one by mrd-hf embed-teacher."
        )


def check_class_texts_are_of(path: str | Path, whose: str, *teachers: str | None) -> None:
    """Raise a [`UserError`] if a file of class texts says that its embeddings are of another space; not all say whose.

    Args:
        path (`str` or `Path`): As [`~mrd_hf.data.class_texts.read_class_texts`] takes it.
        whose (`str`): What they are to be compared with, for the message.
        teachers (`str`, *optional*): Any that embeds into that space: the teacher, its text tower. If none is known,
            nothing is compared; of one in a folder and one on the Hub it cannot be known, and there is a warning.
    """
    known = [teacher for teacher in teachers if teacher is not None]
    record = read_record(Path(path))
    found = None if record is None else record["settings"].get("teacher")
    if found is not None and known and not any(are_one(found, teacher) for teacher in known):
        from_folder = [is_folder_revision(split_identifier(name)[1]) for name in (found, *known)]
        if any(from_folder) and not all(from_folder):
            logger.warning(
                f"the embeddings in {path} are those of {found}, and {whose} are in the space of {known[0]}: make "
                "sure that the two are the same model."
            )
            return
        raise UserError(
            f"class texts: the embeddings in {path} are those of the teacher {found}, and {whose} are in the space of "
            f"{known[0]}; give the file that mrd-hf embed-teacher --class-texts makes with that teacher."
        )


def split_identifier(teacher: str) -> tuple[str, str | None]:
    """A teacher's name and, where the identifier has it, its commit or its folder's digest."""
    match = WITH_REVISION.fullmatch(teacher)
    return (match["name"], match["revision"]) if match else (teacher, None)


def are_one(teacher: str, other: str) -> bool:
    """Whether two identifiers may mean the same teacher.

    Folders are one if their contents are, whatever they are called. A revision counts where both have one.
    """
    (name, revision), (other_name, other_revision) = split_identifier(teacher), split_identifier(other)
    if is_folder_revision(revision) and is_folder_revision(other_revision):
        return revision == other_revision
    # Of a path of some machine, the folder's name.
    same_name = name == other_name or (
        (os.path.isabs(name) or os.path.isabs(other_name)) and Path(name).name == Path(other_name).name
    )
    if revision is None or other_revision is None:
        return same_name
    return same_name and (revision.startswith(other_revision) or other_revision.startswith(revision))
