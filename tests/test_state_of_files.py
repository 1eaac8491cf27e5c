"""The state of files changes with their names and contents, and not with their place."""

from mrd_hf.state_of_files import state_of_files


def test_the_state_changes_with_any_file_and_not_with_the_folders_place(tmp_path):
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    for name in ("a", "below/b"):
        (folder / name).write_text("1")
    before = state_of_files(folder)
    assert state_of_files(folder) == before
    (folder / "below" / "b").write_text("12")
    changed = state_of_files(folder)
    (folder / "a").rename(folder / "c")
    renamed = state_of_files(folder)
    assert len({before, changed, renamed, state_of_files(folder / "c")}) == 4
    folder.rename(tmp_path / "elsewhere")
    assert state_of_files(tmp_path / "elsewhere") == renamed
