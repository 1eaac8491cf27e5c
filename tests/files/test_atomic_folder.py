"""Folders that are replaced: killed at every call, two writers at once, and where names cannot be exchanged."""

import os
import shutil
import signal
import sys
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from mrd_hf.errors import UserError
from mrd_hf.files import atomic_folder as module
from mrd_hf.files.atomic_folder import atomic_folder, check_not_current
from mrd_hf.files.exchange import exchange


posix = pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders")

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")


def in_a_child(work) -> int:
    """Do something in a forked process; returns how that ended, as `subprocess` does: -9 when it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except UserError as error:
            os.write(2, str(error).encode())
            os._exit(3)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fill_and_be_killed(folder: Path, last: int, can_exchange: bool) -> None:
    """Fill a folder with "new", and die just before the `last`-th call that changes files."""
    count = 0

    def watch(event, arguments):
        nonlocal count
        if event in CHANGES or (event == "open" and str(folder.parent) in str(arguments[0])):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    def watched(first, second):
        sys.audit("os.rename")
        return exchange(first, second)

    module.exchange = watched if can_exchange else lambda first, second: False
    sys.addaudithook(watch)
    fill(folder, "new")


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fill(folder: Path, word: str) -> None:
    with atomic_folder(folder) as new:
        (new / "a").write_text(word)
        (new / "sub").mkdir()
        (new / "sub" / "b").write_text(word)


OLD, NEW = {"a": "old", "sub/b": "old"}, {"a": "new", "sub/b": "new"}


@posix
@pytest.mark.parametrize("how", ["exchange", "aside"])
def test_killed_before_any_call_the_old_folder_or_the_new_one_is_there(tmp_path, how):
    killed = 0
    while True:
        parent = tmp_path / str(killed)
        folder = parent / "index"
        fill(folder, "old")
        ended = in_a_child(partial(fill_and_be_killed, folder, killed + 1, how == "exchange"))
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        if how == "exchange" or folder.exists():
            assert contents(folder) in (OLD, NEW)
        else:
            assert contents(parent / "replaced-index") == OLD  # in the instant between two renames
            with pytest.raises(ZeroDivisionError), atomic_folder(folder):
                assert contents(folder) == OLD  # taken back
                raise ZeroDivisionError
        fill(folder, "new")
        assert contents(folder) == NEW
        assert [path.name for path in parent.iterdir()] == ["index"]
        killed += 1
    assert killed > 8
    assert contents(folder) == NEW and [path.name for path in parent.iterdir()] == ["index"]


def test_after_an_error_the_old_folder_is_there_and_nothing_beside_it(tmp_path):
    fill(tmp_path / "index", "old")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "index") as new:
        (new / "a").write_text("new")
        raise ZeroDivisionError
    assert contents(tmp_path / "index") == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("name", [".", "sub/..", "../index"])
def test_the_current_folder_is_refused_where_that_is_asked_and_filled_where_not(tmp_path, monkeypatch, name):
    fill(tmp_path / "index", "old")
    monkeypatch.chdir(tmp_path / "index")
    with pytest.raises(UserError, match="is the folder that you are in, which cannot be replaced; name one in it"):
        check_not_current(Path(name))
    check_not_current(Path("sub"))
    check_not_current(Path(".."))
    fill(Path(name), "new")
    assert contents(tmp_path / "index") == NEW and [path.name for path in tmp_path.iterdir()] == ["index"]


@posix
def test_a_second_writer_is_refused_and_told_of_the_first(tmp_path, capfd):
    fill(tmp_path / "index", "old")
    with atomic_folder(tmp_path / "index") as new:
        (new / "a").write_text("first")
        first = os.getpid()
        assert in_a_child(lambda: fill(tmp_path / "index", "second")) == 3
        assert f"another run is writing it (process {first}, which began at " in capfd.readouterr().err
    assert contents(tmp_path / "index") == {"a": "first"}
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@posix
def test_many_writers_at_once_leave_one_whole_folder(tmp_path):
    """Each of them writes its own number into every file, and is refused or done."""
    folder = tmp_path / "index"

    def write(number: int) -> None:
        for turn in range(100):
            with suppress(UserError), atomic_folder(folder) as new:
                for name in "abc":
                    (new / name).write_text(f"{number} {turn}")

    for name in ("index", "other"):
        fill(tmp_path / name, "old")
    at_every_moment = exchange(folder, tmp_path / "other")
    shutil.rmtree(tmp_path / "other")
    children = []
    for number in range(4):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                write(number)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
    running = set(children)
    while running:
        for child in tuple(running):  # others may be a fixture's
            assert folder.is_dir() or not at_every_moment
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                assert status == 0
                running.discard(child)
    assert len(set(contents(folder).values())) == 1 and set(contents(folder)) == set("abc")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@posix
def test_a_folder_that_is_gone_at_a_second_look_is_made(tmp_path, monkeypatch):
    """`mkdir` finds the one of another run there, and then that it is no folder."""
    make, refusals = Path.mkdir, [FileExistsError(), FileExistsError()]

    def refuse_at_first(self, *arguments, **settings):
        if self.name == "incomplete-index" and refusals:
            raise refusals.pop()
        make(self, *arguments, **settings)

    monkeypatch.setattr(Path, "mkdir", refuse_at_first)
    fill(tmp_path / "index", "new")
    assert set(contents(tmp_path / "index").values()) == {"new"} and not refusals


@posix
def test_a_file_in_the_place_of_the_folder_to_fill_is_not_waited_for(tmp_path):
    (tmp_path / "incomplete-index").write_text("")
    with pytest.raises(FileExistsError):
        fill(tmp_path / "index", "new")


@posix
def test_without_locks_a_folder_is_written_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no locks")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    fill(tmp_path / "index", "old")
    fill(tmp_path / "index", "new")
    assert contents(tmp_path / "index") == NEW


@posix
def test_through_a_link_the_folder_that_it_points_to_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    fill(tmp_path / "disk" / "index", "old")
    (tmp_path / "index").symlink_to(tmp_path / "disk" / "index")
    fill(tmp_path / "index", "new")
    assert (tmp_path / "index").is_symlink() and contents(tmp_path / "disk" / "index") == NEW


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's call")
def test_names_are_exchanged(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("file")
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange names")
    assert (tmp_path / "a").read_text() == "file" and (tmp_path / "b").is_dir()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "none")
    assert (tmp_path / "a").is_file()


def test_a_file_in_the_place_of_the_folder_is_kept(tmp_path):
    (tmp_path / "index").write_text("mine")
    with pytest.raises((OSError, UserError)), atomic_folder(tmp_path / "index") as new:
        (new / "a").write_text("new")
    assert (tmp_path / "index").read_text() == "mine"


@posix
def test_on_windows_files_are_flushed_as_it_lets_them(monkeypatch, tmp_path):
    """It opens no folders, and flushes nothing that is open for reading alone."""
    opened, flushed = {}, []

    def open_as_windows(path, flags):
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        opened[len(opened)] = (Path(path).name, flags)
        return len(opened) - 1

    def flush_as_windows(descriptor):
        name, flags = opened[descriptor]
        if not flags & os.O_RDWR:
            raise OSError(9, "Bad file descriptor")
        flushed.append(name)

    windows = SimpleNamespace(open=open_as_windows, fsync=flush_as_windows, close=lambda descriptor: None)
    windows.O_RDONLY, windows.O_RDWR, windows.O_BINARY = os.O_RDONLY, os.O_RDWR, 0x8000
    monkeypatch.setattr(module, "os", windows)
    monkeypatch.setattr(module, "sys", SimpleNamespace(platform="win32"))
    (tmp_path / "inner").mkdir()
    for name in ("a.txt", "inner/b.txt"):
        (tmp_path / name).write_text("x")
    module.flush_to_disk(tmp_path)
    assert sorted(flushed) == ["a.txt", "b.txt"]
