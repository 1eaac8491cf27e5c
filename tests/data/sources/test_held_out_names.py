"""Splits of mesh folders: by name, or as the metadata says."""

import json
import runpy
import signal
import sys

import pytest
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st
from support.paths import SCRIPTS
from support.tiny_meshes import glb

from mrd_hf.data.preparation import dataset_parts
from mrd_hf.data.sources.meshes.held_out_names import hold_out, name_key
from mrd_hf.data.sources.meshes.mesh_folder import prepare_mesh_folder
from mrd_hf.errors import UserError


SCRIPT = SCRIPTS / "prepare_dataset.py"
NAMES = [f"{kind} {thing}" for kind in ("red", "old", "tall", "round", "oak") for thing in ("chair", "mug", "lamp")]


def mesh_folder(folder, rows, header="file_name,name,category"):
    """A folder of boxes and their captions.csv; a row is of the file `NN.glb` of its number."""
    folder.mkdir()
    lines = [header]
    for number, row in enumerate(rows):
        (folder / f"{number:02d}.glb").write_bytes(glb())
        lines.append(f"{number:02d}.glb,{row}")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder


def prepare(folder, out, **options):
    metadata = folder / "captions.csv"
    return prepare_mesh_folder(folder, out, metadata if metadata.exists() else None, num_points=16, **options)


def names_of(out):
    return {split: data["name"][:] for split, data in load_dataset(str(out)).items()}


def content(out):
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


@given(st.lists(st.text(min_size=1, max_size=6), max_size=30), st.floats(0.01, 0.99), st.integers(0, 3))
def test_some_names_are_held_out_and_others_are_not(names, share, seed):
    keys = {name_key(name) for name in names}
    if len(keys) < 2:
        with pytest.raises(UserError, match="there are not two"):
            hold_out(names, share, seed, "models")
        return
    held_out = hold_out(names, share, seed, "models")
    assert 0 < len(held_out) < len(keys) and held_out < keys
    assert held_out == hold_out(names[::-1] + names, share, seed, "models")


def test_a_name_stays_where_it_is_when_others_come_and_the_share_is_met():
    names = [f"{first}{second} thing" for first in "abcdefghijklmnopqrst" for second in "abcdefghijklmnopqrst"]
    few, all_of_them = hold_out(names[:100], 0.25, 0, ""), hold_out(names, 0.25, 0, "")
    assert few == all_of_them & set(names[:100])
    assert 0.2 < len(all_of_them) / len(names) < 0.3
    assert few < hold_out(names[:100], 0.5, 0, "")
    assert hold_out(names, 0.25, 1, "") != all_of_them


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("chair_01", "Chair 02", True),
        ("Office_Chair", " office  chair", True),
        ("chair", "armchair", False),
        ("0001", "0002", False),
        ("BOX", "box", True),
    ],
)
def test_names_are_compared_by_their_words(one, other, alike):
    assert (name_key(one) == name_key(other)) is alike


@pytest.mark.parametrize("share", [0, 1, -0.2, 20, float("nan")])
def test_a_share_that_is_none(share):
    with pytest.raises(UserError, match="must be above 0 and below 1"):
        hold_out(["a", "b"], share, 0, "models")


def test_no_name_is_in_both_splits_and_the_counts_add_up(tmp_path):
    """Two shapes a name; one cannot be read, one has no metadata, and neither is in a split."""
    folder = mesh_folder(tmp_path / "models", [f"{name},{name.split()[1]}" for name in NAMES * 2])
    (folder / "00.glb").write_bytes(b"")
    (folder / "unnamed.glb").write_bytes(glb())
    report = prepare(folder, tmp_path / "out", test_share=0.3)
    splits = names_of(tmp_path / "out")
    assert list(splits) == ["train", "test"] and not set(splits["train"]) & set(splits["test"])
    assert set(splits["train"]) | set(splits["test"]) == set(NAMES)
    assert report["splits"] == {split: len(names) for split, names in splits.items()}
    assert report["names"] == {split: len(set(names)) for split, names in splits.items()}
    assert report["prepared"] == sum(report["splits"].values()) == 29
    assert [item["id"] for item in report["skipped"]] == ["00", "unnamed"] and report["shapes"] == 31
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


