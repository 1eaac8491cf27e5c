"""The contact sheet: which shapes, what is drawn where, and the same bytes for the same input."""

from dataclasses import replace

import numpy as np
import pytest
from datasets import Array2D, Dataset, Features
from matplotlib.text import Text
from PIL import Image

from mrd_hf.evaluation.held_out import HeldOutSet
from mrd_hf.evaluation.plots import contact_sheet
from mrd_hf.evaluation.plots.contact_sheet import choose_shapes, write_contact_sheet
from mrd_hf.evaluation.plots.point_drawing import project_discs


LABELS = np.array([0, -1, 1, 2, 1, 3, 3])


@pytest.fixture(scope="module")
def held_out():
    classes = np.eye(4, dtype=np.float32)
    return HeldOutSet(
        ids=[str(index) for index in range(7)],
        names=[
            "A mug",
            "unlabelled",
            "A lamp for $5 or $6",
            "A bed",
            "Lamp",
            "A very long name for such a desk",
            "Desk",
        ],
        categories=[None] * 7,
        labels=LABELS,
        image_embeds=np.ones((7, 4), dtype=np.float32),
        name_embeds=np.ones((7, 4), dtype=np.float32),
        class_names=["mug", "lamp", "bed", "desk"],
        class_embeds=classes,
    )


@pytest.fixture(scope="module")
def dataset():
    generator = np.random.default_rng(0)
    rows = [
        {
            "points": generator.uniform(-1, 1, (200, 3)).astype(np.float16),
            "colors": generator.integers(0, 256, (200, 3), dtype=np.uint8),
        }
        for _ in range(7)
    ]
    features = Features({"points": Array2D((None, 3), "float16"), "colors": Array2D((None, 3), "uint8")})
    return Dataset.from_list(rows, features=features)


@pytest.fixture
def point_embeds():
    """Right for all but the last shape, whose class comes fourth."""
    embeds = np.eye(4, dtype=np.float32)[LABELS.clip(0)] + np.float32([0.3, 0.2, 0.1, 0.05])
    embeds[6] = [0.9, 0.8, 0.7, 0.1]
    return embeds


@pytest.fixture
def texts(monkeypatch):
    """Every text of the sheets written, as it stood in the end."""
    artists = []
    create = Text.__init__

    def remember(self, *args, **kwargs):
        create(self, *args, **kwargs)
        artists.append(self)

    monkeypatch.setattr(Text, "__init__", remember)
    return lambda: [artist.get_text() for artist in artists if artist.get_text()]


def test_shows_each_shape_with_its_guesses(tmp_path, held_out, dataset, point_embeds, texts):
    write_contact_sheet(tmp_path / "new" / "sheet.png", dataset, point_embeds, held_out)
    shown = texts()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]
    with Image.open(tmp_path / "new" / "sheet.png") as image:
        assert image.size[0] == contact_sheet.WIDTH
    titles = [text for text in shown if text.startswith(("A ", "Lamp", "Desk"))]
    assert titles[:4] == ["A mug", "A lamp for $5 or $6", "Lamp", "A bed"]
    assert titles[4].startswith("A very long name") and titles[4].endswith("\N{HORIZONTAL ELLIPSIS}")
    assert "unlabelled" not in shown
    assert [text for text in shown if text.startswith("\N{CHECK MARK}")] == [
        f"\N{CHECK MARK} {name}" for name in ("mug", "lamp", "lamp", "bed", "desk")
    ]
    assert [text for text in shown if "place" in text] == ["is: desk (place 4)"]
    assert shown[-7:] == ["mug", "0.64", "lamp", "0.57", "bed", "0.50", "is: desk (place 4)"]


