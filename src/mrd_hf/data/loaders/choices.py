"""Which of a shape's images and texts training takes: by chance, from the seed, the epoch and the shape alone.

Source of the text's probabilities: OpenShape (arXiv 2305.10764) and its training code. It draws one of the two
captioners first, and has no caption where that one gave none; here the other's caption then takes its place.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import UserError


def uniform_draws(seed: int, stream: int, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) that depend on their arguments alone, not on who draws them, when or in which company.

    Args:
        seed (`int`)
        stream (`int`): Tells apart the draws made for one sample.
        epochs, indices (`np.ndarray` of shape `(n,)`)

    Returns:
        `np.ndarray` of shape `(n,)`, float64.

    Source: the finaliser of SplitMix64 (Steele, Lea, Flood 2014), applied once for each argument.
    """
    mixed = np.zeros(len(indices), dtype=np.uint64)
    for value in (seed, stream, epochs, indices):
        mixed = (mixed ^ np.asarray(value).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)) * 2.0**-53


@dataclass(frozen=True)
class ChoiceConfig:
    """Probabilities of a shape's texts, by their source, and of its first image, by the shape's source.

    The kind of a text is its source up to the first underscore: `caption_blip` and `caption_azure` are captions. By
    default each kind that a shape has is as likely as the others, within a kind each source that the shape has, and
    within a source each text.

    Args:
        text_weights (`dict`, *optional*):
            Weight of each source, or of a kind where its sources have no weight of their own. What has none is not
            drawn, except for shapes with nothing else: their texts are drawn as by default.
        first_image_probability (`dict`, *optional*):
            Source of shapes (the dataset's column `source`) -> probability of their first image; the rest is shared
            evenly by the others. OpenShape takes the thumbnail of Objaverse's shapes, which is their first image, half
            the time: `{"objaverse": 0.5}`. Default, and for sources left out: each image is as likely as the others.

    Raises:
        UserError: when a weight or probability makes no sense; the message names it.
    """

    text_weights: Mapping[str, float] = field(default_factory=dict)
    first_image_probability: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, weight in self.text_weights.items():
            if not _is_number(weight) or not 0 <= weight < float("inf"):
                raise UserError(f"text_weights: '{name}' must have a number of at least 0, got {weight!r}.")
        if self.text_weights and not any(self.text_weights.values()):
            raise UserError("text_weights: all weights are 0; give at least one source a positive weight.")
        for name, probability in self.first_image_probability.items():
            if not _is_number(probability) or not 0 <= probability <= 1:
                raise UserError(f"first_image_probability: '{name}' must be from 0 to 1, got {probability!r}.")

    def unknown_text_sources(self, present: Iterable[str]) -> list[str]:
        """Those of `text_weights` that are neither a source nor a kind among those present."""
        known = {*(present := set(present)), *map(kind_of, present)}
        return [name for name in self.text_weights if name not in known]

    def unknown_shape_sources(self, present: Iterable[str]) -> list[str]:
        """Those of `first_image_probability` that are not present."""
        known = set(present)
        return [name for name in self.first_image_probability if name not in known]

    def text_probabilities(self, sources: Sequence[str]) -> np.ndarray:
        """Probability of each text of a shape, float64 `(n,)`, from the texts' sources."""
        weights = [self._text_weight(source) for source in sources]
        if not any(weight for _, weight in weights):
            weights = [(kind_of(source), 1.0) for source in sources]
        groups = dict(weights)
        sources_of = {group: {s for s, (g, _) in zip(sources, weights, strict=True) if g == group} for group in groups}
        largest = max(weight for _, weight in weights)  # in units of it, none gets lost in a division
        shares = [
            weight / largest / len(sources_of[group]) / list(sources).count(source)
            for source, (group, weight) in zip(sources, weights, strict=True)
        ]
        return np.array(shares) / sum(shares)

    def _text_weight(self, source: str) -> tuple[str, float]:
        """The group that a source shares its weight with, and that weight."""
        if not self.text_weights:
            return kind_of(source), 1.0
        group = source if source in self.text_weights else kind_of(source)
        return group, float(self.text_weights.get(group, 0.0))

    def first_image_share(self, shape_source: str | None, count: int) -> float:
        """Probability of the first of a shape's `count` images."""
        probability = self.first_image_probability.get(shape_source or "")
        return 1 / count if count == 1 or probability is None else float(probability)


def kind_of(source: str) -> str:
    """The kind of a text, from its source: `caption` for `caption_blip`."""
    return source.partition("_")[0]


def pick_image(draw: float, count: int, first_share: float) -> int:
    """The image that a number in [0, 1) stands for, when the first has a share of its own."""
    if first_share == 1 / count:
        return int(draw * count)
    if draw < first_share:
        return 0
    # `min`, as the quotient may round to 1.
    return 1 + min(int((draw - first_share) / (1 - first_share) * (count - 1)), count - 2)


def pick_text(draw: float, probabilities: np.ndarray) -> int:
    """The text that a number in [0, 1) stands for."""
    cumulative = np.cumsum(probabilities)
    # The last sum may round to less than 1; then the last text with a probability is meant.
    return int(min(np.searchsorted(cumulative, draw, side="right"), np.flatnonzero(probabilities)[-1]))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
