"""Put the tables of ablations into model_cards/EVIDENCE.md, where its comments say which.

    mrd-hf ablate --config arms -o outputs/arms --table-only
    python scripts/evidence/evidence_tables.py

Between `<!-- main: outputs/main/test-table.json -->` and `<!-- end -->` comes what one arm gains over its baseline, a
score a row. Between `<!-- arms: outputs/arms/table.json mrd terms_* -->` and `<!-- end -->` come the arms of these
names, an arm a row, in bold where the interval excludes 0. A table that is not there leaves the page as it is.
"""

import argparse
import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any


PAGE = Path("model_cards/EVIDENCE.md")
BLOCK = re.compile(r"(<!-- (main|arms): (\S+)(.*?) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
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


def fill(text: str, folder: Path) -> str:
    """The page with each block rebuilt, from tables that are looked for in a folder."""

    def block(match: re.Match[str]) -> str:
        begin, kind, file, names, end = match.groups()
        if not (folder / file).is_file():
            return match[0]
        table = json.loads((folder / file).read_text(encoding="utf-8"))
        rows = main_rows(table["scores"]) if kind == "main" else arm_rows(table["scores"], names.split())
        return f"{begin}{markdown(rows)}\n{end}"

    return BLOCK.sub(block, text)


def main_rows(scores: Scores) -> list[list[str]]:
    (arm,) = {score["arm"] for score in scores if score["difference"]}
    baseline = {score["key"]: score for score in scores if score["arm"] != arm}
    rows = [["", baseline["zero_shot_top1"]["arm"], arm, "difference", "95% interval", "pairs", "excludes 0"]]
    for score in scores:
        if score["arm"] == arm and score["key"] in (*SHOWN, *OF_ONE):
            means = [percent(found["mean"]) for found in (baseline[score["key"]], score)]
            gain = score["difference"]
            shown = [signed(gain["difference"]), f"{signed(gain['low'])} to {signed(gain['high'])}"]
            verdict = "**yes**" if score["excludes_zero"] else "no"
            rows.append([score["title"], *means, *shown, str(score["num_pairs"]), verdict])
    return rows


def arm_rows(scores: Scores, patterns: list[str]) -> list[list[str]]:
    """In the order of the patterns; baselines, which gain nothing, are left out."""
    found = {(score["arm"], score["key"]): score for score in scores}
    compared = dict.fromkeys(score["arm"] for score in scores if score["baseline"])
    rows = [["arm", "runs", *SHOWN.values()]]
    for arm in dict.fromkeys(arm for pattern in patterns for arm in compared if fnmatch(arm, pattern)):
        first = found[arm, "zero_shot_top1"]
        planned = first["num_planned"]
        runs = str(planned) if first["num_runs"] == planned else f"{first['num_runs']} of {planned}"
        rows.append([arm, runs, *(gain(found.get((arm, key))) for key in SHOWN)])
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
    page.write_text(fill(page.read_text(encoding="utf-8"), Path.cwd()), encoding="utf-8")


if __name__ == "__main__":
    main()
