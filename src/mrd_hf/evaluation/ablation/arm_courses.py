"""How figures of an arm went in the course of its training: the mean over its runs, step by step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


# Of the lines of a training log: what is learned from, and what is held out.
TRAINING_KEY = "alignment_loss"
HELD_OUT_KEYS = ("eval/shape_to_image_recall_at_10", "eval/zero_shot_top1")


@dataclass(frozen=True)
class Course:
    """A figure of an arm over the steps of its training.

    Args:
        steps (`np.ndarray` of shape `(num_steps,)`): Those that all runs logged.
        means (`np.ndarray` of shape `(num_steps,)`): Over runs.
        spreads (`np.ndarray` of shape `(num_steps,)`): Standard deviations over runs; 0 where there is one run.
    """

    steps: np.ndarray
    means: np.ndarray
    spreads: np.ndarray


def arm_course(logs: Iterable[Sequence[Mapping[str, float]]], key: str) -> Course | None:
    """A figure's course over the logs of an arm's runs; None where no step has it in all of them.

    Args:
        logs (iterable of sequences of `dict`): The lines of each run's log, each with `step`.
        key (`str`): Of the figure.
    """
    runs = [{int(line["step"]): float(line[key]) for line in log if key in line} for log in logs]
    steps = sorted(set.intersection(*map(set, runs))) if runs else []
    if not steps:
        return None
    values = np.array([[run[step] for step in steps] for run in runs])
    spreads = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(steps))
    return Course(np.array(steps), values.mean(axis=0), spreads)
