"""Scores as the Hub reads them beside a model: `.eval_results/BENCHMARK.yaml`.

The Hub shows them on the model's page and, where the benchmark's own eval.yaml declares their `task_id`, on its
leaderboard. `model-index` in the card's metadata is the older way; both are written.

Source: https://huggingface.co/docs/hub/eval-results
"""

import re
from pathlib import Path
from typing import Any

import yaml


FOLDER = ".eval_results"


def write_eval_results(folder: Path, report: dict[str, Any]) -> Path:
    """Write a report's scores, of a benchmark that is a dataset on the Hub, into a checkpoint's folder.

    Args:
        folder (`Path`): The checkpoint's.
        report (`dict`): An evaluation's `report.json`. Its benchmark's name is the dataset's id.

    Returns:
        `Path`: The file, which holds the scores of that split alone: to write a report again changes nothing.
    """
    benchmark = report["benchmark"]
    entries = [
        {
            "dataset": {"id": benchmark["name"], "task_id": metric["key"]},
            "value": round(metric["value"], 6),
            "notes": _notes(report, metric),
        }
        for metric in report["metrics"]
    ]
    name = re.sub(r"[^\w.-]+", "-", f"{benchmark['name'].replace('/', '-')}-{benchmark['split']}")
    file = folder / FOLDER / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def _notes(report: dict[str, Any], metric: dict[str, Any]) -> str:
    """What the figure is, and where the interval lies."""
    parts = [metric["title"], f"split {report['benchmark']['split']}"]
    if report.get("templates"):
        parts.append(f"prompts {report['templates']}")
    if metric.get("low") is not None and metric.get("high") is not None:
        parts.append(f"95% interval {metric['low']:.4f} to {metric['high']:.4f}")
    return ", ".join(parts)