def test_numbered_files_are_of_one_name(tmp_path):
    (tmp_path / "models").mkdir()
    for name in ("chair_01", "chair_02", "mug_1", "Mug_2", "lamp", "0001"):
        (tmp_path / "models" / f"{name}.glb").write_bytes(glb())
    report = prepare(tmp_path / "models", tmp_path / "out", test_share=0.5)
    splits = names_of(tmp_path / "out")
    assert sorted(splits["train"] + splits["test"]) == ["chair", "chair", "lamp", "mug", "mug"]
    assert not set(splits["train"]) & set(splits["test"]) and sum(report["names"].values()) == 3


def test_one_name_cannot_be_held_out(tmp_path):
    (tmp_path / "models").mkdir()
    for number in range(3):
        (tmp_path / "models" / f"chair_{number}.glb").write_bytes(glb())
    with pytest.raises(UserError, match=r"models: --test-share .* not two \('chair'\); give .* column 'name'"):
        prepare(tmp_path / "models", tmp_path / "out", test_share=0.5)
    assert not (tmp_path / "out").exists()


def test_shards_and_workers_make_the_same_splits(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_parts, "ROWS_PER_FILE", 4)
    folder = mesh_folder(tmp_path / "models", [f"{name},x" for name in NAMES])
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    report = prepare(folder, whole, test_share=0.4)
    first = prepare(folder, shared, test_share=0.4, num_shards=2, shard_index=1)
    assert first["missing"] and first["prepared"] == sum(first["splits"].values()) < 15
    assert prepare(folder, shared, test_share=0.4, num_shards=2, num_workers=2) == report
    assert content(shared) == content(whole)
    test_file = next((shared / "data").glob("test-*"))
    test_file.unlink()  # as if the run had been killed
    assert prepare(folder, shared, test_share=0.4) == report and content(shared) == content(whole)


@pytest.mark.parametrize("options", [{}, {"test_share": 0.5}, {"test_share": 0.3, "seed": 1}])
def test_other_splits_of_a_dataset_that_is_there_are_refused(tmp_path, options):
    folder, out = mesh_folder(tmp_path / "models", [f"{name},x" for name in NAMES]), tmp_path / "out"
    prepare(folder, out, test_share=0.3)
    before = content(out)
    with pytest.raises(UserError, match=r"made with other settings \((test_share 0.3|seed 0) there"):
        prepare(folder, out, **options)
    assert content(out) == before
    prepare(folder, out, overwrite=True, **options)
    prepare(folder, tmp_path / "fresh", **options)
    assert content(out) == content(tmp_path / "fresh")


def test_the_metadata_says_the_splits(tmp_path):
    rows = ["one,test", "two,train", "three,validation", "four,train"]
    folder, out = mesh_folder(tmp_path / "models", rows, "file_name,name,split"), tmp_path / "out"
    (folder / "unnamed.glb").write_bytes(glb())
    report = prepare(folder, out)
    assert names_of(out) == {"train": ["two", "four"], "validation": ["three"], "test": ["one"]}
    assert report["splits"] == {"train": 2, "validation": 1, "test": 1} and "names" not in report
    (folder / "captions.csv").write_text((folder / "captions.csv").read_text().replace("two,train", "two,test"))
    with pytest.raises(UserError, match="made from other inputs"):
        prepare(folder, out)
    (folder / "captions.csv").write_text("file_name,name,split\n00.glb,one,test\n")
    prepare(folder, out, overwrite=True)
    assert names_of(out) == {"test": ["one"]}


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("split", ["train", "tset"], r"captions.csv: line 3: 'split' is 'tset'; expected train, validation, test"),
        ("split", ["train", ""], r"captions.csv: line 3 has no 'split', and others have"),
        ("split", ["train", "test\n00.glb,test"], r"captions.csv: line 4: the 'split' is 'test', and an earlier row"),
        ("category,label", ["mug,mug", "mug,cup"], r"captions.csv: line 3: 'category' is 'mug' and 'label' is 'cup'"),
        ("label", ["mug", "mug\n00.glb,cup"], r"captions.csv: line 4: the 'category' is 'cup', and an earlier row"),
    ],
)
def test_contradictions_are_named_with_their_row(tmp_path, header, rows, message):
    folder = mesh_folder(tmp_path / "models", rows, f"file_name,{header}")
    with pytest.raises(UserError, match=message):
        prepare(folder, tmp_path / "out")


def test_two_ways_to_split_are_one_too_many(tmp_path):
    folder = mesh_folder(tmp_path / "models", ["a,train", "b,test"], "file_name,name,split")
    with pytest.raises(UserError, match=r"column 'split' \(00.glb is in 'train'\).*leave out --test-share"):
        prepare(folder, tmp_path / "out", test_share=0.5)


