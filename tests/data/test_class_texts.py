"""Names of classes and how they are matched; files of classes with their embeddings, ours and others'."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import DEMO_DATA

from mrd_hf.data.class_texts import match_names, read_class_names, read_class_texts, readable
from mrd_hf.errors import UserError


NAMES = ["chair", "night stand", "mug"]


def write_parquet(file, names, embeds):
    pq.write_table(pa.table({"label": names, "text_embed": embeds}), file)
    return file


def write_npy(file, value):
    np.save(file, value, allow_pickle=True)
    return file


VECTORS = {"chair": [3.0, 4.0, 0.0], "night_stand": [0.0, 0.0, 2.0], "mug": [1.0, 0.0, 0.0], "xbox": [1.0, 1.0, 1.0]}
EXPECTED = [[0.6, 0.8, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    "write",
    [
        lambda file: write_parquet(file.with_suffix(".parquet"), list(VECTORS), list(VECTORS.values())),
        lambda file: write_npy(
            file, {name: {"open_clip_text_feat": np.array([row])} for name, row in VECTORS.items()}
        ),
        lambda file: write_npy(file, {name: {"prompt_avg": np.array(row)} for name, row in VECTORS.items()}),
        lambda file: write_npy(file, {name: np.array([row], dtype=np.float16) for name, row in VECTORS.items()}),
        lambda file: write_npy(file, np.array(list(VECTORS.values()))[:3]),
    ],
)
def test_published_files_are_matched_by_name(tmp_path, write):
    embeds = read_class_texts(write(tmp_path / "x.npy"), NAMES)[1]
    assert embeds.dtype == np.float32 and np.allclose(embeds, EXPECTED)
    if embeds.shape[0] == 3 and (tmp_path / "x.parquet").exists():
        reverse = read_class_texts(tmp_path / "x.parquet", ["Mug", "NIGHT_STAND"])[1]
        assert np.allclose(reverse, [EXPECTED[2], EXPECTED[1]])


def test_the_demo_datas_class_texts():
    file = str(DEMO_DATA / "class_texts.parquet")
    table = pq.read_table(file)
    names = table["label"].to_pylist()
    stored = np.array(table["text_embed"].to_pylist())  # in half precision, so of length 1 up to that
    assert np.allclose(read_class_texts(file, names)[1], stored, atol=2e-4)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: write_npy(file, {"chair": np.ones(3)}), "of 2 of the 3 classes ('night stand', 'mug')"),
        (
            lambda file: write_npy(
                file, {name: np.ones(3) for name in ["chair", "mug", "night_stand", "Night_stand"]}
            ),
            "of 1 of the 3 classes ('night stand')",
        ),
        (lambda file: write_npy(file, np.ones((4, 3))), "has (4, 3) numbers; expected a row for each of 3 classes"),
        (
            lambda file: write_npy(file, {"chair": {"clip": np.ones(3)}}),
            "has no open_clip_text_feat or prompt_avg (it",
        ),
        (lambda file: write_npy(file, {"chair": np.ones(3), "mug": np.ones(2)}), "no vectors of numbers of one width"),
        (lambda file: write_npy(file, {name: np.zeros(3) for name in VECTORS}), "are zero or not finite"),
        (lambda file: write_npy(file, {name: np.full(3, np.nan) for name in VECTORS}), "are zero or not finite"),
        (lambda file: write_npy(file, {"chair": os.getcwd}), "could run code"),
        (lambda file: write_npy(file, {}), "holds a dict; expected a dictionary of class names"),
        (lambda file: file.with_suffix(".parquet").write_bytes(b"PAR1"), "cannot be read as parquet"),
        (
            lambda file: pq.write_table(pa.table({"label": NAMES}), file.with_suffix(".parquet")),
            "no column 'text_embed' (it has label)",
        ),
        (
            lambda file: write_parquet(file.with_suffix(".parquet"), ["chair", None], [[1.0], [2.0]]),
            "column 'label' is of string; expected text without nulls",
        ),
        (
            lambda file: write_parquet(file.with_suffix(".parquet"), ["mug", "mug"], [[1.0], [2.0]]),
            "expected text without nulls, each class once",
        ),
        (lambda file: None, "no such file"),
    ],
)
def test_files_that_do_not_serve(tmp_path, write, message):
    write(tmp_path / "x.npy")
    file = next(tmp_path.iterdir(), tmp_path / "x.npy")
    with pytest.raises(UserError) as caught:
        read_class_texts(file, NAMES)
    assert str(caught.value).startswith(f"{file}: ") and message in str(caught.value)


def test_all_classes_of_a_file_in_its_order(tmp_path):
    write_parquet(tmp_path / "x.parquet", list(VECTORS), list(VECTORS.values()))
    write_npy(tmp_path / "x.npy", {name: np.array(row) for name, row in VECTORS.items()})
    for file in ("x.parquet", "x.npy"):
        names, embeds = read_class_texts(tmp_path / file)
        assert names == list(VECTORS)
        for row, vector in zip(embeds, VECTORS.values(), strict=True):
            assert np.allclose(row, np.array(vector) / np.linalg.norm(vector))
    assert read_class_names(tmp_path / "x.parquet") == list(VECTORS)
    write_npy(tmp_path / "x.npy", np.ones((4, 3)))
    with pytest.raises(UserError, match=r"has \(4, 3\) numbers; expected names"):
        read_class_texts(tmp_path / "x.npy")


def test_a_file_of_names_alone(tmp_path):
    pq.write_table(pa.table({"label": ["mug", "bed"]}), tmp_path / "names.parquet")
    assert read_class_names(tmp_path / "names.parquet") == ["mug", "bed"]
    with pytest.raises(UserError, match="no column 'text_embed'"):
        read_class_texts(tmp_path / "names.parquet")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("night_stand", "night stand"),
        ("tv_stand", "tv stand"),
        ("Band_Aid", "Band Aid"),
        ("bow_(weapon)", "bow (weapon)"),
        ("chair", "chair"),
        (" a__b ", "a b"),
    ],
)
def test_readable(name, words):
    assert readable(name) == words


def test_names_match_whatever_their_spelling():
    assert match_names(["night stand", "TV stand", "sofa"], ["tv_stand", "Night_Stand", "bed"]) == [1, 0, None]
    # Of names that differ in spelling alone only the one spelled the same.
    assert match_names(["tea pot", "Tea Pot"], ["tea_pot", "tea pot"]) == [1, None]


@given(st.lists(st.text("ab_ A", min_size=1, max_size=4), unique=True), st.randoms())
def test_a_list_of_distinct_names_matches_itself(names, random):
    shuffled = random.sample(names, len(names))
    assert match_names(names, shuffled) == [shuffled.index(name) for name in names]


def test_one_array_under_many_names_does_not_become_as_many_rows(tmp_path):
    """4 MB in the file, and 26 GB as rows of float64."""
    row = np.ones(32_768)
    write_npy(tmp_path / "x.npy", {f"class {number}": row for number in range(100_000)})
    assert (tmp_path / "x.npy").stat().st_size < 5e6
    with pytest.raises(UserError, match="x.npy: has fewer bytes than its 100000 embeddings have numbers"):
        read_class_texts(tmp_path / "x.npy")
