"""Put the tables and curves of ablations into model_cards/EVIDENCE.md, where its comments say which.

    python scripts/evidence/evidence_tables.py

Between `<!-- main: outputs/main/test-table.json -->` and `<!-- end -->` comes what one arm gains over its baseline, a
score a row. Between `<!-- arms: model_cards/evidence/arms.parquet mrd terms_* -->` and `<!-- end -->` come the arms of
these names, an arm a row, in bold where the interval excludes 0; the file is that of kept_outcomes.py. Between `<!--
gains: model_cards/evidence/arms.parquet steps_480:steps_120 -->` and `<!-- end -->` comes how much more the first arm
of each pair gains than the second, see gain_differences.py. Of runs on several kinds of processor, an arm's are those
on which it has most pairs. A table stays as it is where its file is not there, or has fewer pairs of an arm than the
table tells of. The curves are model_cards/images/evidence_*.png, one for each axis on which arms of two places have
all of their pairs.
"""

import argparse
import json
import re
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gain_differences import gain_differences
from kept_outcomes import read_kept

from mrd_hf.evaluation.ablation.arm_scores import ArmScore, arm_scores
from mrd_hf.evaluation.plots.ablation_plots import CurvePoint, write_curves
from mrd_hf.training.ablation.recipe import AblationRecipe, Arm, read_ablation


PAGE = Path("model_cards/EVIDENCE.md")
ARMS = Path("model_cards/evidence/arms.parquet")
IMAGES = Path("model_cards/images")
BLOCK = re.compile(r"(<!-- (main|arms|gains): (\S+)(.*?) -->\n)(.*?)(<!-- end -->)", flags=re.DOTALL)
# An arm's row, and how many pairs it tells of; a score's row of a table of one arm, and its pairs.
TOLD = re.compile(r"^\| (\w[\w.]*) \| (\d+) ", flags=re.MULTILINE)
TOLD_OF_GAINS = re.compile(r"^\| (\w[\w.]*) \| (\w[\w.]*) \| (\d+) ", flags=re.MULTILINE)
TOLD_OF_ONE = re.compile(r"\| (\d+) \| (?:\*\*yes\*\*|no|one split) \|$", flags=re.MULTILINE)
# The scores of a table of arms, and their heads.
SHOWN = {
    "zero_shot_top1": "zero-shot top-1",
    "zero_shot_top5": "top-5",
    "shape_to_image_recall_at_10": "shape to image at 10",
    "shape_to_shape_map": "same category, mAP",
    "linear_probe_top1": "linear probe",
}
# Besides those, of a table of one arm.
OF_ONE = ("shape_to_image_recall_at_1", "shape_to_text_recall_at_10", "same_category_neighbor")
Scores = list[dict[str, Any]]


def fill(text: str, folder: Path) -> tuple[str, list[str]]:
    """The page with its tables rebuilt, from files that are looked for in a folder; and which stay as they were."""
    scores_of: dict[str, Scores] = {}
    stay: list[str] = []

    def block(match: re.Match[str]) -> str:
        begin, kind, file, names, body, end = match.groups()
        if not (folder / file).is_file():
            stay.append(f"{file}{names}: there is no such file")
            return match[0]
        if kind == "gains":
            rows = gain_rows(folder / file, names.split())
            now = {(first, second): int(count) for first, second, count, *_ in rows[1:]}
            less = [f"{a}:{b}" for a, b, count in TOLD_OF_GAINS.findall(body) if now.get((a, b), 0) < int(count)]
            if less:
                stay.append(f"{file}{names}: has fewer pairs of {', '.join(less)}")
                return match[0]
            return f"{begin}{markdown(rows)}\n{end}"
        if file not in scores_of:
            scores_of[file] = read_scores(folder / file)
        scores = scores_of[file]
        pairs = {score["arm"]: score["num_pairs"] for score in scores}
        told = TOLD.findall(body)
        if kind == "main":
            told = [(arm, count) for arm in pairs if pairs[arm] for count in TOLD_OF_ONE.findall(body)]
        fewer = [arm for arm, count in told if pairs.get(arm, 0) < int(count)]
        if fewer or not any(pairs.values()):
            stay.append(f"{file}{names}: has fewer pairs of {', '.join(dict.fromkeys(fewer)) or 'every arm'}")
            return match[0]
        rows = main_rows(scores) if kind == "main" else arm_rows(scores, names.split())
        return f"{begin}{markdown(rows)}\n{end}"

    return BLOCK.sub(block, text), stay


def read_scores(file: Path) -> Scores:
    """Of the table that `mrd-hf ablate` has written, or of the outcomes of the recipe `arms`."""
    if file.suffix == ".json":
        return json.loads(file.read_text(encoding="utf-8"))["scores"]
    return [score.as_dict() for score in kept_scores(file, read_ablation("arms"))]


def kept_scores(file: Path, recipe: AblationRecipe, group_of: Callable[[str], str] | None = None) -> list[ArmScore]:
    """Of every arm, on the kind of processor on which it has most pairs; where it is compared with none, most runs."""
    by_processor, num_planned = read_kept(file), len(recipe.splits) * len(recipe.seeds)
    scores = []
    for arm in recipe.arms.values():
        of_arm = {arm.name: arm.baseline} | ({} if arm.baseline is None else {arm.baseline: None})

        def num_pairs(processor: str, arm: Arm = arm) -> int:
            found = by_processor[processor]
            runs = found.get(arm.name, {}).keys()
            return len(runs if arm.baseline is None else runs & found.get(arm.baseline, {}).keys())

        found = by_processor[max(sorted(by_processor), key=num_pairs)]
        scores += [
            score for score in arm_scores(found, of_arm, num_planned, group_of=group_of) if score.arm == arm.name
        ]
    return scores


