"""The frozen teacher: agrees with the model called directly, text by text, on any image, and says what is wrong."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.tiny_teachers import (
    CLIP_WIDTH,
    MAX_TEXT_LENGTH,
    SIGLIP_WIDTH,
    TINY_TEACHERS,
    save_tiny_clip,
    save_tiny_fixed_siglip2,
)
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer, BertConfig, BertModel

from mrd_hf.data.embedding.cached_teacher import are_one, split_identifier
from mrd_hf.errors import UserError
from mrd_hf.models import model_sources
from mrd_hf.models.text_tower import TextTower
from mrd_hf.teacher import Teacher, flatten_onto_white, folder_identifier


TEXTS = ["a chair", "a rather long text about one chair, cut where it ends", "lamp", "a chair"]


@pytest.fixture(scope="module")
def teacher_folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    return {kind: save(folder / f"tiny-{kind}") for kind, save in TINY_TEACHERS.items()}


@pytest.fixture(scope="module", params=TINY_TEACHERS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def teacher(kind, teacher_folders):
    return Teacher.from_pretrained(teacher_folders[kind])


def make_images(count, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 20, 26, 3), dtype=np.uint8)
    return [Image.fromarray(array) for array in pixels]


def processor_options(kind):
    padding = {"padding": "max_length", "truncation": True, "max_length": MAX_TEXT_LENGTH, "return_tensors": "pt"}
    # SigLIP2's processor has values of its own for these, which win over those of its image processor.
    return padding | ({"patch_size": 10, "max_num_patches": 12} if kind == "siglip2" else {})


def test_embeddings_are_normalized_float32_of_the_shared_width(teacher, kind):
    width = SIGLIP_WIDTH if kind.startswith("siglip") else CLIP_WIDTH
    assert teacher.embedding_dim == width
    for embeds, count in ((teacher.embed_images(make_images(3)), 3), (teacher.embed_texts(TEXTS), len(TEXTS))):
        assert embeds.shape == (count, width)
        assert embeds.dtype == torch.float32
        torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(count))


def test_the_scale_is_what_the_model_multiplies_similarities_with(teacher, kind, teacher_folders):
    """Read off the model's own logits, at a scale that is not the one it starts with."""
    processor = AutoProcessor.from_pretrained(teacher_folders[kind])
    inputs = processor(images=make_images(2), text=[TEXTS[0], TEXTS[2]], **processor_options(kind))
    with torch.no_grad():
        outputs = teacher.model(**inputs)
        cosines = normalize(outputs.image_embeds, dim=-1) @ normalize(outputs.text_embeds, dim=-1).T
    slope = (outputs.logits_per_image[0, 0] - outputs.logits_per_image[0, 1]) / (cosines[0, 0] - cosines[0, 1])
    assert teacher.logit_scale == pytest.approx(slope.item(), rel=1e-2)


def test_a_model_may_have_no_scale(teacher_folders):
    teacher = Teacher.from_pretrained(teacher_folders["clip"])
    del teacher.model.logit_scale
    assert teacher.logit_scale is None


def test_nothing_to_embed(teacher):
    assert teacher.embed_images([]).shape == teacher.embed_texts([]).shape == (0, teacher.embedding_dim)


def test_agrees_with_the_model_called_directly(teacher, kind, teacher_folders):
    model = AutoModel.from_pretrained(teacher_folders[kind]).eval()
    processor = AutoProcessor.from_pretrained(teacher_folders[kind])
    images = make_images(3)
    inputs = processor(images=images, text=TEXTS, **processor_options(kind))
    with torch.no_grad():
        outputs = model(**inputs)
    torch.testing.assert_close(teacher.embed_images(images), normalize(outputs.image_embeds, dim=-1))
    torch.testing.assert_close(teacher.embed_texts(TEXTS), normalize(outputs.text_embeds, dim=-1))


