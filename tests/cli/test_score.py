"""`mrd-hf score` against cosines by the models themselves, a shape and a prompt at a time."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import ExifTags, Image
from tiny_commands import mrd_hf, save_tiny_encoder, write_shapes
from transformers import AutoFeatureExtractor, AutoModel, pipeline

from mrd_hf.cli.prompts import pictures
from mrd_hf.errors import UserError
from mrd_hf.models.teacher_folder import folder_revision
from mrd_hf.models.text_tower import TextTower
from mrd_hf.teacher import Teacher


TEXTS = ["a red box", "a ball", "my zebra"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with `encoder`, its `teacher`, `shapes`, their `embeddings.parquet` and pictures."""
    folder = tmp_path_factory.mktemp("work")
    save_tiny_encoder(folder / "encoder")
    write_shapes(folder / "shapes")
    arguments = ["-o", folder / "embeddings.parquet", "--model", folder / "encoder"]
    assert mrd_hf("embed", folder / "shapes", *arguments) == 0
    for name, color in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (40, 30), color).save(folder / f"{name}.png")
    return folder


@pytest.fixture(autouse=True)
def default_model(work, monkeypatch):
    monkeypatch.setenv("MRD_MODEL", str(work / "encoder"))


def shapes_of(work):
    return [work / "shapes" / name for name in ("ball.ply", "box.glb", "cloud.npy", "more/cone.STL")]


def expected(work, prompts: torch.Tensor) -> np.ndarray:
    model = AutoModel.from_pretrained(work / "encoder").eval()
    extractor = AutoFeatureExtractor.from_pretrained(work / "encoder")
    rows = []
    for file in shapes_of(work):
        with torch.no_grad():
            embed = model.get_point_features(**extractor(str(file)))[0].double().numpy()
        rows.append([embed @ p / np.linalg.norm(embed) / np.linalg.norm(p) for p in prompts.double().cpu().numpy()])
    return np.array(rows)


def texts(work, names=TEXTS) -> torch.Tensor:
    return torch.cat([TextTower.from_pretrained(work / "teacher").embed([name]) for name in names])


def scored(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def table(found: dict, columns: int) -> np.ndarray:
    return np.array([row["score"] for row in found["scores"]]).reshape(-1, columns)


def test_texts_are_compared_as_they_are(work, capsys, tmp_path):
    given = [word for text in TEXTS for word in ("--text", text)]
    assert mrd_hf("score", work / "shapes", *given, "--json") == 0
    found = scored(capsys)
    cosines = expected(work, texts(work))
    np.testing.assert_allclose(table(found, 3), cosines, atol=1e-5)
    assert [row["prompt"] for row in found["scores"][:3]] == TEXTS
    assert [row["shape"] for row in found["scores"][::3]] == list(map(str, shapes_of(work)))
    assert list(found["means"].values()) == pytest.approx(cosines.mean(axis=0), abs=1e-5)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    assert mrd_hf("score", work / "shapes", "--texts-file", tmp_path / "texts.txt", "--json") == 0
    assert scored(capsys) == found
    assert mrd_hf("score", work / "shapes", *given, "--measure", "scaled", "--json") == 0
    np.testing.assert_allclose(table(scored(capsys), 3), 2.0 * cosines, atol=1e-5)  # the tiny encoder's scale
    assert mrd_hf("score", work / "shapes", *given) == 0
    shown = capsys.readouterr().out
    assert f"  {cosines[0, 1]:7.3f}  a ball" in shown and "means over 4 shapes" in shown


def test_pictures_are_embedded_by_the_teacher(work, capsys):
    pictures = [work / "red.png", work / "blue.png"]
    assert mrd_hf("score", work / "shapes", "--image", pictures[0], "--image", pictures[1], "--json") == 0
    embeds = Teacher.from_pretrained(work / "teacher").embed_images([Image.open(picture) for picture in pictures])
    np.testing.assert_allclose(table(scored(capsys), 2), expected(work, embeds), atol=1e-5)


def test_embeddings_that_are_there_give_the_same_scores(work, capsys, tmp_path):
    embeds = texts(work).numpy()
    pq.write_table(pa.table({"label": TEXTS, "text_embed": list(embeds)}), tmp_path / "texts.parquet")
    command = ["score", work / "embeddings.parquet", "--class-texts", tmp_path / "texts.parquet"]
    assert mrd_hf(*command, "--json", "--model", "nowhere") == 0  # neither encoder nor teacher is loaded
    found = scored(capsys)
    np.testing.assert_allclose(table(found, 3), expected(work, texts(work)), atol=1e-5)
    for name in ("scores.csv", "scores.json", "scores.parquet"):
        assert mrd_hf(*command, "-o", tmp_path / name) == 0
        assert "12 scores written to" in capsys.readouterr().out
    assert pq.read_table(tmp_path / "scores.parquet").to_pylist() == found["scores"]
    assert json.loads((tmp_path / "scores.json").read_text()) == found
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["shape"], row["prompt"], float(row["score"])) for row in rows] == [
        (row["shape"], row["prompt"], row["score"]) for row in found["scores"]
    ]
    assert mrd_hf("score", work / "embeddings.parquet", "--text", TEXTS[0], "--json") == 0  # its teacher is named
    np.testing.assert_allclose(table(scored(capsys), 1)[:, 0], table(found, 3)[:, 0], atol=1e-5)


