"""One way to load an encoder: with its extractor, without pickles, soon where the Hub is silent, with clear errors."""

import hashlib
import json
import time
from contextlib import contextmanager

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from support.dead_hubs import SOON, closed_port, move_the_hub, silent_server
from support.tiny_encoders import clouds, tiny_encoder
from support.tiny_mrd import tiny_mrd
from support.tiny_teachers import save_tiny_clip

from mrd_hf import (
    MRDConfig,
    MRDForPretraining,
    PointBertConfig,
    PointBertForShapeClassification,
    PointCloudFeatureExtractor,
)
from mrd_hf import encoder as encoder_module
from mrd_hf.encoder import Encoder, fastest_dtype, load_encoder, load_encoder_to_train, weights_sha256
from mrd_hf.errors import UserError


def save(folder, model):
    model.save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=77).save_pretrained(folder)
    return str(folder)


def to_train(folder):
    return load_encoder_to_train(folder, {})


@pytest.mark.parametrize("kind", ["openshape", "uni3d"])
def test_an_encoder_comes_with_its_extractor_and_says_what_it_is(kind, tmp_path):
    saved = tiny_encoder(kind, teacher_id="org/clip", teacher_revision="0123456", text_tower_id="org/words")
    folder = save(tmp_path / "mine", saved)
    encoder = load_encoder(folder)
    assert torch.equal(encoder.model.get_point_features(clouds()), saved.get_point_features(clouds()))
    assert not encoder.model.training and encoder.extractor.num_points == 77
    assert (encoder.name, encoder.embedding_dim) == ("mine", 20)
    assert (encoder.teacher, encoder.text_tower) == ("org/clip@0123456", "org/words")
    weights = (tmp_path / "mine" / "model.safetensors").read_bytes()
    assert encoder.sha256 == hashlib.sha256(weights).hexdigest()
    assert weights_sha256(encoder.model) == weights_sha256(saved) != weights_sha256(tiny_encoder("ulip"))


def test_an_encoder_is_told_by_its_configuration_too(tmp_path):
    """The same tensors in another network; what says nothing of the network does not count."""
    folder = save(tmp_path, tiny_encoder("openshape", teacher_id="org/clip"))
    first = load_encoder(folder)
    config = json.loads((tmp_path / "config.json").read_text())

    def with_changes(**changes) -> Encoder:
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
        return load_encoder(folder)

    other = with_changes(patch_radius=0.9)
    assert other.sha256 == first.sha256 and other.config_sha256 != first.config_sha256
    for beside in ({"teacher_id": None}, {"transformers_version": "5.0.0"}, {"auto_map": {}}):
        assert with_changes(**beside).config_sha256 == first.config_sha256


def test_a_model_in_pretraining_gives_its_encoder(tmp_path):
    whole = MRDForPretraining(MRDConfig(point_config=tiny_encoder("openshape").config.to_dict())).eval()
    encoder = load_encoder(save(tmp_path, whole))
    assert torch.equal(encoder.model.get_point_features(clouds()), whole.get_point_features(clouds()))
    assert encoder.config.model_type == "point_bert" and encoder.embedding_dim == 20


def test_weights_that_are_not_there_are_not_drawn_at_random(tmp_path):
    encoder = tiny_encoder("openshape")
    classifier = PointBertForShapeClassification(PointBertConfig.from_dict(encoder.config.to_dict()))
    folder = save(tmp_path / "classifier", classifier)
    with pytest.raises(UserError, match=r"classifier': it has no projection into its teacher's space"):
        load_encoder(folder)
    for model in (load_encoder(folder, new_projection=True).model, to_train(folder)):  # which replace it
        assert torch.equal(model.layers[0].mlp.fc1.weight, classifier.point_bert.layers[0].mlp.fc1.weight)
    folder = save(tmp_path / "holes", encoder)
    weights = load_file(tmp_path / "holes" / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "mlp.fc1" not in name}
    save_file(kept, tmp_path / "holes" / "model.safetensors", metadata={"format": "pt"})
    for load in (load_encoder, to_train):
        with pytest.raises(UserError, match=r"holes': its weights lack layers\.0\.mlp\.fc1\.bias and \d+ more"):
            load(folder)


def test_nor_are_those_of_an_encoder_in_a_model_in_pretraining(tmp_path):
    model = tiny_mrd()
    folder = save(tmp_path / "whole", model)
    assert torch.equal(load_encoder(folder).model.layers[1].mlp.fc1.bias, model.encoder.layers[1].mlp.fc1.bias)
    weights = load_file(tmp_path / "whole" / "model.safetensors")
    del weights["point_bert.layers.1.mlp.fc1.bias"]
    save_file(weights, tmp_path / "whole" / "model.safetensors", metadata={"format": "pt"})
    for load in (load_encoder, to_train):
        with pytest.raises(UserError, match=r"whole': its weights lack layers\.1\.mlp\.fc1\.bias;"):
            load(folder)


