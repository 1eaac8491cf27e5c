"""How well shapes fit the prompts that they were made from: cosines, and R-precision among all prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .retrieval import retrieval_recall
from .similarity import Embeddings, similarity_blocks


KS = (1, 5, 10)


@dataclass(frozen=True)
class PromptScores:
    """What [`score_pairs`] found.

    Attributes:
        cosines (`np.ndarray` of shape `(num_pairs,)`): Of each shape and its prompt.
        mean (`float`): Of the cosines.
        r_precision (`dict[int, float]`):
            By k: share of the shapes whose prompt is among the k nearest of all; of equally near ones in any order.
        chance (`dict[int, float]`): The same for prompts in random order.
        ranks (`np.ndarray` of shape `(num_pairs,)`):
            The place of a shape's prompt among all, from 1; of equally near ones the first comes first.
        num_prompts (`int`): Different prompts.
    """

    cosines: np.ndarray
    mean: float
    r_precision: dict[int, float]
    chance: dict[int, float]
    ranks: np.ndarray
    num_prompts: int


def cosine_table(shapes: Embeddings, prompts: Embeddings) -> np.ndarray:
    """Cosines of shapes and prompts, exact sums whatever the size of blocks (see `similarity.py`).

    Args:
        shapes (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`): Need not be normalised.
        prompts (`torch.Tensor` or `np.ndarray` of shape `(num_prompts, embedding_dim)`): Need not be normalised.

    Returns:
        `np.ndarray` of shape `(num_shapes, num_prompts)`, float64.

    Raises:
        ValueError: If the two differ in width, or either is malformed.
    """
    table = np.empty((len(shapes), len(prompts)))
    for rows, block in similarity_blocks(shapes, prompts):
        table[rows] = block
    return table


def score_pairs(shapes: Embeddings, prompts: Embeddings, prompt_of: Sequence[int]) -> PromptScores:
    """Score shapes against the prompts that they were made from.

    R-precision as papers on text to 3D report it, with this encoder in the place of CLIP on pictures: a shape counts
    if its own prompt is the nearest among the prompts of all shapes. Where prompts are equally near, such as two that
    their model cuts to the same words, a shape counts in part: as often as it would if they came in random order.

    Args:
        shapes (`torch.Tensor` or `np.ndarray` of shape `(num_pairs, embedding_dim)`): Need not be normalised.
        prompts (`torch.Tensor` or `np.ndarray` of shape `(num_prompts, embedding_dim)`): Each prompt once.
        prompt_of (sequence of `int`): Which prompt each shape has.

    Raises:
        ValueError: If there is no pair, or embeddings and indices do not fit together.

    Source: R-precision of Park et al. 2021 (arXiv 2110.09894, "Benchmark for Compositional Text-to-Image Synthesis"),
    for 3D as in DreamFields (arXiv 2112.01455).
    """
    places = np.asarray(prompt_of, dtype=np.int64)
    if places.size and not 0 <= places.min() <= places.max() < len(prompts):
        raise ValueError(f"prompt_of names prompts from {places.min()} to {places.max()}; there are {len(prompts)}")
    found = retrieval_recall(shapes, prompts, places.tolist(), list(range(len(prompts))), KS)
    cosines, greater, equal = (np.empty(len(places), dtype) for dtype in (np.float64, np.int64, np.int64))
    for rows, block in similarity_blocks(shapes, prompts):
        own = block[np.arange(len(block)), places[rows]]
        cosines[rows] = own
        greater[rows] = (block > own[:, None]).sum(axis=1)
        equal[rows] = (block == own[:, None]).sum(axis=1)  # with its own
    precision = {k: float((np.clip(k - greater, 0, equal) / equal).mean()) for k in KS}
    return PromptScores(cosines, float(cosines.mean()), precision, found.chance, found.ranks + 1, len(prompts))