def test_a_text_tower_beside_embeddings_is_refused(work, capsys, tmp_path):
    pq.write_table(pa.table({"label": TEXTS, "text_embed": list(texts(work).numpy())}), tmp_path / "texts.parquet")
    options = ("--class-texts", tmp_path / "texts.parquet", "--text-tower", work / "teacher")
    assert mrd_hf("score", work / "embeddings.parquet", *options) == 2
    assert "--class-texts has the texts' embeddings; leave out --text-tower" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["score", "classify"])
def test_class_texts_of_another_teacher_are_refused(work, capsys, caplog, tmp_path, command):
    """Whether a folder's teacher is the one of the Hub cannot be known: a warning."""
    embeds = list(texts(work).numpy())
    encoder = AutoModel.from_pretrained(work / "encoder")
    encoder.config.teacher_id = "elsewhere/teacher"
    encoder.save_pretrained(tmp_path / "encoder")
    AutoFeatureExtractor.from_pretrained(work / "encoder").save_pretrained(tmp_path / "encoder")

    def shown(teacher: str) -> tuple[int, str]:
        record = {"source": "", "settings": {"teacher": teacher}, "left_out": []}
        table = pa.table({"label": TEXTS, "text_embed": embeds})
        file = tmp_path / "texts.parquet"
        pq.write_table(table.replace_schema_metadata({"mrd_hf.embedded": json.dumps(record)}), file)
        caplog.clear()
        code = mrd_hf(command, work / "shapes", "--model", tmp_path / "encoder", "--class-texts", file)
        return code, capsys.readouterr().err + caplog.text

    code, said = shown("org/another-clip")
    assert code == 2 and "texts.parquet are those of the teacher org/another-clip, and those of encoder are in" in said
    for teacher, warned in (("elsewhere/teacher", False), (f"clip@sha256:{'0' * 16}", True)):
        code, said = shown(teacher)
        assert code == 0, said
        assert ("make sure that the two are the same model" in said) == warned