def test_pickled_weights_are_not_loaded(tmp_path):
    folder = save(tmp_path, tiny_encoder("openshape"))
    torch.save(tiny_encoder("openshape").state_dict(), tmp_path / "pytorch_model.bin")
    load_encoder(folder)
    (tmp_path / "model.safetensors").unlink()
    for load in (load_encoder, to_train):
        with pytest.raises(UserError, match=f"cannot load the encoder '{folder}': .*safetensors"):
            load(folder)


def test_a_silent_hub_is_not_waited_for(tmp_path, monkeypatch):
    with silent_server() as address:
        for load in (load_encoder, to_train):
            move_the_hub(monkeypatch, tmp_path, address)
            started = time.perf_counter()
            with pytest.raises(UserError, match="cannot load the encoder 'some/where': no such folder, not .* not"):
                load("some/where")
            assert time.perf_counter() - started < SOON


def test_an_encoder_of_the_hub_has_a_name_that_loads_it_again(tmp_path, monkeypatch):
    """From the Hub's cache, which has a branch and its commit."""
    commit = "0123456789abcdef" * 2 + "01234567"
    save(tmp_path / "models--org--m" / "snapshots" / commit, tiny_encoder("openshape"))
    for reference in ("main", "v1"):
        (tmp_path / "models--org--m" / "refs").mkdir(exist_ok=True)
        (tmp_path / "models--org--m" / "refs" / reference).write_text(commit)
    with closed_port() as address:
        move_the_hub(monkeypatch, tmp_path, address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        for name, revision in (("org/m", None), ("org/m@v1", None), (f"org/m@{commit}", None), ("org/m", "v1")):
            assert load_encoder(name, revision).name == f"org/m@{commit}"


def test_what_cannot_be_loaded_is_named(tmp_path):
    folder = save(tmp_path / "run" / "encoder", tiny_encoder("uni3d"))
    with pytest.raises(UserError, match=f"'{tmp_path / 'run'}': the folder has no config.json; did you mean {folder}"):
        load_encoder(str(tmp_path / "run"))
    with pytest.raises(UserError, match="config.json': it is a file; give the folder that it is in"):
        load_encoder(f"{folder}/config.json")
    with pytest.raises(UserError, match="cannot compute on the device cuda:99: "):
        load_encoder(folder, device="cuda:99")
    (tmp_path / "run" / "encoder" / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match="the folder has no preprocessor_config.json; give one that save_pretrained"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("model.safetensors", lambda content: content[:5000], "its weights or its configuration are damaged"),
        (
            "config.json",
            lambda content: content.replace(b'hidden_layers": ', b'hidden_layers": -'),
            "must be positive",
        ),
        ("config.json", lambda content: content[:50], "config.json"),
        (
            "config.json",
            lambda content: content.replace(b'"float32"', b'"float-1"'),
            "or its configuration are damaged",
        ),
        ("config.json", lambda content: content.replace(b'": 32,', b'": 48,', 1), "or its configuration are damaged"),
        ("preprocessor_config.json", lambda content: content[:5], "preprocessor_config.json"),
    ],
)
def test_a_damaged_encoder_is_named_in_one_line(tmp_path, file, change, said):
    folder = save(tmp_path / "damaged", tiny_encoder("openshape"))
    path = tmp_path / "damaged" / file
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before
    with pytest.raises(UserError, match=f"cannot load the encoder '{folder}': .*{said}") as error:
        load_encoder(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["openshape", "ulip", "uni3d"])
def test_an_encoder_to_train_further_takes_changes_and_needs_no_extractor(kind, tmp_path):
    saved = tiny_encoder(kind)
    saved.save_pretrained(tmp_path)
    loaded = load_encoder_to_train(str(tmp_path), {"attention_dropout": 0.25})
    assert type(loaded) is type(saved) and loaded.config.attention_dropout == 0.25
    assert torch.equal(loaded.eval().get_point_features(clouds()), saved.get_point_features(clouds()))


