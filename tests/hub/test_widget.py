"""Writing the page into a folder or a static Space: which files, what they say, and what is said if it cannot be."""

import json

import numpy as np
import pytest
import yaml
from support.hub_server import READER, in_the_hubs_place

from mrd_hf.commands.push import main, parse_arguments
from mrd_hf.errors import UserError
from mrd_hf.hub.widget import writing
from mrd_hf.hub.widget.writing import Collection, link_card, write_widget
from mrd_hf.search import ShapeIndex


WIDTH = 8
SECRET = "hf_" + "aB3dE6gH9" * 4


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with in_the_hubs_place(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def bundle(monkeypatch, tmp_path):
    """Stands in for what `make widget` builds, which needs Node.js."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in ("index.html", "page.js", "runtime-cpu.wasm.gzip"):
        (folder / name).write_bytes(name.encode())
    monkeypatch.setattr(writing, "BUNDLE", str(folder))
    return folder


@pytest.fixture
def export(tmp_path):
    folder = tmp_path / "onnx"
    folder.mkdir()
    for name in ("encoder.onnx", "sampling.onnx", "network.onnx", "class_embeddings.bin", "encoder.pt2"):
        (folder / name).write_bytes(name.encode())
    facts = {
        "format": "mrd_hf encoder",
        "name": f"org/model@{'0' * 40}",  # as load_encoder calls one of the Hub
        "weights_sha256": "abc",
        "input": {"num_points": 64},
        "output": {"embedding_dim": WIDTH},
    }
    (folder / "encoder.json").write_text(json.dumps({**facts, "teacher_id": "openai/clip-vit-base-patch32"}))
    return folder


def write_index(folder, digest="abc", width=WIDTH, config_digest=None, **facts):
    embeds = np.random.default_rng(0).standard_normal((3, width)).astype(np.float32)
    items = [{"id": "a", "name": "chair", **facts}, {"id": "b", "name": None}, {"id": "c", "name": "mug"}]
    return ShapeIndex.build(folder, embeds, items, model="encoder", model_sha256=digest, config_sha256=config_digest)


def test_a_folder_has_the_page_the_encoder_and_the_collection(bundle, export, tmp_path, capsys, monkeypatch):
    index = write_index(tmp_path / "index")
    main([str(export), "--widget", "-o", str(tmp_path / "page"), "--collection", str(tmp_path / "index")])
    page = tmp_path / "page"
    files = {file.relative_to(page).as_posix() for file in page.rglob("*") if file.is_file()}
    encoder = {"encoder.json", "encoder.onnx", "sampling.onnx", "network.onnx", "class_embeddings.bin"}
    assert files == {
        *(file.name for file in bundle.iterdir()),
        *(f"encoder/{name}" for name in encoder),
        *("widget.json", "collection.json", "collection.bin", "README.md"),
    }
    settings = json.loads((page / "widget.json").read_text())
    assert settings["encoder"] == "encoder/" and settings["collection"] == "collection.json"
    collection = json.loads((page / "collection.json").read_text())
    assert [item["name"] for item in collection["items"]] == ["chair", "b", "mug"] and collection["width"] == WIDTH
    embeds = np.fromfile(page / "collection.bin", dtype="<f4").reshape(-1, WIDTH)
    np.testing.assert_array_equal(embeds, index.rows()[0])
    np.testing.assert_allclose(np.linalg.norm(embeds, axis=1), 1, atol=1e-6)
    assert "http.server" in capsys.readouterr().out
    with pytest.raises(UserError, match="--overwrite"):
        main([str(export), "--widget", "-o", str(page)])
    main([str(export), "--widget", "-o", str(page), "--overwrite"])
    monkeypatch.chdir(page)
    with pytest.raises(UserError, match="is the folder that you are in"):
        main([str(export), "--widget", "-o", ".", "--overwrite"])
    assert not (page / "collection.json").exists()
    with pytest.raises(UserError, match="onnx would be replaced, and .*onnx is read; give another folder"):
        main([str(export), "--widget", "-o", str(export), "--overwrite"])
    with pytest.raises(UserError, match="index exists and is no page of mrd-hf push --widget; it is left as it is"):
        main([str(export), "--widget", "-o", str(tmp_path / "index"), "--overwrite"])
    assert (export / "encoder.onnx").is_file() and len(ShapeIndex.open(tmp_path / "index")) == 3


def test_a_static_space_is_made_and_the_card_links_it(hub, bundle, export, tmp_path, capsys):
    card = tmp_path / "README.md"
    card.write_text("# model\n\nAn encoder.\n\n## Use\n\n...\n")
    for _ in range(2):
        main([str(export), "org/shapes", "--widget", "--card", str(card)])
    files = hub.repository("org/shapes", "spaces").files()
    assert files["encoder/encoder.onnx"] == b"encoder.onnx" and "encoder/encoder.pt2" not in files
    data = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert data["sdk"] == "static" and data["app_file"] == "index.html" and data["models"] == ["org/model"]
    assert data["custom_headers"]["cross-origin-opener-policy"] == "same-origin"
    assert "/spaces/org/shapes (" in capsys.readouterr().out
    text = card.read_text()
    assert text.count("/spaces/org/shapes)") == 1 and text.index("Try it") < text.index("## Use")


def test_a_collection_that_is_taken_away_does_not_stay_in_the_space(hub, bundle, export, tmp_path):
    write_index(tmp_path / "index")
    main([str(export), "org/shapes", "--widget", "--collection", str(tmp_path / "index")])
    repository = hub.repository("org/shapes", "spaces")
    assert {"collection.json", "collection.bin"} <= repository.files().keys()
    main([str(export), "org/shapes", "--widget"])
    left = repository.files().keys()
    assert not {"collection.json", "collection.bin"} & left
    assert {"index.html", "encoder/encoder.onnx"} <= left


def test_the_runtime_of_an_earlier_page_does_not_stay_in_the_space(hub, bundle, export):
    (bundle / "runtime-cpu.mjs").write_bytes(b"earlier")
    main([str(export), "org/shapes", "--widget"])
    (bundle / "runtime-cpu.mjs").rename(bundle / "runtime-cpu.js")
    main([str(export), "org/shapes", "--widget"])
    left = hub.repository("org/shapes", "spaces").files().keys()
    assert "runtime-cpu.mjs" not in left and {"runtime-cpu.js", "runtime-cpu.wasm.gzip"} <= left


def test_who_may_not_write_is_told_nothing_that_a_space_does_not_take(hub, bundle, export, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(
        UserError, match=r"org/shapes: you may not write there; give a token .*, or another name\."
    ) as told:
        main([str(export), "org/shapes", "--widget"])
    assert "--create-pr" not in str(told.value)


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=" ".join)
@pytest.mark.parametrize("place", ["name", "url", "encoder.json"])
def test_a_page_with_an_access_token_is_refused(hub, bundle, export, tmp_path, place, options):
    """One in what is made into the page, and the message names where it comes from, not the copy."""
    if place == "encoder.json":
        description = json.loads((export / place).read_text())
        (export / place).write_text(json.dumps(description | {"prompt": SECRET}))
        write_index(tmp_path / "index")
        source = export / place
    else:
        write_index(tmp_path / "index", **{place: f"https://hub/a.glb?token={SECRET}"})
        source = tmp_path / "index"
    with pytest.raises(UserError, match=rf"^{source}.* holds what looks like a Hugging Face access token") as error:
        main([str(export), "org/shapes", "--widget", "--collection", str(tmp_path / "index"), *options])
    assert SECRET not in str(error.value) and "nothing was uploaded" in str(error.value)
    assert not hub.repositories and not hub.requests


def test_a_dry_run_uploads_nothing(bundle, export, capsys):
    main([str(export), "org/shapes", "--widget", "--dry-run"])
    said = capsys.readouterr().out
    assert "static Space org/shapes" in said and "encoder/encoder.onnx" in said


def test_an_installation_without_the_page_says_so(monkeypatch, export, tmp_path):
    monkeypatch.setattr(writing, "BUNDLE", "nothing_here")
    with pytest.raises(UserError, match="built without the page.*make widget"):
        main([str(export), "--widget", "-o", str(tmp_path / "page")])
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["folder"], "required: repo_id"),
        (["folder", "--widget"], "or --output"),
        (["folder", "org/a", "--output", "b"], "are for --widget"),
        (["folder", "org/a", "--widget", "--handler"], "leave out --type, --handler"),
        (["folder", "org/a", "--widget", "--type", "dataset"], "leave out --type"),
        (["folder", "org/a", "--widget", "--output", "b"], "uploads nothing"),
        (["folder", "--widget", "--output", "b", "--private"], "leave out repo_id, --private, --card and --dry-run"),
        (["folder", "org/a", "--overwrite"], "--overwrite is for --handler and --output"),
        (["folder", "org/a", "--widget", "--overwrite"], "--overwrite is for --handler and --output"),
    ],
)
def test_options_that_contradict_each_other(words, message, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(words)
    assert message in capsys.readouterr().err


def test_what_is_no_export_or_does_not_fit(bundle, export, tmp_path):
    with pytest.raises(UserError, match="mrd-hf export MODEL"):
        main([str(tmp_path), "--widget", "-o", str(tmp_path / "page")])
    write_index(tmp_path / "other", digest="def")
    with pytest.raises(UserError, match="index of another encoder"):
        main([str(export), "--widget", "-o", str(tmp_path / "page"), "--collection", str(tmp_path / "other")])
    write_index(tmp_path / "prepared")
    facts = json.loads((tmp_path / "prepared" / "index.json").read_text())
    (tmp_path / "prepared" / "index.json").write_text(json.dumps(facts | {"input": {"num_points": 7}}))
    with pytest.raises(UserError, match="index of another encoder"):
        main([str(export), "--widget", "-o", str(tmp_path / "page"), "--collection", str(tmp_path / "prepared")])
    write_index(tmp_path / "network", config_digest="1")  # of the same weights
    description = json.loads((export / "encoder.json").read_text())
    (export / "encoder.json").write_text(json.dumps(description | {"config_sha256": "2"}))
    with pytest.raises(UserError, match="index of another encoder"):
        main([str(export), "--widget", "-o", str(tmp_path / "page"), "--collection", str(tmp_path / "network")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="have width 5, the encoder's 8"):
        write_widget(
            export, tmp_path / "empty", Collection(np.zeros((1, 5), np.float32), [{"name": "a", "url": None}])
        )
    (export / "encoder.json").write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        main([str(export), "--widget", "-o", str(tmp_path / "page")])


def test_a_card_without_sections_is_linked_at_its_end():
    card = link_card("# model\n", "https://hub/spaces/a/b")
    assert card.startswith("# model\n<!--") and link_card(card, "https://hub/spaces/a/b") == card