def test_a_teacher_that_is_told_by_its_folders_digest_is_found(work, capsys, tmp_path, monkeypatch):
    """As training records one that was a local folder: by the folder's name, and a digest."""
    encoder = AutoModel.from_pretrained(work / "encoder")
    encoder.config.teacher_id, encoder.config.teacher_revision = "teacher", folder_revision(work / "teacher")
    encoder.save_pretrained(tmp_path / "encoder")
    AutoFeatureExtractor.from_pretrained(work / "encoder").save_pretrained(tmp_path / "encoder")
    monkeypatch.chdir(work)
    model = ["--model", tmp_path / "encoder", "--json"]
    assert mrd_hf("embed", "shapes", "-o", tmp_path / "shapes.parquet", *model) == 0
    capsys.readouterr()
    for shapes in ("shapes", tmp_path / "shapes.parquet"):
        assert mrd_hf("score", shapes, "--text", TEXTS[0], *model) == 0
        np.testing.assert_allclose(table(scored(capsys), 1), expected(work, texts(work, TEXTS[:1])), atol=1e-5)
        assert mrd_hf("score", shapes, "--image", "red.png", *model) == 0
        capsys.readouterr()


def test_labels_are_embedded_by_the_revision_that_the_encoder_learned_from(work, capsys, tmp_path, monkeypatch):
    """A folder of the teacher's name that is another model is refused, by every command that embeds texts."""
    encoder = AutoModel.from_pretrained(work / "encoder")
    AutoFeatureExtractor.from_pretrained(work / "encoder").save_pretrained(tmp_path / "encoder")
    monkeypatch.chdir(work)
    model = ["--model", tmp_path / "encoder"]
    for revision, code in ((folder_revision(work / "teacher"), 0), ("sha256:" + "0" * 16, 2)):
        encoder.config.teacher_id, encoder.config.teacher_revision = "teacher", revision
        encoder.save_pretrained(tmp_path / "encoder")
        index = tmp_path / f"index{code}"
        assert mrd_hf("index", "shapes", "-o", index, *model) == 0
        capsys.readouterr()
        for command in (["classify", "shapes", "--labels", "a,b", *model], ["search", index, "a chair"]):
            assert mrd_hf(*command) == code
            assert code == 0 or "teacher" in capsys.readouterr().err
        classify = pipeline("zero-shot-point-cloud-classification", model=str(tmp_path / "encoder"))
        shape = str(shapes_of(work)[0])
        if code == 0:
            assert len(classify(shape, candidate_labels=["a", "b"])) == 2
        else:
            with pytest.raises(ValueError, match="teacher"):
                classify(shape, candidate_labels=["a", "b"])


@pytest.fixture
def pairs(work):
    """In the folder of the shapes, so with relative names; two shapes have one prompt."""
    prompts = [TEXTS[1], TEXTS[0], TEXTS[1], TEXTS[2]]
    with (work / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["note", "text", "shape"])
        for shape, prompt in zip(shapes_of(work), prompts, strict=True):
            rows.writerow(["x", prompt, shape.relative_to(work)])
    return work / "pairs.csv"


