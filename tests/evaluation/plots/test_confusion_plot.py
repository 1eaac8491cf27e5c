"""The picture of a confusion matrix: which classes, which numbers and shades, and the same bytes every time."""

import itertools

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mrd_hf.evaluation.plots import confusion_plot
from mrd_hf.evaluation.plots.confusion_plot import OTHERS, most_confused, write_confusion_matrix


def random_confusion(num_classes, num_shapes, seed=0):
    generator = np.random.default_rng(seed)
    true = generator.integers(0, num_classes, num_shapes)
    taken_for = np.where(generator.random(num_shapes) < 0.6, true, generator.integers(0, num_classes, num_shapes))
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (true, taken_for), 1)
    return confusion


@pytest.fixture
def drawn(monkeypatch):
    """Figures instead of files."""
    figures = []
    monkeypatch.setattr(confusion_plot, "save_figure", lambda figure, path, crop: figures.append(figure))

    def draw(confusion, class_names):
        write_confusion_matrix("unused.png", confusion, class_names)
        return figures[-1]

    return draw


def numbers_by_cell(panel):
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in panel.texts}


def test_all_of_a_small_matrix_is_drawn(drawn):
    confusion = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 12345]])
    panel = drawn(confusion, ["mug", "a $5 lamp", "bed"]).axes[0]
    assert numbers_by_cell(panel) == {(0, 0): "3", (0, 1): "1", (2, 0): "2", (2, 2): "12k"}
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["mug", "a $5 lamp", "bed"]
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["mug (4)", "a $5 lamp (0)", "bed (12,347)"]
    assert panel.get_title() == "Confusion of 3 classes over 12,351 shapes, 100.0% right"


def test_shades_are_shares_of_the_row(drawn):
    confusion = np.array([[3, 1, 0], [0, 0, 0], [5, 4, 1]])
    pixels = drawn(confusion, ["a", "b", "c"]).axes[0].images[0].get_array()
    blues, oranges = matplotlib.colormaps["Blues"], matplotlib.colormaps["Oranges"]
    np.testing.assert_allclose(pixels[0], [blues(0.75), oranges(0.25), (1, 1, 1, 1)])
    np.testing.assert_allclose(pixels[2], [oranges(0.5), oranges(0.4), blues(0.1)])
    assert (pixels[1] == pixels[1, 0]).all() and pixels[1, 0, 0] < 1  # no shape: neither right nor wrong


def test_of_many_classes_the_mixed_up_ones_are_drawn_and_no_shape_of_theirs_is_lost(drawn):
    confusion = random_confusion(60, 3000)
    confusion[7, 51] += 40
    panel = drawn(confusion, [f"class {index}" for index in range(60)]).axes[0]
    columns = [tick.get_text() for tick in panel.get_xticklabels()]
    assert len(columns) == 41 and columns[-1] == OTHERS and {"class 7", "class 51"} < set(columns)
    cells = numbers_by_cell(panel)
    shown = [int(name.removeprefix("class ")) for name in columns[:-1]]
    for row, index in enumerate(shown):
        assert sum(int(text) for (of_row, _), text in cells.items() if of_row == row) == confusion[index].sum()
    mistakes = sum(confusion[a, b] for a, b in itertools.permutations(shown, 2))
    all_mistakes = confusion.sum() - np.trace(confusion)
    assert f"with {mistakes:,} of all {all_mistakes:,} mistakes among them" in panel.get_title()


@settings(max_examples=40)
@given(st.integers(2, 9), st.integers(1, 9), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_most_confused_as_by_going_through_the_pairs(num_classes, count, num_shapes, seed):
    confusion = random_confusion(num_classes, num_shapes, seed)
    pairs = sorted(
        itertools.combinations(range(num_classes), 2), key=lambda pair: -(confusion[pair] + confusion[pair[::-1]])
    )
    wanted = []
    for pair in pairs:
        if confusion[pair] + confusion[pair[::-1]] > 0:
            wanted += [index for index in pair if index not in wanted]
    by_size = sorted(range(num_classes), key=lambda index: -sum(confusion[index]))
    wanted += [index for index in by_size if index not in wanted]
    assert most_confused(confusion, count).tolist() == sorted(wanted[:count])


@pytest.mark.parametrize(
    ("num_classes", "smallest", "largest"), [(2, 250, 750), (10, 800, 1400), (40, 1600, 2200), (1156, 1600, 2200)]
)
def test_a_picture_of_a_size_to_look_at(tmp_path, num_classes, smallest, largest):
    confusion = random_confusion(num_classes, 10 * num_classes)
    names = ["a name as long as some of Objaverse-LVIS's are, in $"] + [f"class {i}" for i in range(1, num_classes)]
    write_confusion_matrix(tmp_path / "confusion.png", confusion, names)
    with Image.open(tmp_path / "confusion.png") as image:
        assert smallest < min(image.size) and max(image.size) < largest


def test_same_input_gives_the_same_bytes(tmp_path):
    for name in ("one.png", "two.png"):
        write_confusion_matrix(tmp_path / "new" / name, random_confusion(5, 30), list("abcde"))
    assert (tmp_path / "new" / "one.png").read_bytes() == (tmp_path / "new" / "two.png").read_bytes()


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        (np.ones((2, 3), dtype=int), r"shape \(2, 3\), there are 2 class names"),
        (np.ones((3, 3), dtype=int), r"shape \(3, 3\), there are 2 class names"),
        (np.full((2, 2), 0.5), "counts, integers from 0, got float64"),
        (np.array([[1, -1], [0, 1]]), "counts, integers from 0, got int64 from -1"),
        (np.zeros((2, 2), dtype=int), "holds no shape"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(tmp_path, confusion, message):
    with pytest.raises(ValueError, match=message):
        write_confusion_matrix(tmp_path / "confusion.png", confusion, ["mug", "bed"])
    assert list(tmp_path.iterdir()) == []
