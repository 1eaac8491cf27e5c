"""What an evaluation found: figures with intervals, what they compare with, and each shape's part in them."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError
from ..files.atomic_file import atomic_file
from .scores.bootstrap import Interval


REPORT_VERSION = 1
REPORT_FILE = "report.json"
OUTCOMES_FILE = "outcomes.parquet"

# What a figure is of the outcomes of the single shapes.
Statistic = Literal["mean", "class_mean", "median"]


@dataclass(frozen=True)
class Score:
    """One figure, beside what it compares with.

    Args:
        key (`str`): Name for a program, e.g. `zero_shot_top1`, with a corruption behind a slash.
        title (`str`): Name for a reader.
        interval (`Interval`): The figure, a share in 0..1 or a rank from 1, with its 95% interval.
        num_shapes (`int`): How many shapes it is of.
        chance (`float`, *optional*): Exact expectation of a random guess.
        majority (`float`, *optional*): Of always guessing the most frequent classes, where that is defined.
        teacher (`float`, *optional*): The same with the teacher's image embedding in the shape's place.
        statistic (`"mean"`, `"class_mean"` or `"median"`): What `value` is of the outcomes.
        outcomes (`np.ndarray` of shape `(num_shapes_in_all,)`, *optional*):
            What each shape contributes; NaN for those that do not count. Without it the figure is not one of shapes.
    """

    key: str
    title: str
    interval: Interval
    num_shapes: int
    chance: float | None = None
    majority: float | None = None
    teacher: float | None = None
    statistic: Statistic = "mean"
    outcomes: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def value(self) -> float:
        return self.interval.value


@dataclass(frozen=True)
class EvaluationReport:
    """All scores of a model on a benchmark, and what they were measured with.

    Args:
        model (`str`): The encoder's folder or Hub id.
        model_sha256 (`str`): Hash of its weights, see [`~mrd_hf.encoder.weights_sha256`].
        config_sha256 (`str`): Hash of its configuration, see [`~mrd_hf.encoder.config_sha256`].
        benchmark (`str`): Its name.
        split (`str`)
        ids (`list[str]`): One a shape.
        labels (`np.ndarray` of shape `(num_shapes,)`): The class of each shape; -1 where it has none.
        num_classes (`int`)
        teacher (`str`, *optional*): Whose embeddings the shapes are compared with, where that is known.
        templates (`str`, *optional*): Name of the prompt templates; None where the class embeddings were given.
        seed (`int`): Of everything drawn.
        scores (`list[Score]`): In the order to show them.
        is_part (`bool`, defaults to `False`): Whether it is a part of a published benchmark, with which nothing that
            others report can be compared.
    """

    model: str
    model_sha256: str
    config_sha256: str
    benchmark: str
    split: str
    ids: list[str]
    labels: np.ndarray
    num_classes: int
    teacher: str | None
    templates: str | None
    seed: int
    scores: list[Score]
    is_part: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON: no times and no paths besides the names given, so that it repeats to the byte."""
        return {
            "version": REPORT_VERSION,
            "model": {"name": self.model, "sha256": self.model_sha256, "config_sha256": self.config_sha256},
            "benchmark": {
                "name": self.benchmark,
                "split": self.split,
                "num_shapes": len(self.ids),
                "num_classes": self.num_classes,
                **({"is_part": True} if self.is_part else {}),
            },
            "teacher": self.teacher,
            "templates": self.templates,
            "seed": self.seed,
            "metrics": [
                {
                    "key": score.key,
                    "title": score.title,
                    "value": score.value,
                    "low": score.interval.low,
                    "high": score.interval.high,
                    "num_shapes": score.num_shapes,
                    "chance": score.chance,
                    "majority": score.majority,
                    "teacher": score.teacher,
                    "statistic": score.statistic,
                }
                for score in self.scores
            ],
        }

    def save(self, folder: Path) -> None:
        """Write `report.json` and, for comparisons, `outcomes.parquet`: a row a shape, a column a score.

        The report has a digest of the outcomes, so that files of two evaluations are not read as one.
        """
        columns = {"id": pa.array(self.ids), "label": pa.array(self.labels, pa.int32())}
        for score in self.scores:
            if score.outcomes is not None:
                columns[score.key] = pa.array(score.outcomes, pa.float64(), from_pandas=True)  # NaN becomes null
        outcomes = io.BytesIO()
        pq.write_table(pa.table(columns), outcomes)
        with atomic_file(folder / OUTCOMES_FILE) as sink:
            sink.write(outcomes.getvalue())
        report = self.as_dict() | {"outcomes_sha256": hashlib.sha256(outcomes.getvalue()).hexdigest()}
        with atomic_file(folder / REPORT_FILE) as sink:
            sink.write((json.dumps(report, indent=2) + "\n").encode())


