"""Which differences of the ablations are still told from 0 where shapes of one class are resampled together.

    python scripts/evidence/class_intervals.py

The tables' intervals take shapes for independent. Those of a class are alike, and one that is not understood costs
all of them. Here a resample draws whole classes, of `scripts/demo_data/categories.csv`, and shapes without one by
themselves. Printed are the differences of the tables whose interval excludes 0 only as long as shapes count by
themselves, how many others there are, and how much wider the intervals become.
"""

import argparse
import csv
import statistics
from pathlib import Path

from evidence_tables import ARMS, SHOWN, kept_scores

from mrd_hf.training.ablation.recipe import read_ablation
from mrd_hf_cli.running import run_script


LABELS = Path("scripts/demo_data/categories.csv")


def read_classes() -> dict[str, str]:
    """Of each shape that has one."""
    with LABELS.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row["label"] for row in csv.DictReader(file) if row["label"]}


def main() -> None:
    recipe, classes = read_ablation("arms"), read_classes()
    by_shape = kept_scores(ARMS, recipe)
    by_class = kept_scores(ARMS, recipe, lambda shape: classes.get(shape) or f"the shape {shape}")
    wider, still, lost = [], 0, 0
    for score, other in zip(by_shape, by_class, strict=True):
        if score.key not in SHOWN or score.difference is None or other.difference is None:
            continue
        found, grouped = score.difference, other.difference
        if found.high > found.low:
            wider.append((grouped.high - grouped.low) / (found.high - found.low))
        still += score.excludes_zero and other.excludes_zero
        if score.excludes_zero and not other.excludes_zero:
            lost += 1
            shown = [f"{100 * each.low:+.1f} to {100 * each.high:+.1f}" for each in (found, grouped)]
            print(f"{score.arm}, {score.title}: {100 * found.difference:+.1f} ({shown[0]}; by class {shown[1]})")
    print(f"{still} of {still + lost} differences exclude 0 both ways")
    print(f"intervals are {statistics.median(wider):.2f} times as wide by class, median of {len(wider)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    run_script(main)
