"""Zero-shot classification against scikit-learn and plain counting, and its rule for ties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score

from mrd_hf.evaluation.scores import similarity
from mrd_hf.evaluation.scores.zero_shot import zero_shot_classification


def random_case(seed, num_shapes=60, num_classes=7, width=5):
    generator = np.random.default_rng(seed)
    shapes = generator.normal(size=(num_shapes, width)).astype(np.float32)
    classes = generator.normal(size=(num_classes, width)).astype(np.float32)
    return shapes, classes, generator.integers(0, num_classes, num_shapes)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 6))
def test_agrees_with_scikit_learn(seed, k):
    shapes, classes, labels = random_case(seed)
    result = zero_shot_classification(shapes, classes, labels, top_k=(k,))
    cosines = shapes @ classes.T / np.linalg.norm(classes, axis=1)
    assert result.accuracy[k] == pytest.approx(top_k_accuracy_score(labels, cosines, k=k, labels=range(7)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), coarse=st.booleans(), num_shapes=st.integers(1, 40))
def test_class_mean_confusion_and_ranks_agree_with_scikit_learn(seed, coarse, num_shapes):
    """Some classes occur in no label; coarse embeddings make ties, which scikit-learn's argmax breaks as we do."""
    shapes, classes, labels = random_case(seed, num_shapes=num_shapes)
    if coarse:
        shapes, classes = np.sign(shapes), np.sign(classes)  # all of one length, so that products are exact
        cosines = shapes @ classes.T
    else:
        cosines = shapes @ classes.T / np.linalg.norm(classes, axis=1)
    labels = np.minimum(labels, 5)
    result = zero_shot_classification(shapes, classes, labels, top_k=(1, 3))
    guesses = cosines.argmax(axis=1)
    present = np.unique(labels)
    recalls = [np.mean(guesses[labels == label] == label) for label in present]
    assert result.class_mean == pytest.approx(np.mean(recalls))
    if np.isin(guesses, present).all():  # else it warns of guesses that are no label
        assert result.class_mean == pytest.approx(balanced_accuracy_score(labels, guesses))
    np.testing.assert_array_equal(result.confusion, confusion_matrix(labels, guesses, labels=range(7)))
    assert result.confusion.dtype == np.int64
    for row, label in enumerate(labels):
        order = sorted(range(7), key=lambda item: (-cosines[row, item], item))
        assert result.ranks[row] == order.index(label)
    assert result.accuracy == {k: pytest.approx(np.mean(result.ranks < k)) for k in (1, 3)}


def test_class_mean_by_hand():
    """Three of class 0, two of them right; one of class 2, right; none of class 1, which is guessed once."""
    shapes = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    result = zero_shot_classification(shapes, np.eye(3), [0, 0, 0, 2])
    assert result.accuracy[1] == 0.75
    assert result.class_mean == pytest.approx((2 / 3 + 1) / 2)
    assert result.confusion.tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert result.ranks.tolist() == [0, 0, 1, 0]


def test_ranking_and_similarity_belong_together():
    shapes, classes, labels = random_case(0)
    result = zero_shot_classification(shapes, classes, labels)
    cosines = torch.nn.functional.cosine_similarity(torch.tensor(shapes)[:, None], torch.tensor(classes), dim=-1)
    np.testing.assert_array_equal(np.sort(result.ranking, axis=1), np.tile(np.arange(7), (60, 1)))
    assert (np.diff(result.similarity, axis=1) <= 0).all()
    np.testing.assert_allclose(np.take_along_axis(cosines.numpy(), result.ranking, 1), result.similarity, atol=1e-6)


def test_lengths_do_not_matter():
    shapes, classes, labels = random_case(1)
    scaled = zero_shot_classification(
        torch.tensor(shapes) * torch.rand(60, 1).add(0.1),
        torch.tensor(classes) * torch.arange(1.0, 8)[:, None],
        labels,
    )
    np.testing.assert_array_equal(scaled.ranking, zero_shot_classification(shapes, classes, labels).ranking)


def test_of_equally_near_classes_the_lower_index_ranks_first():
    classes = np.array([[0, 1], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    result = zero_shot_classification(np.array([[1, 0], [1, 0], [0, 0]]), classes, [2, 1, 3], top_k=(1, 2))
    np.testing.assert_array_equal(result.ranking, [[1, 2, 0, 3], [1, 2, 0, 3], [0, 1, 2, 3]])
    assert result.accuracy == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}


def test_many_ties_keep_the_order_of_the_classes():
    """Sorting algorithms that are not stable still keep the order of a few."""
    classes = np.tile(np.eye(2), (250, 1))
    result = zero_shot_classification(np.array([[1, 0], [0, 1]]), classes, [250, 1], top_k=(1, 126))
    even, odd = np.arange(0, 500, 2), np.arange(1, 500, 2)
    np.testing.assert_array_equal(result.ranking, [np.r_[even, odd], np.r_[odd, even]])
    assert result.accuracy == {1: 0.5, 126: 1}


def test_chance_and_majority():
    labels = [0, 0, 0, 2, 2, 4, 5, 6, 6, 6]
    shapes, classes, _ = random_case(2, num_shapes=10)
    result = zero_shot_classification(shapes, classes, labels, top_k=(1, 3, 7, 50))
    assert result.chance == {1: 1 / 7, 3: 3 / 7, 7: 1, 50: 1}
    assert result.majority == {1: pytest.approx(0.3), 3: pytest.approx(0.8), 7: pytest.approx(1), 50: pytest.approx(1)}
    assert result.accuracy[7] == result.accuracy[50] == 1


def test_blocks_give_the_same_result(monkeypatch):
    shapes, classes, labels = random_case(3)
    whole = zero_shot_classification(shapes, classes, labels)
    monkeypatch.setattr(similarity, "BLOCK_SIZE", 30)
    np.testing.assert_array_equal(zero_shot_classification(shapes, classes, labels).ranking, whole.ranking)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_takes_any_float_type(dtype):
    """As the float32 that it is made into."""
    shapes, classes, labels = random_case(4)
    embeds = [torch.tensor(values).double().div(3).to(dtype) for values in (shapes, classes)]
    result = zero_shot_classification(*embeds, labels)
    expected = zero_shot_classification(*(values.float().numpy() for values in embeds), labels)
    np.testing.assert_array_equal(result.ranking, expected.ranking)
    np.testing.assert_array_equal(result.similarity, expected.similarity)
    assert result.similarity.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1]}, "as many"),
        ({"labels": [], "shape_embeds": np.zeros((0, 5))}, "at least one"),
        ({"labels": [7] * 60}, r"0\.\.6"),
        ({"labels": [-1] * 60}, r"0\.\.6"),
        ({"class_embeds": np.ones((7, 4))}, "width 5.*4"),
        ({"shape_embeds": np.full((60, 5), np.nan)}, "NaN.*row 0"),
        ({"shape_embeds": np.ones((60, 5, 1))}, r"num_rows, embedding_dim"),
    ],
)
def test_inputs_that_do_not_fit(change, message):
    shapes, classes, labels = random_case(5)
    arguments = {"shape_embeds": shapes, "class_embeds": classes, "labels": labels, **change}
    with pytest.raises(ValueError, match=message):
        zero_shot_classification(**arguments)
