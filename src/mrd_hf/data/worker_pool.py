"""A function over many jobs in several processes: in order, and without losing a run to a process that is killed."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from ..errors import UserError


# How many jobs a worker may be ahead of the reader: enough to ride out a slow one, little enough to hold in memory.
JOBS_AHEAD = 8

Job = TypeVar("Job")
Result = TypeVar("Result")

_function: Callable[[Any], Any]


def map_in_order(
    function: Callable[[Job], Result], jobs: Iterable[Job], num_workers: int, preload: Sequence[str] = ()
) -> Generator[Result | None, None, None]:
    """Results in the order of the jobs; None stands for a job that kills the process it runs in.

    When a worker is killed, as by a system out of memory, nobody can say which job it had. So those that may have
    been under way run again, one at a time in a process of their own; only the one that kills that too is given up.

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
    # Not fork: the libraries underneath (Arrow, BLAS) hold threads and locks that a forked child inherits dead.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload([__name__, *preload])

    def start_pool(size: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(size, mp_context=context, initializer=_start_worker, initargs=(function,))

    def submit(call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            return pool.submit(call, *arguments)
        except BrokenProcessPool as error:  # a worker died while there was nothing to do
            broken: Future[Any] = Future()
            broken.set_exception(error)
            return broken
        except OSError as error:
            message = f"cannot start a worker process: {error}; try fewer --num_workers."
            raise UserError(message, exit_code=1) from error

    jobs = iter(jobs)
    ahead: deque[tuple[Job, Future[Any]]] = deque()
    pool = start_pool(num_workers)
    try:
        while True:
            ahead.extend((job, submit(_call, job)) for job in islice(jobs, JOBS_AHEAD * num_workers - len(ahead)))
            if not ahead:
                return
            try:
                result = ahead[0][1].result()
            except BrokenProcessPool:
                # Python ends them too, but has been seen to leave one alive, and then waits for it forever.
                for worker in list((pool._processes or {}).values()):
                    worker.kill()
                pool.shutdown()  # after which every future is settled
                lost = [place for place, (_, future) in enumerate(ahead) if _is_broken(future)]
                # Jobs start in order, so that the culprit is among the first; were it not, it would come up again.
                for place in lost[:num_workers]:
                    pool = start_pool(1)
                    if _is_broken(submit(os.getpid)):
                        message = "worker processes end as they start; what they printed says why."
                        raise UserError(message, exit_code=1) from None
                    future = submit(_call, ahead[place][0])
                    pool.shutdown()
                    if _is_broken(future):
                        future = Future()
                        future.set_result(None)
                    ahead[place] = (ahead[place][0], future)
                pool = start_pool(num_workers)
                for place in lost[num_workers:]:
                    ahead[place] = (ahead[place][0], submit(_call, ahead[place][0]))
                continue
            ahead.popleft()
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _is_broken(future: Future[Any]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this, workers of a parent that was killed wait for jobs forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(job: Any) -> Any:
    return _function(job)
