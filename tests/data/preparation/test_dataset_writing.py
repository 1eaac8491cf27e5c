"""Writing datasets: nothing lost, nothing done twice, nothing half done read as whole."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import tiny_source
from datasets import load_dataset
from support.ended_processes import has_ended
from tiny_source import FEATURES, calls, prepare_tiny, start, tiny_row
from tqdm import tqdm

from mrd_hf.data.loading import load_triplets
from mrd_hf.data.preparation import dataset_parts, dataset_writing, parquet_writing
from mrd_hf.errors import UserError


JOBS = ["a", "b:skip", "c", "d:odd", "e", "f", "g:skip", "h", "i", "j"]  # three files: a-d, e-h, i-j
NAMES = [f"train-0000{index}-of-00003" for index in range(3)]


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    monkeypatch.setattr(dataset_parts, "ROWS_PER_FILE", tiny_source.ROWS_PER_FILE)
    monkeypatch.setattr(dataset_writing, "ROWS_PER_GROUP", tiny_source.ROWS_PER_GROUP)


def parquet_files(out):
    return sorted((out / "data").glob("*.parquet"))


def content(out):
    """Every file of a folder and its bytes, hidden ones included."""
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def ids(out):
    return [row for file in parquet_files(out) for row in pq.read_table(file)["id"].to_pylist()]


def partial_files(out):
    return [file.name for file in (out / "data").glob(".train-*") if out.exists()]


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_every_job_is_a_row_or_a_reason(tmp_path):
    out = tmp_path / "out"
    report = prepare_tiny(JOBS, out, settings={"source": "tiny", "sizes": (1, 2)})
    assert report == {
        "settings": {"source": "tiny", "sizes": [1, 2]},
        "shapes": 10,
        "prepared": 8,
        "splits": {"train": 8},
        "skipped": [{"id": "b", "why": "has no surface"}, {"id": "g", "why": "has no surface"}],
        "warnings": [{"id": "d", "why": "is odd"}],
        "missing": [],
    }
    assert json.loads((out / "report.json").read_text()) == report
    assert [file.stem for file in parquet_files(out)] == NAMES
    parts = [json.loads((out / "reports" / f"{name}.json").read_text()) for name in NAMES]
    assert [part["prepared"] for part in parts] == [["a", "c", "d"], ["e", "f", "h"], ["i", "j"]]

    data = load_dataset(str(out), split="train")
    assert data.features == FEATURES and set(data["schema_version"]) == {1}
    assert data["id"][:] == [job for job in "abcdefghij" if job not in "bg"]
    for row in data.with_format("numpy"):
        expected = tiny_row(str(row["id"]))
        assert np.array_equal(row["points"], expected["points"]) and np.array_equal(row["colors"], expected["colors"])


def test_rows_are_written_by_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_parts, "ROWS_PER_FILE", 8)
    prepare_tiny([str(number) for number in range(8)], tmp_path / "out")
    metadata = pq.read_metadata(parquet_files(tmp_path / "out")[0])
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [3, 3, 2]


def test_row_groups_of_large_rows_are_shorter(tmp_path, monkeypatch):
    """Of 2 GiB of meshes a row group, pyarrow would read nothing back."""
    monkeypatch.setattr(dataset_parts, "ROWS_PER_FILE", 8)
    monkeypatch.setattr(dataset_writing, "ROWS_PER_GROUP", 8)
    jobs = ["a", "b", "c:large", "d:large", "e", "f", "g", "h"]
    prepare_tiny(jobs, tmp_path / "one")
    monkeypatch.setattr(parquet_writing, "BYTES_PER_GROUP", 1_200_000)  # of which a large row has 1,000,000
    prepare_tiny(jobs, tmp_path / "out")
    (one,), (file,) = parquet_files(tmp_path / "one"), parquet_files(tmp_path / "out")
    sizes = [
        [pq.ParquetFile(path).metadata.row_group(group).num_rows for group in groups]
        for path, groups in ((one, range(1)), (file, range(2)))
    ]
    assert sizes == [[8], [3, 5]]
    assert pq.read_table(file).equals(pq.read_table(one))
    assert load_triplets(tmp_path / "out", "train")["id"][:] == list("abcdefgh")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_jobs_that_raise_or_do_not_fit_are_skipped(tmp_path, num_workers):
    out = tmp_path / "out"
    report = prepare_tiny(["a", "b:raise", "c:misfit", "d"], out, num_workers=num_workers)
    assert ids(out) == ["a", "d"] and report["prepared"] == 2
    raised, misfit = report["skipped"]
    assert raised == {"id": "b:raise", "why": "KeyError: 'no such thing'"}
    assert misfit == {"id": "c", "why": "ValueError: column 'points' has shape (8, 4), expected (n, 3)"}


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_a_file_without_rows_is_no_gap(tmp_path, empty):
    jobs = [f"{job}:skip" if number // 4 == empty else job for number, job in enumerate("abcdefghij")]
    out = tmp_path / "out"
    report = prepare_tiny(jobs, out)
    assert len(parquet_files(out)) == 3 and report["prepared"] + len(report["skipped"]) == 10
    expected = [job for job in jobs if ":" not in job]
    assert load_triplets(out, "train")["id"][:] == expected
    for options in ({"streaming": True}, {"num_proc": 2}):
        cache_dir = str(tmp_path / "cache")
        read = load_dataset(str(out), split="train", cache_dir=cache_dir, **options)
        assert [row["id"] for row in read] == expected and read.features == FEATURES


def test_nothing_prepared_is_an_error_that_says_why(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"every shape was skipped.*a: has no surface"):
        prepare_tiny([f"{job}:skip" for job in "abcde"], out)
    assert list(content(out)) == ["report.json"]
    with pytest.raises(UserError, match="nothing to prepare"):
        prepare_tiny([], out)


def test_finished_files_are_left_alone(tmp_path):
    out = tmp_path / "out"
    first = prepare_tiny(JOBS, out)
    before = content(out)
    again = prepare_tiny(JOBS, out)
    assert again == first | {"kept_skipped": first["skipped"]}
    assert content(out) == before and len(calls(out)) == 10


def test_shapes_that_an_earlier_run_skipped_are_told_apart(tmp_path):
    """They are not tried again, as whoever mended the reason would think."""
    out = tmp_path / "out"
    assert "kept_skipped" not in prepare_tiny(JOBS, out)
    parquet_files(out)[0].unlink()
    report = prepare_tiny(JOBS, out)  # a to d once more, and so b, but not g
    assert [item["id"] for item in report["skipped"]] == ["b", "g"] and calls(out)[10:] == list("abcd")
    assert report["kept_skipped"] == [{"id": "g", "why": "has no surface"}]
    assert "kept_skipped" not in prepare_tiny(JOBS, out, overwrite=True)
    assert "kept_skipped" not in json.loads((out / "report.json").read_text())


def test_the_progress_bar_starts_at_what_is_finished(tmp_path, monkeypatch):
    bars = []

    class Bar(tqdm):
        def __init__(self, **options):
            bars.append({"initial": options["initial"], "total": options["total"], "made": 0})
            super().__init__(**options)

        def update(self, n=1):
            bars[-1]["made"] += n

    monkeypatch.setattr(dataset_writing, "tqdm", Bar)
    prepare_tiny(JOBS, tmp_path / "out", num_shards=2, shard_index=1)
    prepare_tiny(JOBS, tmp_path / "out")
    assert bars == [{"initial": 0, "total": 4, "made": 4}, {"initial": 4, "total": 10, "made": 6}]


@pytest.mark.parametrize("damage", ["gone", "cut in half", "without a report"])
def test_only_what_is_not_finished_is_made_again(tmp_path, damage):
    out = tmp_path / "out"
    prepare_tiny(JOBS, out)
    before = content(out)
    file = out / "data" / f"{NAMES[1]}.parquet"
    if damage == "gone":
        file.unlink()
    elif damage == "cut in half":
        os.truncate(file, file.stat().st_size // 2)
    else:
        file.unlink()
        (out / "reports" / f"{NAMES[1]}.json").unlink()
    prepare_tiny(JOBS, out)
    assert content(out) == before and calls(out)[10:] == ["e", "f", "g", "h"]


@pytest.mark.parametrize(
    ("jobs", "settings", "message"),
    [
        (JOBS, {"source": "tiny", "seed": 1}, r"made with other settings \(seed 0 there, 1 here\)"),
        ([*JOBS[:-1], "other"], {"source": "tiny", "seed": 0}, "made from other inputs"),
        (JOBS[:-3], {"source": "tiny", "seed": 0}, "made from other inputs"),
    ],
)
def test_another_dataset_is_refused_and_replaced_when_told(tmp_path, jobs, settings, message):
    out = tmp_path / "out"
    prepare_tiny(JOBS, out, settings={"source": "tiny", "seed": 0})
    before = content(out)
    with pytest.raises(UserError, match=f"has a dataset already, {message}; .*--overwrite"):
        prepare_tiny(jobs, out, settings=settings)
    assert content(out) == before
    prepare_tiny(jobs, out, settings=settings, overwrite=True)
    prepare_tiny(jobs, tmp_path / "fresh", settings=settings)
    assert content(out) == content(tmp_path / "fresh")


def test_files_of_unknown_origin_are_refused_and_replaced_when_told(tmp_path):
    out = tmp_path / "out"
    (out / "data").mkdir(parents=True)
    (out / "data" / "test-00000-of-00001.parquet").write_text("mine")
    with pytest.raises(UserError, match="has a dataset already, made in another way"):
        prepare_tiny(JOBS, out)
    prepare_tiny(JOBS, out, overwrite=True)
    assert [file.stem for file in parquet_files(out)] == NAMES


def test_overwriting_makes_the_same_anew(tmp_path):
    out = tmp_path / "out"
    prepare_tiny(JOBS, out)
    prepare_tiny(JOBS, out, overwrite=True)
    assert len(calls(out)) == 20


def test_a_report_that_is_none_is_named(tmp_path):
    out = tmp_path / "out"
    prepare_tiny(JOBS, out)
    for text in ("{", "[]", "{}"):
        (out / "reports" / f"{NAMES[1]}.json").write_text(text)
        with pytest.raises(UserError, match=rf"{NAMES[1]}\.json: not the report of a part .*delete it"):
            prepare_tiny(JOBS, out)


def test_shards_make_the_files_of_one_dataset_between_them(tmp_path):
    """In any order, in one folder, with nothing to merge; an unfinished dataset is not read as a whole one."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    prepare_tiny(JOBS, whole)
    report = prepare_tiny(JOBS, out, num_shards=2, shard_index=1)
    assert calls(out) == ["e", "f", "g", "h"] and report["prepared"] == 3
    assert report["missing"] == [f"{NAMES[0]}.parquet", f"{NAMES[2]}.parquet"]
    assert not (out / "report.json").exists()
    with pytest.raises(UserError) as refused:
        load_triplets(out, "train")
    for expected in (
        "unfinished, 2 of its 3 files are missing",
        f"data/{NAMES[0]}.parquet, data/{NAMES[2]}.parquet",
        f"`mrd-hf prepare tiny ... --output {out}`",
    ):
        assert expected in str(refused.value)
    report = prepare_tiny(JOBS, out, num_shards=2, shard_index=0)
    assert report["missing"] == [] and len(calls(out)) == 10
    assert content(out) == content(whole)


