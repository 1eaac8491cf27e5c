"""How many shapes the teacher's relations are about, by batch and temperature, and what noise leaves of them.

    python scripts/evidence/teacher_relations.py

Of the embedded demo's training shapes. `about` is the exponential of a row's entropy: over how many of a batch's other
shapes it is spread, and which share of them that is. `correlation` is that with the relations of the teacher as it
is, over all pairs. All are means over batches.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mrd_hf.data.resplitting.teacher_changes import generator, normalized, with_noise, wrong_partners


ROWS = Path("scripts/demo_data/data/train-00000-of-00001.parquet")
TERMS = (("image", "image"), ("text", "text"), ("image", "text"))
BATCHES = ((64, 0.03), (64, 0.07), (64, 0.2), (256, 0.03), (256, 0.07), (256, 0.1), (256, 0.2))
Embeds = dict[str, np.ndarray]


def relation(rows: np.ndarray, columns: np.ndarray, temperature: float) -> np.ndarray:
    """`softmax_j(<a_i, b_j> / temperature)` over the other samples.

    Args:
        rows, columns (`np.ndarray` of shape `(batch, width)`): L2-normalised, of the same samples.
        temperature (`float`)

    Returns:
        `np.ndarray` of shape `(batch, batch - 1)`.
    """
    others = ~np.eye(len(rows), dtype=bool)
    logits = (rows @ columns.T / temperature)[others].reshape(len(rows), -1)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def num_about(relations: np.ndarray) -> float:
    """The exponential of the entropy, as a mean over rows."""
    logarithms = np.log(np.maximum(relations, np.finfo(relations.dtype).tiny))
    return float(np.exp(-(relations * logarithms).sum(axis=1)).mean())


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def worse_teachers(embeds: Embeds, seed: int) -> Iterator[tuple[str, Embeds]]:
    """As the arms `wrong_images_*` and `embedding_noise_*` have them."""
    for share in (0.1, 0.3, 0.5):
        partners = wrong_partners(len(embeds["image"]), share, seed)
        yield f"{share:.0%} of images wrong", {**embeds, "image": embeds["image"][partners]}
    for strength in (0.25, 0.5, 1.0):
        rng = generator(seed, "embedding noise")
        yield f"noise of {strength}", {kind: with_noise(of_kind, strength, rng) for kind, of_kind in embeds.items()}


def read_embeds(file: Path) -> Embeds:
    """Each shape's first image and text, L2-normalised."""
    table = pq.read_table(file, columns=["image_embeds", "text_embeds"])
    return {
        kind: normalized(np.array([rows[0] for rows in table[f"{kind}_embeds"].to_pylist()], dtype=np.float64))
        for kind in ("image", "text")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=50, help="of each size (default: 50)")
    num_batches = parser.parse_args().batches
    embeds, rng = read_embeds(ROWS), np.random.default_rng(0)
    heads = [f"{row} to {column}" for row, column in TERMS]

    print(f"| batch | temperature | {' | '.join(f'about, {head}' for head in heads)} |\n|{'---|' * 5}")
    for batch, temperature in BATCHES:
        drawn = [rng.choice(len(embeds["image"]), batch, replace=False) for _ in range(num_batches)]
        about = [
            np.mean([num_about(relation(embeds[row][rows], embeds[column][rows], temperature)) for rows in drawn])
            for row, column in TERMS
        ]
        print(f"| {batch} | {temperature} | " + " | ".join(f"{n:.1f} ({n / (batch - 1):.0%})" for n in about) + " |")

    print(f"\n| teacher, batch 64 at 0.07 | {' | '.join(f'correlation, {head}' for head in heads)} |\n|{'---|' * 4}")
    drawn = [rng.choice(len(embeds["image"]), 64, replace=False) for _ in range(num_batches)]
    for name, worse in worse_teachers(embeds, seed=0):
        kept = [
            np.mean(
                [
                    correlation(*(relation(of[row][rows], of[column][rows], 0.07) for of in (embeds, worse)))
                    for rows in drawn
                ]
            )
            for row, column in TERMS
        ]
        print(f"| {name} | " + " | ".join(f"{share:.2f}" for share in kept) + " |")


if __name__ == "__main__":
    main()
