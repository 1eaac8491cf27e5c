"""Model cards: written from what really ran, with evaluations as a table to read and as metadata for the Hub."""

import contextlib
import re
import shutil
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any, cast

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, metadata_load
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..errors import UserError
from ..files.atomic_file import atomic_file
from ..models.model_sources import package_of, split_reference
from .card_license import license_fields
from .eval_results import write_eval_results


# Of Jinja.
PRETRAINED_TEMPLATE, CONVERTED_TEMPLATE = (
    Path(__file__).parent / "templates" / name for name in ("pretrained.md", "converted.md")
)
REPORT_VERSION = 1
EVALUATION_HEADING = "## Evaluation"
NOT_EVALUATED = "Not evaluated."
COLUMNS = ("metric", "shapes", "model", "interval", "chance", "majority", "teacher")
# A metric's task on the Hub, by how its key begins; there is none for point clouds.
TASKS = {
    "zero_shot": ("zero-shot-classification", "zero-shot point cloud classification"),
    "fine_tuned": ("other", "point cloud classification"),
    "part_": ("other", "point cloud part segmentation"),
}
EMBEDDING = ("feature-extraction", "point cloud embedding")


def write_model_card(
    folder: Path,
    name: str,
    teacher: str | None,
    text_tower: str | None = None,
    dataset: str | None = None,
    encoder: str | None = None,
    title: str | None = None,
    licensed: dict[str, Any] | None = None,
    **facts: Any,
) -> None:
    """Write a checkpoint's README.md from what really ran.

    Args:
        folder (`Path`): The checkpoint's folder.
        name (`str`): What to load it by: its repository on the Hub, or its folder as it will be typed.
        teacher (`str`, *optional*): The teacher's name, or `name@commit`.
        text_tower (`str`, *optional*): What embeds texts, where that is not the teacher as a whole.
        dataset (`str`, *optional*): What it was trained on: a dataset on the Hub, or a local folder.
        encoder (`str`, *optional*): What it started from: an encoder on the Hub, or a local folder.
        title (`str`, *optional*): The heading, a repository's id; default: made of the folder that `name` is.
        licensed (`dict`, *optional*): As [`license_fields`] says of `encoder`; default: Apache-2.0.
        **facts: The template's variables.
    """
    teacher_name = teacher.partition("@")[0] if teacher is not None else None
    teacher_on_hub = teacher_name if on_hub(teacher_name) else None
    licensed = licensed or license_fields(None)
    data = ModelCardData(
        language=_language(dataset),
        **licensed,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["point-cloud", "3d", "zero-shot", "mrd-hf"],
        # Without base_model_relation: the Hub knows no relation such as a student's to its teacher.
        base_model=hub_repository(encoder) or teacher_on_hub,
        datasets=[dataset] if dataset is not None and on_hub(dataset) else None,
    )
    card = ModelCard.from_template(
        data,
        template_str=PRETRAINED_TEMPLATE.read_text(encoding="utf-8"),
        name=name,
        title=title or card_title(name),
        teacher=teacher,
        teacher_name=teacher_name,
        teacher_on_hub=teacher_on_hub,
        text_tower=text_tower,
        text_package=package_of(text_tower) if text_tower is not None else None,
        dataset=dataset,
        dataset_on_hub=dataset if on_hub(dataset) else None,
        encoder=encoder,
        license_name=licensed.get("license_name", licensed["license"]),
        **facts,
    )
    card.save(folder / "README.md")


def card_title(folder: str) -> str:
    """What a card calls a model that lies in a folder: the last part of its path that says something."""
    parts = [part for part in PurePath(folder).parts if part not in ("encoder", "..", PurePath(folder).anchor)]
    return parts[-1] if parts else folder


def evaluation_results(report: dict[str, Any]) -> list[EvalResult]:
    """An evaluation as entries of a card's `model-index`, one a metric; values are shares of 1, or ranks.

    Args:
        report (`dict`): An evaluation's `report.json`.

    Raises:
        UserError: when it is of another form.
    """
    check_report(report)
    benchmark = report["benchmark"]
    results = []
    for metric in report["metrics"]:
        fitting = (task for start, task in TASKS.items() if metric["key"].startswith(start))
        task_type, task_name = next(fitting, EMBEDDING)
        results.append(
            EvalResult(
                task_type=task_type,
                task_name=task_name,
                dataset_type=_slug(benchmark["name"]),
                dataset_name=benchmark["name"],
                dataset_split=benchmark["split"],
                metric_type=metric["key"],
                metric_name=metric["title"],
                metric_value=round(metric["value"], 6),
            )
        )
    return results


