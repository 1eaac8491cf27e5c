"""The page with the map: what it holds, what names can do to it, and the same bytes for the same input."""

import base64
import io
import json
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from datasets import Array2D, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mrd_hf.errors import UserError
from mrd_hf.evaluation.plots import embedding_map
from mrd_hf.evaluation.plots.embedding_map import (
    HEIGHT_COLORS,
    choose_rows,
    dataset_pictures,
    encode_cloud,
    project_embeddings,
    script_safe_json,
    write_embedding_map,
)
from mrd_hf.evaluation.scores.similarity import unit_rows


NUM_SHAPES, WIDTH = 12, 16
CLASSES = ["mug", "lamp & <b>shade</b>", "bed"]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & 'quoted' \"$x$\" \u2028 \N{SNOWMAN}"


class Page(HTMLParser):
    """What of the page a browser would take for elements, and the scripts' texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.attributes, self.scripts = Counter(), Counter(), [], []
        self._is_in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        self.ids.update(value for name, value in attrs if name == "id")
        if tag == "script":
            self.scripts.append("")
        self._is_in_script = tag == "script"

    def handle_endtag(self, tag):
        self._is_in_script = False

    def handle_data(self, data):
        if self._is_in_script:
            self.scripts[-1] += data

    @property
    def data(self):
        return json.loads(self.scripts[0])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_embeds(count=NUM_SHAPES, modalities=("3D", "image", "text")):
    generator = np.random.default_rng(0)
    return {name: unit(generator.normal(size=(count, WIDTH))).astype(np.float32) for name in modalities}


def make_clouds(count=NUM_SHAPES):
    """Bytes as colors, floats as colors, and none, in turns; of 700 and 30 points."""
    generator = np.random.default_rng(1)
    clouds = []
    for row in range(count):
        num_points = 700 if row % 2 else 30
        points = generator.normal(size=(num_points, 3)) * 5 + 100
        colors = generator.integers(0, 256, (num_points, 3), dtype=np.uint8)
        clouds.append((points, (colors, colors / 255, None)[row % 3]))
    return clouds


@pytest.fixture
def write(tmp_path):
    """Writes a page with some arguments changed, and returns its text."""

    def write(name="map.html", clouds=None, **changes):
        clouds = make_clouds() if clouds is None else clouds
        arguments = {
            "clouds": lambda rows: [clouds[row] for row in rows],
            "embeds": make_embeds(),
            "ids": [f"id-{row}" for row in range(NUM_SHAPES)],
            "names": [f"name {row}" for row in range(NUM_SHAPES)],
            "labels": np.arange(NUM_SHAPES) % 4 - 1,
            "class_names": CLASSES,
        }
        write_embedding_map(tmp_path / name, **(arguments | changes))
        return (tmp_path / name).read_text(encoding="utf-8")

    return write


def decode(cloud):
    values = np.frombuffer(base64.b64decode(cloud), dtype=np.uint8).reshape(2, -1, 3)
    return values[0] / 127 - 1, values[1]


def fitted(points):
    """Into a box of side 2 around its middle."""
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) / ((high - low).max() / 2)


def test_the_page_holds_each_shape_once_where_the_projection_puts_it(write):
    page = Page(write())
    data = page.data
    assert page.tags["script"] == 3 and max(page.ids.values()) == 1
    assert [shape["id"] for shape in data["shapes"]] == [f"id-{row}" for row in range(NUM_SHAPES)]
    assert [shape["row"] for shape in data["shapes"]] == list(range(NUM_SHAPES))
    assert [shape["name"] for shape in data["shapes"]] == [f"name {row}" for row in range(NUM_SHAPES)]
    assert [shape["class"] for shape in data["shapes"]] == [-1, 0, 1, 2] * 3
    expected = project_embeddings({modality: unit_rows(rows, modality) for modality, rows in make_embeds().items()})
    assert list(data["positions"]) == ["3D", "image", "text"]
    for modality, positions in expected.items():
        assert data["positions"][modality] == positions.tolist()


def test_clouds_come_back_within_half_a_step(write):
    clouds = make_clouds()
    for shape, (points, colors) in zip(Page(write(clouds=clouds)).data["shapes"], clouds, strict=True):
        shown, shown_colors = decode(shape["cloud"])
        assert len(shown) == min(len(points), 512)
        distance = np.abs(shown[:, None] - fitted(points)).max(axis=2)
        assert distance.min(axis=1).max() <= 0.5 / 127 + 1e-9
        assert shape["colored"] == (colors is not None)
        if len(points) <= 512 and colors is not None:
            bytes_ = colors if colors.dtype == np.uint8 else np.round(colors * 255)
            np.testing.assert_array_equal(shown_colors, bytes_)


@settings(max_examples=60)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 20), st.just(3)), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from("yz"),
)
@example(np.array([[0, 1e-24, 1e-24], [1e-24, 1e-24, 1e-24]], np.float32), "y")
def test_any_cloud_fits_in_its_box(points, up_axis):
    shown, colors = decode(encode_cloud(points, None, up_axis, np.random.default_rng(0)))
    assert len(shown) == len(points) and np.abs(shown).max() <= 1
    if np.ptp(points, axis=0).max() > 0:
        np.testing.assert_allclose(shown, fitted(points.astype(np.float64)), atol=0.5 / 127 + 1e-9)
    height = points[:, 1 if up_axis == "y" else 2]
    if np.ptp(height) > 1e-3 * np.abs(points).max():
        assert colors[height.argmax()].tolist() == list(HEIGHT_COLORS[-1])
        assert colors[height.argmin()].tolist() == list(HEIGHT_COLORS[0])


def test_names_cannot_run(write):
    changes = {"title": HOSTILE, "class_names": [HOSTILE, *CLASSES[1:]]}
    page = Page(write(names=[HOSTILE] * NUM_SHAPES, ids=[f"{HOSTILE}{row}" for row in range(NUM_SHAPES)], **changes))
    tame = Page(write())
    assert page.tags == tame.tags and page.ids == tame.ids and page.scripts[1:] == tame.scripts[1:]
    assert "<" not in page.scripts[0]
    assert {shape["name"] for shape in page.data["shapes"]} == {HOSTILE}
    assert page.data["title"] == page.data["classes"][0] == HOSTILE
    # The page's own script sets texts only; plotly makes links and bold type of what it is given to show.
    own = page.scripts[2]
    assert own.count("innerHTML") == 1 and "sign.innerHTML = '<svg" in own
    assert "markers+text" not in own and "hovertemplate" not in own and "annotations" not in own
    assert own.count("hoverinfo") == own.count('hoverinfo: "none"') + own.count('hoverinfo: "skip"') == 3


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(["<", ">", "&", "</script>", "<!--", "&lt;", "\u2028", "\\", '"', "a\U0001f600"])).map(
        "".join
    )
)
def test_json_in_a_script_is_inert_and_comes_back(text):
    written = script_safe_json({"name": text})
    assert written.isascii() and not set("<>&") & set(written)
    assert json.loads(written) == {"name": text}


def test_marks_in_names_are_names(write):
    name = "@@PLOTLY@@ @@DATA@@ @@TITLE@@"
    page = Page(write(names=[name] * NUM_SHAPES, title=name))
    assert page.data["shapes"][0]["name"] == page.data["title"] == name
    assert page.tags["script"] == 3 and "Plotly" in page.scripts[1]


def test_the_page_loads_nothing(write):
    page = Page(write(pictures=lambda row: Image.new("RGB", (20, 20))))
    assert {name for name, _ in page.attributes} & {"src", "href", "srcset", "action", "data"} == set()
    assert page.tags["link"] == page.tags["iframe"] == 0
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; ") and "http" not in policy and "*" not in policy
    text = write()
    own = text.replace(page.scripts[1], "").replace(page.scripts[0], "")
    assert "http:" not in own and "https:" not in own and "@import" not in own and "url(" not in own


def test_same_input_gives_the_same_bytes(write):
    pictures = {"pictures": lambda row: Image.linear_gradient("L")}
    assert write("one.html", **pictures) == write("two.html", **pictures)
    one, other = (Page(write("three.html", seed=seed, **pictures)).data["shapes"] for seed in (0, 1))
    assert [a["cloud"] == b["cloud"] for a, b in zip(one, other, strict=True)] == [True, False] * (NUM_SHAPES // 2)


def test_of_many_shapes_a_sample_is_shown_and_the_page_says_of_how_many(write, monkeypatch):
    monkeypatch.setattr(embedding_map, "MAX_SHAPES", 5)
    clouds = make_clouds()
    class_embeds = np.random.default_rng(2).normal(size=(3, WIDTH))
    data = Page(write(clouds=clouds, seed=3, class_embeds=class_embeds)).data
    rows = [shape["row"] for shape in data["shapes"]]
    assert len(rows) == 5 == len(set(rows)) and rows == sorted(rows) == choose_rows(NUM_SHAPES, 5, 3)
    assert data["total"] == NUM_SHAPES and data["seed"] == 3
    assert rows != choose_rows(NUM_SHAPES, 5, 4)
    cosines = make_embeds()["3D"] @ unit(class_embeds).T
    for shape in data["shapes"]:
        row = shape["row"]
        assert (shape["name"], shape["id"], shape["class"]) == (f"name {row}", f"id-{row}", row % 4 - 1)
        distance = np.abs(decode(shape["cloud"])[0][:, None] - fitted(clouds[row][0])).max(axis=2)
        assert distance.min(axis=1).max() <= 0.5 / 127 + 1e-9
        expected = sorted(([index, cosine] for index, cosine in enumerate(cosines[row])), key=lambda pair: -pair[1])
        assert [index for index, _ in shape["nearest"]] == [index for index, _ in expected]
        np.testing.assert_allclose([c for _, c in shape["nearest"]], [c for _, c in expected], atol=6e-4)
    sampled = {modality: unit_rows(of_all, modality)[rows] for modality, of_all in make_embeds().items()}
    assert data["positions"]["text"] == project_embeddings(sampled)["text"].tolist()


def test_the_modality_gap_does_not_split_the_map():
    """Embeddings alike but for a large difference between modalities lie by what they show."""
    generator = np.random.default_rng(0)
    kinds = np.repeat(np.arange(4), 8)
    shown = generator.normal(size=(4, WIDTH))[kinds]
    embeds = {
        modality: unit(shown + 0.2 * generator.normal(size=shown.shape) + gap * np.eye(WIDTH)[axis])
        for modality, gap, axis in (("3D", 12, 0), ("image", 12, 1), ("text", 12, 2))
    }
    places = project_embeddings(embeds)
    for other in ("image", "text"):
        distance = np.linalg.norm(places["3D"][:, None] - places[other], axis=2)
        assert (kinds[distance.argmin(axis=1)] == kinds).mean() > 0.9
    joined = np.concatenate(list(places.values()))
    np.testing.assert_allclose(np.ptp(joined, axis=0).max(), 100, atol=0.02)
    np.testing.assert_allclose(joined.max(axis=0) + joined.min(axis=0), 0, atol=0.02)


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.filterwarnings("error")
def test_few_shapes_and_those_that_are_all_alike(count):
    alone = {"3D": unit(np.random.default_rng(0).normal(size=(count, WIDTH)))}
    assert np.isfinite(project_embeddings(alone)["3D"]).all()
    alike = {"3D": np.tile(alone["3D"][:1], (count, 1)), "text": np.tile(alone["3D"][1:2], (count, 1))}
    assert all(np.isfinite(places).all() for places in project_embeddings(alike).values())


def test_too_few_shapes():
    with pytest.raises(ValueError, match="three embeddings or more, got 2"):
        project_embeddings(make_embeds(count=2, modalities=("3D",)))


def test_pictures_are_small_and_on_white(write):
    transparent = Image.new("RGBA", (400, 200), (0, 0, 0, 0))
    data = Page(write(pictures=lambda row: transparent if row == 2 else None)).data
    assert [shape["picture"] is not None for shape in data["shapes"]] == [row == 2 for row in range(NUM_SHAPES)]
    kind, _, content = data["shapes"][2]["picture"].partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.size == (128, 64) and picture.getpixel((64, 32)) == (255, 255, 255)


def test_a_dataset_gives_clouds_and_first_pictures():
    features = Features(
        {
            "id": Value("string"),
            "points": Array2D((None, 3), "float16"),
            "colors": Array2D((None, 3), "uint8"),
            "images": List(ImageFeature()),
        }
    )
    red, blue = (Image.new("RGB", (4, 4), color) for color in ("red", "blue"))
    generator = np.random.default_rng(0)
    points = [generator.normal(size=(count, 3)).astype(np.float16) for count in (5, 8, 5)]
    colors = [generator.integers(0, 256, (len(cloud), 3), dtype=np.uint8) for cloud in points]
    dataset = Dataset.from_dict(
        {"id": ["a", "b", "c"], "points": points, "colors": colors, "images": [[red, blue], [], [blue]]},
        features=features,
    )
    read = dataset_pictures(dataset)
    assert read(0).getpixel((0, 0)) == (255, 0, 0) and read(1) is None and read(2).getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeds": make_embeds(modalities=("image", "text"))}, "embeds must have '3D'"),
        ({"embeds": make_embeds(modalities=("3D", "sound"))}, "embeds must have '3D'.* got '3D', 'sound'"),
        ({"embeds": make_embeds() | {"text": np.ones((3, WIDTH))}}, "got 3 text and 12 ids"),
        ({"embeds": make_embeds() | {"text": np.ones((NUM_SHAPES, 5))}}, "one width.*'text': 5"),
        ({"names": ["a"]}, "got 1 names and 12 ids"),
        ({"labels": np.full(NUM_SHAPES, 3)}, r"labels must lie in -1\.\.2, got 3"),
        ({"class_embeds": np.ones((2, WIDTH))}, "got 2 class_embeds for 3 class_names"),
    ],
)
def test_what_does_not_fit_together_is_refused(write, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write(**changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("library", "install"), [("get_plotlyjs", "plotly.*interactive"), ("TSNE", "scikit-learn.*evaluation")]
)
def test_without_a_library_the_error_says_what_to_install(write, monkeypatch, library, install):
    monkeypatch.setattr(embedding_map, library, None)
    with pytest.raises(UserError, match=install):
        write()
