"""The page with an encoder that knows a little, as `mrd-hf push --widget` writes it, and Debian's Chromium."""

import json

import pytest
from datasets import concatenate_datasets
from support.fitted_encoder import save_fitted_encoder
from support.paths import DEMO_DATA, ROOT
from support.static_server import static_server
from support.widget_page import Shown, open_page
from support.widget_tool import WidgetTool, build_tool

from mrd_hf.commands.push import main as push
from mrd_hf.data.loading import load_all_splits
from mrd_hf.encoder import load_encoder
from mrd_hf.exporting.onnx_encoder import open_onnx_encoder
from mrd_hf.exporting.writing import export_encoder
from mrd_hf.search import ShapeIndex


SCREENSHOTS = ROOT / "outputs/app_screenshots"


@pytest.fixture(scope="session")
def tool():
    return build_tool()


@pytest.fixture
def widget(tool, tmp_path):
    """The page's readers in Node; `tmp_path` has no other file."""
    (tmp_path / "node").mkdir()
    return WidgetTool(tool, tmp_path / "node")


@pytest.fixture(scope="session")
def collection():
    return concatenate_datasets(list(load_all_splits(DEMO_DATA).values()))


@pytest.fixture(scope="session")
def exported(tmp_path_factory, collection):
    """The folder of an exported encoder."""
    folder = tmp_path_factory.mktemp("encoder")
    save_fitted_encoder(folder / "encoder", collection, "org/teacher", "openai/texts")
    classes = DEMO_DATA / "class_texts.parquet"
    export_encoder(load_encoder(str(folder / "encoder")), folder / "onnx", class_texts=classes)
    return folder / "onnx"


@pytest.fixture(scope="session")
def onnx_encoder(exported):
    return open_onnx_encoder(exported / "encoder.onnx")


@pytest.fixture(scope="session")
def site(tmp_path_factory, exported, onnx_encoder, collection):
    """The page's folder, with the test split to search."""
    folder = tmp_path_factory.mktemp("site")
    shapes = collection.select(range(60)).with_format("numpy")[:]
    values = onnx_encoder.extractor.point_values(list(shapes["points"]), list(shapes["colors"]))
    embeds = onnx_encoder.embed(values)
    address = "https://example.org/"
    items = [{"id": str(i), "name": name, "url": f"{address}{i}"} for i, name in enumerate(shapes["name"])]
    ShapeIndex.build(folder / "index", embeds, items, model="encoder", model_sha256=onnx_encoder.sha256)
    push([str(exported), "--widget", "--collection", str(folder / "index"), "--output", str(folder / "page")])
    return folder / "page"


@pytest.fixture(scope="session")
def server(site):
    with static_server(site) as (url, _):
        yield url


@pytest.fixture(scope="session")
def browser():
    from support.chromium import chromium  # the tests in Node need no browser

    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def wide(browser, server):
    """The page as on a desk; afterwards nothing may have gone wrong, or have been asked of others."""
    shown = open_page(browser, server, 1280, 900)
    yield shown
    shown.page.close()
    assert shown.errors == []
    assert shown.external == []


@pytest.fixture(scope="module")
def narrow(browser, server):
    """On a phone, for a person who has set it to dark."""
    shown = open_page(browser, server, 390, 844, "dark")
    yield shown
    shown.page.close()
    assert shown.errors == []


@pytest.fixture
def screenshot():
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def save(shown: Shown, name: str) -> None:
        shown.page.wait_for_timeout(800)
        shown.page.screenshot(path=SCREENSHOTS / f"widget_{name}.png", full_page=True)

    return save


@pytest.fixture(scope="session")
def settings(exported):
    """The exported encoder's description."""
    return json.loads((exported / "encoder.json").read_text(encoding="utf-8"))