def write_results(card_path: Path, report: dict[str, Any], picture: Path | None = None) -> None:
    """Write an evaluation into a model card: into its metadata, and as a table under "Evaluation"; and beside the card
    into `.eval_results`, where the benchmark is a dataset on the Hub.

    What the card says of the same metric on the same split of the same benchmark is replaced, the rest stays: to write
    a report again changes nothing.

    Args:
        card_path (`Path`): The card, a README.md that is there.
        report (`dict`): An evaluation's `report.json`.
        picture (`Path`, *optional*): Its `scores.png`, of which a copy goes into the folder `images` beside the card.

    Raises:
        UserError: when there is no such card, its metadata cannot be read, or the report is of another form.
    """
    # Of a part of a benchmark: as another one, so that it is not read as all of it, nor replaces it.
    if (benchmark := report.get("benchmark", {})).get("is_part"):
        report = report | {"benchmark": benchmark | {"name": f"a part of {benchmark['name']}"}}
    new = evaluation_results(report)
    if not card_path.is_file():
        raise UserError(f"{card_path}: no such file; give a model's card, the README.md of its folder.")
    try:
        card = ModelCard(card_path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{card_path}: its metadata cannot be read: {error}") from None
    data = cast(ModelCardData, card.data)
    replaced = {_identity(result): result for result in [*(data.eval_results or []), *new]}
    data.eval_results = list(replaced.values())
    if data.model_name is None:
        data.model_name = report["model"]["name"]
    shown = None
    if picture is not None:
        benchmark = report["benchmark"]
        shown = f"images/scores-{re.sub(r'[^a-z0-9]+', '-', _slug(benchmark['name'] + ' ' + benchmark['split']))}.png"
        (card_path.parent / "images").mkdir(exist_ok=True)
        shutil.copyfile(picture, card_path.parent / shown)
        example = {"text": f"Scores on {benchmark['name']}, {benchmark['split']}", "output": {"url": shown}}
        others = [other for other in data.get("widget", []) if other.get("output") != example["output"]]
        data["widget"] = [*others, example]
    card.text = _with_table(card.text, report, shown)
    with atomic_file(card_path) as sink:
        sink.write(str(card).encode())
    if on_hub(report["benchmark"]["name"]):
        write_eval_results(card_path.parent, report)


def retarget_card(text: str, repo_id: str) -> str:
    """The card with its examples and its heading naming the repository that it goes to.

    Cards call a model what its folder was called when they were written. One whose heading is not that, or the end of
    it, is by another hand and left as it is.
    """
    heading = re.search(r"^# (.+)$", text, flags=re.MULTILINE)
    loaded = re.search(r'\w+\.from_pretrained\("([^"\n]+)"', text)
    if heading is None or loaded is None:
        return text
    # A fine-tuned network lies in the folder `model` of its run, by whose name it is called.
    run = re.sub(r"[/\\]model$", "", loaded[1])
    if heading[1] not in {loaded[1], card_title(loaded[1]), card_title(run)}:
        return text
    text = text[: heading.start()] + f"# {repo_id}" + text[heading.end() :]
    text = re.sub(r"^(model-index:\n- name: ).+$", rf"\g<1>{repo_id}", text, flags=re.MULTILINE)
    # Not everywhere: the recipe's arguments have an "encoder" as well.
    return re.sub(rf'(from_pretrained\(|model=)"{re.escape(loaded[1])}"', rf'\g<1>"{repo_id}"', text)


def check_report(report: dict[str, Any]) -> None:
    """Raise a [`UserError`] if an evaluation's report is not of the form that is known here."""
    version = report.get("version")
    if version != REPORT_VERSION:
        raise UserError(f"the evaluation's report has version {version}; expected {REPORT_VERSION}.")
    needed = {
        "model": (report.get("model", {}), ("name",)),
        "benchmark": (report.get("benchmark", {}), ("name", "split", "num_shapes")),
        **{f"metrics[{i}]": (m, ("key", "title", "value")) for i, m in enumerate(report.get("metrics", []))},
    }
    for place, (values, keys) in needed.items():
        for key in keys:
            if key not in values:
                raise UserError(f"the evaluation's report lacks {place}.{key}.")


def on_hub(name: str | None) -> bool:
    """Whether a name is that of a repository on the Hub: `owner/name`, and no folder here."""
    if name is None or not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def hub_repository(name: str | None) -> str | None:
    """The repository on the Hub that a name is of, also one as `owner/name@revision`; None where it is none."""
    if name is None or Path(name).exists():
        return None
    repository = split_reference(name)[0]
    return repository if on_hub(repository) else None


def _language(dataset: str | None) -> list[str]:
    """Of the texts: as the dataset's own card says, if it lies here; or else English, as the teachers' texts are."""
    card = Path(dataset or "") / "README.md"
    found = None
    if dataset is not None and card.is_file():
        # It may be by another hand, and a trained model must not be lost for it.
        with contextlib.suppress(yaml.YAMLError, ValueError):
            found = (metadata_load(card) or {}).get("language")
    return ["en"] if not found else [found] if isinstance(found, str) else list(found)


def _identity(result: EvalResult) -> tuple[str | None, ...]:
    return result.dataset_type, result.dataset_split, result.metric_type


def _with_table(text: str, report: dict[str, Any], picture: str | None) -> str:
    """The card's text with the report's table in its section, and a picture of it, `images/...`."""
    benchmark = report["benchmark"]
    name = _slug(f"{benchmark['name']} {benchmark['split']}")
    start, end = f"<!-- evaluation of {name} -->", "<!-- end of evaluation -->"
    block = re.compile(re.escape(start) + r"\n(.*?)\n" + re.escape(end), flags=re.DOTALL)
    found = block.search(text)
    rows = _rows(report)
    if found is not None:
        body = [line for line in found[1].splitlines() if line.startswith("| ")][1:]
        rows = {**{_title(line): line for line in body}, **rows}
    table = [_row(COLUMNS), "|---" * len(COLUMNS) + "|", *rows.values()]
    bars = "Scores with their 95% intervals, beside chance, majority and teacher"
    drawn = ["", f"![{bars}]({picture})"] if picture is not None else []
    written = "\n".join([start, _introduction(report), "", *table, *drawn, end])
    if found is not None:
        return text[: found.start()] + written + text[found.end() :]
    starts = [*_section_starts(text), len(text)]
    sections = [text[begin:end] for begin, end in pairwise(starts)]
    place = next((n for n, of in enumerate(sections) if of.partition("\n")[0].rstrip() == EVALUATION_HEADING), None)
    if place is None:
        return f"{text.rstrip()}\n\n{EVALUATION_HEADING}\n\n{written}\n"
    section = sections[place].partition("\n")[2].replace(NOT_EVALUATED, "").strip()
    parts = [part for part in (EVALUATION_HEADING, section, written) if part]
    return text[: starts[place]] + "\n\n".join(parts) + "\n\n" + text[starts[place + 1] :]


def _section_starts(text: str) -> list[int]:
    """Where headings of the second level are; lines within a fenced block are none."""
    starts, place, fence = [], 0, ""
    for line in text.splitlines(keepends=True):
        mark = re.match(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})", line)
        if mark is not None and not fence:
            fence = mark[1]
        elif mark is not None and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        elif not fence and line.startswith("## "):
            starts.append(place)
        place += len(line)
    return starts


