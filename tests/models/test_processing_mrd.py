"""The processor: each part's inputs are those of the part alone, and it saves and loads as one."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_encoders import clouds, tiny_encoder
from support.tiny_teachers import MAX_TEXT_LENGTH, TINY_TEACHERS, save_tiny_clip, save_tiny_fixed_siglip2
from torch.nn.functional import normalize
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoProcessor,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
)

from mrd_hf import MRDProcessor, PointCloudFeatureExtractor
from mrd_hf.teacher import Teacher


TEXTS = ["a chair", "lamp", "a rather long text about one chair, cut where it ends"]


@pytest.fixture(scope="module")
def teacher_folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    return {kind: save(folder / f"tiny-{kind}") for kind, save in TINY_TEACHERS.items()}


def extractor():
    return PointCloudFeatureExtractor(num_points=40, up_axis="z", default_color=0.5)


def make_images(count=2):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 20, 26, 4), dtype=np.uint8)
    return [Image.fromarray(array, "RGBA") for array in pixels]


@pytest.mark.parametrize("kind", TINY_TEACHERS)
def test_one_call_makes_all_inputs_and_they_embed_as_the_teachers(kind, teacher_folders, tmp_path):
    MRDProcessor.from_teacher(extractor(), teacher_folders[kind]).save_pretrained(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    points = clouds(2, num_points=30)[..., :3]
    inputs = processor(points=points, text=TEXTS, images=make_images())
    assert torch.equal(inputs["point_values"], extractor()(points)["point_values"])
    teacher = Teacher.from_pretrained(teacher_folders[kind])
    pixels = {name: inputs[name] for name in processor.image_processor.model_input_names}
    texts = {name: value for name, value in inputs.items() if name not in (*pixels, "point_values")}
    with torch.no_grad():
        text_embeds = teacher.model.get_text_features(**texts).pooler_output
        image_embeds = teacher.model.get_image_features(**pixels).pooler_output
    torch.testing.assert_close(normalize(text_embeds, dim=-1), teacher.embed_texts(TEXTS))
    torch.testing.assert_close(normalize(image_embeds, dim=-1), teacher.embed_images(make_images()))
    padded = processor(text="a")["input_ids"].shape[1]
    assert (padded == MAX_TEXT_LENGTH) == kind.startswith("siglip")


def test_a_siglip2_of_a_fixed_resolution_gets_lower_case(tmp_path):
    folder = save_tiny_fixed_siglip2(tmp_path / "siglip2")
    MRDProcessor.from_teacher(extractor(), folder).save_pretrained(tmp_path / "saved")
    processor, tokenizer = AutoProcessor.from_pretrained(tmp_path / "saved"), AutoTokenizer.from_pretrained(folder)
    expected = tokenizer(["a tv", "mug"], padding="max_length", max_length=MAX_TEXT_LENGTH, return_tensors="pt")
    assert torch.equal(processor(text=["A TV", "Mug"])["input_ids"], expected["input_ids"])
    assert torch.equal(processor(text="A TV")["input_ids"], expected["input_ids"][:1])


def test_saves_and_loads_with_the_settings_of_each_part(teacher_folders, tmp_path):
    processor = MRDProcessor.from_teacher(extractor(), teacher_folders["siglip2"])
    assert (processor.text_padding, processor.max_text_length) == ("max_length", MAX_TEXT_LENGTH)
    tiny_encoder("openshape").save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is MRDProcessor
    assert loaded.feature_extractor.default_color == 0.5 and loaded.feature_extractor.up_axis == "z"
    # The folder is the encoder's as well.
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is PointCloudFeatureExtractor
    assert AutoFeatureExtractor.from_pretrained(tmp_path).num_points == 40
    again = tmp_path / "again"
    loaded.save_pretrained(again)
    assert json.loads((again / "processor_config.json").read_text()) == json.loads(
        (tmp_path / "processor_config.json").read_text()
    )


def test_an_extractor_saved_beside_it_changes_nothing(teacher_folders, tmp_path):
    """As in an encoder's folder, which had one before."""
    extractor().save_pretrained(tmp_path)
    MRDProcessor.from_teacher(extractor(), teacher_folders["clip"]).save_pretrained(tmp_path)
    inputs = AutoProcessor.from_pretrained(tmp_path)(clouds(1), "a chair", make_images())
    assert inputs["point_values"].shape == (1, 40, 6) and inputs["pixel_values"].shape[:2] == (2, 3)


def test_parts_alone(teacher_folders, tmp_path):
    processor = MRDProcessor.from_teacher(extractor(), teacher_folders["clip"])
    points = clouds(1, num_points=30)[0]
    assert set(processor(points, return_tensors="np")) == {"point_values"}
    assert isinstance(processor(points, return_tensors="np")["point_values"], np.ndarray)
    assert set(processor(text="a chair")) == {"input_ids", "attention_mask"}
    one = processor(images=make_images()[0])
    assert set(one) == {"pixel_values"}
    assert torch.equal(one["pixel_values"], processor(images=make_images())["pixel_values"][:1])
    colored = processor(points[:, :3], colors=points[:, 3:], up_axis="y")["point_values"]
    assert torch.equal(colored, extractor()(points, up_axis="y")["point_values"])
    array = np.asarray(make_images()[0].convert("RGB"))
    assert processor(images=array)["pixel_values"].shape == one["pixel_values"].shape
    with pytest.raises(ValueError, match="give points, text or images"):
        processor()


def test_the_teachers_weights_are_not_read(tmp_path):
    folder = save_tiny_clip(tmp_path / "clip")
    expected = MRDProcessor.from_teacher(extractor(), folder).to_json_string()
    (folder / "model.safetensors").unlink()
    assert MRDProcessor.from_teacher(extractor(), folder).to_json_string() == expected


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    config = BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path / "bert")
    BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}).save_pretrained(
        tmp_path / "bert"
    )
    with pytest.raises(ValueError, match="bert' lacks its image processor"):
        MRDProcessor.from_teacher(extractor(), str(tmp_path / "bert"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="'some/where': no such folder"):
        MRDProcessor.from_teacher(extractor(), "some/where")
    clip = AutoProcessor.from_pretrained(save_tiny_clip(tmp_path / "clip"))
    with pytest.raises(ValueError, match="text_padding must be 'longest' or 'max_length', got 'left'"):
        MRDProcessor(extractor(), clip.tokenizer, clip.image_processor, text_padding="left")
    with pytest.raises(TypeError, match="tokenizer"):
        MRDProcessor(extractor(), None, clip.image_processor)


def test_a_folder_without_a_processor(tmp_path):
    tiny_encoder("openshape").save_pretrained(tmp_path)
    extractor().save_pretrained(tmp_path)
    with pytest.raises((OSError, ValueError), match="tokenizer"):
        AutoProcessor.from_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)).__name__ == "PointBertModel"
