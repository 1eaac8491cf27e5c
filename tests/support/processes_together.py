"""Several processes that work together by torch.distributed, for tests of what they do.

Importing torch and transformers takes a process seconds. So one new process imports them, and the ranks are forked
from it, before it has threads of its own.
"""

import faulthandler
import multiprocessing
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist


class Job(NamedTuple):
    """`work(*arguments)`, to be called in so many processes at once; each finds its rank in the environment."""

    num_processes: int
    work: Callable[..., None]
    arguments: tuple[object, ...] = ()


def run_together(*jobs: Job, timeout: float = 200) -> None:
    """Run jobs, one after another, and fail if a process of one does or if one is not done in `timeout` seconds."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_run_all, args=(jobs, timeout, theirs))
    process.start()
    theirs.close()
    try:
        problem = ours.recv()
    except EOFError:
        process.join()
        problem = f"the process that starts the others ended with exit code {process.exitcode}"
    process.join()
    if problem is not None:
        pytest.fail(problem)


def _run_all(jobs: tuple[Job, ...], timeout: float, answer: Connection) -> None:
    """In the process that imports: the first problem, or None, is the answer."""
    problems = (_run(job, timeout) for job in jobs)
    answer.send(next((problem for problem in problems if problem is not None), None))


def _run(job: Job, timeout: float) -> str | None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    ranks = [context.Process(target=_be_rank, args=(rank, job, port, theirs)) for rank in range(job.num_processes)]
    for process in ranks:
        process.start()
    theirs.close()
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and any(process.is_alive() for process in ranks):
        if any(process.exitcode for process in ranks):
            break  # the others wait for it
        time.sleep(0.02)
    hung = [process for process in ranks if process.is_alive()]
    failed = [f"rank {rank} {_ending(process)}" for rank, process in enumerate(ranks) if process.exitcode]
    for process in hung:
        process.kill()
    for process in ranks:
        process.join()
    if not hung and not failed:
        return None
    try:
        said = ours.recv()
    except EOFError:  # none of them said anything
        said = ""
    name = f"{job.work.__name__} on {job.num_processes} processes"
    # What was said first is the cause: a process that waits for one that ended fails after it.
    return f"{name}: {', '.join(failed) or f'did not finish in {timeout:.0f} s'}\n{said}"


def _ending(process: BaseProcess) -> str:
    code = process.exitcode or 0
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"


def _be_rank(rank: int, job: Job, port: int, answer: Connection) -> None:
    faulthandler.enable()  # a process that is ended by a signal says where it was
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(job.num_processes),
        LOCAL_WORLD_SIZE=str(job.num_processes),
        ACCELERATE_USE_CPU="true",
    )
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", rank=rank, world_size=job.num_processes)
        job.work(*job.arguments)
        dist.barrier()
    except BaseException:
        answer.send(f"rank {rank} said: {traceback.format_exc()}")
        os._exit(1)
    # No clean-up: destroyed right after a collective, gloo's threads and the interpreter can wait for each other.
    os._exit(0)
