"""Time and peak memory of an encoder against points, batch, patches and parameters, as one picture and JSON.

    python scripts/benchmarks/scaling.py --out outputs/scaling

Each figure is of a process of its own; peak memory is above the loaded model and its input. Where the other three do
not vary, clouds have 10,000 points, the batch is 4 and the encoder is `openshape-4` with its 384 patches.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch


sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parent)]
from speed_parts.one_figure import encoder, in_own_process  # noqa: E402


POINTS = [1_000, 3_000, 10_000, 30_000, 100_000]
BATCHES = [1, 2, 4, 8, 16]
PATCHES = [64, 128, 256, 512, 1024]
ENCODERS = ["openshape-1", "openshape-2", "openshape-4", "openshape-5", "openshape-6", "mrd-307m"]
AXES: dict[str, list[dict[str, Any]]] = {
    "points": [{"num_points": n} for n in POINTS],
    "batch": [{"batch": n} for n in BATCHES],
    "patches": [{"fields": {"num_patches": n}} for n in PATCHES],
    "parameters": [{"encoder": name} for name in ENCODERS],
}
TINY_AXES = {axis: [{**change, "encoder": "tiny"} for change in changes[:2]] for axis, changes in AXES.items()}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for scaling.png and scaling.json")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES), help="default: all")
    parser.add_argument("--what", nargs="+", choices=["forward", "step"], default=["forward", "step"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts (default: 3)")
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall", help="default: wall")
    parser.add_argument("--tiny", action="store_true", help="two sizes of a tiny encoder, to try the script itself")
    return parser.parse_args(argv)


def size_of(axis: str, task: dict[str, Any]) -> float:
    """Where a figure lies on its axis."""
    if axis == "parameters":
        return sum(p.numel() for p in encoder(task["encoder"], "meta").parameters())
    return (
        task["num_points"] if axis == "points" else task["batch"] if axis == "batch" else task["fields"]["num_patches"]
    )


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for axis in arguments.axes:
        for change in (TINY_AXES if arguments.tiny else AXES)[axis]:
            for what in arguments.what:
                task = {"encoder": "openshape-4", "batch": 4, "num_points": 10_000, **change, "what": what}
                cells: dict[str, Any] = {"axis": axis, "size": size_of(axis, task), "what": what}
                found = in_own_process(**task, device=arguments.device, runs=arguments.runs)
                seconds = found["processor_seconds" if arguments.clock == "processor" else "seconds"]
                rows.append({**cells, "seconds": seconds, "peak_MiB": found["peak_MiB"]})
                print(
                    f"{axis} {cells['size']:,.0f}, {what}: {seconds:.3f} s, {found['peak_MiB']:,.0f} MiB", flush=True
                )
    return rows


def draw(rows: list[dict[str, Any]], clock: str, file: Path) -> None:
    from mrd_hf.evaluation.plots.figure_files import new_figure, save_figure

    axes = list(dict.fromkeys(row["axis"] for row in rows))
    figure = new_figure(3.4 * len(axes), 5.6, "Time and peak memory of an encoder")
    panels = figure.subplots(2, len(axes), squeeze=False, sharex="col")
    for place, axis in enumerate(axes):
        for panel, quantity, label in zip(
            panels[:, place], ("seconds", "peak_MiB"), (f"seconds ({clock})", "peak above the model, MiB"), strict=True
        ):
            for what in dict.fromkeys(row["what"] for row in rows):
                line = sorted(
                    (row["size"], row[quantity]) for row in rows if (row["axis"], row["what"]) == (axis, what)
                )
                panel.plot(*zip(*line, strict=True), marker="o", label=what)
            if len(line) > 1 and line[0][0] > 0:
                # What grows in proportion to the size is parallel to this.
                first, last = line[0], line[-1]
                panel.plot(
                    [first[0], last[0]],
                    [first[1], first[1] * last[0] / first[0]],
                    color="0.7",
                    linestyle=":",
                    label="in proportion",
                )
            panel.set(xscale="log", yscale="log")
            panel.grid(alpha=0.3)
            if place == 0:
                panel.set_ylabel(label)
        panels[1, place].set_xlabel(axis)
    panels[0, 0].legend(fontsize=8)
    save_figure(figure, file)


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    rows = measure(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for row in rows:  # a peak that is no more than what was there is too small to be seen
        row["peak_MiB"] = row["peak_MiB"] if row["peak_MiB"] > 0 else math.nan
    draw(rows, arguments.clock, arguments.out / "scaling.png")
    (arguments.out / "scaling.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{arguments.out}: scaling.png, scaling.json")


if __name__ == "__main__":
    main()
