"""A source of shapes for tests of the writer: jobs say what is to happen to them."""

import multiprocessing
import os
import signal
import sys
import time
import zlib
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from mrd_hf.data.preparation import dataset_parts, dataset_writing
from mrd_hf.data.preparation.dataset_writing import PreparedShape, prepare_dataset
from mrd_hf.data.schema import triplet_features
from mrd_hf.errors import UserError


FEATURES = triplet_features()
ROWS_PER_FILE = 4
ROWS_PER_GROUP = 3


def tiny_row(shape_id: str) -> dict:
    rng = np.random.default_rng(zlib.crc32(shape_id.encode()))
    return {
        **dict.fromkeys(("category", "creator")),
        "id": shape_id,
        "source": "tiny",
        "name": shape_id,
        "license": "CC0-1.0",
        "points": rng.standard_normal((8, 3)).astype(np.float16),
        "colors": rng.integers(0, 256, (8, 3), dtype=np.uint8),
        "images": [],
        "texts": [{"text": shape_id, "source": "name"}],
    }


def prepare(job: str, log: Path) -> PreparedShape:
    """A job is an id and, after a colon, what happens to it. Its call is added to `log`."""
    shape_id, _, fate = job.partition(":")
    with open(log, "a") as file:
        file.write(f"{shape_id}\n")
    first_time = log.read_text().split().count(shape_id) == 1
    row = tiny_row(shape_id)
    if fate == "skip":
        return PreparedShape(shape_id, skipped="has no surface")
    if fate == "raise":
        raise KeyError("no such thing")
    if fate == "misfit":
        row["points"] = np.zeros((8, 4), dtype=np.float16)
    elif fate == "kill" or (fate == "kill once" and first_time):
        os.kill(os.getpid(), signal.SIGKILL)
    elif fate == "wait":
        while not log.with_name("gate").exists():
            time.sleep(0.02)
    elif fate == "large":
        row["points"] = np.random.default_rng(0).standard_normal((100_000, 3)).astype(np.float16)
    return PreparedShape(shape_id, row, warnings=["is odd"] if fate == "odd" else [])


def prepare_tiny(jobs: list[str], out: Path, **options) -> dict:
    """[`prepare_dataset`] of these jobs; its calls are in `<out>.log`."""
    log = out.with_name(f"{out.name}.log")
    return prepare_dataset(
        jobs, partial(prepare, log=log), FEATURES, out, options.pop("settings", {"source": "tiny"}), **options
    )


def calls(out: Path) -> list[str]:
    log = out.with_name(f"{out.name}.log")
    return log.read_text().split() if log.exists() else []


def run(jobs: list[str], out: Path, options: dict) -> None:
    """What a process of its own runs; a message for the user goes to `<out>.error`."""
    dataset_parts.ROWS_PER_FILE = ROWS_PER_FILE
    dataset_writing.ROWS_PER_GROUP = ROWS_PER_GROUP
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        prepare_tiny(jobs, out, **options)
    except UserError as error:
        out.with_name(f"{out.name}.error").write_text(str(error))
        sys.exit(error.exit_code)


def start(out: Path, jobs: list[str], **options) -> BaseProcess:
    """Begin to prepare a dataset in another process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mrd_hf.data.preparation.dataset_writing"])
    process = context.Process(target=run, args=(jobs, out, options))
    process.start()
    return process
