"""Files that are whole or not there: what a killed run leaves, and two runs at once."""

import os
import signal
import sys
from pathlib import Path

import pytest

from mrd_hf.files import atomic_file as module
from mrd_hf.files.atomic_file import atomic_file, partial_prefix


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks")


def killed_while_it_writes(file) -> None:
    child = os.fork()
    if child == 0:
        with atomic_file(file) as sink:
            sink.write(b"half")
            sink.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("name", ["a.parquet", "[a*]?.parquet"])
def test_what_a_killed_run_left_goes_with_the_next_and_what_another_writes_stays(tmp_path, name):
    file = tmp_path / name
    killed_while_it_writes(file)
    killed_while_it_writes(tmp_path / "other")
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_file(file) as first:
        first.write(b"first")
        first.flush()
        with atomic_file(file) as second:
            second.write(b"second")
        assert file.read_bytes() == b"second"
    assert file.read_bytes() == b"first"
    left = [path.name for path in tmp_path.iterdir() if path != file]
    assert len(left) == 1 and left[0].startswith(".other.partial-")


def test_what_was_left_empty_goes_as_well_and_what_is_just_being_made_stays(tmp_path):
    left, made = tmp_path / f"{partial_prefix(tmp_path / 'a')}0", tmp_path / ".a.new-0"
    left.touch()
    made.touch()
    with atomic_file(tmp_path / "a"):
        assert made.exists() and not left.exists()
        assert sorted(path.name for path in tmp_path.iterdir())[1].startswith(".a.partial-")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.new-0", "a"]


def test_a_file_is_replaced_where_renaming_does_not(monkeypatch, tmp_path):
    """On Windows, `rename` refuses the name of a file that is there."""
    rename = Path.rename

    def rename_as_windows(path, target):
        if Path(target).exists():
            raise FileExistsError(17, "File exists", str(path))
        return rename(path, target)

    monkeypatch.setattr(module, "WINDOWS", True)
    monkeypatch.setattr(Path, "rename", rename_as_windows)
    for content in (b"first", b"second"):
        with atomic_file(tmp_path / "a.json") as sink:
            sink.write(content)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"second"]