def test_a_configuration_that_asks_for_tuples_changes_no_embedding(teacher, kind, teacher_folders, tmp_path):
    folder = shutil.copytree(teacher_folders[kind], tmp_path / kind)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "return_dict": False}))
    other = Teacher.from_pretrained(folder)
    assert torch.equal(other.embed_texts(TEXTS), teacher.embed_texts(TEXTS))
    assert torch.equal(other.embed_images(make_images(2)), teacher.embed_images(make_images(2)))


def test_different_inputs_embed_differently(teacher):
    for embeds in (teacher.embed_images(make_images(3)), teacher.embed_texts(TEXTS[:3])):
        assert (embeds @ embeds.T).fill_diagonal_(0).max() < 0.9999


def test_a_text_embeds_alike_alone_and_in_a_batch(teacher):
    together = teacher.embed_texts(TEXTS)
    alone = torch.cat([teacher.embed_texts([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_siglip2_of_a_fixed_resolution_sees_lower_case(tmp_path):
    """Its configuration says SigLIP, and its tokenizer is Gemma's, which leaves capitals; training had none."""
    folder = save_tiny_fixed_siglip2(tmp_path / "siglip2")
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert (model.config.model_type, type(tokenizer).__name__) == ("siglip", "GemmaTokenizer")
    options = {"padding": "max_length", "max_length": MAX_TEXT_LENGTH, "return_tensors": "pt"}
    lower, upper = tokenizer("a tv stand", **options), tokenizer("A TV stand", **options)
    assert not torch.equal(lower["input_ids"], upper["input_ids"])
    with torch.no_grad():
        expected = normalize(model.get_text_features(**lower).pooler_output, dim=-1)
    teacher, tower = Teacher.from_pretrained(folder), TextTower.from_pretrained(folder)
    for embeds in (
        teacher.embed_texts(["A TV stand"]),
        tower.embed(["A TV Stand"]),
        tower.embed_classes(["TV stand"], ["A {}"]),
    ):
        torch.testing.assert_close(embeds, expected)


def test_text_is_cut_at_the_number_of_positions_where_the_tokenizer_knows_no_length(kind, teacher_folders):
    processor = AutoProcessor.from_pretrained(teacher_folders[kind])
    processor.tokenizer.model_max_length = int(1e30)  # as SigLIP2's tokenizer has it
    teacher = Teacher(AutoModel.from_pretrained(teacher_folders[kind]), processor, "tiny")
    assert torch.isfinite(teacher.embed_texts(["chair " * 50])).all()


def test_a_text_is_cut_where_its_model_ends(teacher, kind):
    """One position more would be an index error in some of the models, and one less another embedding."""
    long = "b, " * MAX_TEXT_LENGTH
    with torch.no_grad():
        ids = teacher.processor.tokenizer(long, truncation=True, max_length=MAX_TEXT_LENGTH, return_tensors="pt")
        assert ids["input_ids"].shape[1] == MAX_TEXT_LENGTH
        expected = normalize(teacher.model.get_text_features(**ids).pooler_output, dim=-1)
    torch.testing.assert_close(teacher.embed_texts([long]), expected)


def test_a_batch_is_padded_no_further_than_needed_where_the_padding_does_not_count(teacher, kind):
    seen = []
    teacher.model.text_model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    teacher.embed_texts(["b", "a"])
    assert (seen[0] == MAX_TEXT_LENGTH) == kind.startswith("siglip")


def test_align_reads_64_tokens_whatever_its_tokenizer_takes(tmp_path):
    processor = AutoProcessor.from_pretrained(TINY_TEACHERS["align"](tmp_path))
    config = AutoConfig.from_pretrained(tmp_path)
    config.text_config.max_position_embeddings = 512
    processor.tokenizer.model_max_length = 512
    teacher = Teacher(AutoModel.from_config(config), processor, "align")
    embeds = teacher.embed_texts([word for words in (61, 62, 63) for word in ["a " * words]])
    assert not torch.equal(embeds[0], embeds[1])
    assert torch.allclose(embeds[1], embeds[2], atol=1e-6)


def test_takes_no_gradient_and_is_frozen_yet_serves_in_a_loss(teacher):
    assert not teacher.model.training
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    texts = teacher.embed_texts(TEXTS)
    assert not texts.requires_grad
    student = torch.randn(4, teacher.embedding_dim, requires_grad=True)
    (student @ texts.T).square().mean().backward()
    assert student.grad is not None


def test_lower_precision_agrees_roughly_and_returns_float32(teacher, kind, teacher_folders):
    lower = Teacher.from_pretrained(teacher_folders[kind], dtype=torch.bfloat16)
    assert lower.model.dtype == torch.bfloat16
    for method, inputs in (("embed_images", make_images(2)), ("embed_texts", TEXTS)):
        embeds = getattr(lower, method)(inputs)
        assert embeds.dtype == torch.float32
        assert ((embeds * getattr(teacher, method)(inputs)).sum(dim=-1) > 0.995).all()


def test_uses_the_pil_image_processor(teacher):
    assert type(teacher.processor.image_processor).__name__.endswith("Pil")


def transparent_image():
    image = Image.new("RGBA", (8, 6), (0, 0, 0, 0))
    image.paste((200, 30, 40, 255), (0, 0, 4, 6))
    return image


@pytest.mark.parametrize("mode", ["P", "PA", "LA", "RGBA", "RGBa"])
def test_transparency_is_flattened_onto_white(mode):
    image = transparent_image()
    if mode == "P":
        image = image.quantize(4)  # a palette whose colours carry alpha
    elif mode == "PA":
        image = image.convert("P").convert("PA")
        image.putalpha(transparent_image().getchannel("A"))
    else:
        image = image.convert(mode)
    assert image.mode == mode
    flat = flatten_onto_white(image)
    assert flat.mode == "RGB"
    assert flat.getpixel((6, 3)) == (255, 255, 255)
    assert flat.getpixel((1, 3)) != (255, 255, 255)


def test_a_half_transparent_pixel_mixes_with_white():
    assert flatten_onto_white(Image.new("RGBA", (2, 2), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)


def test_a_transparent_color_named_in_the_header_shows_white(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "key.png", transparency=(255, 0, 0))
    assert flatten_onto_white(Image.open(tmp_path / "key.png")).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4"])
def test_16_bits_become_8_instead_of_white(dtype):
    """Pillow itself shows whatever is above 255 of 65535 as white."""
    image = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=dtype))
    assert image.mode in ("I;16", "I;16B", "I")
    assert [flatten_onto_white(image).getpixel((x, 0)) for x in range(4)] == [(v,) * 3 for v in (0, 1, 128, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGB"])
def test_opaque_modes_keep_their_colors(mode):
    assert flatten_onto_white(Image.new("RGB", (4, 4), "black").convert(mode)).getpixel((0, 0)) == (0, 0, 0)


def test_palette_and_rgb_of_one_picture_embed_alike(teacher):
    image = transparent_image().quantize(4)
    embeds = teacher.embed_images([image, flatten_onto_white(image)])
    torch.testing.assert_close(embeds[0], embeds[1])


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 40), (3, 50), (50, 3)])
def test_images_of_odd_sizes(teacher, size):
    assert torch.isfinite(teacher.embed_images([Image.new("RGB", size, "red")])).all()


def test_identifier_of_a_local_folder_is_its_name_and_a_digest(teacher, kind):
    assert re.fullmatch(r"sha256:[0-9a-f]{16}", teacher.revision)
    assert teacher.identifier == f"tiny-{kind}@{teacher.revision}"


def test_a_folder_is_recognised_however_it_is_given_and_another_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save_tiny_clip(tmp_path / "clip")
    known = Teacher.from_pretrained(folder).identifier
    assert str(tmp_path) not in known
    (tmp_path / "link").symlink_to(folder)
    for given in (f"{folder}/", "clip", "./clip", "../" + tmp_path.name + "/clip", "link"):
        assert Teacher.from_pretrained(given).identifier == known, given
    # What is of no consequence to embeddings, and a new name, of which the digest tells that it is one.
    shutil.copytree(folder, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "README.md").write_text("Mine.")
    config = json.loads((tmp_path / "elsewhere" / "config.json").read_text())
    (tmp_path / "elsewhere" / "config.json").write_text(json.dumps({**config, "transformers_version": "9.9"}))
    moved = folder_identifier("elsewhere")
    assert moved == known.replace("clip@", "elsewhere@") and are_one(moved, known)
    # What is: an activation, the pictures' size, a word, a weight.
    for file, old, new in (
        ("config.json", '"quick_gelu"', '"gelu"'),
        ("processor_config.json", '"do_resize": true', '"do_resize": false'),
        ("tokenizer.json", "0", "1"),
    ):
        before = (folder / file).read_text()
        assert old in before
        (folder / file).write_text(before.replace(old, new, 1))
        assert not are_one(folder_identifier("clip"), known), file
        (folder / file).write_text(before)
    weights = load_file(folder / "model.safetensors")
    weights["logit_scale"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert folder_identifier("clip").startswith("clip@") and not are_one(folder_identifier("clip"), known)


def test_a_folder_of_the_hubs_cache_is_the_repository(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = save_tiny_clip(tmp_path / "models--some-one--tiny-clip" / "snapshots" / commit)
    assert Teacher.from_pretrained(folder).identifier == f"some-one/tiny-clip@{commit}"


def test_a_recorded_folder_is_found_and_checked(tmp_path, monkeypatch):
    """As an encoder's configuration names it: where nothing else is known of it."""
    monkeypatch.chdir(tmp_path)
    folder = save_tiny_clip(tmp_path / "clip")
    name, revision = split_identifier(folder_identifier("clip"))
    assert (
        TextTower.from_pretrained(name, revision).embedding_dim
        == Teacher.from_pretrained(name, revision).embedding_dim
    )
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"quick_gelu"', '"gelu"', 1))
    with pytest.raises(ValueError, match=rf"the folder 'clip' is not the teacher of that name.*{revision}"):
        TextTower.from_pretrained(name, revision)
    folder.rename(tmp_path / "moved")
    asked = []
    monkeypatch.setattr(model_sources, "why_not_asked", lambda: asked.append(name))
    with pytest.raises(UserError, match=rf"'clip' was a local folder.*{revision}.*name the folder that it is in"):
        Teacher.from_pretrained(name, revision)
    assert not asked  # nor is the Hub to be


def test_missing_folder_names_it_and_the_remedy(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"'some/missing-folder'.*no such folder.*HF_HUB_OFFLINE.*save_pretrained"):
        Teacher.from_pretrained("some/missing-folder")


def test_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"holds no model.*config\.json"):
        Teacher.from_pretrained(tmp_path)


def test_model_that_is_no_dual_encoder(tmp_path):
    config = BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"BertModel.*dual encoder"):
        Teacher.from_pretrained(tmp_path)


@pytest.mark.parametrize("missing", ["processor_config.json", "tokenizer.json"])
def test_model_without_its_processor(tmp_path, missing):
    folder = save_tiny_clip(tmp_path / "clip")
    (folder / missing).unlink()
    with pytest.raises(UserError, match=r"clip'.*(processor|tokenizer)"):
        Teacher.from_pretrained(folder)


def test_towers_of_different_widths(tmp_path):
    folder = save_tiny_clip(tmp_path / "clip")
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder)
    model.text_projection = torch.nn.Linear(32, 7, bias=False)
    with pytest.raises(UserError, match="images into 24 dimensions and texts into 7"):
        Teacher(model, processor, "crooked")


def test_records_the_commit_of_a_model_from_the_hub(tmp_path):
    """From a cache laid out as the Hub's client does it, offline, in a process of its own."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--tiny-clip"
    save_tiny_clip(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    code = (
        "from mrd_hf.teacher import Teacher; teacher = Teacher.from_pretrained('someone/tiny-clip'); "
        "print(teacher.revision, teacher.identifier)"
    )
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
    }
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.split() == [commit, f"someone/tiny-clip@{commit}"]
