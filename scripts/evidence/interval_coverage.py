"""How often the interval of an ablation holds the truth, and how wide it is, in simulated comparisons.

Two arms that do not differ: each shape's outcome differs between them by chance, for a share of the shapes; besides
that, all outcomes of a split, of a seed or of a shape may lean one way. Takes about two minutes.

    python scripts/evidence/interval_coverage.py
"""

import argparse

import numpy as np

from mrd_hf.evaluation.scores.crossed_bootstrap import crossed_difference


# The demo's shapes, and the share of them that a validation split has.
NUM_SHAPES, SHARE = 820, 0.14
DISAGREEMENT = 0.3
NUM_RESAMPLES = 500
DESIGNS = ((3, 2), (5, 5))
# Standard deviations of what leans one way, of shapes, splits and seeds.
VARIATION = {
    "nothing": (0.0, 0.0, 0.0),
    "shapes, by 10 points": (0.1, 0.0, 0.0),
    "seeds, by 3 points": (0.0, 0.0, 0.03),
    "splits by 2, seeds by 3 points": (0.0, 0.02, 0.03),
    "splits by 5, seeds by 1 point": (0.0, 0.05, 0.01),
}


def simulate(
    rng: np.random.Generator, num_splits: int, num_seeds: int, of_shapes: float, of_splits: float, of_seeds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Differences of 0/1 outcomes `(num_pairs, NUM_SHAPES)`, NaN where a split lacks a shape, and each pair's split.

    `of_shapes`, `of_splits` and `of_seeds` are the standard deviations of what leans one way.
    """
    gains, splits = [], []
    shape_lean = rng.normal(0, of_shapes, NUM_SHAPES)
    for split in range(num_splits):
        chosen = rng.random(NUM_SHAPES) < SHARE
        split_lean = rng.normal(0, of_splits)
        for _ in range(num_seeds):
            lean = np.clip((split_lean + rng.normal(0, of_seeds) + shape_lean) / DISAGREEMENT, -1, 1)
            differ = rng.random(NUM_SHAPES) < DISAGREEMENT
            sign = np.where(rng.random(NUM_SHAPES) < (1 + lean) / 2, 1.0, -1.0)
            gains.append(np.where(chosen, np.where(differ, sign, 0.0), np.nan))
            splits.append(split)
    return np.array(gains), np.array(splits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300, help="simulated comparisons of each kind (default: 300)")
    trials = parser.parse_args().trials
    print("| besides chance, what varies | splits x seeds | held 0 | width, points |\n|---|---|---|---|")
    for num_splits, num_seeds in DESIGNS:
        for name, deviations in VARIATION.items():
            held, widths = 0, []
            for trial in range(trials):
                rng = np.random.default_rng([5, trial])
                gains, splits = simulate(rng, num_splits, num_seeds, *deviations)
                found = crossed_difference(gains, splits, num_resamples=NUM_RESAMPLES)
                held += found.low <= 0 <= found.high
                widths.append(found.high - found.low)
            print(
                f"| {name} | {num_splits} x {num_seeds} | {held / trials:.1%} | {100 * np.mean(widths):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
