"""Several processes that work together by torch.distributed, for tests of what they do."""

import os
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist

from support.forked_processes import ForkedProcess, start


class Job(NamedTuple):
    """`work(*arguments)`, to be called in so many processes at once; each finds its rank in the environment."""

    num_processes: int
    work: Callable[..., None]
    arguments: tuple[object, ...] = ()


def run_together(*jobs: Job, timeout: float = 200) -> None:
    """Run jobs, one after another, and fail if a process of one does or if one is not done in `timeout` seconds."""
    for job in jobs:
        with tempfile.TemporaryDirectory() as folder:
            said = Path(folder, "said")
            environments = environments_of_ranks(job.num_processes)
            ranks = [start(_be_rank, job, said, env={**os.environ, **env}) for env in environments]
            problem = wait_for_all(ranks, timeout)
            if problem is not None:
                # What was said first is the cause: a process that waits for one that ended fails after it.
                name = f"{job.work.__name__} on {job.num_processes} processes"
                pytest.fail(f"{name}: {problem}\n{said.read_text() if said.exists() else ''}")


def environments_of_ranks(num_processes: int) -> list[dict[str, str]]:
    """What a launcher sets for each process that it starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "ACCELERATE_USE_CPU": "true",
    }
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_processes)]


def wait_for_all(ranks: list[ForkedProcess], timeout: float) -> str | None:
    """None, or which of them failed or did not finish; those that then wait for them are ended."""
    deadline = time.monotonic() + timeout
    while None in (codes := [rank.poll() for rank in ranks]) and not any(codes) and time.monotonic() < deadline:
        time.sleep(0.02)
    hung = None in codes
    failed = [f"rank {rank} {_ending(code)}" for rank, code in enumerate(codes) if code]
    for rank in ranks:
        rank.kill()
    return ", ".join(failed) or (f"did not finish in {timeout:.0f} s" if hung else None)


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"


def _be_rank(job: Job, said: Path) -> None:
    rank, num_processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", rank=rank, world_size=num_processes)
        job.work(*job.arguments)
        dist.barrier()
    except BaseException:
        with said.open("a") as file:
            file.write(f"rank {rank} said: {traceback.format_exc()}")
        os._exit(1)
    # No clean-up: destroyed right after a collective, gloo's threads and the interpreter can wait for each other.
    os._exit(0)