def test_the_right_guess_is_green(tmp_path, held_out, dataset, point_embeds):
    def count_green(embeds):
        write_contact_sheet(
            tmp_path / "sheet.png", dataset.map(lambda row: {"colors": [[90, 90, 90]] * 200}), embeds, held_out
        )
        bar = tuple(int(contact_sheet.RIGHT_BAR[i : i + 2], 16) for i in (1, 3, 5))
        return (np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")) == bar).all(axis=-1).sum()

    wrong = -np.eye(4, dtype=np.float32)[LABELS.clip(0)]
    assert count_green(point_embeds) > 1000
    assert count_green(wrong) == 0


def test_same_input_gives_the_same_bytes(tmp_path, held_out, dataset, point_embeds):
    for name in ("one.png", "two.png"):
        write_contact_sheet(tmp_path / name, dataset, point_embeds, held_out, count=3)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(("count", "lines"), [(1, 1), (6, 1), (7, 1)])
def test_height_follows_the_number_of_shapes(tmp_path, held_out, dataset, point_embeds, count, lines):
    write_contact_sheet(tmp_path / "sheet.png", dataset, point_embeds, held_out, count=count)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size[1] < lines * 450
        assert (image.size[0] < 400) == (count == 1)


def test_nothing_labeled(tmp_path, held_out, dataset, point_embeds):
    with pytest.raises(ValueError, match="no held-out shape has a category"):
        write_contact_sheet(tmp_path / "sheet.png", dataset, point_embeds, replace(held_out, labels=np.full(7, -1)))


def test_shapes_are_spread_over_the_classes():
    labels = np.array([5, 5, 5, -1, 2, 2, 0, 5, 2])
    assert choose_shapes(labels, 3).tolist() == [6, 4, 0]
    assert choose_shapes(labels, 5).tolist() == [6, 4, 5, 0, 1]
    assert choose_shapes(labels, 100).tolist() == [6, 4, 5, 8, 0, 1, 2, 7]
    assert choose_shapes(np.arange(40), 4).tolist() == [0, 10, 20, 30]


def ball(count=2048):
    points = np.random.default_rng(0).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True), np.full((count, 3), 200, dtype=np.uint8)


def test_discs_face_away_from_the_center_of_a_ball_and_close_its_surface():
    discs = project_discs(*ball())
    distance = np.linalg.norm(discs.centers, axis=1)
    assert 0.85 < distance.max() < 0.95
    front = np.arange(len(distance)) >= len(distance) / 2  # drawn last
    rim, middle = front & (distance > 0.8), front & (distance < 0.3)
    assert (discs.diameters[rim, 0] < 0.7 * discs.diameters[rim, 1]).all()  # seen at a slant
    assert (discs.diameters[middle, 0] > 0.85 * discs.diameters[middle, 1]).all()  # seen face on
    area = np.pi / 4 * discs.diameters[front].prod(axis=1).sum()
    assert area > 2 * np.pi * 0.92**2  # the front covers its outline twice over
    assert discs.colors.min() >= 0 and discs.colors.max() <= 1


def test_light_comes_from_above():
    discs = project_discs(*ball())
    front = np.arange(2048) >= 1024
    above, below = discs.centers[:, 1] > 0.5, discs.centers[:, 1] < -0.5
    assert discs.colors[front & above].mean() > discs.colors[front & below].mean() + 0.1


def test_up_is_up_and_the_front_is_near():
    ends = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)  # of the axes: +x, +y, +z, -x, -y, -z
    colors = np.concatenate([255 * np.eye(3), np.full((3, 3), 128)]).astype(np.uint8)
    discs = project_discs(ends, colors)
    is_hued = np.ptp(discs.colors, axis=1) > 0.05
    red, green, blue = (np.flatnonzero(is_hued & (discs.colors.argmax(axis=1) == channel))[0] for channel in range(3))
    assert discs.centers[red, 0] == discs.centers[:, 0].max()  # +x to the right
    assert discs.centers[green, 1] == discs.centers[:, 1].max()  # +y on top
    assert blue == 5  # +z in front: drawn last


@pytest.mark.parametrize("count", [1, 2, 5, 5000])
def test_clouds_of_any_size(count):
    discs = project_discs(np.random.default_rng(0).normal(size=(count, 3)), np.zeros((count, 3), dtype=np.uint8))
    assert len(discs.centers) == min(count, 4096)
    assert all(np.isfinite(array).all() for array in discs)


def test_all_points_in_one_place():
    discs = project_discs(np.zeros((20, 3)), np.zeros((20, 3), dtype=np.uint8))
    assert all(np.isfinite(array).all() for array in discs)