def test_shards_in_folders_of_their_own_are_copied_together(tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    prepare_tiny(JOBS, whole)
    for shard in range(5):  # more shards than files
        own = tmp_path / str(shard)
        prepare_tiny(JOBS, own, num_shards=5, shard_index=shard)
        if own.exists():
            shutil.copytree(own, out, dirs_exist_ok=True)
    assert load_triplets(out, "train")["id"][:] == ids(whole)
    prepare_tiny(JOBS, out)  # makes nothing, and the report of the whole
    assert calls(out) == [] and content(out) == content(whole)


@pytest.mark.parametrize(("num_shards", "shard_index"), [(1, 1), (3, 3), (2, -1)])
def test_a_shard_that_there_is_not(tmp_path, num_shards, shard_index):
    with pytest.raises(UserError, match=f"--shard-index must be from 0 to {num_shards - 1}.* not {shard_index}"):
        prepare_tiny(JOBS, tmp_path / "out", num_shards=num_shards, shard_index=shard_index)


def test_two_runs_at_the_same_time_in_one_folder(tmp_path):
    """Both start before either ends, both finish, and whoever is last writes the report of the whole."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    jobs = [f"{job}:wait" for job in "abcdefghij"]
    runs = [start(out, jobs, num_shards=2, shard_index=shard) for shard in range(2)]
    wait_for(lambda: len(calls(out)) == 2)  # each waits at the gate
    (tmp_path / "gate").touch()
    for run in runs:
        run.join(60)
        assert run.exitcode == 0
    prepare_tiny(jobs, whole)
    assert content(out) == content(whole) and sorted(calls(out)) == list("abcdefghij")


def test_a_job_that_kills_its_worker_costs_no_other(tmp_path):
    """Those beside it run again, and so does itself; only if it kills its worker again is it skipped."""
    others = [str(number) for number in range(20)]
    report = prepare_tiny(["a", "b:kill", *others], tmp_path / "twice", num_workers=2)
    why = "killed its worker process, most likely for want of memory"
    assert report["skipped"] == [{"id": "b:kill", "why": why}]
    assert ids(tmp_path / "twice") == ["a", *others]
    report = prepare_tiny(["a", "b:kill once", *others], tmp_path / "once", num_workers=2)
    assert report["skipped"] == [] and ids(tmp_path / "once") == ["a", "b", *others]


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    """Killed outright with two files finished: its workers end too, the two stay, and only the others are made."""
    out = tmp_path / "out"
    jobs = [f"{job}:wait" if job == "j" else job for job in "abcdefghij"]
    run = start(out, jobs, num_workers=2)
    wait_for(lambda: len(parquet_files(out)) == 2 and partial_files(out) and "j" in calls(out))
    workers = psutil.Process(run.pid).children(recursive=True)
    assert len(workers) >= 2
    run.kill()
    run.join(60)
    wait_for(lambda: all(has_ended(worker) for worker in workers))
    assert partial_files(out)  # it had no time to tidy up
    with pytest.raises(UserError, match=rf"unfinished, 1 of its 3 files are missing \(data/{NAMES[2]}\.parquet\)"):
        load_triplets(out, "train")

    finished, called = [file.stat().st_mtime_ns for file in parquet_files(out)], len(calls(out))
    (tmp_path / "gate").touch()
    prepare_tiny(jobs, out)
    assert sorted(calls(out)[called:]) == ["i", "j"]
    assert [file.stat().st_mtime_ns for file in parquet_files(out)][:2] == finished
    prepare_tiny(jobs, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_a_run_that_is_told_to_stop_leaves_what_is_finished(tmp_path, number, exit_code):
    out = tmp_path / "out"
    run = start(out, ["a", "b", "c", "d", "e:wait"])
    wait_for(lambda: "e" in calls(out))
    os.kill(run.pid, number)
    run.join(60)
    assert run.exitcode == exit_code
    assert list(content(out)) == ["data/train-00000-of-00002.parquet", "reports/train-00000-of-00002.json"]


@contextmanager
def tmpfs(folder):
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("may not mount a tmpfs here")
    try:
        yield errno.ENOSPC
    finally:
        # Lazily, as a process that is about to end may still have a file open.
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def limit(folder):
    """Of the size of a file: what a full disk is to a program, where no disk may be mounted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        yield errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("small_disk", [tmpfs, limit])
def test_a_full_disk_is_named_and_finished_files_stay(tmp_path, small_disk):
    out = tmp_path / "disk" / "out"
    jobs = ["a", "b", "c", "d", *(f"{number}:large" for number in range(4))]
    with small_disk(tmp_path / "disk") as code:
        with pytest.raises(UserError) as full:
            prepare_tiny(jobs, out)
        file = out / "data" / "train-00001-of-00002.parquet"
        assert str(full.value).startswith(f"cannot write {file}: {os.strerror(code)}; free some space")
        assert full.value.exit_code == 1
        assert list(content(out)) == [
            "data/train-00000-of-00002.parquet",
            "reports/train-00000-of-00002.json",
        ]
        assert ids(out) == ["a", "b", "c", "d"]


def test_a_file_that_another_run_took_over_is_named(tmp_path):
    out = tmp_path / "out"
    run = start(out, ["a:wait"])
    wait_for(lambda: calls(out) == ["a"])
    for name in partial_files(out):
        (out / "data" / name).unlink()  # as the other run does, before it begins the file itself
    (tmp_path / "gate").touch()
    run.join(60)
    assert run.exitcode == 1 and parquet_files(out) == []
    message = (tmp_path / "out.error").read_text()
    assert "train-00000-of-00001.parquet: another run took it over" in message


def test_each_split_has_files_of_its_own_and_other_splits_are_another_dataset(tmp_path):
    out, splits = tmp_path / "out", ["test" if job in "aij" else "train" for job in "abcdefghij"]
    report = prepare_tiny(JOBS, out, splits=splits, facts={"colour": "red"})
    names = ["test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"]
    assert [file.stem for file in parquet_files(out)] == names
    assert ids(out) == ["a", "i", "j", "c", "d", "e", "f", "h"]
    assert report["splits"] == {"train": 5, "test": 3} and report["prepared"] == 8 and report["colour"] == "red"
    shared = tmp_path / "shared"
    for shard in (2, 0, 1):
        last = prepare_tiny(JOBS, shared, splits=splits, facts={"colour": "red"}, num_shards=3, shard_index=shard)
    assert last == report and content(shared) == content(out)
    before = content(out)
    # As many jobs in each split, so that files of the same names would be made.
    with pytest.raises(UserError, match="made from other inputs"):
        prepare_tiny(JOBS, out, splits=["test" if job in "ajc" else "train" for job in "abcdefghij"])
    assert content(out) == before
