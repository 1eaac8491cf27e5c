"""How many shapes the teacher's relations are about, by batch and temperature, and what noise leaves of them.

    python scripts/evidence/teacher_relations.py

Of the training shapes of the recipe `arms`, and of the relations that are distilled: within a modality without a
sample's relation to itself, across two with that of its image to its own text. `about` is the exponential of a row's
entropy: over how many of a batch's shapes it is spread, and which share of them that is. `own` is the share of a row
that a shape's own text has. `correlation` is that with the relations of the teacher as it is, over all pairs. All are
means over batches and divisions.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mrd_hf.data.resplitting.name_splits import splits_of_names
from mrd_hf.data.resplitting.teacher_changes import generator, normalized, with_noise, wrong_partners
from mrd_hf.training.ablation.recipe import read_ablation


ROWS = Path("scripts/demo_data/data")
TERMS = (("image", "image"), ("text", "text"), ("image", "text"))
BATCHES = ((64, 0.03), (64, 0.07), (64, 0.2), (256, 0.03), (256, 0.07), (256, 0.1), (256, 0.2))
Embeds = dict[str, np.ndarray]


def relation(embeds: Embeds, row: str, column: str, temperature: float) -> np.ndarray:
    """`softmax_j(<a_i, b_j> / temperature)` over the samples, within a modality over the other ones.

    Args:
        embeds (mapping): Of each modality, `(batch, width)`, L2-normalised, of the same samples.
        row, column (`str`): The modalities of a and b.
        temperature (`float`)

    Returns:
        `np.ndarray` of shape `(batch, batch - 1)` within a modality, else `(batch, batch)`.
    """
    logits = embeds[row] @ embeds[column].T / temperature
    if row == column:
        logits = logits[~np.eye(len(logits), dtype=bool)].reshape(len(logits), -1)
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


def training_parts(folder: Path) -> list[Embeds]:
    """Of each division of the recipe `arms`, each training shape's first image and text, L2-normalised."""
    table, recipe = pq.read_table(folder, columns=["name", "image_embeds", "text_embeds"]), read_ablation("arms")
    embeds = {
        kind: normalized(np.array([rows[0] for rows in table[f"{kind}_embeds"].to_pylist()], dtype=np.float64))
        for kind in ("image", "text")
    }
    names, shares = table["name"].to_pylist(), (recipe.test_share, recipe.validation_share)
    divisions = [np.array(splits_of_names(names, *shares, split)) == "train" for split in recipe.splits]
    return [part_of(embeds, np.flatnonzero(trained_on)) for trained_on in divisions]


def part_of(embeds: Embeds, rows: np.ndarray) -> Embeds:
    return {kind: of_kind[rows] for kind, of_kind in embeds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=50, help="of each size and division (default: 50)")
    num_batches = parser.parse_args().batches
    parts, rng = training_parts(ROWS), np.random.default_rng(0)
    heads = [f"{row} to {column}" for row, column in TERMS]

    def drawn(batch: int) -> list[tuple[Embeds, np.ndarray]]:
        return [(p, rng.choice(len(p["image"]), batch, replace=False)) for p in parts for _ in range(num_batches)]

    print(
        f"| batch | temperature | {' | '.join(f'about, {head}' for head in heads)} | own, {heads[2]} |\n|{'---|' * 6}"
    )
    for batch, temperature in BATCHES:
        batches = [part_of(part, rows) for part, rows in drawn(batch)]
        relations = {term: [relation(embeds, *term, temperature) for embeds in batches] for term in TERMS}
        about = {term: float(np.mean([num_about(found) for found in relations[term]])) for term in TERMS}
        shown = [f"{n:.1f} ({n / (batch - (row == column)):.0%})" for (row, column), n in about.items()]
        own = np.mean([np.diagonal(found).mean() for found in relations[TERMS[2]]])
        print(f"| {batch} | {temperature} | {' | '.join(shown)} | {own:.0%} |")

    print(f"\n| teacher, batch 64 at 0.07 | {' | '.join(f'correlation, {head}' for head in heads)} |\n|{'---|' * 4}")
    batches_of = {name: [] for name, _ in worse_teachers(parts[0], seed=0)}  # type: dict[str, list[list[float]]]
    for part in parts:
        rows_of = [rng.choice(len(part["image"]), 64, replace=False) for _ in range(num_batches)]
        for name, worse in worse_teachers(part, seed=0):
            for rows in rows_of:
                pairs = [[relation(part_of(of, rows), *term, 0.07) for of in (part, worse)] for term in TERMS]
                batches_of[name].append([correlation(*pair) for pair in pairs])
    for name, found in batches_of.items():
        print(f"| {name} | " + " | ".join(f"{share:.2f}" for share in np.mean(found, axis=0)) + " |")


if __name__ == "__main__":
    main()