def read_report(folder: Path) -> tuple[dict[str, Any], pa.Table]:
    """The report and the outcomes that [`EvaluationReport.save`] wrote.

    Raises:
        UserError: There is none, or it is of another version or damaged, or the two files are of different
            evaluations; the message names the file.
    """
    file = folder / REPORT_FILE
    try:
        report = json.loads(file.read_text())
        content = (folder / OUTCOMES_FILE).read_bytes()
        outcomes = pq.read_table(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: holds no evaluation ({error}); make one with mrd-hf evaluate.") from None
    if not isinstance(report, dict) or report.get("version") != REPORT_VERSION or "metrics" not in report:
        raise UserError(f"{file}: is no report of version {REPORT_VERSION}; make it again with mrd-hf evaluate.")
    digest = hashlib.sha256(content).hexdigest()
    if report.get("outcomes_sha256", digest) != digest:  # of earlier versions there is none
        raise UserError(f"{folder / OUTCOMES_FILE}: is of another evaluation than {REPORT_FILE}; make both again.")
    return report, outcomes


def check_replaceable(
    folder: Path, model_sha256: str, config_sha256: str, benchmark: str, split: str, ids: Sequence[str]
) -> None:
    """Raise a [`UserError`] if a folder has the report of another model, or on other shapes, than is to be written.

    One of the same model on the same split is no loss: it is made again.
    """
    if not (folder / REPORT_FILE).exists():
        return
    try:
        report, outcomes = read_report(folder)
    except UserError as error:
        raise UserError(f"{error} Or replace it with --overwrite.") from None
    earlier_config = report["model"].get("config_sha256", config_sha256)  # of earlier versions there is none
    earlier = (report["model"]["sha256"], report["benchmark"]["name"], report["benchmark"]["split"])
    found = f"{folder} has the report of {report['model']['name']} (weights {earlier[0][:12]}) on {earlier[1]} "
    remedy = "replace it with --overwrite, or name another --output."
    if earlier != (model_sha256, benchmark, split):
        raise UserError(
            f"{found}({earlier[2]}), and this is one of weights {model_sha256[:12]} on {benchmark} ({split}); {remedy}"
        )
    if outcomes["id"].to_pylist() != list(ids):
        raise UserError(
            f"{found}({earlier[2]}), {len(outcomes)} shapes, and this is one of {len(ids)} of which some have other "
            f"ids; {remedy}"
        )
    if earlier_config != config_sha256:
        raise UserError(f"{found}({earlier[2]}), whose config.json was another; {remedy}")


def as_metrics(scores: Sequence[Score]) -> dict[str, float]:
    """The values under flat names, for a tracker."""
    return {score.key: score.value for score in scores}


def report_table(report: dict[str, Any]) -> str:
    """The metrics of a report as [`metrics_table`] has them; of a part of a benchmark under a line that says so."""
    table, benchmark = metrics_table(report["metrics"]), report["benchmark"]
    if not benchmark.get("is_part"):
        return table
    return f"a part of {benchmark['name']}, not comparable with scores of all of it:\n\n{table}"


def metrics_table(metrics: Sequence[dict[str, Any]]) -> str:
    """The metrics of a report as an aligned plain-text table, shares in percent; "-" where nothing is defined."""
    header = ("metric", "shapes", "model", "95% interval", "chance", "majority", "teacher")
    body = [
        (
            metric["title"],
            str(metric["num_shapes"]),
            _figure(metric, "value"),
            f"{_figure(metric, 'low')} to {_figure(metric, 'high')}",
            *(_figure(metric, field) for field in ("chance", "majority", "teacher")),
        )
        for metric in metrics
    ]
    return in_columns([header, *body])


def in_columns(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells under a header as a table: the first column to the left, the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join((cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))))
        for cells in (lines[0], rule, *lines[1:])
    )


def _figure(metric: dict[str, Any], field: str) -> str:
    value = metric[field]
    if value is None:
        return "-"
    return f"{value:.1f}" if metric["statistic"] == "median" else f"{100 * value:.1f}"