def draw_curves(file: Path, recipe: AblationRecipe, folder: Path) -> list[Path]:
    """Each axis on which arms of two places have all of their pairs; returns what was written."""
    scores = kept_scores(file, recipe)
    whole = {score.arm for score in scores if score.num_pairs == score.num_planned}
    whole |= {arm.baseline for arm in recipe.arms.values() if arm.name in whole and arm.baseline}
    axes: dict[str, list[CurvePoint]] = {}
    for arm in recipe.arms.values():
        for curve in arm.curves if arm.name in whole else ():
            axes.setdefault(curve.axis, []).append(CurvePoint(arm.name, curve.at, curve.line))
    drawn = []
    for axis, points in axes.items():
        if len({point.at for point in points}) > 1:
            drawn.append(folder / f"evidence_{axis.replace(' ', '_')}.png")
            write_curves(drawn[-1], scores, axis, points)
    return drawn


def main_rows(scores: Scores) -> list[list[str]]:
    (arm,) = {score["arm"] for score in scores if score["difference"]}
    baseline = {score["key"]: score for score in scores if score["arm"] != arm}
    rows = [["", baseline["zero_shot_top1"]["arm"], arm, "difference", "95% interval", "pairs", "excludes 0"]]
    for score in scores:
        if score["arm"] == arm and score["key"] in (*SHOWN, *OF_ONE):
            means = [percent(found["mean"]) for found in (baseline[score["key"]], score)]
            gain = score["difference"]
            shown = [signed(gain["difference"]), f"{signed(gain['low'])} to {signed(gain['high'])}"]
            # Earlier tables do not say of how many splits they are.
            other = "one split" if score.get("num_splits") == 1 else "no"
            verdict = "**yes**" if score["excludes_zero"] else other
            rows.append([score["title"], *means, *shown, str(score["num_pairs"]), verdict])
    return rows


def arm_rows(scores: Scores, patterns: list[str]) -> list[list[str]]:
    """In the order of the patterns; before them, with its means, an arm with which several of them are compared.

    Not where these are of runs on several kinds of processor, whose baselines are not the same runs.
    """
    found = {(score["arm"], score["key"]): score for score in scores}
    baselines = {score["arm"]: score["baseline"] for score in scores if score["baseline"]}
    arms = dict.fromkeys(arm for pattern in patterns for arm in baselines if fnmatch(arm, pattern))
    against = [baselines[arm] for arm in arms]
    rows = [["arm", "pairs", *SHOWN.values()]]
    for baseline in dict.fromkeys(name for name in against if against.count(name) > 1):
        compared = [arm for arm in arms if baselines[arm] == baseline]
        means = [baseline_mean(found, baseline, compared, key) for key in SHOWN]
        if means[0] is not None:
            rows.append([f"*{baseline}*", "", *("-" if mean is None else mean for mean in means)])
    for arm in arms:
        first = found[arm, "zero_shot_top1"]
        planned, pairs = first["num_planned"], first["num_pairs"]
        shown = str(planned) if pairs == planned else f"{pairs} of {planned}"
        rows.append([arm, shown, *(gain(found.get((arm, key))) for key in SHOWN)])
    return rows


def baseline_mean(
    found: dict[tuple[str, str], dict[str, Any]], baseline: str, arms: list[str], key: str
) -> str | None:
    """That of the runs with which arms are compared; None where it is not known, or not the same for all of them."""
    scores = [found[arm, key] for arm in arms if (arm, key) in found]
    whole = [score for score in scores if score["difference"] and score["num_pairs"] == score["num_planned"]]
    means = {percent(score["mean"] - score["difference"]["difference"]) for score in whole}
    if not whole and (own := found.get((baseline, key), {}).get("mean")) is not None:
        means = {percent(own)}
    return means.pop() if len(means) == 1 else None


def gain_rows(file: Path, pairs: list[str]) -> list[list[str]]:
    kept, recipe = read_kept(file), read_ablation("arms")
    rows = [["gain of", "less that of", "pairs", *SHOWN.values()]]
    for pair in pairs:
        first, _, second = pair.partition(":")
        found = {score.key: score.as_dict() for score in gain_differences(kept, recipe, first, second)}
        num_pairs = max((score["num_pairs"] for score in found.values()), default=0)
        rows.append([first, second, str(num_pairs), *(gain(found.get(key)) for key in SHOWN)])
    return rows


def gain(score: dict[str, Any] | None) -> str:
    if score is None or score["difference"] is None:
        return "-"
    low, high = score["difference"]["low"], score["difference"]["high"]
    text = f"{signed(score['difference']['difference'])} ({signed(low)} to {signed(high)})"
    return f"**{text}**" if score["excludes_zero"] else text


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def signed(share: float) -> str:
    return f"{100 * share:+.1f}"


def markdown(rows: list[list[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE, help=f"default: {PAGE}")
    page = parser.parse_args().page
    text, stay = fill(page.read_text(encoding="utf-8"), Path.cwd())
    page.write_text(text, encoding="utf-8")
    drawn = draw_curves(ARMS, read_ablation("arms"), IMAGES) if ARMS.is_file() else []
    print("written:", page, *drawn)
    for table in stay:
        print("stays as it was:", table)


if __name__ == "__main__":
    main()
