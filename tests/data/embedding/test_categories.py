"""Class texts that are made of a dataset's own categories."""

import runpy
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from embedding_runs import image_row, png
from support.paths import SCRIPTS
from support.tiny_teachers import save_tiny_clip

from mrd_hf.commands.embed_teacher import default_output
from mrd_hf.data.class_texts import CLASS_TEXTS_FILE
from mrd_hf.data.embedding.teacher_embedding import categories_of, embed_dataset_folder
from mrd_hf.data.schema import triplet_features
from mrd_hf.errors import UserError
from mrd_hf.evaluation.classes.prompt_templates import SIMPLE_TEMPLATES
from mrd_hf.teacher import Teacher


SCRIPT = SCRIPTS / "embed_teacher.py"


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp("teacher") / "tiny-clip")


@pytest.fixture(scope="module")
def teacher(teacher_folder):
    return Teacher.from_pretrained(teacher_folder)


def write_categories(folder, **splits):
    """A dataset with a file a split, of a row a category."""
    (folder / "data").mkdir(parents=True)
    for split, categories in splits.items():
        rows = [
            {**image_row(f"{split}/{number}", [png(number)], [("a thing", "name")]), "category": category}
            for number, category in enumerate(categories)
        ]
        file = folder / "data" / f"{split}-00000-of-00001.parquet"
        Dataset.from_list(rows, features=triplet_features()).to_parquet(file)
    return folder


def embed(folder, out, teacher, **options):
    return embed_dataset_folder(folder, out, teacher, ["a {}", "{}"], class_names=categories_of(folder), **options)


def test_they_are_the_categories_of_all_splits_sorted(teacher, tmp_path):
    folder = write_categories(tmp_path / "mine", test=["mug", None, "bed"], train=["lamp", "bed", "lamp"])
    embed(folder, tmp_path / "out", teacher)
    table = pq.read_table(tmp_path / "out" / CLASS_TEXTS_FILE)
    assert table["label"].to_pylist() == ["bed", "lamp", "mug"]
    for label, embed_of in zip(table["label"].to_pylist(), table["text_embed"].to_pylist(), strict=True):
        mean = teacher.embed_texts([f"a {label}", label]).mean(dim=0)
        np.testing.assert_allclose(embed_of, mean / mean.norm(), atol=2e-3)


@pytest.mark.parametrize("own_file", [False, True])
def test_prompts_have_names_as_they_are_read_and_labels_as_they_are_spelled(teacher, tmp_path, own_file):
    folder = write_categories(tmp_path / "mine", train=["night_stand", "Tv__bench "])
    names = categories_of(folder)
    assert names == ["Tv__bench ", "night_stand"]
    if own_file:
        pq.write_table(pa.table({"label": names}), folder / CLASS_TEXTS_FILE)
    embed_dataset_folder(folder, tmp_path / "out", teacher, ["a {}."], class_names=None if own_file else names)
    table = pq.read_table(tmp_path / "out" / CLASS_TEXTS_FILE)
    assert table["label"].to_pylist() == names
    expected = teacher.embed_texts(["a Tv bench.", "a night stand."])
    np.testing.assert_allclose(table["text_embed"].to_pylist(), expected, atol=1e-3)


def test_they_do_not_depend_on_shards_and_are_made_once(teacher, tmp_path):
    folder = write_categories(tmp_path / "mine", test=["mug"], train=["lamp"])
    embed(folder, tmp_path / "whole", teacher)
    embed(folder, tmp_path / "out", teacher, num_shards=2, shard_index=1)
    assert not (tmp_path / "out" / CLASS_TEXTS_FILE).exists()
    embed(folder, tmp_path / "out", teacher, num_shards=2, shard_index=0)
    file = tmp_path / "out" / CLASS_TEXTS_FILE
    assert file.read_bytes() == (tmp_path / "whole" / CLASS_TEXTS_FILE).read_bytes()
    written = file.stat().st_mtime_ns
    embed(folder, tmp_path / "out", teacher)
    assert file.stat().st_mtime_ns == written
    embed_dataset_folder(folder, tmp_path / "out", teacher, ["the {}"], class_names=categories_of(folder))
    assert file.stat().st_mtime_ns != written


def test_a_dataset_with_class_texts_of_its_own_says_itself_what_they_are(tmp_path):
    folder = write_categories(tmp_path / "mine", train=["lamp"])
    pq.write_table(pa.table({"label": ["mug"]}), folder / CLASS_TEXTS_FILE)
    with pytest.raises(UserError, match=r"mine/class_texts\.parquet: says already .*; leave out --class-texts"):
        categories_of(folder)


