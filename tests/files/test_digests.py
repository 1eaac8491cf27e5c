"""What digests of files tell apart: their state by names, sizes and times; their content, of large ones in part."""

import os

import pytest

from mrd_hf.files.digests import fingerprint, state_of_files


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


KB = 1024


@pytest.mark.parametrize("size", [1, 64 * KB, 200 * KB + 1, 4096 * KB])
def test_every_byte_of_a_file_of_up_to_4_mb_counts(tmp_path, size):
    content = bytearray(os.urandom(size))
    (tmp_path / "a").write_bytes(content)
    before = fingerprint(tmp_path / "a")
    for place in {0, size // 3, size // 2, min(size - 1, 64 * KB), size - 1}:
        content[place] ^= 1
        (tmp_path / "a").write_bytes(content)
        assert fingerprint(tmp_path / "a") != before
        content[place] ^= 1
    (tmp_path / "elsewhere").write_bytes(content)
    assert fingerprint(tmp_path / "elsewhere") == before


def test_of_a_large_file_its_size_and_blocks_from_its_start_to_its_end_count(tmp_path):
    """Sparse, of 64 GB: no more than 4 MB of it can have been read."""
    size = 64 * KB**3
    file = tmp_path / "a"
    file.touch()
    os.truncate(file, size)
    empty = fingerprint(file)
    # The last block starts at the multiples of a 63rd of its own place that the others have.
    last = size - 64 * KB
    starts = [last * number // 63 for number in (0, 1, 31, 62, 63)]
    for place in (*starts, starts[1] + 64 * KB - 1, size - 1):
        with file.open("r+b") as content:
            content.seek(place)
            content.write(b"x")
            content.flush()
            assert fingerprint(file) != empty, place
            content.seek(place)
            content.write(b"\0")
        assert fingerprint(file) == empty
    with file.open("r+b") as content:
        content.seek(starts[1] - 1)
        content.write(b"x")
    assert fingerprint(file) == empty  # between the blocks
    os.truncate(file, size + 1)
    assert fingerprint(file) != empty