def test_links_to_one_file_are_shapes_of_their_own(work, tmp_path, monkeypatch, capsys):
    """Deduplicated shapes, and those of the Hub's cache, are links."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(f"{name}.ply").symlink_to(work / "shapes" / "ball.ply")
    embed = ["embed", "a.ply", "b.ply", "-o", "shapes.parquet", "--model", work / "encoder"]
    assert mrd_hf(*embed) == 0
    Path("elsewhere").mkdir()
    around = tmp_path / "elsewhere" / ".."  # neither is named as the embeddings are
    Path("pairs.csv").write_text(f"shape,text\n{around / 'a.ply'},ball\n{around / 'b.ply'},box\n")
    words = ["score", "shapes.parquet", "--pairs", "pairs.csv", "--text-tower", work / "teacher", "--json"]
    capsys.readouterr()
    assert mrd_hf(*words) == 0
    assert len(json.loads(capsys.readouterr().out)["scores"]) == 2


def test_pictures_are_embedded_a_few_at_a_time(work, monkeypatch):
    """And the first that cannot be read is told before the teacher is asked for."""
    calls = []
    monkeypatch.setattr(pictures, "AT_ONCE", 2)
    embed_images = Teacher.embed_images
    monkeypatch.setattr(Teacher, "embed_images", lambda self, of: calls.append(len(of)) or embed_images(self, of))
    paths = [str(work / name) for name in ("red.png", "blue.png", "red.png")]
    teacher = str(work / "teacher")
    width = Teacher.from_pretrained(teacher).embedding_dim
    found = pictures.embed_pictures(paths, teacher, None, width, "cpu", "the encoder")
    assert calls[-2:] == [2, 1] and found.shape == (3, width)  # before, one tells its width
    expected_embeds = embed_images(Teacher.from_pretrained(teacher), [Image.open(path) for path in paths])
    np.testing.assert_allclose(found, expected_embeds.numpy(), atol=1e-5)
    with pytest.raises(UserError, match=r"none\.png: no such file"):
        pictures.embed_pictures([*paths, "none.png"], "no/teacher", None, width, "cpu", "the encoder")


def test_pictures_of_many_pixels_are_fewer_at_a_time(monkeypatch):
    monkeypatch.setattr(pictures, "PIXELS_AT_ONCE", 100)
    assert list(pictures._batches([60, 40, 1, 500, 99, 1, 1])) == [(0, 2), (2, 3), (3, 4), (4, 6), (6, 7)]
    assert list(pictures._batches([])) == []
    monkeypatch.setattr(pictures, "AT_ONCE", 2)
    assert list(pictures._batches([1] * 5)) == [(0, 2), (2, 4), (4, 5)]


def test_a_picture_is_turned_as_its_exif_data_says(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.jpg", exif=exif)
    assert pictures.read_picture(str(tmp_path / "photo.jpg")).size == (20, 30)
    for number, damaged in enumerate((b"II*\0", b"no header of TIFF at all", b"")):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (30, 20)).save(file, exif=damaged or None)
        assert pictures.read_picture(str(file)).size == (30, 20)


def test_pairs_have_a_mean_and_an_r_precision(work, pairs, capsys):
    assert mrd_hf("score", "--pairs", pairs, "--json") == 0
    found = scored(capsys)
    cosines = expected(work, texts(work, [TEXTS[1], TEXTS[0], TEXTS[2]]))  # in the order of the table
    own = [0, 1, 0, 2]
    np.testing.assert_allclose([row["score"] for row in found["scores"]], cosines[range(4), own], atol=1e-5)
    assert found["mean"] == pytest.approx(cosines[range(4), own].mean(), abs=1e-5)
    ranks = [1 + int((row > row[place]).sum()) for row, place in zip(cosines, own, strict=True)]
    assert [row["rank"] for row in found["scores"]] == ranks
    assert found["r_precision"]["1"] == np.mean(np.array(ranks) == 1) and found["r_precision"]["5"] == 1
    assert found["r_precision_by_chance"]["1"] == pytest.approx(1 / 3) and found["num_prompts"] == 3
    assert mrd_hf("score", work / "embeddings.parquet", "--pairs", pairs, "--json") == 0
    again = scored(capsys)
    assert [row["score"] for row in again["scores"]] == pytest.approx([row["score"] for row in found["scores"]])
    assert mrd_hf("score", "--pairs", pairs) == 0
    shown = capsys.readouterr().out
    assert "over 4 pairs" in shown and f"R-precision at 1: {np.mean(np.array(ranks) == 1):.1%} of 3 prompts" in shown


def test_pairs_of_pictures(work, capsys):
    (work / "pictures.csv").write_text("shape,image\nshapes/ball.ply,red.png\nshapes/box.glb,blue.png\n")
    assert mrd_hf("score", "--pairs", work / "pictures.csv", "--json") == 0
    pictures = [Image.open(work / name) for name in ("red.png", "blue.png")]
    cosines = expected(work, Teacher.from_pretrained(work / "teacher").embed_images(pictures))
    assert [row["score"] for row in scored(capsys)["scores"]] == pytest.approx(
        [cosines[0, 0], cosines[1, 1]], abs=1e-5
    )


def test_twice_gives_the_same_bytes(work, pairs, tmp_path):
    for name in ("a.json", "b.json"):
        assert mrd_hf("score", "--pairs", pairs, "-o", tmp_path / name) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_shape_that_cannot_be_read_is_left_out_and_listed(work, capsys):
    (work / "broken.csv").write_text("shape,text\nshapes/ball.ply,a ball\nshapes/none.glb,a box\n")
    assert mrd_hf("score", "--pairs", work / "broken.csv", "--json") == 1
    found = scored(capsys)
    assert len(found["scores"]) == 1 and found["failed"][0]["file"].endswith("none.glb")
    (work / "broken.csv").write_text("shape,text\nshapes/none.glb,a box\n")
    assert mrd_hf("score", "--pairs", work / "broken.csv") == 1
    assert "none of the shapes could be embedded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shapes"], "score against what"),
        (["shapes", "--text", "a", "--image", "red.png"], "score against what"),
        (["shapes", "--text", "  "], "--text is blank"),
        (["--text", "a"], "which shapes"),
        (["shapes", "--pairs", "pairs.csv"], "--pairs names the shapes itself"),
        (["--pairs", "pairs.csv", "--text", "a"], "--pairs has the prompts; leave out --text"),
        (["embeddings.parquet", "shapes", "--text", "a"], "cannot be scored together"),
        (["embeddings.parquet", "--text", "a", "--measure", "scaled"], "does not say its encoder's scale"),
        (["shapes", "--text", "a", "-o", "scores.txt"], "expected a file with the suffix .csv, .json, .parquet"),
        (["shapes", "--image", "none.png"], "none.png: no such file"),
        (["--pairs", "none.csv"], "no such file; expected a CSV file"),
        (["--pairs", "no_shape.csv"], "has the columns text; expected shape"),
        (["--pairs", "both.csv"], "has the columns text and image, and a prompt is one of them; leave out the other"),
        (["--pairs", "nothing.csv"], "nothing.csv: is empty; expected a CSV file with the columns shape and text"),
        (["--pairs", "gap.csv"], "gap.csv: line 3 has no text"),
        (["--pairs", "empty.csv"], "has no pair in it"),
        (["--pairs", "latin.csv"], "cannot be read as CSV in UTF-8"),
        (["embeddings.parquet", "--pairs", "others.csv"], "has no embedding of 1 shapes of --pairs"),
    ],
)
def test_what_does_not_fit_is_named_with_the_remedy(work, pairs, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(work)
    for name, content in (
        ("no_shape.csv", b"text\na\n"),
        ("both.csv", b"shape,text,image\na,b,c\n"),
        ("nothing.csv", b""),
        ("gap.csv", b"shape,text\nshapes/ball.ply,a\nshapes/ball.ply,\n"),
        ("empty.csv", b"shape,text\n"),
        ("latin.csv", b"shape,text\na,caf\xe9\n"),
        ("others.csv", b"shape,text\nother.glb,a\n"),
    ):
        (work / name).write_bytes(content)
    assert mrd_hf("score", *arguments) == 2
    assert message in capsys.readouterr().err


def test_classify_gives_cosines_on_demand(work, capsys):
    labels = ["--labels", ",".join(TEXTS), "--template", "{}", "--scores", "cosine"]
    assert mrd_hf("classify", work / "shapes", *labels, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    for result, cosines in zip(found, expected(work, texts(work)), strict=True):
        assert {entry["label"]: entry["score"] for entry in result["labels"]} == pytest.approx(
            dict(zip(TEXTS, cosines, strict=True)), abs=1e-5
        )
    assert mrd_hf("classify", work / "shapes", *labels) == 0
    assert "%" not in capsys.readouterr().out
