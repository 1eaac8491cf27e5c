"""Whose cached embeddings are: all rows must agree, in a dataset and in files, and so must what training asks for."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from support.tiny_triplets import WIDTH, save_tiny_triplets, tiny_rows

from mrd_hf.data.embedding.cached_teacher import (
    are_one,
    check_same_teacher,
    origins_in_dataset,
    origins_in_file,
    split_identifier,
    the_teacher,
)
from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.loaders.triplet_shards import TripletShards
from mrd_hf.data.loading import load_triplets
from mrd_hf.data.schema import triplet_features
from mrd_hf.errors import UserError


COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "sha256:0123456789abcdee"


def write(path, columns, **options):
    pq.write_table(pa.table({"id": ["a", "b", "c", "d"], **columns}), path, row_group_size=2, **options)
    return path


def by_dataset(path):
    return [origins_in_dataset(Dataset.from_parquet(str(path)))]


def by_footer(path):
    return [origins_in_file(pq.ParquetFile(path))]


@pytest.fixture(params=[by_dataset, by_footer])
def read(request):
    return request.param


@pytest.mark.parametrize("statistics", [True, False])
def test_one_teacher_of_all_rows(read, tmp_path, statistics):
    columns = {"teacher": ["clip"] * 4, "teacher_revision": pa.nulls(4, pa.string()), "image_backend": ["Pil"] * 4}
    file = write(tmp_path / "data.parquet", columns, write_statistics=statistics)
    assert the_teacher(read(file), "furniture") == "clip"
    assert the_teacher(read(write(tmp_path / "old.parquet", {"teacher": ["clip"] * 4})), "furniture") == "clip"


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("column", ["teacher", "teacher_revision", "image_backend"])
@pytest.mark.parametrize("values", [["a", "a", "a", "b"], ["a", "b", "b", "a"], ["a", None, "a", "a"]])
def test_a_single_other_row_is_an_error_that_names_both(read, tmp_path, statistics, column, values):
    file = write(tmp_path / "data.parquet", {"teacher": ["clip"] * 4, column: values}, write_statistics=statistics)
    with pytest.raises(
        UserError, match=rf"furniture: column '{column}' says (None|a) .* and (a|b) .*mrd-hf embed-teacher"
    ):
        the_teacher(read(file), "furniture")


def test_files_of_different_teachers_are_an_error(tmp_path):
    files = [write(tmp_path / f"{teacher}.parquet", {"teacher": [teacher] * 4}) for teacher in ("clip", "siglip")]
    with pytest.raises(UserError, match="says clip in some rows and siglip in others"):
        the_teacher([origins for file in files for origins in by_footer(file)], "furniture")


@pytest.mark.parametrize("first", ["clip.parquet", "nobody.parquet"])
def test_a_file_that_says_nothing_beside_one_that_does_is_an_error(tmp_path, first):
    write(tmp_path / "clip.parquet", {"teacher": ["clip"] * 4})
    write(tmp_path / "nobody.parquet", {})
    files = sorted(tmp_path.iterdir(), key=lambda file: file.name != first)
    with pytest.raises(UserError, match="says None in some rows and clip in others"):
        the_teacher([origins for file in files for origins in by_footer(file)], "furniture")


@pytest.mark.parametrize("columns", [{}, {"teacher": pa.nulls(4, pa.string())}])
def test_embeddings_of_nobody_are_an_error(read, tmp_path, columns):
    with pytest.raises(UserError, match="does not say whose"):
        the_teacher(read(write(tmp_path / "data.parquet", columns)), "furniture")


def test_a_selection_of_rows_speaks_for_itself():
    rows = [{name: row[name] for name in triplet_features(embedding_dim=WIDTH)} for row in tiny_rows(4)]
    rows[3]["teacher"] = "another"
    dataset = Dataset.from_list(rows, features=triplet_features(embedding_dim=WIDTH))
    with pytest.raises(UserError, match="says a-teacher in some rows and another in others"):
        TripletDataset(dataset, seed=0, cached=True, name="tiny")
    assert TripletDataset(dataset.select(range(3)), seed=0, cached=True, name="tiny").teacher == "a-teacher"


def test_training_looks_at_every_row_however_it_reads(tmp_path):
    folder = save_tiny_triplets(tmp_path / "tiny", train=40)
    file = folder / "data" / "train-00000-of-00001.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("teacher")
    teachers = ["a-teacher"] * 39 + ["another"]
    pq.write_table(table.set_column(place, "teacher", pa.array(teachers)), file, row_group_size=8)
    for opened in (
        lambda: TripletDataset(load_triplets(folder, "train"), seed=0, cached=True, name="tiny"),
        lambda: TripletShards(folder, "train", seed=0, cached=True),
    ):
        with pytest.raises(UserError, match="says a-teacher in some rows and another in others"):
            opened()


def test_shapes_to_evaluate_on_are_of_the_same_teacher(tmp_path):
    dataset = load_triplets(save_tiny_triplets(tmp_path / "tiny", train=2, test=2), "test")
    check_same_teacher(dataset, "a-teacher", "tiny (test)")
    with pytest.raises(UserError, match=r"tiny \(test\): .* the teacher a-teacher, and training's .* of another"):
        check_same_teacher(dataset, "another", "tiny (test)")


@pytest.mark.parametrize(
    ("teacher", "other", "expected"),
    [
        ("org/clip", "org/clip", True),
        (f"org/clip@{COMMIT}", "org/clip", True),
        (f"org/clip@{COMMIT}", f"org/clip@{COMMIT[:8]}", True),
        (f"org/clip@{COMMIT}", f"org/clip@{COMMIT[::-1]}", False),
        ("org/clip", "org/siglip", False),
        (f"org/clip@{COMMIT}", f"org/siglip@{COMMIT}", False),
        ("org/clip@main", "org/clip", False),
        (f"clip@{DIGEST}", f"renamed@{DIGEST}", True),
        (f"clip@{DIGEST}", f"clip@{DIGEST[:-1]}f", False),
        (f"clip@{DIGEST}", f"clip@{COMMIT}", False),
        # As older versions recorded them.
        (f"clip@{DIGEST}", "clip", True),
        (f"clip@{DIGEST}", "/home/me/clip", True),
        (f"clip@{DIGEST}", "/home/me/other", False),
        ("org/clip", "clip", False),
    ],
)
def test_identifiers(teacher, other, expected):
    assert are_one(teacher, other) is are_one(other, teacher) is expected


def test_splitting_an_identifier():
    assert split_identifier(f"org/clip@{COMMIT}") == ("org/clip", COMMIT)
    assert split_identifier("my@folder") == ("my@folder", None)
    assert split_identifier(f"my@folder@{DIGEST}") == ("my@folder", DIGEST)