def test_a_folder_without_splits_beside_one_with_them(tmp_path):
    (tmp_path / "models").mkdir()
    mesh_folder(tmp_path / "models" / "a", ["x,test"], "file_name,name,split")
    mesh_folder(tmp_path / "models" / "b", ["y"], "file_name,name")
    for folder in "ab":
        (tmp_path / "models" / folder / "captions.csv").rename(tmp_path / "models" / folder / "metadata.csv")
    with pytest.raises(UserError, match="b/00.glb has no 'split' in the metadata, and a/00.glb has"):
        prepare(tmp_path / "models", tmp_path / "out")


def test_a_label_is_the_category(tmp_path):
    folder = mesh_folder(tmp_path / "models", ["a,mug,", "b,,chair", "c,cup,cup"], "file_name,name,label,category")
    prepare(folder, tmp_path / "out")
    assert load_dataset(str(tmp_path / "out"), split="train")["category"][:] == ["mug", "chair", "cup"]


def test_a_split_whose_every_shape_is_skipped_is_named(tmp_path):
    folder = mesh_folder(tmp_path / "models", ["a,train", "b,test"], "file_name,name,split")
    (folder / "01.glb").write_bytes(b"")
    with pytest.raises(UserError, match="every shape of the split 'test' was skipped") as ended:
        prepare(folder, tmp_path / "out")
    assert ended.value.exit_code == 1


def run_script(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "meshes", *map(str, arguments)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_command_says_what_it_held_out(tmp_path, monkeypatch, capsys):
    folder, out = mesh_folder(tmp_path / "models", [f"{name},x" for name in NAMES]), tmp_path / "out"
    options = ["--no_images", "--num_points", 16, "--num_workers", 1, "--metadata", folder / "captions.csv"]
    run_script(monkeypatch, folder, "--out", out, *options, "--test_share", 0.2)
    counts = {split: len(names) for split, names in names_of(out).items()}
    printed = capsys.readouterr().out
    assert f"splits: train {counts['train']} shapes, test {counts['test']} shapes" in printed
    assert f"held out in test: {counts['test']} of 15 names, by --test-share 0.2" in printed
    assert "names; files that differ" not in printed
    for number, name in enumerate(("chair_01", "chair_02", "mug_01", "mug_02")):
        (folder / f"{number:02d}.glb").rename(tmp_path / f"{name}.glb")
    for file in [*folder.iterdir()]:
        file.unlink()
    for file in tmp_path.glob("*.glb"):
        file.rename(folder / file.name)
    run_script(monkeypatch, folder, "--out", out, *options[:-2], "--test_share", 0.2, "--overwrite")
    printed = capsys.readouterr().out
    assert "held out in test: 1 of 2 names" in printed in printed
    assert "only 2 names; files that differ in a number alone share one (as chair_01 and chair_02 do)" in printed


@pytest.mark.parametrize("share", ["0", "1", "x"])
def test_the_command_refuses_a_share_that_is_none(tmp_path, monkeypatch, capsys, share):
    with pytest.raises(SystemExit) as ended:
        run_script(monkeypatch, tmp_path, "--out", tmp_path / "out", "--test_share", share)
    assert ended.value.code == 2 and "argument --test-share" in capsys.readouterr().err


def test_the_help_has_an_example_that_works(tmp_path, monkeypatch, capsys):
    """The three lines of captions.csv in the help, as they stand, on files of those names."""
    with pytest.raises(SystemExit):
        run_script(monkeypatch, "--help")
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip().startswith("file_name,"))
    table = [line.strip() for line in lines[start : start + 4]]
    folder = tmp_path / "models"
    for line in table[1:]:
        file = folder / line.split(",")[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n") if file.suffix == ".obj" else file.write_bytes(glb())
    (tmp_path / "captions.csv").write_text("\n".join(table) + "\n")
    prepare_mesh_folder(folder, tmp_path / "out", tmp_path / "captions.csv", num_points=16)
    data = load_dataset(str(tmp_path / "out"), split="train")
    assert data["name"][:] == ["armchair", "office chair", "mug"] and data["category"][:] == ["chair", "chair", "mug"]
    assert data[1]["texts"][1] == {"text": "a black office chair, on wheels", "source": "caption"}
