"""How a command ends that a cluster's scheduler stops."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


TERMINATED = 143  # 128 and the signal's number, as a shell has it


def tell_early_end(terminated: bool, steps: int, num_steps: int) -> None:
    """Say on stderr why a training run ended before its last step, and how to resume it."""
    reason = "SIGTERM" if terminated else "max_train_minutes"
    remedy = "resume by the same command with --resume-from-checkpoint latest"
    print(f"note: ended by {reason} after {steps} of {num_steps} steps, with a checkpoint; {remedy}.", file=sys.stderr)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Within it, SIGTERM, by which a cluster's scheduler ends a run, is an exit with 143.

    Unlike the signal's default, an exit takes the unfinished file along. Outside it the default holds again: a process
    that is forked while a handler is set can lose the signal, and whoever ended it then waits forever.
    """
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
