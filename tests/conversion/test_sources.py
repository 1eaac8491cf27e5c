"""Where checkpoints come from: files, folders, repositories."""

from pathlib import Path
from unittest.mock import MagicMock

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from mrd_hf.conversion import sources
from mrd_hf.conversion.sources import find_checkpoint
from mrd_hf.errors import UserError


FILES = ["README.md", "config.json", "modelzoo/uni3d-b/model.pt", "modelzoo/uni3d-g/model.pt"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub of one repository; returns the list of its files and that of the downloads."""
    files, downloads = list(FILES), []

    def download(repo_id: str, filename: str) -> str:
        downloads.append((repo_id, filename))
        return str(tmp_path / Path(filename).name)

    monkeypatch.setattr(HfApi, "list_repo_files", lambda self, repo_id: files)
    monkeypatch.setattr(sources, "hf_hub_download", download)
    return files, downloads


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_file_is_called_by_its_name_alone(tmp_path):
    write(tmp_path, "model.pt")
    source = find_checkpoint(str(tmp_path / "model.pt"), None)
    assert (source.file, source.name, source.repo_id) == (tmp_path / "model.pt", "model.pt", None)
    with pytest.raises(UserError, match="leave it out"):
        find_checkpoint(str(tmp_path / "model.pt"), "model.pt")


def test_a_folders_only_weights_are_taken(tmp_path):
    write(tmp_path, "README.md", "ckpt/model.pth")
    assert find_checkpoint(str(tmp_path), None).file == tmp_path / "ckpt" / "model.pth"
    write(tmp_path, "best.pt")
    with pytest.raises(UserError, match="2 files that may hold weights: best.pt, ckpt/model.pth; .*--filename"):
        find_checkpoint(str(tmp_path), None)
    assert find_checkpoint(str(tmp_path), "best.pt").file == tmp_path / "best.pt"
    with pytest.raises(UserError, match="no file last.pt; those that may hold weights: best.pt, ckpt/model.pth"):
        find_checkpoint(str(tmp_path), "last.pt")


def test_a_folder_without_weights_is_refused(tmp_path):
    write(tmp_path, "README.md")
    with pytest.raises(UserError, match="0 files that may hold weights: none; expected one that ends in .safetensors"):
        find_checkpoint(str(tmp_path), None)


def test_a_repositorys_file_is_downloaded(hub, tmp_path):
    files, downloads = hub
    with pytest.raises(UserError, match="2 files that may hold weights: modelzoo/uni3d-b/model.pt, .*--filename"):
        find_checkpoint("BAAI/Uni3D", None)
    assert downloads == []
    source = find_checkpoint("BAAI/Uni3D", FILES[2])
    assert (source.file, source.name) == (tmp_path / "model.pt", f"BAAI/Uni3D/{FILES[2]}")
    assert source.repo_id == "BAAI/Uni3D"
    files.remove(FILES[3])
    find_checkpoint("BAAI/Uni3D", None)
    assert downloads == [("BAAI/Uni3D", FILES[2])] * 2


def test_what_is_neither_a_file_nor_a_repository_is_refused(hub):
    for source in ("model.pt", "downloads/model.pt", "a/b/c", "no such file", "../x/y"):
        with pytest.raises(UserError, match="there is no such file") as error:
            find_checkpoint(source, None)
        assert error.value.exit_code == 2


@pytest.mark.parametrize("kind", [ConnectionError, RepositoryNotFoundError])
def test_a_repository_that_cannot_be_read(monkeypatch, kind):
    def fail(self, repo_id):
        if kind is ConnectionError:
            raise ConnectionError("no route\nto the Hub")
        raise RepositoryNotFoundError("404\nnot found", response=MagicMock(headers={}))

    monkeypatch.setattr(HfApi, "list_repo_files", fail)
    with pytest.raises(UserError, match="org/model is no file here, and .*(no route|404).*hf auth login") as error:
        find_checkpoint("org/model", None)
    assert error.value.exit_code == 1
