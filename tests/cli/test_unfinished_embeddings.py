"""`mrd-hf embed` interrupted at each shape, and given again: the same file as without it, and nothing done twice."""

import json
import os
import shutil
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.forked_processes import ForkedCommand, run_command
from support.tiny_meshes import glb
from tiny_commands import mrd_hf, save_tiny_encoder

from mrd_hf.cli import encoder
from mrd_hf.cli.embeddings import unfinished_embeddings
from mrd_hf.cli.embeddings.embedding_table import open_embeddings
from mrd_hf.cli.embeddings.unfinished_embeddings import UnfinishedEmbeddings


NUM_SHAPES = 11
BAD = (0, 3, 7, 10)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with `encoder`, `shapes` of which some cannot be read, and `whole.parquet`, embedded in one go."""
    folder = tmp_path_factory.mktemp("work")
    save_tiny_encoder(folder / "encoder")
    (folder / "shapes").mkdir()
    generator = np.random.default_rng(0)
    for number in range(NUM_SHAPES):
        cloud = generator.standard_normal((300, 3))
        np.save(folder / "shapes" / f"{number:02}.npy", cloud[:0] if number in BAD else cloud)
    assert embed(folder, folder / "whole.parquet") == 1
    return folder


def embed(work, output, *arguments):
    options = ["--model", work / "encoder", "--batch-size", 3, "--overwrite", *arguments]
    return mrd_hf("embed", work / "shapes", "-o", output, *options)


@pytest.fixture
def read(monkeypatch):
    """Files in the order in which they are read; a number in `stop` says before which file the run ends."""
    monkeypatch.setattr(unfinished_embeddings, "SECONDS_A_PART", -1)
    prepare, read = encoder.prepare, []

    def recorded(chosen, file, up_axis):
        name = int(os.path.basename(file)[:2])
        if name in stop:
            stop.remove(name)
            raise KeyboardInterrupt
        read.append(name)
        return prepare(chosen, file, up_axis)

    stop: list[int] = []
    monkeypatch.setattr(encoder, "prepare", recorded)
    return read, stop


@pytest.mark.parametrize("is_killed", [True, False])
@pytest.mark.parametrize("stops", [[number] for number in range(NUM_SHAPES)] + [[2, 5, 9], [4, 5, 6]])
def test_a_run_resumes_and_writes_the_same_file(work, tmp_path, read, monkeypatch, capsys, stops, is_killed):
    names, stop = read
    stop += stops
    output = tmp_path / "embeddings.parquet"
    if is_killed:  # with what is on the disk at that moment, and no more
        leave = UnfinishedEmbeddings.__exit__
        monkeypatch.setattr(
            UnfinishedEmbeddings,
            "__exit__",
            lambda self, kind, *more: leave(self, kind, *more) if kind is None else os.close(self._claim),
        )
    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            embed(work, output)
        assert not output.exists()
    capsys.readouterr()
    assert embed(work, output, "--json") == 1
    out, err = capsys.readouterr()
    assert [int(os.path.basename(row["file"])[:2]) for row in json.loads(out)["failed"]] == list(BAD)
    assert output.read_bytes() == (work / "whole.parquet").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["embeddings.parquet"]
    assert sorted(set(names)) == list(range(NUM_SHAPES))
    # Batches are of 1, 2 and 3: what was read and not embedded is read again, three at most, and what failed.
    assert len(names) <= NUM_SHAPES + len(stops) * 5
    assert ("resuming" in err) == (stops[-1] > 1)


@pytest.mark.parametrize("stop_at", range(NUM_SHAPES))
def test_an_interrupted_run_keeps_what_it_has_embedded_and_no_more(work, tmp_path, read, monkeypatch, stop_at):
    """One part, as it ends: a shape that was read and not embedded is none of it, though one behind it had failed."""
    names, stop = read
    monkeypatch.setattr(unfinished_embeddings, "SECONDS_A_PART", 1e9)
    stop += [stop_at]
    output = tmp_path / "embeddings.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed(work, output)
    assert len(list(tmp_path.glob(".*/*.parquet"))) == (stop_at > 1)
    names.clear()
    assert embed(work, output) == 1
    assert output.read_bytes() == (work / "whole.parquet").read_bytes()
    assert (1 in names) == (stop_at < 2)


def test_what_changed_is_embedded_again(work, tmp_path, read, capsys):
    names, stop = read
    shutil.copytree(work / "shapes", tmp_path / "shapes")
    copy, output = tmp_path / "copy", tmp_path / "e.parquet"
    copy.mkdir()
    (copy / "encoder").symlink_to(work / "encoder")
    (copy / "shapes").symlink_to(tmp_path / "shapes")
    changes = [
        lambda: ["--up-axis", "z"],
        lambda: ["--batch-size", "2"],
        lambda: ["--skip-parts", "^collider"],
        lambda: ["--keep-collision"],
        lambda: np.save(tmp_path / "shapes" / "01.npy", np.random.default_rng(5).standard_normal((301, 3))),
        lambda: np.save(tmp_path / "shapes" / "00a.npy", np.random.default_rng(6).standard_normal((300, 3))),
        lambda: os.truncate(next((tmp_path / ".e.parquet.unfinished").glob("000000.parquet")), 50),
    ]
    for change in changes:
        stop += [9]
        with pytest.raises(KeyboardInterrupt):
            embed(copy, output)
        names.clear()
        options = change() or []
        assert embed(copy, output, *options) == 1
        assert 1 in names and "resuming" not in capsys.readouterr().err
        assert not (tmp_path / ".e.parquet.unfinished").exists()
    facts, count, rows = open_embeddings(output)
    assert count == NUM_SHAPES + 1 - len(BAD) and facts.input["num_points"] == 256


def test_parts_behind_a_file_that_changed_do_not_count(work, tmp_path, read):
    """Also where a new part ends where the old one ended: which files failed may be others."""
    _, stop = read
    copy, output, unfinished = tmp_path / "copy", tmp_path / "e.parquet", tmp_path / ".e.parquet.unfinished"
    shutil.copytree(work / "shapes", copy / "shapes")
    (copy / "encoder").symlink_to(work / "encoder")
    stop += [9]
    with pytest.raises(KeyboardInterrupt):
        embed(copy, output)
    assert len(list(unfinished.iterdir())) > 2
    np.save(copy / "shapes" / "03.npy", np.random.default_rng(5).standard_normal((300, 3)))
    stop += [4]
    with pytest.raises(KeyboardInterrupt):
        embed(copy, output)
    assert sorted(path.name for path in unfinished.iterdir()) == ["000000.parquet", "000001.parquet"]
    assert embed(copy, output) == 1
    assert embed(copy, tmp_path / "whole.parquet") == 1
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such locks")
def test_two_runs_do_not_write_one_file(work, tmp_path, capsys):
    with UnfinishedEmbeddings(tmp_path / "e.parquet", {}, []):
        assert embed(work, tmp_path / "e.parquet") == 2
        assert "e.parquet: another run is writing it" in capsys.readouterr().err
    assert embed(work, tmp_path / "e.parquet") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_process_that_is_killed_leaves_what_the_next_one_resumes_from(work, tmp_path):
    shapes = tmp_path / "shapes"
    shapes.mkdir()
    for number in range(400):
        (shapes / f"{number:03}.glb").write_bytes(glb())
    output, unfinished = tmp_path / "e.parquet", tmp_path / ".e.parquet.unfinished"
    script = tmp_path / "embed.py"
    script.write_text(
        "from mrd_hf.cli.embeddings import unfinished_embeddings as module; module.SECONDS_A_PART = 0.1\n"
        "from mrd_hf_cli.main import main; main()"
    )
    command = [script, "embed", shapes, "-o", output, "--model", work / "encoder", "--batch-size", "2"]
    process = ForkedCommand(command, env=os.environ)
    deadline = time.monotonic() + 100
    while not list(unfinished.glob("000001.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert not output.exists() and unfinished.exists()
    done = run_command(command)
    assert done.returncode == 0 and "resuming: " in done.stderr, done.stderr
    table = pq.read_table(output)
    assert table["path"].to_pylist() == sorted(str(path) for path in shapes.iterdir()) and not unfinished.exists()
