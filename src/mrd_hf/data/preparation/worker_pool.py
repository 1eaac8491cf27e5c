"""A function over many jobs in several processes: in order, and without losing a job to a process that is killed."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from mrd_hf_cli.without_models import is_without_models

from ...errors import UserError


# How many jobs a worker may be ahead of the reader: enough to ride out a slow one, little enough to hold in memory.
JOBS_AHEAD = 8
# A worker that ends may have been killed by something else, such as a system out of memory. A job is to blame once it
# has ended this many in a row while nothing else ran.
DEATHS_ALONE = 2
# A worker may also be killed before it is ready, and the process that starts it with it. This many in a row are no
# accident; but one that was killed takes a while to be gone, and is asked until then.
STARTS = 4
SECONDS_AFTER_A_FAILED_START = 0.1  # after the second one twice as many, and so on

Job = TypeVar("Job")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Job], Result], jobs: Iterable[Job], num_workers: int, preload: Sequence[str] = ()
) -> Generator[Result | None, None, None]:
    """Results in the order of the jobs; None stands for a job that kills the process it runs in.

    A job whose worker ends before it answers runs again, alone; only one that then ends two more workers is given up.
    What the other workers have in hand is not touched.

    Args:
        function (`Callable`): Picklable. What it raises ends the iteration.
        jobs (iterable): Picklable. Read only a few ahead of the results.
        num_workers (`int`): Processes; 1 works in this one, which a job that kills its process then ends.
        preload (sequence of `str`): Modules to import once for all workers rather than in each.

    Raises:
        UserError: No worker can be started.
    """
    if num_workers <= 1:
        yield from map(function, jobs)
        return
    workers = _Workers(function, preload)
    threads = ThreadPoolExecutor(num_workers)  # each waits for the answer of one worker
    jobs = iter(jobs)
    ahead: deque[Future[Result | None]] = deque()
    try:
        while True:
            ahead.extend(
                threads.submit(workers.run, job) for job in islice(jobs, JOBS_AHEAD * num_workers - len(ahead))
            )
            if not ahead:
                return
            yield ahead.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        workers.kill()
        threads.shutdown()
        workers.close()


class _Workers:
    """Processes that run jobs, started as they are needed; called by several threads, of which each waits for one."""

    def __init__(self, function: Callable[[Any], Any], preload: Sequence[str]) -> None:
        # Not fork: the libraries underneath (Arrow, BLAS) hold threads and locks that a forked child inherits dead.
        methods = multiprocessing.get_all_start_methods()
        self.context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        # They do without the models where this process does.
        light = ["mrd_hf_cli.light_workers"] if is_without_models() else []
        self.context.set_forkserver_preload([*light, __name__, *preload])
        self.function = function
        self.idle: SimpleQueue[_Worker] = SimpleQueue()
        self.alive: set[_Worker] = set()
        self.stopped = False
        self.starting = threading.Lock()
        self.turns = _Turns()

    def run(self, job: Any) -> Any:
        """The function's result for a job, or None for one that ends its workers."""
        pickled = bytes(ForkingPickler.dumps(job))
        with self.turns.beside_others():
            answer = self._ask_a_worker(pickled)
        if answer is None:
            with self.turns.alone():
                for _ in range(DEATHS_ALONE):
                    answer = self._ask_a_worker(pickled)
                    if answer is not None:
                        break
        if answer is None:
            return None
        result, error = answer
        if error is not None:
            raise error
        return result

    def _ask_a_worker(self, job: bytes) -> tuple[Any, Exception | None] | None:
        """Its answer, or None if it ended before it gave one."""
        try:
            worker = self.idle.get_nowait()
        except Empty:
            worker = self._start()
        try:
            answer = worker.ask(job)
        except (EOFError, OSError):
            if self.stopped:
                raise
            self._forget(worker)
            return None
        self.idle.put(worker)
        return answer

    def _start(self) -> "_Worker":
        for number in range(STARTS):
            if number:
                time.sleep(SECONDS_AFTER_A_FAILED_START * 2 ** (number - 1))
            try:
                with self.starting:
                    if self.stopped:
                        raise EOFError
                    worker = _Worker(self.context, self.function)
                    self.alive.add(worker)
            except (EOFError, ConnectionError):  # the fork server was killed; the next start brings a new one
                if self.stopped:
                    raise
                continue
            except OSError as error:
                message = f"cannot start a worker process: {error}; try fewer --num-workers."
                raise UserError(message, exit_code=1) from error
            try:
                worker.wait_until_ready()
                return worker
            except (EOFError, OSError):
                self._forget(worker)
        raise UserError("worker processes end as they start; what they printed says why.", exit_code=1)

    def _forget(self, worker: "_Worker") -> None:
        with self.starting:
            self.alive.discard(worker)
        worker.end()

    def kill(self) -> None:
        """Ends the workers, those with a job in hand too, and with them what threads wait for."""
        with self.starting:
            self.stopped = True
            for worker in self.alive:
                worker.process.kill()

    def close(self) -> None:
        # A thread that a signal cut off from its pool as it began is not waited for, and may still forget a worker.
        with self.starting:
            left = list(self.alive)
        for worker in left:
            worker.end()


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, context: Any, function: Callable[[Any], Any]) -> None:
        self.ending = threading.Lock()
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, function), daemon=True)
        try:
            self.process.start()
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()  # so that the pipe ends when the process does

    def wait_until_ready(self) -> None:
        self.connection.recv_bytes()

    def ask(self, job: bytes) -> tuple[Any, Exception | None]:
        """The function's result for a pickled job, and what it raised instead of one.

        Raises:
            EOFError, OSError: The process ended.
        """
        self.connection.send_bytes(job)
        answer: tuple[Any, Exception | None] = self.connection.recv()
        return answer

    def end(self) -> None:
        with self.ending:  # two threads at once would close its file twice, which by then may be another's
            self.process.kill()
            self.process.join()
            self.connection.close()


class _Turns:
    """Lets any number run side by side, or one alone."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.one_alone = threading.Lock()
        self.waiting_alone = False
        self.running = 0

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: not self.waiting_alone)
            self.running += 1
        try:
            yield
        finally:
            with self.changed:
                self.running -= 1
                self.changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self.one_alone:
            with self.changed:
                self.waiting_alone = True
                self.changed.wait_for(lambda: not self.running)
            try:
                yield
            finally:
                with self.changed:
                    self.waiting_alone = False
                    self.changed.notify_all()


def _work(connection: Any, function: Callable[[Any], Any]) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection.send_bytes(b"ready")
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            answer = ForkingPickler.dumps((function(job), None))
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = ForkingPickler.dumps((None, error))
        connection.send_bytes(answer)


def _end_with_parent() -> None:
    """Without this, a worker whose parent was killed would finish a long job first."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