def test_without_categories_there_are_none(tmp_path):
    folder = write_categories(tmp_path / "mine", train=[None, None])
    with pytest.raises(UserError, match="no shape has a 'category' .* in the column 'category' of the metadata"):
        categories_of(folder)
    file = folder / "data" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["category"]), file)
    with pytest.raises(UserError, match="no shape has a 'category'"):
        categories_of(folder)


def test_one_class_is_spelled_in_one_way(tmp_path):
    folder = write_categories(tmp_path / "mine", train=["Night_stand", "lamp"], test=["night stand"])
    with pytest.raises(UserError, match="'Night_stand' and 'night stand' differ in spelling alone"):
        categories_of(folder)


def run_script(monkeypatch, *arguments):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_command_makes_them_when_told(teacher_folder, tmp_path, monkeypatch, capsys):
    folder = write_categories(tmp_path / "mine", train=["mug", "lamp"])
    out = tmp_path / "mine-tiny-clip"
    run_script(monkeypatch, folder, "--teacher", teacher_folder)
    assert not (out / CLASS_TEXTS_FILE).exists() and "class texts" not in capsys.readouterr().out
    run_script(monkeypatch, folder, "--teacher", teacher_folder, "--class_texts")  # on top of what is there
    assert f"class texts: 2 classes in {out / CLASS_TEXTS_FILE}" in capsys.readouterr().out
    teacher = Teacher.from_pretrained(teacher_folder)
    expected = teacher.embed_texts([template.format("lamp") for template in SIMPLE_TEMPLATES]).mean(dim=0)
    made = pq.read_table(out / CLASS_TEXTS_FILE)["text_embed"][0].as_py()
    np.testing.assert_allclose(made, expected / expected.norm(), atol=2e-3)


@pytest.mark.parametrize(
    ("dataset", "teacher", "expected"),
    [
        (".", "org/clip/", "sets/mine-clip"),
        ("..", "org/clip", "sets-clip"),
        ("../mine/data/..", "clip", "sets/mine-clip"),
        ("../other", "org/clip", "sets/other-clip"),
        (".", "../../towers/tiny", "sets/mine-tiny"),
        (".", "../../towers/tiny/../tiny/.", "sets/mine-tiny"),
        ("../link", "../../towers/link", "sets/elsewhere-link"),
    ],
)
def test_without_output_it_is_written_beside_the_dataset(tmp_path, monkeypatch, dataset, teacher, expected):
    for folder in ("sets/mine/data", "sets/other", "elsewhere", "towers/tiny"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "sets" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "towers" / "link").symlink_to(tmp_path / "towers" / "tiny", target_is_directory=True)
    monkeypatch.chdir(tmp_path / "sets" / "mine")
    out = default_output(Path(dataset), teacher)
    assert out.resolve() == tmp_path.resolve() / expected
    assert out.is_absolute() == (dataset != "../other" and dataset != "../link")  # as it was given, where that says it


def test_prompts_for_classes_need_classes(teacher_folder, tmp_path, monkeypatch, capsys):
    folder = write_categories(tmp_path / "mine", train=["mug", "lamp"])
    with pytest.raises(SystemExit) as ended:
        run_script(monkeypatch, folder, "--teacher", "no/such-teacher", "--class_templates", "openshape64")
    message = (
        "has no class_texts.parquet, so --class-templates has nothing to embed; add --class-texts, or leave it out"
    )
    assert ended.value.code == 2 and f"{folder}: {message}" in " ".join(capsys.readouterr().err.split())
    # The dataset's own classes are embedded without being told.
    embed(folder, tmp_path / "with", Teacher.from_pretrained(teacher_folder))
    shutil.copy(tmp_path / "with" / CLASS_TEXTS_FILE, folder)
    run_script(monkeypatch, folder, "--teacher", teacher_folder, "--class-templates", "none")
    made = pq.read_table(tmp_path / "mine-tiny-clip" / CLASS_TEXTS_FILE)
    expected = Teacher.from_pretrained(teacher_folder).embed_texts(made["label"].to_pylist())
    np.testing.assert_allclose(made["text_embed"].to_pylist(), expected, atol=2e-3)


def test_the_command_fails_before_the_teacher_is_loaded(tmp_path, monkeypatch, capsys):
    folder = write_categories(tmp_path / "mine", train=[None])
    with pytest.raises(SystemExit):
        run_script(monkeypatch, folder, "--teacher", "no/such-teacher", "--class_texts")
    assert "no shape has a 'category'" in capsys.readouterr().err
    shutil.rmtree(folder / "data")
    with pytest.raises(SystemExit):
        run_script(monkeypatch, folder, "--teacher", "no/such-teacher", "--class_texts")
    assert "has no parquet file" in capsys.readouterr().err
