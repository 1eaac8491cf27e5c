"""What is found below a folder: links to folders are followed as far as there is an end."""

import os
from pathlib import Path

import pytest

from mrd_hf.errors import UserError
from mrd_hf.files import walking
from mrd_hf.files.walking import files_below


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "elsewhere", "chair.off", "deeper/stool.off")
    write(tmp_path / "shapes", "b.off", "a/b.off", "a.off", "lamps/lamp.off")
    (tmp_path / "shapes" / "chairs").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "shapes" / "linked.off").symlink_to(tmp_path / "elsewhere" / "chair.off")
    return tmp_path / "shapes"


def test_links_to_folders_are_followed_and_all_is_in_order(folder, monkeypatch):
    expected = ["a/b.off", "a.off", "b.off", "chairs/chair.off", "chairs/deeper/stool.off", "lamps/lamp.off"]
    expected.append("linked.off")
    assert [path.as_posix() for path in files_below(folder)] == expected
    assert [folder / path for path in files_below(folder)] == sorted(folder / path for path in expected)
    monkeypatch.chdir(folder)
    assert files_below(".") == files_below(str(folder)) == files_below(folder)
    assert files_below("lamps") == [Path("lamp.off")]


def test_links_in_circles_end(folder):
    """To the folder itself, to one above it, and two that link each other; a folder by two names is there twice."""
    before = files_below(folder)
    (folder / "itself").symlink_to(folder, target_is_directory=True)
    (folder / "a" / "up").symlink_to("..", target_is_directory=True)
    (folder / "broken").symlink_to(folder / "nowhere", target_is_directory=True)
    found = files_below(folder)
    assert [path for path in found if path.name != "broken"] == before
    (folder / "a" / "lamps").symlink_to(folder / "lamps", target_is_directory=True)
    (folder / "lamps" / "a").symlink_to(folder / "a", target_is_directory=True)
    twice = {path.as_posix() for path in files_below(folder)} - {path.as_posix() for path in found}
    assert twice == {"a/lamps/lamp.off", "lamps/a/b.off"}


def test_hidden_ones_are_left_out_where_they_do_not_count(folder):
    write(folder, "._a.off", ".cache/a.off", "__MACOSX/a.off", "lamps/.DS_Store", "...a.off")
    (folder / ".chairs").symlink_to(folder / "lamps", target_is_directory=True)
    assert len(files_below(folder)) == 7 + 5 + 2
    assert len(files_below(folder, hidden=False)) == 7
    assert len(files_below(os.path.join(folder, ".cache"), hidden=False)) == 1  # which was asked for


def test_links_that_double_the_folders_level_by_level_are_refused(tmp_path):
    for level in range(40):
        (tmp_path / f"{level:02}").mkdir()
        if level:
            for name in ("a", "b"):
                (tmp_path / f"{level - 1:02}" / name).symlink_to(tmp_path / f"{level:02}")
    (tmp_path / "39" / "chair.glb").touch()
    with pytest.raises(UserError, match="links in it lead to the same folders again and again"):
        files_below(tmp_path)
    assert len(files_below(tmp_path / "33")) == 2**6


def test_many_folders_are_no_mistake(tmp_path, monkeypatch):
    monkeypatch.setattr(walking, "MANY_FOLDERS", 20)
    for number in range(300):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "chair.glb").touch()
    assert len(files_below(tmp_path)) == 300
