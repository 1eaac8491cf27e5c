"""The state of files changes with their names, sizes and times, and not with their place."""

import os

import pytest

from mrd_hf.files.digests import state_of_files


def write(path, content, seconds=1_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (seconds, seconds))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "folder" / "a", "1")
    write(tmp_path / "folder" / "below" / "b", "1")
    return tmp_path / "folder"


def test_the_state_changes_with_files_behind_a_link(folder, tmp_path):
    write(tmp_path / "elsewhere" / "c", "1")
    (folder / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    before = state_of_files(folder)
    write(tmp_path / "elsewhere" / "c", "1", seconds=1_001)
    assert state_of_files(folder) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write(folder / "below" / "b", "12"),  # longer, at the same time
        lambda folder: write(folder / "below" / "b", "2", seconds=1_001),  # as long, and later
        lambda folder: (folder / "a").rename(folder / "c"),
        lambda folder: (folder / "below").rename(folder / "under"),
        lambda folder: (folder / "a").unlink(),
    ],
    ids=["longer", "later", "renamed", "renamed folder", "gone"],
)
def test_the_state_changes_with_any_file(folder, change):
    before = state_of_files(folder)
    assert state_of_files(folder) == before
    change(folder)
    assert state_of_files(folder) != before


def test_a_folder_that_was_moved_keeps_its_state(folder, tmp_path):
    before = state_of_files(folder)
    folder.rename(tmp_path / "elsewhere")
    assert state_of_files(tmp_path / "elsewhere") == before


def test_a_single_file_has_a_state(folder):
    before = state_of_files(folder / "a")
    write(folder / "a", "12")
    assert state_of_files(folder / "a") != before
