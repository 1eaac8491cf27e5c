"""How much more one arm gains over its baseline than another arm gains over its own, run by run.

    python scripts/evidence/gain_differences.py steps_480:steps_120 batch_256:steps_120

Two gains of which one excludes 0 and the other does not need not differ. Here the difference itself has an interval,
by the bootstrap of [`arm_scores`] over splits, seeds and shapes together: of each shape, what the first arm scores
above its baseline less what the second does, on the splits and seeds that all four have. Runs are those of
`model_cards/evidence/arms.parquet`, arms those of the recipe `arms`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from kept_outcomes import Results, read_kept

from mrd_hf.errors import UserError
from mrd_hf.evaluation.ablation.arm_scores import ArmScore, Place, RunOutcomes, arm_scores
from mrd_hf.training.ablation.recipe import AblationRecipe, read_ablation
from mrd_hf_cli.running import run_script


FILE = Path("model_cards/evidence/arms.parquet")


def gain_differences(kept: Results, recipe: AblationRecipe, first: str, second: str) -> list[ArmScore]:
    """Of every score, with `first` as its arm and `second` as its baseline, on the processor with most pairs.

    Raises:
        UserError: One of the arms is not known, or is compared with none.
    """
    baselines = {name: arm.baseline for name, arm in recipe.arms.items()}
    for arm in (first, second):
        if baselines.get(arm) is None:
            raise UserError(f"{arm}: is no arm with a baseline in the recipe; give one of those that have.")
    best: list[ArmScore] = []
    for _, runs in sorted(kept.items()):
        gains = {arm: _gains(runs.get(arm, {}), runs.get(str(baselines[arm]), {})) for arm in (first, second)}
        num_planned = len(recipe.splits) * len(recipe.seeds)
        scores = arm_scores(gains, {first: second, second: None}, num_planned)
        scores = [score for score in scores if score.arm == first and score.num_pairs]
        if scores and (not best or scores[0].num_pairs > best[0].num_pairs):
            best = scores
    return best


def _gains(arm: dict[Place, RunOutcomes], baseline: dict[Place, RunOutcomes]) -> dict[Place, RunOutcomes]:
    """Of each pair of runs, a shape's outcome in the one less that in the other."""
    gains = {}
    for place in sorted(arm.keys() & baseline.keys()):
        found, other = arm[place], baseline[place]
        if found.ids != other.ids:
            raise UserError(f"split {place[0]}, seed {place[1]}: two arms were not scored on the same shapes.")
        keys = found.outcomes.keys() & other.outcomes.keys()
        outcomes = {key: found.outcomes[key] - other.outcomes[key] for key in sorted(keys)}
        values = {key: found.values[key] - other.values[key] for key in sorted(keys)}
        gains[place] = RunOutcomes(found.ids, values, outcomes, found.titles)
    return gains


def main(pairs: Sequence[str]) -> None:
    kept, recipe = read_kept(FILE), read_ablation("arms")
    for pair in pairs:
        first, _, second = pair.partition(":")
        for score in gain_differences(kept, recipe, first, second):
            found = score.difference
            assert found is not None
            shown = " to ".join(f"{100 * value:+.1f}" for value in (found.low, found.high))
            print(f"{pair}, {score.title}: {100 * found.difference:+.1f} ({shown}), {score.num_pairs} pairs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="ARM:ARM")
    arguments = parser.parse_args()
    run_script(lambda: main(arguments.pairs))
