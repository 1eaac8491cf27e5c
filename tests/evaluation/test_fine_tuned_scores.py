"""Scores of fine-tuned networks: what chance and the most frequent class would score, against counting."""

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from mrd_hf.evaluation.fine_tuned_scores import classification_scores, part_scores


def test_classes_are_scored_beside_chance_and_the_most_frequent_guesses():
    generator = np.random.default_rng(0)
    labels, trained = generator.integers(0, 6, 80), generator.choice(7, 200, p=[0.3, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1])
    probabilities = generator.dirichlet(np.ones(7), 80)
    scores = {score.key: score for score in classification_scores(probabilities, labels, trained)}
    for k in (1, 3):
        found, guesses = scores[f"fine_tuned_top{k}"], [label for label, _ in Counter(trained.tolist()).most_common(k)]
        assert found.value == pytest.approx(top_k_accuracy_score(labels, probabilities, k=k, labels=range(7)))
        assert (found.chance, found.majority) == (pytest.approx(k / 7), pytest.approx(np.isin(labels, guesses).mean()))
    class_mean, guess = scores["fine_tuned_class_mean"], Counter(trained.tolist()).most_common(1)[0][0]
    assert class_mean.value == pytest.approx(balanced_accuracy_score(labels, probabilities.argmax(axis=1)))
    recalls = [np.mean(guess == label) for label in np.unique(labels)]
    assert class_mean.majority == pytest.approx(np.mean(recalls))
    assert class_mean.chance == pytest.approx(1 / 7)


def test_each_class_of_objects_has_its_own_shapes_and_its_own_guess():
    generator, parts = np.random.default_rng(0), [[0, 1], [2, 3, 4]]
    labels = np.array([0, 1, 1, 1, 0, 1])
    true = [generator.choice(parts[label], 50) for label in labels]
    predicted = [generator.choice(parts[label], 50) for label in labels]
    found = {s.key: s for s in part_scores(predicted, true, labels, parts, ["lamp", "chair"], {0: 1, 1: 4})}
    for label, name in enumerate(["lamp", "chair"]):
        score, frequent = found[f"part_miou/{name}"], [1, 4][label]
        guessed = []
        for shape in (shape for shape, of in zip(true, labels, strict=True) if of == label):
            # A part that is nowhere, and is guessed nowhere, counts as found.
            shares = {part: np.mean(shape == part) for part in parts[label]}
            ious = [share if part == frequent else float(share == 0) for part, share in shares.items()]
            guessed.append(np.mean(ious))
        assert score.num_shapes == (labels == label).sum()
        assert score.majority == pytest.approx(np.mean(guessed))
