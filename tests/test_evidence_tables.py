"""The page of evidence: its tables are those of the ablations, and none of their arms is left out."""

import json
import re
import runpy
from fnmatch import fnmatch

import pytest
from support.paths import ROOT, SCRIPTS

from mrd_hf.training.ablation.recipe import read_ablation


PAGE = ROOT / "model_cards" / "EVIDENCE.md"
NAMES = {"zero_shot_top1": "zero-shot top-1 (9 classes)", "shape_to_shape_map": "mAP"}


@pytest.fixture(scope="module")
def fill():
    return runpy.run_path(str(SCRIPTS / "evidence" / "evidence_tables.py"))["fill"]


def score(arm, key, mean, against=None, gain=None, num_runs=6):
    difference = gain and dict(zip(("difference", "low", "high"), gain, strict=True))
    row = {"arm": arm, "key": key, "title": NAMES[key], "mean": mean, "baseline": against, "difference": difference}
    excludes = bool(gain) and gain[1] * gain[2] > 0
    return row | {"num_runs": num_runs, "num_planned": 6, "num_pairs": num_runs, "excludes_zero": excludes}


def write_table(folder):
    scores = [
        score("contrastive", "zero_shot_top1", 0.25),
        score("contrastive", "shape_to_shape_map", 0.5),
        score("mrd", "zero_shot_top1", 0.3, "contrastive", (0.05, -0.01, 0.111)),
        score("mrd", "shape_to_shape_map", 0.6, "contrastive", (0.1, 0.02, 0.2)),
    ]
    (folder / "one.json").write_text(json.dumps({"scores": scores}))
    scores += [
        score("terms_b", "zero_shot_top1", None, "contrastive", num_runs=0),
        score("terms_a", "zero_shot_top1", 0.2, "contrastive", (-0.05, -0.1, -0.01), num_runs=3),
    ]
    (folder / "arms.json").write_text(json.dumps({"scores": scores}))


def test_an_arm_a_row_in_the_order_that_the_comment_has(fill, tmp_path):
    write_table(tmp_path)
    text = "Before\n<!-- arms: arms.json terms_* mrd -->\nold\n<!-- end -->\nafter"
    filled = fill(text, tmp_path)
    assert filled.startswith("Before\n<!-- arms: arms.json terms_* mrd -->\n| arm | runs | zero-shot top-1 |")
    assert filled.endswith("|\n<!-- end -->\nafter") and "old" not in filled
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in filled.splitlines() if line.startswith("| ")]
    assert [row[:3] for row in rows[2:]] == [
        ["terms_b", "0 of 6", "-"],
        ["terms_a", "3 of 6", "**-5.0 (-10.0 to -1.0)**"],
        ["mrd", "6", "+5.0 (-1.0 to +11.1)"],
    ]
    assert rows[-1][rows[0].index("same category, mAP")] == "**+10.0 (+2.0 to +20.0)**"
    assert fill(filled, tmp_path) == filled


def test_a_score_a_row_for_one_arm(fill, tmp_path):
    write_table(tmp_path)
    filled = fill("<!-- main: one.json -->\n<!-- end -->", tmp_path)
    assert filled.splitlines()[1] == "|  | contrastive | mrd | difference | 95% interval | pairs | excludes 0 |"
    assert filled.splitlines()[3:5] == [
        "| zero-shot top-1 (9 classes) | 25.0 | 30.0 | +5.0 | -1.0 to +11.1 | 6 | no |",
        "| mAP | 50.0 | 60.0 | +10.0 | +2.0 to +20.0 | 6 | **yes** |",
    ]


def test_what_is_not_there_stays_as_it_was(fill, tmp_path):
    text = "<!-- main: gone.json -->\n| a table |\n<!-- end -->"
    assert fill(text, tmp_path) == text


def test_no_arm_is_left_out_of_the_page():
    blocks = re.findall(r"<!-- arms: outputs/arms/table\.json (.*?) -->", PAGE.read_text())
    patterns = " ".join(blocks).split()
    arms = {name for name, arm in read_ablation("arms").arms.items() if arm.baseline is not None}
    assert {name for name in arms if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in arms)] == []
