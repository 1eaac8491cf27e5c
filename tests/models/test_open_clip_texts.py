"""Texts of open_clip's models, read without open_clip, equal to recordings of open_clip."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.forked_processes import start
from support.golden import recording
from support.tiny_open_clip import KINDS, add_tokenizer, save_tiny_open_clip
from support.tiny_teachers import save_tiny_clip
from torch.nn.functional import normalize
from transformers import AutoTokenizer

from mrd_hf.errors import UserError
from mrd_hf.models.model_sources import find_model
from mrd_hf.models.open_clip_texts import is_open_clip, load_open_clip_texts
from mrd_hf.models.teacher_folder import folder_revision
from mrd_hf.models.text_tower import TextTower
from mrd_hf.teacher import Teacher


HAS_OPEN_CLIP = importlib.util.find_spec("open_clip") is not None


@pytest.mark.parametrize("kind", KINDS)
def test_texts_embed_as_in_open_clip(kind, tmp_path):
    model = load_open_clip_texts(find_model(save_tiny_open_clip(tmp_path, kind)), torch.float32)
    recorded = recording(kind)
    with torch.no_grad():
        embeds = model.get_text_features(recorded["input_ids"]).pooler_output
    torch.testing.assert_close(embeds, recorded["text_embeds"], atol=2e-6, rtol=2e-5)
    assert model.logit_scale.item() == pytest.approx(2.6592, abs=1e-4)


def test_a_tower_tokenizes_and_embeds(tmp_path):
    folder = tmp_path / "teacher"
    save_tiny_open_clip(folder, "open_clip_custom_text", vocab_size=add_tokenizer(folder))
    tower = TextTower.from_pretrained(folder)
    texts = ["chair", "a mug", "a chair that has far more letters than positions"]
    embeds = tower.embed(texts)
    assert embeds.shape == (3, 24) and tower.max_length == 12
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, embed in zip(texts, embeds, strict=True):  # each alone, which needs no padding
        ids = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected = normalize(tower.model.get_text_features(ids).pooler_output[0], dim=-1)
        torch.testing.assert_close(embed, expected)
    assert not torch.allclose(embeds[0], embeds[1], atol=0.1)


def embed_without(packages: tuple[str, ...], folder: Path) -> None:
    assert "open_clip" not in sys.modules  # by what the package imports at its start
    sys.modules.update(dict.fromkeys(packages))  # importing one raises ModuleNotFoundError
    assert TextTower.from_pretrained(folder).embed(["a mug"]).shape == (1, 24)


def test_a_tower_needs_none_of_open_clips_packages(tmp_path):
    save_tiny_open_clip(tmp_path, "open_clip_custom_text", vocab_size=add_tokenizer(tmp_path))
    process = start(embed_without, ("open_clip", "torchvision", "timm"), tmp_path)
    assert process.wait(timeout=120) == 0


def test_what_transformers_loads_is_not_taken_for_open_clips(tmp_path):
    both = save_tiny_clip(tmp_path / "both")
    before = folder_revision(both)
    alone = save_tiny_open_clip(tmp_path / "alone", "open_clip_text")
    for file in ("open_clip_config.json", "open_clip_model.safetensors"):
        (both / file).write_bytes((alone / file).read_bytes())
    assert not is_open_clip(find_model(both)) and is_open_clip(find_model(alone))
    assert folder_revision(both) == before  # as embeddings have recorded it


def test_a_folders_digest_is_of_open_clips_weights_where_timms_lie_beside_them(tmp_path):
    folder = save_tiny_open_clip(tmp_path / "timm", "open_clip_text")  # with timm's config.json
    (folder / "model.safetensors").write_bytes(b"timm's half")
    before = folder_revision(folder)
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert is_open_clip(find_model(folder)) and folder_revision(folder) != before


def test_a_folders_digest_is_of_its_weights_and_its_texts_settings(tmp_path):
    revisions = [
        folder_revision(save_tiny_open_clip(tmp_path / "1", "open_clip_text")),
        folder_revision(save_tiny_open_clip(tmp_path / "2", "open_clip_text", vocab_size=51)),
        folder_revision(save_tiny_open_clip(tmp_path / "3", "open_clip_text", heads=2)),
        folder_revision(save_tiny_open_clip(tmp_path / "4", "open_clip_text")),
    ]
    assert len(set(revisions)) == 3 and revisions[0] == revisions[3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool_type": "last"}, "its text tower has pool_type = 'last'"),
        ({"hf_model_name": "xlm-roberta-base"}, "its text tower has hf_model_name = 'xlm-roberta-base'"),
        ({"qk_norm": True}, "its text tower has qk_norm = True"),
        ({"layers": 4}, "open_clip_model.safetensors has nothing for text_model.encoder.layers.3"),
    ],
)
def test_other_text_towers_are_refused(changes, message, tmp_path):
    source = find_model(save_tiny_open_clip(tmp_path, "open_clip_text", **changes))
    with pytest.raises(ValueError, match=message):
        load_open_clip_texts(source, torch.float32)


def test_settings_that_are_off_are_clips(tmp_path):
    off = {"pool_type": "argmax", "qk_norm": False, "ls_init_value": None, "eos_id": 49407}
    model = load_open_clip_texts(find_model(save_tiny_open_clip(tmp_path, "open_clip_text", **off)), torch.float32)
    recorded = recording("open_clip_text")  # of a model whose configuration does not name these settings
    with torch.no_grad():
        embeds = model.get_text_features(recorded["input_ids"]).pooler_output
    torch.testing.assert_close(embeds, recorded["text_embeds"], atol=2e-6, rtol=2e-5)


def test_pickled_weights_are_not_read(tmp_path):
    source = find_model(save_tiny_open_clip(tmp_path, "open_clip_text"))
    (tmp_path / "open_clip_model.safetensors").rename(tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(ValueError, match="it has no open_clip_model.safetensors; weights are read from safetensors"):
        load_open_clip_texts(source, torch.float32)


def test_without_open_clip_a_teachers_images_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match=r"embedded by open_clip, .*pip install 'mrd-hf\[open-clip\]'"):
        Teacher.from_pretrained(save_tiny_open_clip(tmp_path, "open_clip_text"))


IMAGES = """
import sys
sys.path.append("tests")
from pathlib import Path
import torch
from PIL import Image
from support.golden import recording
from support.tiny_open_clip import KINDS, add_tokenizer, save_tiny_open_clip
from mrd_hf.teacher import Teacher

for kind in KINDS:
    folder = Path(sys.argv[1]) / kind
    save_tiny_open_clip(folder, kind, vocab_size=add_tokenizer(folder))
    teacher = Teacher.from_pretrained(folder)
    recorded = recording(kind)
    with torch.no_grad():
        embeds = teacher.model.get_image_features(recorded["pixel_values"]).pooler_output
    torch.testing.assert_close(embeds, recorded["image_embeds"], atol=2e-6, rtol=2e-5)
    images = [Image.new("RGB", (40, 50), color) for color in ("red", "blue")]
    assert teacher.embed_images(images).shape == (2, 24) == teacher.embed_texts(["a", "b"]).shape
    assert teacher.image_backend == "OpenClipImageProcessor" and abs(teacher.logit_scale - 1 / 0.07) < 1e-2
"""


@pytest.mark.skipif(not HAS_OPEN_CLIP, reason="open_clip is not installed")
def test_images_embed_as_in_open_clip(tmp_path):
    """In a process of its own: open_clip brings torchvision, which transformers would find in this one."""
    subprocess.run([sys.executable, "-c", IMAGES, str(tmp_path)], check=True, timeout=300)