def _introduction(report: dict[str, Any]) -> str:
    benchmark = report["benchmark"]
    classes = f", {benchmark['num_classes']} classes" if benchmark.get("num_classes") else ""
    text = f"On the split `{benchmark['split']}` of {benchmark['name']} ({benchmark['num_shapes']} shapes{classes})"
    text += ", ranks as they are, all else in percent"
    if report.get("templates"):
        text += f"; class names in the prompts `{report['templates']}`"
    return text + ":"


def _rows(report: dict[str, Any]) -> dict[str, str]:
    """A line of the table for each metric, by its title."""
    rows = {}
    for metric in report["metrics"]:
        figures = {name: _figure(metric, name) for name in ("value", "low", "high", "chance", "majority", "teacher")}
        has_interval = metric.get("low") is not None and metric.get("high") is not None
        interval = f"{figures['low']} to {figures['high']}" if has_interval else "-"
        row = _row(
            (
                metric["title"],
                str(metric.get("num_shapes", report["benchmark"]["num_shapes"])),
                figures["value"],
                interval,
                *(figures[name] for name in ("chance", "majority", "teacher")),
            )
        )
        rows[_title(row)] = row
    return rows


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _title(row: str) -> str:
    return row.split(" | ", 1)[0]


def _figure(metric: dict[str, Any], name: str) -> str:
    """A share in percent, or a rank, which a median is, as it is."""
    value = metric.get(name)
    if value is None:
        return "-"
    return f"{value:.1f}" if metric.get("statistic") == "median" else f"{100 * value:.1f}"


def _slug(name: str) -> str:
    return re.sub(r"[^\w./]+", "-", name).strip("-").lower()
