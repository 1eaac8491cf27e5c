"""A run's log: one JSON object a line, and its curves as a picture."""

import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class TrainingLog:
    """Appends metrics to a file, so that a kill loses at most the line being written.

    Args:
        path (`Path`): The log file.
        start (`int`): Step that training starts or resumes at; lines of later steps, which are about to be repeated,
            are removed.
    """

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        kept = [line for line in read_log(path) if line["step"] <= start] if start > 0 and path.exists() else []
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        temporary.replace(path)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a log, without a last one that was cut off."""
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def plot_log(log: list[dict[str, float]], path: Path) -> None:
    """Draw a log's losses, relation losses, their weights and the evaluation's scores over the steps, as a PNG."""
    panels = {
        "Loss": [("loss", "total"), ("alignment_loss", "alignment"), ("relation_loss", "relations, weighted")],
        "Relation losses": [(k, k.split("/")[1]) for k in _keys(log, "relation_losses/")],
        "Relation weights": [(k, k.split("/")[1]) for k in _keys(log, "relation_weights/")],
        "Held-out shapes": [(k, k.split("/")[1]) for k in _keys(log, "eval/")],
    }
    logged = {key for line in log for key in line}
    panels = {title: series for title, series in panels.items() if any(key in logged for key, _ in series)}
    figure = Figure(figsize=(5.2 * len(panels), 5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, series) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for key, label in series:
            steps = [line["step"] for line in log if key in line]
            axes.plot(steps, [line[key] for line in log if key in line], label=label, linewidth=1.5, marker=".")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        # Below, where no curve is.
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)
    figure.savefig(path, dpi=120)


def _keys(log: list[dict[str, float]], prefix: str) -> list[str]:
    """Keys with a prefix, in the order of their first appearance."""
    return list(dict.fromkeys(key for line in log for key in line if key.startswith(prefix)))
