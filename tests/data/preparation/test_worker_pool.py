"""Jobs in several processes: in order, not far ahead, and with errors that end what should end."""

import os
import signal
import threading
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from mrd_hf.data.preparation import worker_pool
from mrd_hf.data.preparation.worker_pool import JOBS_AHEAD, STARTS, map_in_order
from mrd_hf.errors import UserError


def slow_square(job: int) -> int:
    time.sleep(0.02 * (job % 3))
    return job * job


def fail_at_five(job: int) -> int:
    if job == 5:
        raise LookupError("five")
    return job


def die_if_negative(job: int) -> int:
    if job < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


@pytest.mark.parametrize("without_models", [True, False])
def test_workers_do_without_models_only_where_the_process_does(monkeypatch, without_models):
    """A script that has them is imported by each worker, which then had better find them in the fork server."""
    told = []
    context = SimpleNamespace(set_forkserver_preload=told.append)
    monkeypatch.setattr(worker_pool.multiprocessing, "get_context", lambda method: context)
    monkeypatch.setattr(worker_pool, "is_without_models", lambda: without_models)
    worker_pool._Workers(slow_square, ["a.module"])
    light = ["mrd_hf_cli.light_workers"] if without_models else []
    assert told == [[*light, worker_pool.__name__, "a.module"]]  # first, before anything imports the package


@pytest.mark.parametrize("num_workers", [1, 3])
def test_results_come_in_the_order_of_the_jobs(num_workers):
    assert list(map_in_order(slow_square, range(30), num_workers)) == [job * job for job in range(30)]
    assert list(map_in_order(slow_square, [], num_workers)) == []


@pytest.mark.parametrize(("num_workers", "ahead"), [(1, 1), (2, 2 * JOBS_AHEAD)])
def test_jobs_are_read_only_a_few_ahead_of_the_results(num_workers, ahead):
    read = []
    results = map_in_order(slow_square, (read.append(job) or job for job in range(1000)), num_workers)
    for count in range(1, 4):
        next(results)
        assert count <= len(read) <= count - 1 + ahead
    results.close()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_of_the_function_is_raised(num_workers):
    results = map_in_order(fail_at_five, range(100), num_workers)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(LookupError, match="five"):
        next(results)


class NotLoadable:
    def __reduce__(self):
        return open, ("/no/such/file",)


def test_workers_that_cannot_start_are_an_error():
    """Not the fault of every job in turn."""
    with pytest.raises(UserError, match="worker processes end as they start"):
        list(map_in_order(partial(slow_square, NotLoadable()), range(100), 2))


def test_however_many_jobs_kill_their_process_the_others_have_results():
    """More of them than there are workers, side by side, first, last and far behind."""
    jobs = [-1, -1, -1, *range(3, 30), -1]
    assert list(map_in_order(die_if_negative, jobs, 2)) == [None if job < 0 else job for job in jobs]


