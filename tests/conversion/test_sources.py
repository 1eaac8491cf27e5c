"""Where checkpoints come from: files, folders, repositories."""

from pathlib import Path
from unittest.mock import MagicMock

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError
from support.dead_hubs import closed_port, move_the_hub
from support.hub_server import Blob, HubServer, Repository

from mrd_hf.conversion import sources
from mrd_hf.conversion.sources import find_checkpoint
from mrd_hf.errors import UserError


FILES = ["README.md", "config.json", "modelzoo/uni3d-b/model.pt", "modelzoo/uni3d-g/model.pt"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub of one repository; returns the list of its files and that of the downloads."""
    files, downloads = list(FILES), []

    def download(repo_id: str, filename: str, revision: str | None) -> str:
        if filename not in files:
            raise RemoteEntryNotFoundError("404", response=MagicMock(headers={}))
        downloads.append((repo_id, filename))
        return str(tmp_path / Path(filename).name)

    monkeypatch.setattr(HfApi, "list_repo_files", lambda self, repo_id, revision: files)
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
    with pytest.raises(UserError, match="no file model.pt; those that may hold weights: modelzoo/uni3d-b/model.pt, "):
        find_checkpoint("BAAI/Uni3D", "model.pt")
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
    def fail(self, repo_id, revision):
        if kind is ConnectionError:
            raise ConnectionError("no route\nto the Hub")
        raise RepositoryNotFoundError("404\nnot found", response=MagicMock(headers={}))

    monkeypatch.setattr(HfApi, "list_repo_files", fail)
    with pytest.raises(UserError, match="org/model is no file here, and .*(no route|404).*hf auth login") as error:
        find_checkpoint("org/model", None)
    assert error.value.exit_code == 1


def test_a_revision_is_taken_and_its_commit_recorded_and_what_is_cached_needs_no_hub(tmp_path, monkeypatch):
    # Its waits between attempts are seconds.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    server, repository = HubServer(), Repository("models", "org/model", private=False)
    commits = {
        name: repository.add_commit(f"refs/heads/{name}", {"a/model.pt": Blob(name.encode(), False)}, name)
        for name in ("v1", "main")
    }
    server.repositories["models", "org/model"] = repository
    with server.running() as address:
        move_the_hub(monkeypatch, tmp_path, address)
        for name, reference in (("v1", "org/model@v1"), ("main", "org/model"), ("v1", f"org/model@{commits['v1']}")):
            source = find_checkpoint(reference, None)
            assert source.file.read_bytes() == name.encode()
            assert (source.name, source.repo_id) == ("org/model/a/model.pt", "org/model")
            assert source.commit == commits[name]
        with pytest.raises(UserError, match="org/model@v2 is no file here"):
            find_checkpoint("org/model@v2", None)
    for offline in (True, False):
        with closed_port() as address:
            move_the_hub(monkeypatch, tmp_path, address)
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
            assert find_checkpoint("org/model", "a/model.pt").file.read_bytes() == b"main"
            assert find_checkpoint("org/model@v1", "a/model.pt").commit == commits["v1"]
            with pytest.raises(
                UserError, match="org/model is no file here, and .*, or name a file that is in the cache"
            ):
                find_checkpoint("org/model", None)
            with pytest.raises(UserError, match="org/model is no file here, and .* cannot be read") as error:
                find_checkpoint("org/model", "model.pt")
            assert "--filename" not in str(error.value)


@pytest.mark.parametrize("name", ["org/model--x", "org/-", "-x/y"])
def test_an_id_that_cannot_be_is_one_line(name):
    with pytest.raises(UserError, match=name):
        find_checkpoint(name, None)
