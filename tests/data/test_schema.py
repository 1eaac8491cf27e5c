import numpy as np
import pytest
from datasets import Array2D, ClassLabel, Dataset, Features, Value

from mrd_hf.data.schema import (
    EMBEDDING_COLUMNS,
    SHAPE_COLUMNS,
    SOURCE_COLUMNS,
    TEACHER_COLUMNS,
    category_names,
    check_columns,
    check_schema_version,
    embedding_dim,
    triplet_features,
)
from mrd_hf.errors import UserError


def test_embedding_columns_come_with_a_width():
    columns = {*EMBEDDING_COLUMNS, *TEACHER_COLUMNS}
    assert not columns & set(triplet_features())
    features = triplet_features(embedding_dim=8)
    assert columns <= set(features) and embedding_dim(features) == 8


def test_documented_columns_are_the_columns():
    import mrd_hf.data.schema as module

    for column in triplet_features(embedding_dim=8):
        assert f"`{column}`" in module.__doc__


def test_complete_features_pass():
    check_columns(triplet_features(embedding_dim=8), SHAPE_COLUMNS + SOURCE_COLUMNS + EMBEDDING_COLUMNS, "data")


def test_other_columns_do_not_matter():
    check_columns(Features({**triplet_features(), "label": Value("string")}), SHAPE_COLUMNS, "data")


@pytest.mark.parametrize(
    ("column", "remedy"), [("points", "mrd-hf prepare"), ("image_embeds", "mrd-hf embed-teacher")]
)
def test_missing_column_is_named_with_its_remedy(column, remedy):
    features = triplet_features(embedding_dim=8)
    del features[column]
    with pytest.raises(UserError, match=f"(?s)data: no column '{column}'.*{remedy}") as ended:
        check_columns(features, [column], "data")
    assert "--teacher" not in str(ended.value)  # which `prepare resplit`, for one, has not


def test_points_may_be_of_twice_the_precision_and_the_teachers_origin_unknown():
    features = triplet_features(embedding_dim=8, points_dtype="float32")
    assert features["points"].dtype == "float32"
    for column in TEACHER_COLUMNS:
        del features[column]
    check_columns(features, SHAPE_COLUMNS + SOURCE_COLUMNS + EMBEDDING_COLUMNS, "data")


@pytest.mark.parametrize(
    ("feature", "values", "expected"),
    [
        (Value("string"), ["mug", None], ["mug", None]),
        (Value("large_string"), ["mug", None], ["mug", None]),
        (Value("null"), [None, None], [None, None]),
        (ClassLabel(names=["bed", "mug"]), [1, 0, -1, None], ["mug", "bed", None, None]),
    ],
)
def test_categories_are_names(feature, values, expected):
    dataset = Dataset.from_dict({"category": values}, features=Features({"category": feature}))
    assert category_names(dataset, "data") == expected
    assert category_names(dataset.rename_column("category", "kind"), "data") == [None] * len(values)


@pytest.mark.parametrize("feature", [Value("int64"), Value("bool")])
def test_categories_without_names_are_refused(feature):
    dataset = Dataset.from_dict({"category": [1, 0]}, features=Features({"category": feature}))
    with pytest.raises(UserError, match=rf"data: column 'category' is .*{feature.dtype}.*; write the names into it"):
        category_names(dataset, "data")


@pytest.mark.parametrize(("versions", "fits"), [([1, 1], True), ([None, None], True), ([1, 2], False), ([], True)])
def test_a_later_version_is_refused(versions, fits):
    dataset = Dataset.from_dict({"schema_version": versions}, features=Features({"schema_version": Value("int8")}))
    if fits:
        check_schema_version(dataset, "data")
    else:
        with pytest.raises(UserError, match="data: column 'schema_version' says 2, .* up to 1; upgrade"):
            check_schema_version(dataset, "data")


def test_without_a_version_it_is_the_first():
    check_schema_version(Dataset.from_dict({"id": ["a"]}), "data")


@pytest.mark.parametrize("wrong", [Value("string"), Array2D((None, 4), "float16"), Array2D((None, 3), "int32")])
def test_column_of_another_type_is_named(wrong):
    features = Features({**triplet_features(), "points": wrong})
    with pytest.raises(UserError, match="data: column 'points' is"):
        check_columns(features, ["points"], "data")


def test_shapes_of_different_size_keep_their_values(tmp_path):
    rows = [
        {
            **dict.fromkeys(("source", "name", "category", "license", "creator"), None),
            "schema_version": 1,
            "id": str(size),
            "points": np.full((size, 3), 0.1, dtype=np.float16),
            "colors": np.full((size, 3), 255, dtype=np.uint8),
            "images": [],
            "texts": [{"text": "a", "source": "name"}],
        }
        for size in (1, 5)
    ]
    Dataset.from_list(rows, features=triplet_features()).to_parquet(tmp_path / "a.parquet")
    loaded = Dataset.from_parquet(str(tmp_path / "a.parquet"), cache_dir=str(tmp_path))
    assert loaded.features == triplet_features()
    for row, size in zip(loaded, (1, 5), strict=True):
        assert np.array_equal(np.array(row["points"], dtype=np.float16), np.full((size, 3), 0.1, dtype=np.float16))
        assert np.array(row["colors"]).shape == (size, 3)
