"""What the sub-commands print, write and refuse."""

import errno
import json
import os
import re
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import trimesh
from datasets import Dataset
from PIL import Image
from support.tiny_encoders import tiny_encoder
from support.tiny_meshes import glb
from support.tiny_packages import install
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip, save_tiny_siglip
from support.tiny_triplets import save_tiny_triplets, tiny_rows
from tiny_commands import mrd_hf, save_tiny_encoder, write_shapes
from transformers import AutoFeatureExtractor, AutoModel, pipeline

from mrd_hf import PointCloudFeatureExtractor
from mrd_hf.cli import encoder, render
from mrd_hf.data.sources.meshes.mesh_folder import prepare_mesh_folder
from mrd_hf.evaluation import encoding
from mrd_hf.evaluation.encoding import encode_shapes
from mrd_hf.models.text_tower import TextTower
from mrd_hf.search import ShapeIndex
from mrd_hf.teacher import Teacher


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with `encoder`, its `teacher`, `shapes`, and the `index` of these."""
    folder = tmp_path_factory.mktemp("work")
    save_tiny_encoder(folder / "encoder")
    write_shapes(folder / "shapes")
    assert mrd_hf("index", folder / "shapes", "-o", folder / "index", "--model", folder / "encoder") == 0
    return folder


@pytest.fixture(autouse=True)
def no_default_model(monkeypatch):
    monkeypatch.delenv("MRD_MODEL", raising=False)


def embeds_of(work, files, **options) -> torch.Tensor:
    """Embeddings by the model itself, a file at a time."""
    model = AutoModel.from_pretrained(work / "encoder").eval()
    extractor = AutoFeatureExtractor.from_pretrained(work / "encoder")
    with torch.no_grad():
        return torch.cat([model.get_point_features(**extractor(str(file), **options)) for file in files])


def cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1)


# classify


def test_classify_gives_scores_by_the_teachers_texts(work, capsys):
    labels = ["mug", "a", "zebra"]
    files = shapes_of(work)
    arguments = ["--labels", " mug,a, zebra,mug,", "--template", "{}", "--model", work / "encoder", "--json"]
    assert mrd_hf("classify", *files, *arguments) == 0
    found = json.loads(capsys.readouterr().out)
    texts = Teacher.from_pretrained(work / "teacher").embed_texts(labels)
    expected = (2.0 * cosines(embeds_of(work, files), texts)).softmax(dim=1)
    for file, result, scores in zip(files, found, expected, strict=True):
        assert result["file"] == str(file)
        assert {entry["label"]: entry["score"] for entry in result["labels"]} == pytest.approx(
            dict(zip(labels, scores.tolist(), strict=True)), abs=1e-5
        )
        values = [entry["score"] for entry in result["labels"]]
        assert values == sorted(values, reverse=True)


def test_classify_takes_embeddings_of_classes_a_file_of_labels_and_folders(work, tmp_path, capsys):
    labels = ["чашка", "new\nline", "table"]
    embeds = TextTower.from_pretrained(work / "teacher").embed_classes(labels, ["{}", "my {}"]).numpy()
    flat = pa.FixedSizeListArray.from_arrays(pa.array(embeds.astype(np.float16).reshape(-1)), CLIP_WIDTH)
    pq.write_table(pa.table({"label": labels, "text_embed": flat}), tmp_path / "classes.parquet")
    common = ["classify", work / "shapes", "--model", work / "encoder", "--top-k", 2]
    assert mrd_hf(*common, "--class-embeds", tmp_path / "classes.parquet") == 0
    by_embeds = capsys.readouterr().out
    assert [line for line in by_embeds.splitlines() if not line.startswith(" ")] == [
        str(file) for file in shapes_of(work)
    ]
    assert "чашка" in by_embeds or r"new\nline" in by_embeds
    (tmp_path / "labels.txt").write_text("чашка\n\nnew\nline \ntable\nnew\n", encoding="utf-8-sig")
    assert mrd_hf(*common, "--labels-file", tmp_path / "labels.txt", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert all({entry["label"] for entry in result["labels"]} < {"чашка", "new", "line", "table"} for result in found)
    assert all(len(result["labels"]) == 2 for result in found)


def test_classify_takes_ten_thousand_labels(work, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("\n".join(f"метка {number} \x1b[1m" for number in range(10_000)))
    file = work / "shapes" / "box.glb"
    arguments = ["--labels-file", tmp_path / "labels.txt", "--template", "{}", "--model", work / "encoder"]
    assert mrd_hf("classify", file, *arguments, "--top-k", 20_000) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10_001 and not any("\x1b" in line for line in lines)


def test_classify_reports_a_bad_file_and_goes_on(work, tmp_path, capsys):
    (tmp_path / "bad.ply").write_text("ply\nnonsense")
    file = work / "shapes" / "box.glb"
    arguments = ["--labels", "a,b", "--model", work / "encoder"]
    assert mrd_hf("classify", tmp_path / "bad.ply", tmp_path / "bad.ply", file, *arguments, "--json") == 1
    out, err = capsys.readouterr()
    bad, good = json.loads(out)
    assert "cannot be read as 'ply'" in bad["error"] and len(good["labels"]) == 2
    assert err.count("bad.ply: cannot be read") == 1 and "1 of 2 files failed" in err


def test_a_reader_that_fails_as_none_should_costs_its_file_alone(work, tmp_path, capsys, monkeypatch):
    """Whatever mistakes of ours or of a library's there may still be."""
    prepare = encoder.prepare

    def failing(chosen, file, up_axis):
        if file.endswith("bad.npy"):
            raise AttributeError("'bytes' object has no attribute 'ndim'")
        return prepare(chosen, file, up_axis)

    monkeypatch.setattr(encoder, "prepare", failing)
    shapes = tmp_path / "shapes"
    shapes.mkdir()
    for name in ("bad.npy", "good.npy"):
        np.save(shapes / name, np.random.default_rng(1).standard_normal((300, 3)))
    reason = "AttributeError: 'bytes' object has no attribute 'ndim'; this is a mistake of mrd_hf's: please report it"
    for command, *more in (["classify", "--labels", "a,b"], ["embed", "-o", tmp_path / "e.parquet"], ["index"]):
        assert mrd_hf(command, shapes, *more, "--model", work / "encoder") == 1
        out, err = capsys.readouterr()
        assert f"failed: {shapes}/bad.npy: {reason}" in err and "1 of 2 files failed" in err
        assert "good.npy" in out or out.startswith("1 shape")


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_classify_in_batches_is_the_pipeline_on_one_shape_after_another(work, tmp_path, capsys, batch_size):
    """With a bad file among them, which fails alone; the results are in the order of the files."""
    rng = np.random.default_rng(1)
    for number in range(9):
        np.save(tmp_path / f"{number}.npy", rng.standard_normal((300, 3)))
    (tmp_path / "4.npy").write_bytes(b"nonsense")
    labels = ["mug", "a", "zebra"]
    # At random, as the tiny teacher's texts are all alike.
    embeds = rng.standard_normal((3, CLIP_WIDTH)).astype(np.float32)
    pq.write_table(pa.table({"label": labels, "text_embed": embeds.tolist()}), tmp_path / "classes.parquet")
    arguments = ["--class-embeds", tmp_path / "classes.parquet", "--model", work / "encoder"]
    assert mrd_hf("classify", tmp_path, *arguments, "--batch-size", batch_size, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert [result["file"] for result in found] == [str(tmp_path / f"{number}.npy") for number in range(9)]
    classifier = pipeline("zero-shot-point-cloud-classification", model=str(work / "encoder"))
    for number, result in enumerate(found):
        if number == 4:
            assert result.keys() == {"file", "error"}
            continue
        expected = classifier(result["file"], candidate_labels=labels, class_embeds=embeds)
        assert [label["label"] for label in result["labels"]] == [label["label"] for label in expected]
        scores = [label["score"] for label in expected]
        assert max(scores) - min(scores) > 0.01
        assert [label["score"] for label in result["labels"]] == pytest.approx(scores, abs=1e-6)


def test_classify_encodes_in_batches_and_shows_the_first_results_at_once(work, tmp_path, capsys, monkeypatch):
    for number in range(12):
        np.save(tmp_path / f"{number:02}.npy", np.random.default_rng(number).standard_normal((300, 3)))
    sizes, shown = [], []

    def encode(model, batches):
        sizes.extend(len(batch) for batch in batches)
        shown.append(capsys.readouterr().out.count(".npy"))
        return encode_shapes(model, batches)

    monkeypatch.setattr(encoding, "encode_shapes", encode)
    arguments = ["--labels", "mug,a", "--model", work / "encoder", "--batch_size", 4]
    assert mrd_hf("classify", tmp_path, *arguments) == 0
    assert sizes == [1, 2, 4, 4, 1] and shown == [0, 1, 2, 4, 4]


def test_an_embedding_that_is_not_finite_is_a_failure(work, tmp_path, capsys, monkeypatch):
    def encode(model, batches):
        embeds = encode_shapes(model, batches)
        embeds[0] = torch.nan
        return embeds

    monkeypatch.setattr(encoding, "encode_shapes", encode)
    out = tmp_path / "e.parquet"
    assert mrd_hf("embed", work / "shapes", "-o", out, "--model", work / "encoder") == 1
    assert len(pq.read_table(out)) == 4 - 3  # the first of batches of 1, 2 and 1
    assert "ball.ply: its embedding is not finite" in capsys.readouterr().err


def test_up_axis_is_passed_on(work, tmp_path, capsys):
    file = work / "shapes" / "box.glb"
    found = {}
    for axis in ("y", "z"):
        out = tmp_path / f"{axis}.parquet"
        assert mrd_hf("embed", file, "-o", out, "--model", work / "encoder", "--up-axis", axis) == 0
        found[axis] = np.stack(pq.read_table(out)["embedding"].to_pylist())
        np.testing.assert_allclose(found[axis], embeds_of(work, [file], up_axis=axis), atol=1e-6)
    assert np.abs(found["y"] - found["z"]).max() > 1e-4


@pytest.mark.parametrize("command", ["classify", "score", "search", "index"])
def test_which_axis_is_up_reaches_every_command(work, tmp_path, capsys, command):
    """A shape that stands by z says what the same one says that was turned to stand by y."""
    rng = np.random.default_rng(3)
    points = (rng.normal(size=(400, 3)) * [1, 2, 5] + rng.random((400, 3)) ** 3).astype(np.float32)
    for name, xyz in (("lying", points), ("turned", points[:, [0, 2, 1]] * np.float32([1, 1, -1]))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "shape.npy", xyz)

    def said(name, *options):
        options, file = ("--model", work / "encoder", *options), tmp_path / name / "shape.npy"
        if command == "index":
            folder = tmp_path / f"index-{name}-{len(options)}"
            assert mrd_hf("index", tmp_path / name, "-o", folder, *options) == 0
            return ShapeIndex.open(folder).rows()[0]
        given = {
            "classify": ["classify", file, "--labels", "chair,mug,lamp", "--scores", "cosine"],
            "score": ["score", file, "--text", "a chair", "--text", "a mug"],
            "search": ["search", work / "index", "--shape", file],
        }
        capsys.readouterr()
        assert mrd_hf(*given[command], "--json", *options) == 0
        return np.array([float(found) for found in re.findall(r'"score": (-?[\d.e-]+)', capsys.readouterr().out)])

    by_option, turned, as_it_is = said("lying", "--up-axis", "z"), said("turned"), said("lying")
    assert by_option.size
    np.testing.assert_allclose(by_option, turned, atol=1e-5)
    assert np.abs(by_option - as_it_is).max() > 1e-4


def test_which_parts_are_read_is_the_callers_to_say(work, tmp_path, capsys):
    scene = trimesh.Scene()
    for name, place in (("seat", 0), ("UCX_seat", 3), ("Legs", 6)):
        box = trimesh.creation.box()
        box.apply_translation([place, 0, 0])
        scene.add_geometry(box, node_name=name, geom_name=name)
    scene.export(tmp_path / "chair.glb")
    model = ["--model", work / "encoder"]
    sizes = {
        (): 7,
        ("--keep-collision",): 7,
        ("--skip-parts", "^Legs"): 1,
        ("--keep-collision", "--skip-parts=egs"): 4,
    }
    found = set()
    for options, size in sizes.items():
        capsys.readouterr()
        assert mrd_hf("inspect", tmp_path / "chair.glb", "--json", *options) == 0
        facts = json.loads(capsys.readouterr().out)["files"][0]
        assert facts["extents"][0] == pytest.approx(size)
        assert ("UCX_seat" in "".join(facts["warnings"])) == ("--keep-collision" not in options)
        out = tmp_path / f"{len(found)}.parquet"
        assert mrd_hf("embed", tmp_path / "chair.glb", "-o", out, *model, *options) == 0
        (embedding,) = pq.read_table(out)["embedding"].to_pylist()
        found.add(tuple(np.round(embedding, 5)))
    assert len(found) == len(sizes)


# embed


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_embed_writes_a_row_a_shape(work, tmp_path, capsys, batch_size):
    out = tmp_path / "new" / "out.parquet"
    shapes = work / "shapes"
    assert mrd_hf("embed", shapes, "-o", out, "--model", work / "encoder", "--batch-size", batch_size) == 0
    table = pq.read_table(out)
    files = shapes_of(work)
    assert table.schema.remove_metadata() == pa.schema(
        [("path", pa.string()), ("embedding", pa.list_(pa.float32(), CLIP_WIDTH)), ("model", pa.string())]
    )
    assert table["path"].to_pylist() == [str(file) for file in files]
    assert set(table["model"].to_pylist()) == {"encoder"}
    np.testing.assert_allclose(np.stack(table["embedding"].to_pylist()), embeds_of(work, files), atol=1e-5)
    assert "4 shapes embedded into" in capsys.readouterr().out
    assert len(Dataset.from_parquet(str(out))) == 4  # as others read it


@pytest.mark.parametrize("choice", ["fastest", "float32"])
def test_embed_in_the_precision_that_is_chosen(work, tmp_path, monkeypatch, choice):
    monkeypatch.setattr("mrd_hf.encoder.fastest_dtype", lambda device: torch.bfloat16)
    options = ["--model", work / "encoder", "--dtype", choice, "-o", tmp_path / "embeds.parquet"]
    assert mrd_hf("embed", *shapes_of(work), *options) == 0
    found = torch.tensor(pq.read_table(tmp_path / "embeds.parquet")["embedding"].to_pylist())
    expected = embeds_of(work, shapes_of(work))
    off = ((found - expected).norm(dim=1) / expected.norm(dim=1)).max()
    assert 1e-5 < off < 0.02 if choice == "fastest" else off < 1e-5


def test_embed_leaves_bad_files_out_and_all_bad_writes_nothing(work, tmp_path, capsys):
    for name in ("a.ply", "b.npy"):
        (tmp_path / name).write_text("nonsense")
    common = ["-o", tmp_path / "out.parquet", "--model", work / "encoder"]
    assert mrd_hf("embed", tmp_path, work / "shapes" / "box.glb", *common, "--json") == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["count"] == 1 and [failed["file"] for failed in report["failed"]] == [
        str(tmp_path / "a.ply"),
        str(tmp_path / "b.npy"),
    ]
    assert "2 of 3 files failed" in err
    before = (tmp_path / "out.parquet").read_bytes()
    assert mrd_hf("embed", tmp_path / "a.ply", *common, "--overwrite") == 1
    assert "none of 1 files could be embedded" in capsys.readouterr().err
    assert (tmp_path / "out.parquet").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.ply", "b.npy", "out.parquet"]


# index and search


def test_a_folders_index_finds_each_shape_by_itself(work, capsys):
    for file in shapes_of(work):
        assert mrd_hf("search", work / "index", "--shape", file, "--model", work / "encoder", "-k", 2, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        first = found["hits"][0]
        assert first["item"] == {"id": str(file.relative_to(work / "shapes")), "path": str(file)}
        assert first["score"] == pytest.approx(1, abs=1e-5) and len(found["hits"]) == 2 and found["shape"] == str(file)


def test_search_by_text_and_picture_is_by_the_teachers_cosine(work, tmp_path, capsys):
    Image.effect_noise((40, 30), 90).save(tmp_path / "noise.png")
    teacher = Teacher.from_pretrained(work / "teacher")
    files = shapes_of(work)
    shapes = embeds_of(work, files)
    queries = {
        ("my mug",): teacher.embed_texts(["my mug"]),
        ("--image", tmp_path / "noise.png"): teacher.embed_images([Image.open(tmp_path / "noise.png")]),
    }
    for arguments, query in queries.items():
        assert mrd_hf("search", work / "index", *arguments, "--json") == 0
        hits = json.loads(capsys.readouterr().out)["hits"]
        expected = dict(zip(map(str, files), cosines(query, shapes)[0].tolist(), strict=True))
        assert {hit["item"]["path"]: hit["score"] for hit in hits} == pytest.approx(expected, abs=1e-5)
        assert [hit["score"] for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-5)
    assert mrd_hf("search", work / "index", "my mug", "-k", 1) == 0
    line = capsys.readouterr().out
    assert line.startswith("   1  ") and line.count("\n") == 1 and str(work / "shapes") in line


def test_words_are_embedded_by_the_text_tower_that_the_encoder_names(work, tmp_path, monkeypatch, capsys):
    """Typed labels and texts to search for, also in an index of embeddings; its teacher as a whole is nowhere."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    words = save_tiny_siglip(tmp_path / "site" / "tiny_words" / "model")
    install(tmp_path / "site", "tiny-words")
    tower = TextTower.from_pretrained(words)
    encoder = tiny_encoder(
        "openshape", projection_dim=tower.embedding_dim, teacher_id="nowhere", text_tower_id="package:tiny-words/model"
    )
    encoder.save_pretrained(tmp_path / "encoder")
    shutil.copy(work / "encoder" / "preprocessor_config.json", tmp_path / "encoder")
    shapes, model = work / "shapes", ("--model", tmp_path / "encoder")
    assert mrd_hf("classify", shapes, "--labels", "mug,a", *model, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    labels = tower.embed_classes(["mug", "a"], ["a point cloud model of {}."])
    embeds = embeds_of(tmp_path, [entry["file"] for entry in found])
    expected = (100 * cosines(embeds, labels)).softmax(dim=-1)
    for entry, row in zip(found, expected, strict=True):
        scores = {score["label"]: score["score"] for score in entry["labels"]}
        assert [scores["mug"], scores["a"]] == pytest.approx(row.tolist(), abs=1e-4)

    assert mrd_hf("embed", shapes, "-o", tmp_path / "e.parquet", *model) == 0
    assert mrd_hf("index", tmp_path / "e.parquet", "-o", tmp_path / "of-embeddings") == 0
    assert mrd_hf("index", shapes, "-o", tmp_path / "of-shapes", *model) == 0
    query = tower.embed(["my mug"])
    expected = cosines(query, embeds_of(tmp_path, shapes_of(work)))[0].tolist()
    for index in ("of-embeddings", "of-shapes"):
        capsys.readouterr()
        assert mrd_hf("search", tmp_path / index, "my mug", "--json") == 0
        hits = json.loads(capsys.readouterr().out)["hits"]
        assert [hit["score"] for hit in hits] == pytest.approx(sorted(expected, reverse=True), abs=1e-5)
        assert ShapeIndex.open(tmp_path / index).text_tower == "package:tiny-words/model"
    # Named again it needs no note; a picture needs the teacher itself.
    assert mrd_hf("search", tmp_path / "of-shapes", "my mug", "--text-tower", "package:tiny-words/model") == 0
    assert capsys.readouterr().err.count("note") == 0
    Image.new("RGB", (9, 9)).save(tmp_path / "p.png")
    assert mrd_hf("search", tmp_path / "of-shapes", "--image", tmp_path / "p.png") == 2
    assert "teacher 'nowhere': no such folder" in capsys.readouterr().err


def test_an_index_of_embeddings_is_that_of_the_folder(work, tmp_path, capsys):
    mrd_hf("embed", work / "shapes", "-o", tmp_path / "e.parquet", "--model", work / "encoder")
    assert mrd_hf("index", tmp_path / "e.parquet") == 0
    assert "4 shapes of" in capsys.readouterr().out
    index, other = ShapeIndex.open(tmp_path / "e-index"), ShapeIndex.open(work / "index")
    query = embeds_of(work, shapes_of(work)[:1]).numpy()
    hits, expected = index.search(query, 4)[0], other.search(query, 4)[0]
    assert [hit.row for hit in hits] == [hit.row for hit in expected]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected])
    for fact in ("model", "model_sha256", "config_sha256", "teacher"):
        assert getattr(index, fact) == getattr(other, fact) is not None
    assert index.teacher == str(work / "teacher")


def test_a_triplet_dataset_is_indexed_with_what_is_known_of_it(work, tmp_path, capsys):
    save_tiny_triplets(tmp_path / "data", train=3, test=2)
    (tmp_path / "data" / "class_texts.parquet").unlink()
    common = ["index", tmp_path / "data", "--dataset", "--model", work / "encoder", "-o", tmp_path / "i"]
    assert mrd_hf(*common) == 0
    index = ShapeIndex.open(tmp_path / "i")
    items = {hit.row: hit.item for hit in index.search(np.ones((1, CLIP_WIDTH)), 5)[0]}
    rows = [*tiny_rows(3, seed=0), *tiny_rows(2, seed=1)]
    assert {row: item["id"] for row, item in items.items()} == dict(enumerate(row["id"] for row in rows))
    assert items[0].keys() == {"id", "source", "name", "category", "license", "creator", "shelf"}
    # The embeddings are of the rows' points and of their colours.
    model = AutoModel.from_pretrained(work / "encoder").eval()
    extractor = AutoFeatureExtractor.from_pretrained(work / "encoder")
    points, colors = ([row[column] for row in rows] for column in ("points", "colors"))
    with torch.no_grad():
        embeds, colorless = (model.get_point_features(**extractor(points, given)) for given in (colors, None))
    expected = cosines(embeds, embeds)
    assert ((cosines(colorless, embeds) - expected).abs().amax(dim=1) > 1e-4).all()
    for row, hits in enumerate(index.search(embeds.numpy(), 5)):
        found = torch.zeros(5)
        for hit in hits:
            found[hit.row] = hit.score
        torch.testing.assert_close(found, expected[row], atol=1e-5, rtol=0)
    assert mrd_hf(*common, "--split", "test", "--overwrite") == 0
    assert len(ShapeIndex.open(tmp_path / "i")) == 2
    capsys.readouterr()
    assert mrd_hf("search", tmp_path / "i", "a", "-k", 1) == 0
    assert capsys.readouterr().out.split()[2] in (items[3]["name"], items[4]["name"])


@pytest.mark.parametrize("bad", [[1], [0, 2], [0, 1, 2]])
def test_an_index_of_a_dataset_leaves_bad_shapes_out(work, tmp_path, capsys, bad):
    save_tiny_triplets(tmp_path / "data", train=3, test=1)
    (file,) = (tmp_path / "data" / "data").glob("train*.parquet")
    rows = Dataset.from_parquet(str(file))
    ids, features = list(rows["id"]), rows.features

    def spoil(row: dict, place: int) -> dict:
        return {"points": np.where(place in bad, np.nan, np.array(row["points"]))}

    rows.map(spoil, with_indices=True, features=features).to_parquet(file)
    common = ["index", tmp_path / "data", "--dataset", "--split", "train", "--model", work / "encoder", "--json"]
    assert mrd_hf(*common, "-o", tmp_path / "i") == 1
    shown = capsys.readouterr()
    if len(bad) == 3:
        assert "none of 3 shapes could be embedded" in shown.err and not (tmp_path / "i").exists()
        return
    failed = json.loads(shown.out)["failed"]
    assert [failure["file"] for failure in failed] == [f"{tmp_path / 'data'}, shape {ids[row]!r}" for row in bad]
    hits = ShapeIndex.open(tmp_path / "i").search(np.ones((1, CLIP_WIDTH)), 3)[0]
    kept = [id_ for row, id_ in enumerate(ids) if row not in bad]
    assert {hit.row: hit.item["id"] for hit in hits} == dict(enumerate(kept))


@pytest.mark.skipif(not hasattr(datasets, "Mesh"), reason="datasets before 4.5")
def test_files_that_a_dataset_keeps_are_not_copied_into_its_index(work, tmp_path):
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "box.glb").write_bytes(glb())
    prepare_mesh_folder(tmp_path / "meshes", tmp_path / "data", num_points=64, keep_mesh=True)
    assert mrd_hf("index", tmp_path / "data", "--dataset", "--model", work / "encoder", "-o", tmp_path / "i") == 0
    (hit,) = ShapeIndex.open(tmp_path / "i").search(np.ones((1, CLIP_WIDTH)), 1)[0]
    assert hit.item.keys() == {"id", "source", "name", "category", "license", "creator", "model"}


def test_a_triplet_dataset_is_not_taken_for_the_samples_that_lie_in_it(work, tmp_path, capsys):
    data = save_tiny_triplets(tmp_path / "data", train=5, test=3)
    write_shapes(data / "shapes")
    model = ("--model", work / "encoder")
    assert mrd_hf("index", data, "-o", tmp_path / "index", *model) == 2
    assert f"{data}: is a triplet dataset (data/" in (err := capsys.readouterr().err) and "; add --dataset." in err
    assert mrd_hf("embed", data, "-o", tmp_path / "e.parquet", *model) == 2
    assert f"`mrd-hf index {data} --dataset` embeds and indexes it" in capsys.readouterr().err
    assert not (tmp_path / "index").exists() and not (tmp_path / "e.parquet").exists()


def test_an_index_leaves_bad_files_out(work, tmp_path, capsys):
    shutil.copytree(work / "shapes", tmp_path / "s")
    (tmp_path / "s" / "zz.glb").write_bytes(b"glTF")
    assert mrd_hf("index", tmp_path / "s", "--model", work / "encoder", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["count"] == 4 and report["output"] == f"{tmp_path / 's'}-index"
    assert [os.path.basename(failed["file"]) for failed in report["failed"]] == ["zz.glb"]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "zz.glb").write_bytes(b"glTF")
    assert mrd_hf("index", tmp_path / "bad", "--model", work / "encoder") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad", "s", "s-index"]


def test_another_encoders_query_is_refused(work, tmp_path, capsys):
    other = save_tiny_encoder(tmp_path / "other", seed=1)
    file = work / "shapes" / "box.glb"
    assert mrd_hf("search", work / "index", "--shape", file, "--model", other) == 2
    assert "made by the encoder encoder (weights" in (err := capsys.readouterr().err) and "other has other" in err


def test_a_query_by_the_same_weights_in_another_network_is_refused(work, tmp_path, capsys):
    other = shutil.copytree(work / "encoder", tmp_path / "encoder")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"patch_radius": 0.9}))
    search = ("search", work / "index", "--shape", work / "shapes" / "box.glb", "--model", other)
    assert mrd_hf(*search) == 2
    assert "made by the encoder encoder with another config.json" in capsys.readouterr().err
    (other / "config.json").write_text(json.dumps(config | {"teacher_id": "renamed"}))
    assert mrd_hf(*search) == 0


def test_a_query_prepared_in_another_way_is_refused(work, tmp_path, capsys):
    """What a file's own matter is may differ, as the axis that is up in it."""
    other = shutil.copytree(work / "encoder", tmp_path / "encoder")
    settings = json.loads((other / "preprocessor_config.json").read_text())
    search = ("search", work / "index", "--shape", work / "shapes" / "box.glb", "--model", other)
    for name, value, code in (("encoder_up_axis", "z", 2), ("num_points", 255, 2), ("up_axis", "z", 0)):
        (other / "preprocessor_config.json").write_text(json.dumps(settings | {name: value}))
        assert mrd_hf(*search) == code
        said = f"made with {name} = {settings[name]} in preprocessor_config.json, and encoder has {value}"
        assert (said in capsys.readouterr().err) == (code == 2)


def test_another_teachers_query_is_refused_by_its_width_or_noted(work, tmp_path, capsys):
    siglip, clip = save_tiny_siglip(tmp_path / "siglip"), save_tiny_clip(tmp_path / "copy")
    Image.new("RGB", (9, 9)).save(tmp_path / "p.png")
    for query in (["mug"], ["--image", tmp_path / "p.png"]):
        assert mrd_hf("search", work / "index", *query, "--teacher", siglip) == 2
        assert "32" in (err := capsys.readouterr().err) and f"{CLIP_WIDTH}" in err
        assert mrd_hf("search", work / "index", *query, "--teacher", clip) == 0
        assert "make sure that" in capsys.readouterr().err


# render


@pytest.mark.parametrize(
    ("name", "views", "size"), [("box.glb", 3, 64), ("cloud.npy", 8, 40), ("more/cone.STL", 1, 50)]
)
def test_render_draws_a_strip_of_views(work, tmp_path, capsys, name, views, size):
    pytest.importorskip("embreex")
    out = tmp_path / "out.png"
    assert mrd_hf("render", work / "shapes" / name, "-o", out, "--views", views, "--size", size) == 0
    assert capsys.readouterr().out == f"{out}\n"
    picture = np.asarray(Image.open(out))
    columns, rows = min(views, 6), -(-views // 6)
    assert picture.shape == (rows * size, columns * size, 3)
    cells = picture.reshape(rows, size, columns, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    shares = [(cell < 250).any(axis=-1).mean() for cell in cells]
    assert min(shares[:views]) > 0.05 and max(shares[views:], default=0) == 0
    assert len({cell.tobytes() for cell in cells[:views]}) == views
    first = out.read_bytes()
    again = ["-o", out, "--views", views, "--size", size, "--overwrite"]
    assert mrd_hf("render", work / "shapes" / name, *again) == 0
    assert out.read_bytes() == first


def test_render_shows_colors_and_the_right_way_up(tmp_path):
    pytest.importorskip("embreex")
    angles, heights = np.meshgrid(np.linspace(0, 6.28, 80), np.linspace(-1, 1, 60))
    points = np.stack([0.3 * np.cos(angles), heights, 0.3 * np.sin(angles)], axis=-1).reshape(-1, 3)
    colors = np.where(points[:, 1:2] > 0, [1.0, 0, 0], [0, 0, 1.0])
    np.save(tmp_path / "y.npy", np.concatenate([points, colors], axis=1))
    np.save(tmp_path / "z.npy", np.concatenate([points[:, [0, 2, 1]] * [1, -1, 1], colors], axis=1))
    for axis in "yz":
        out = tmp_path / f"{axis}.png"
        assert (
            mrd_hf("render", tmp_path / f"{axis}.npy", "-o", out, "--views", 1, "--size", 80, "--up-axis", axis) == 0
        )
        picture = np.asarray(Image.open(out)).astype(int)
        is_red, is_blue = (picture[..., one] > picture[..., other] + 50 for one, other in ((0, 2), (2, 0)))
        assert is_red[:36].sum() > 200 and not is_red[44:].any()
        assert is_blue[44:].sum() > 200 and not is_blue[:36].any()


def test_nothing_is_replaced_in_silence(work, tmp_path, capsys):
    out = {"embed": tmp_path / "e.parquet", "index": tmp_path / "i", "render": tmp_path / "r.png"}
    model = ["--model", work / "encoder"]
    commands = {
        "embed": [work / "shapes", *model],
        "index": [work / "shapes", *model],
        "render": [work / "shapes" / "cloud.npy", "--views", 1, "--size", 32],
    }
    for command, arguments in commands.items():
        words = [command, *arguments, "-o", out[command]]
        assert mrd_hf(*words) == 0
        before = {file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()}
        capsys.readouterr()
        assert mrd_hf(*words) == 2
        message = f"error: {out[command]} exists; replace it with --overwrite, or name another place.\n"
        assert capsys.readouterr().err == message
        assert {file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()} == before
        if command != "render":  # a folder that is empty is nothing to lose
            changed = [command, work / "shapes" / "cloud.npy" if command == "embed" else work / "one", *model]
            shutil.copytree(work / "shapes" / "more", work / "one", dirs_exist_ok=True)
            assert mrd_hf(*changed, "-o", out[command], "--overwrite") == 0
            after = out[command] if command == "embed" else out[command] / "embeds.npy"
            assert after.read_bytes() != before.get(after)


def test_a_place_that_cannot_be_written_is_said_in_a_line(work, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "inside"
    model = ["--model", work / "encoder"]
    for words in (
        ["embed", work / "shapes", *model, "-o", f"{inside}.parquet"],
        ["index", work / "shapes", *model, "-o", inside],
        ["render", work / "shapes" / "cloud.npy", "--views", 1, "--size", 32, "-o", f"{inside}.png"],
    ):
        assert mrd_hf(*words) in (1, 2)
        err = capsys.readouterr().err.removesuffix("\n").rpartition("\n")[2]
        assert err.startswith("error: cannot ") and str(tmp_path / "file") in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_the_systems_refusals_are_errors_of_one_line(monkeypatch, capsys):
    def refused(options):
        raise PermissionError(errno.EACCES, "Permission denied", "/somewhere/secret")

    monkeypatch.setattr(render, "run", refused)
    assert mrd_hf("render", "a.glb") == 1
    assert capsys.readouterr().err == (
        "error: /somewhere/secret: Permission denied; see to its permissions, or name another place.\n"
    )

    def mistaken(options):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "ours")

    monkeypatch.setattr(render, "run", mistaken)
    with pytest.raises(FileNotFoundError):
        mrd_hf("render", "a.glb")


def test_render_does_not_replace_what_nobody_named(work, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = work / "shapes" / "cloud.npy"
    assert mrd_hf("render", file, "--views", 1, "--size", 32, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"output": "cloud-views.png", "views": 1}
    assert mrd_hf("render", file) == 2
    assert "cloud-views.png exists; replace it with --overwrite" in capsys.readouterr().err


# What is wrong with the input


def test_the_encoder_may_come_from_the_environment(work, monkeypatch, capsys):
    arguments = ["classify", work / "shapes" / "box.glb", "--labels", "a,b", "--json"]
    assert mrd_hf(*arguments) == 2
    assert (
        "Give --model or set MRD_MODEL" in (err := capsys.readouterr().err)
        and "published with this package yet" in err
    )
    monkeypatch.setenv("MRD_MODEL", str(work / "encoder"))
    assert mrd_hf(*arguments) == 0


def test_wrong_input_is_named_with_the_remedy(work, tmp_path, capsys):
    shapes, encoder = work / "shapes", ["--model", work / "encoder"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("work")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "nothing.txt").write_text("\n \n")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"label": ["a"], "text_embed": [[1.0, 2.0]]}), tmp_path / "narrow.parquet")
    assert mrd_hf("embed", shapes / "box.glb", "-o", tmp_path / "cut.parquet", "--model", work / "encoder") == 0
    content = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[:4] + bytes(100) + content[104:])  # its footer is whole
    capsys.readouterr()
    pq.write_table(pa.table({"label": ["a"], "text_embed": [[np.nan] * CLIP_WIDTH]}), tmp_path / "nan.parquet")
    pq.write_table(pa.table({"label": ["a"] * 2, "text_embed": [[1.0] * CLIP_WIDTH] * 2}), tmp_path / "twice.parquet")
    PointCloudFeatureExtractor().save_pretrained(tmp_path / "no-weights")
    teacherless = tmp_path / "teacherless"
    shutil.copytree(work / "encoder", teacherless)
    config = json.loads((teacherless / "config.json").read_text())
    (teacherless / "config.json").write_text(json.dumps(config | {"teacher_id": None}))
    classify = ["classify", shapes]
    wrong = [
        (["classify", tmp_path / "no.glb", "--labels", "a"], "no.glb: no such file or folder"),
        (["classify", tmp_path / "empty", "--labels", "a"], "empty: no shape in it; expected files of .3mf"),
        ([*classify, "--labels", " ,, "], "--labels: no label in it"),
        ([*classify, "--labels", "x" * 1001], "a label of 1,001 characters; at most 1,000"),
        ([*classify, "--labels", ",".join(map(str, range(100_001)))], "100,001 labels; at most 100,000"),
        ([*classify, "--labels-file", tmp_path / "no.txt"], "no.txt: no such file; expected a text file"),
        ([*classify, "--labels-file", tmp_path / "latin.txt"], "latin.txt: cannot be read as UTF-8"),
        ([*classify, "--labels-file", tmp_path / "nothing.txt"], "nothing.txt: no label in it"),
        ([*classify, "--class-embeds", tmp_path / "other.parquet"], "other.parquet: no column 'label' (it has a)"),
        ([*classify, "--class-embeds", tmp_path / "no.parquet"], "no.parquet: no such file; expected class texts"),
        (
            [*classify, "--class-embeds", tmp_path / "nan.parquet"],
            "nan.parquet: has embeddings that are zero or not finite",
        ),
        ([*classify, "--class-embeds", tmp_path / "twice.parquet"], "expected text without nulls, each class once"),
        ([*classify, "--class-embeds", tmp_path / "narrow.parquet", *encoder], "width 2, but the encoder's have 24"),
        ([*classify, "--labels", "a", "--template", "photo"], "--template 'photo' has no {}"),
        ([*classify, "--labels", "a", "--model", tmp_path / "no"], "cannot load the encoder"),
        (
            [*classify, "--labels", "a", "--model", tmp_path / "no-weights"],
            "no-weights': the folder has no config.json",
        ),
        ([*classify, "--labels", "a", "--model", work], f"has no config.json; did you mean {work / 'encoder'}?"),
        ([*classify, "--labels", "a", "--model", shapes / "box.glb"], "it is a file; give the folder that it is in"),
        ([*classify, "--labels", "a", "--model", work / "teacher"], "is of the kind clip, no encoder of shapes"),
        ([*classify, "--labels", "a", "--model", teacherless], "does not say in whose space"),
        ([*classify, "--labels", "a", *encoder, "--text-tower", tmp_path / "no"], "give its folder as --text-tower"),
        ([*classify, "--labels", "a", *encoder, "--device", "cuda:99"], "cannot compute on the device cuda:99"),
        (
            [*classify, "--class-embeds", work / "classes.parquet", "--template", "a {}"],
            "--class-texts has the labels' embeddings; leave out --template",
        ),
        (
            [*classify, "--class-embeds", work / "classes.parquet", "--text-tower", "t"],
            "--class-texts has the labels' embeddings; leave out --text-tower",
        ),
        (
            ["index", tmp_path / "no", "--dataset", "--up-axis", "z"],
            "--up-axis is for a folder of shapes; leave it out",
        ),
        (["index", tmp_path / "x.parquet", "--keep-collision"], "--keep-collision is for a folder of shapes"),
        (["index", tmp_path / "x.parquet", *encoder], "--model is for shapes, and these are embedded; leave it out"),
        (["index", tmp_path / "cut.parquet"], "cut.parquet: is damaged"),
        (["score", tmp_path / "x.parquet", "--text", "a", "--up-axis", "z"], "--up-axis is for shapes, and these are"),
        (["score", shapes, "--text", "a", "-o", tmp_path / "latin.txt" / "s.csv"], "latin.txt is a file"),
        (["embed", shapes, "-o", tmp_path / "e.parquet", *encoder, "--revision", "main"], "is a folder"),
        (["search", work / "index", "a", *encoder], "--model is for --shape; leave it out"),
        (["search", work / "index", "a", "--skip-parts", "x"], "--skip-parts is for --shape; leave it out"),
        (["search", work / "index", "--shape", "a.glb", "--teacher", "t"], "--teacher is for words and pictures"),
        (["index", work / "index" / "items.parquet", "-o", work / "index", "--overwrite"], "items.parquet is read"),
        (["search", work / "index", "a", "--device", "cuda:99"], "cannot compute on the device cuda:99"),
        (["embed", shapes, "-o", tmp_path / "out.glb"], "expected a file with the suffix .parquet"),
        (["index", tmp_path / "no"], "no such folder of shapes"),
        (["index", tmp_path / "no.parquet"], "no.parquet: no such file; expected one of `mrd-hf embed`"),
        (["index", tmp_path / "other.parquet"], "other.parquet: not a file of `mrd-hf embed`"),
        (["index", shapes, "--split", "test"], "--split is for a --dataset"),
        (["index", tmp_path / "no", "--dataset"], "no dataset at"),
        (["index", shapes, "-o", tmp_path / "thesis", *encoder], "thesis exists and is no index; it is left as it is"),
        (["search", tmp_path, "a"], "no index there"),
        (["search", work / "index"], "searching for nothing; give one of TEXT, --image and --shape"),
        (["search", work / "index", "a", "--image", "b"], "searching for text and image; give one of"),
        (["search", work / "index", " "], "the text to search for is empty"),
        (["search", work / "index", "--image", tmp_path / "no.png"], "no.png: no such file"),
        (["search", work / "index", "--image", tmp_path / "latin.txt"], "latin.txt: cannot be read as a picture"),
        (["search", work / "index", "--shape", tmp_path / "latin.txt", *encoder], "suffix '.txt' are not known"),
        (["render", tmp_path / "no.glb"], "no.glb: no such file"),
        (["render", shapes], "is a folder; give the files in it"),
        (["render", tmp_path / "latin.txt"], "suffix '.txt' are not known"),
        (["render", shapes / "box.glb", "-o", tmp_path / "x.jpg"], "expected a file with the suffix .png"),
        (["render", shapes / "box.glb", "-o", tmp_path / "x.png", "--views", 99, "--size", 4096], "pixels"),
        (["render", shapes / "box.glb", "-o", tmp_path / "x.png", "--views", 1, "--size", 5000], "resolution is 5000"),
    ]
    for arguments, message in wrong:
        assert mrd_hf(*arguments) == 2, arguments
        out, err = capsys.readouterr()
        line = err.removesuffix("\n").rpartition("\n")[2]  # before it there may be a bar of the model's loading
        assert out == "" and line.startswith("error: ") and message in line, (arguments, err)
    assert not (tmp_path / "x.png").exists() and (tmp_path / "thesis" / "chapter.txt").exists()


def shapes_of(work):
    """The paths that the fixture's shapes have, in the order in which they are found."""
    return [work / "shapes" / name for name in ("ball.ply", "box.glb", "cloud.npy", "more/cone.STL")]