def die_until(deaths: int, folder: Path, job: int) -> int:
    """Job 3 ends its worker so many times, as would a system that runs out of memory for a while."""
    if job == 3:
        died = len(list(folder.iterdir()))
        if died < deaths:
            (folder / str(died)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return job


@pytest.mark.parametrize(("deaths", "result"), [(1, 3), (2, 3), (3, None)])
def test_a_job_is_to_blame_only_when_it_ends_two_workers_alone(tmp_path, deaths, result):
    results = list(map_in_order(partial(die_until, deaths, tmp_path), range(8), 2))
    assert results == [0, 1, 2, result, 4, 5, 6, 7]
    assert len(list(tmp_path.iterdir())) == deaths


def test_workers_that_something_else_kills_cost_no_job():
    results = map_in_order(slow_square, range(60), 2)
    first = [next(results) for _ in range(3)]
    workers = _workers()
    assert len(workers) == 2
    for worker in workers:
        worker.kill()
    assert [*first, *results] == [job * job for job in range(60)]
    assert not _workers()


def large_and_killed_in_mid_send(folder: Path, job: int) -> bytes:
    """Job 2 ends its worker the first time, when half of its answer is in the pipe."""
    if job == 2 and not (folder / "died").exists():
        send = Connection._send

        def send_half(self, buffer):
            (folder / "died").touch()
            send(self, buffer[: len(buffer) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

        Connection._send = send_half
    return bytes([job]) * 2**20


def test_a_worker_that_is_killed_while_it_sends_its_answer_costs_no_job_and_no_time(tmp_path):
    results = map_in_order(partial(large_and_killed_in_mid_send, tmp_path), range(6), 2)
    assert list(results) == [bytes([job]) * 2**20 for job in range(6)]
    assert (tmp_path / "died").exists()


def test_a_fork_server_that_is_killed_is_replaced():
    """With its workers, so that new ones must be started."""
    results = map_in_order(slow_square, range(60), 2)
    first = [next(results) for _ in range(3)]
    killed = _fork_servers()
    for process in [*killed, *_workers()]:
        process.kill()
    assert [*first, *results] == [job * job for job in range(60)]
    assert killed and not set(killed) & set(_fork_servers()) and not _workers()


def test_a_fork_server_that_takes_a_while_to_be_gone_is_waited_for(monkeypatch):
    refusals, waits = [ConnectionRefusedError] * (STARTS - 1), []
    worker, sleep = worker_pool._Worker, time.sleep

    def refused_at_first(*arguments):
        if refusals:  # threads start workers one at a time
            raise refusals.pop()
        return worker(*arguments)

    def noted_sleep(seconds):
        waits.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(worker_pool, "_Worker", refused_at_first)
    monkeypatch.setattr(time, "sleep", noted_sleep)
    assert list(map_in_order(slow_square, range(6), 2)) == [job * job for job in range(6)]
    assert not refusals and len(waits) >= STARTS - 1


def test_a_worker_that_is_killed_before_it_is_ready_is_replaced(monkeypatch):
    ready, deaths = worker_pool._Worker.wait_until_ready, []

    def killed_at_first(self):
        if len(deaths) < STARTS - 1:
            deaths.append(self.process.pid)
            self.process.kill()
            self.process.join()
        ready(self)

    monkeypatch.setattr(worker_pool._Worker, "wait_until_ready", killed_at_first)
    assert list(map_in_order(slow_square, range(6), 2)) == [job * job for job in range(6)]
    assert len(deaths) == STARTS - 1


def test_workers_that_are_forgotten_while_the_pool_closes_are_no_error(monkeypatch):
    """By a thread that a signal cut off from its pool."""
    pool = worker_pool._Workers(slow_square, ())
    workers = [pool._start() for _ in range(2)]
    end = worker_pool._Worker.end

    def end_and_forget(self):
        end(self)
        pool.alive.discard(self)

    monkeypatch.setattr(worker_pool._Worker, "end", end_and_forget)
    pool.close()
    assert not any(worker.process.is_alive() for worker in workers)


def test_a_worker_that_two_threads_end_at_once_is_ended_once(monkeypatch):
    """A closed file's number is soon another file's, which a second close would close."""
    pool = worker_pool._Workers(slow_square, ())
    worker = pool._start()
    closings, close = [], Connection._close

    def close_slowly(self):
        if self is worker.connection:
            closings.append(self)
            time.sleep(0.2)
        close(self)

    monkeypatch.setattr(Connection, "_close", close_slowly)
    threads = [threading.Thread(target=worker.end) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(closings) == 1


def wait_long(folder: Path, job: int) -> int:
    (folder / str(job)).touch()
    time.sleep(600 if job else 0)
    return job


def test_a_reader_that_stops_does_not_wait_for_what_workers_have_in_hand(tmp_path):
    results = map_in_order(partial(wait_long, tmp_path), range(20), 2)
    assert next(results) == 0
    while len(list(tmp_path.iterdir())) < 3:
        time.sleep(0.01)
    results.close()
    assert not _workers()


def _fork_servers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "multiprocessing.forkserver" in _command_line(child)]


def _command_line(process: psutil.Process) -> str:
    """Nothing of a process that ended, which stays a child of this one until something waits for it."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie too
        return ""


def _workers() -> list[psutil.Process]:
    return [worker for server in _fork_servers() for worker in server.children()]
