"""Gradients of runs as a plain-text table, and short names for the runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


# Of a run, its checkpoints' measures (see `GradientMeasures.as_dict`) with their `step`, oldest first.
Checkpoints = Sequence[Mapping[str, Any]]
# Pairs of sums whose cosine is shown over the steps, with a name for a reader.
PAIRS = {("intra", "cross"): "intra and cross", ("alignment", "relations"): "alignment and relations"}
NOTE = """\
norms     of the gradient with respect to the encoder's parameters, with the terms' weights; mean over batches.
cosines   mean over batches, with the standard deviation, and (in brackets) of the mean gradient over the batches, in
          which what differs from batch to batch cancels out. 1: the same direction; 0: none of each other's business;
          below 0: a step for one undoes what the other wants."""


def short_names(folders: Sequence[Path]) -> list[str]:
    """What tells folders apart: their paths without the parts that all begin with, and that all end with."""
    if len(folders) == 1:
        return [str(folders[0])]
    parts = [folder.absolute().parts for folder in folders]
    shortest = min(map(len, parts))
    begin = next((i for i in range(shortest) if len({p[i] for p in parts}) > 1), shortest - 1)
    end = next((i for i in range(shortest - begin) if len({p[-1 - i] for p in parts}) > 1), 0)
    return ["/".join(p[begin : len(p) - end]) for p in parts]


def cosine(checkpoint: Mapping[str, Any], which: str, pair: tuple[str, str], value: str = "mean") -> float | None:
    """A cosine of a checkpoint's matrix, or None where there is none.

    Args:
        checkpoint (`Mapping`): As `GradientMeasures.as_dict` makes it.
        which (`str`): With respect to `"encoder"` or `"embeddings"`.
        pair (tuple of two `str`): Terms or sums.
        value (`str`, defaults to `"mean"`): Or `"spread"`, or `"of_mean"`, of the mean gradient.
    """
    found = checkpoint[which]
    rows = found["cosines"]["rows"]
    if not set(pair) <= set(rows):
        return None
    matrix = found["of_mean"]["cosines"] if value == "of_mean" else found["cosines"][value]
    return matrix[rows.index(pair[0])][rows.index(pair[1])]


def gradient_table(runs: Mapping[str, Checkpoints]) -> str:
    """A line a checkpoint, with the norms of the sums and the cosines of `PAIRS`, under a line for each run."""
    sums = [name for name in ("alignment", "intra", "cross", "loss") if _norms_somewhere(runs, name)]
    pairs = {pair: name for pair, name in PAIRS.items() if all(_norms_somewhere(runs, member) for member in pair)}
    header = ["step", *(f"|{name}|" for name in sums), *(f"cos {name}" for name in pairs.values())]
    body: list[list[str] | str] = []
    for run, checkpoints in runs.items():
        body.append(run)
        for checkpoint in checkpoints:
            norms = [_number(checkpoint["encoder"]["norms"].get(name, {}).get("mean"), 3) for name in sums]
            body.append([str(checkpoint["step"]), *norms, *(_cosine_cell(checkpoint, pair) for pair in pairs)])
    lines = [header, *(line for line in body if not isinstance(line, str))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    shown = [_align(header, widths), "  ".join("-" * width for width in widths)]
    shown += [line if isinstance(line, str) else _align(line, widths) for line in body]
    return "\n".join([*shown, "", NOTE])


def _norms_somewhere(runs: Mapping[str, Checkpoints], name: str) -> bool:
    return any(name in checkpoint["encoder"]["norms"] for checkpoints in runs.values() for checkpoint in checkpoints)


def _cosine_cell(checkpoint: Mapping[str, Any], pair: tuple[str, str]) -> str:
    values = [cosine(checkpoint, "encoder", pair, value) for value in ("mean", "spread", "of_mean")]
    if values[0] is None:
        return "-"
    spread = "" if values[1] is None else f" sd {values[1]:.2f}"
    return f"{_number(values[0], 2)}{spread} ({_number(values[2], 2)})"


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"


def _align(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