@pytest.mark.parametrize(
    ("changes", "unfit"),
    [
        ({"hidden_size": 16, "drop_path_rate": 0.1, "num_patches": 4}, "hidden_size"),
        ({"hidden_size": 48, "num_attention_heads": 3, "intermediate_size": 64}, "hidden_size, num_attention_heads"),
        ({"num_hidden_layers": 4}, "num_hidden_layers"),
        ({"num_hidden_layers": 2, "patch_radius": 0.3}, "num_hidden_layers"),
        ({"final_norm": True, "layer_norm_eps": 1e-6}, "final_norm"),
        ({"projection_dim": 9}, "projection_dim"),
    ],
)
def test_changes_that_the_weights_do_not_fit_are_named(tmp_path, changes, unfit):
    """Also where blocks that were trained would be left out, and where the folder has a head."""
    encoder = tiny_encoder("openshape")
    folder = save(tmp_path / "mine", encoder)
    heads = PointBertForShapeClassification(PointBertConfig.from_dict(encoder.config.to_dict()))
    with_head = save(tmp_path / "classifier", heads)
    for name in (folder, with_head) if unfit != "projection_dim" else (folder,):
        with pytest.raises(UserError) as refused:
            load_encoder_to_train(name, changes)
        assert str(refused.value) == (
            f"the weights of {name} do not fit point_config ({unfit}); leave these fields out, or all of a recipe's "
            "by --point-config '{}'."
        )


def test_a_new_projection_may_be_of_another_width_and_an_old_one_left_out(tmp_path):
    encoder = tiny_encoder("openshape")
    heads = PointBertForShapeClassification(PointBertConfig.from_dict(encoder.config.to_dict()))
    new = load_encoder_to_train(save(tmp_path / "classifier", heads), {"projection_dim": 9})
    assert new.get_point_features(clouds()).shape == (3, 9)
    without = load_encoder_to_train(save(tmp_path / "mine", encoder), {"projection_dim": None}).eval()
    assert torch.equal(without.get_point_features(clouds()), encoder(clouds()).pooler_output)


def test_damaged_weights_are_not_taken_for_changes_that_do_not_fit(tmp_path):
    folder = save(tmp_path / "damaged", tiny_encoder("openshape"))
    config = json.loads((tmp_path / "damaged" / "config.json").read_text())
    (tmp_path / "damaged" / "config.json").write_text(json.dumps(config | {"hidden_size": 48}))
    with pytest.raises(UserError, match="damaged': its weights or its configuration are damaged"):
        load_encoder_to_train(folder, {"drop_path_rate": 0.1})


def test_what_is_no_encoder_is_not_trained_further(tmp_path):
    whole = MRDForPretraining(MRDConfig(point_config=tiny_encoder("uni3d").config.to_dict()))
    with pytest.raises(UserError, match="it is a whole model in pretraining; give its encoder's folder"):
        to_train(save(tmp_path / "whole", whole))
    with pytest.raises(UserError, match="clip is of the kind clip, no encoder of shapes"):
        to_train(str(save_tiny_clip(tmp_path / "clip")))


@pytest.mark.parametrize("kind", ["point_bert", "mrd"])
def test_an_encoder_in_bfloat16_has_the_same_patches(tmp_path, kind):
    """Of a model in pretraining as well: sampling, grouping and the patch network stay in float32."""
    whole = MRDForPretraining(MRDConfig(point_config=tiny_encoder("openshape").config.to_dict())).eval()
    folder = save(tmp_path, whole if kind == "mrd" else whole.point_bert)
    exact, half = load_encoder(folder).model, load_encoder(folder, dtype=torch.bfloat16).model
    dtypes = {p.dtype for p in half.layers[0].mlp.parameters()}, {p.dtype for p in half.embeddings.parameters()}
    assert dtypes == ({torch.bfloat16}, {torch.float32})
    with torch.no_grad():
        expected = exact.get_point_features(clouds())
        assert (half.get_point_features(clouds()).float() - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({}, torch.float32),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_the_fastest_precision_is_by_what_the_cpu_has(monkeypatch, capabilities, dtype):
    monkeypatch.setattr(encoder_module, "get_capabilities", lambda: capabilities)
    assert fastest_dtype() == fastest_dtype(torch.device("cpu")) == dtype
    assert fastest_dtype("meta") == torch.float32


def test_the_precision_is_that_of_the_graphics_card_that_is_asked_about(monkeypatch):
    """And not of the one that is used otherwise."""
    current = ["cuda:0"]

    @contextmanager
    def device(name):
        current.append(str(name))
        yield
        current.pop()

    assert fastest_dtype("cuda") == torch.float32  # without any
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: current[-1] == "cuda:1")
    assert fastest_dtype("cuda:1") == torch.bfloat16 and fastest_dtype("cuda:0") == torch.float32
