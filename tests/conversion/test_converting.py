"""Peers' checkpoints become folders whose embeddings are those of the original networks."""

import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peer_layouts import (
    SCALINGS,
    drawn,
    empty,
    openshape,
    prefixed,
    training_checkpoint,
    ulip,
    ulip_checkpoint,
    uni3d,
)
from safetensors import safe_open
from safetensors.torch import save_file
from support.golden import drawn_tensors, original_shapes, recording
from transformers import AutoFeatureExtractor, AutoModel

from mrd_hf import POINT_BERT_PRESETS, UNI3D_PRESETS, PointBertConfig, PointBertModel, Uni3DConfig, Uni3DModel
from mrd_hf.conversion.checkpoint_file import Checkpoint
from mrd_hf.conversion.converting import build_encoder, convert_checkpoint, recognize
from mrd_hf.conversion.renaming import fit
from mrd_hf.errors import UserError
from mrd_hf.hub.model_card import retarget_card


BIG_G = "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"
EVA_E = "timm/eva02_enormous_patch14_plus_clip_224.laion2b_s9b_b144k"
SLIP = "SLIP ViT-B/16 (slip_base_100ep)"
# A PointBERT of OpenShape's kind that no preset has.
SMALL = (64, 2, 96, 32)
UNI3D = {
    "tiny": uni3d(192, 12, 512),
    "small": uni3d(384, 12, 1024),
    "base": uni3d(768, 12, 2048, split=True),
    "large": uni3d(1024, 24, 2730, split=True),
    "giant": uni3d(1408, 40, 6144, gated=False),
}


def flat(tensors: dict, entry: str | None = None, others: tuple[str, ...] = ()) -> Checkpoint:
    return Checkpoint(tensors, entry, others)


def embeddings(folder, points: torch.Tensor) -> torch.Tensor:
    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        return torch.cat([model.get_point_features(cloud[None]) for cloud in points])


@pytest.mark.parametrize(
    ("name", "file", "wrap", "peer", "teacher", "up_axis"),
    [
        ("openshape_pointbert_scaling1", "model.pt", training_checkpoint, "OpenShape", BIG_G, "z"),
        ("openshape_pointbert_vitl14", "model.safetensors", None, "OpenShape", "openai/clip-vit-large-patch14", "y"),
        ("ulip2_pointbert", "pointbert_ulip2.pt", ulip_checkpoint, "ULIP-2", BIG_G, "y"),
        ("uni3d_tiny", "model.pt", lambda tensors: {"module": tensors, "ds_version": "0.9"}, "Uni3D tiny", EVA_E, "y"),
    ],
)
def test_gives_the_original_networks_embeddings(tmp_path, name, file, wrap, peer, teacher, up_axis):
    recorded, tensors = recording(name), drawn_tensors(original_shapes(name))
    if wrap is None:
        save_file(tensors, tmp_path / file)
    else:
        torch.save(wrap(tensors), tmp_path / file)
    folder = tmp_path / "converted"
    conversion = convert_checkpoint(str(tmp_path / file), folder)
    error = (embeddings(folder, recorded["points"]) - recorded["embedding"]).norm(dim=1)
    assert (error / recorded["embedding"].norm(dim=1)).max() < 1e-5
    config, extractor = AutoModel.from_pretrained(folder).config, AutoFeatureExtractor.from_pretrained(folder)
    assert conversion.encoder.peer == peer
    assert config.teacher_id == teacher
    assert config.projection_dim == recorded["embedding"].shape[1]
    saved = json.loads((folder / "preprocessor_config.json").read_text())
    assert (extractor.encoder_up_axis, saved["encoder_up_axis"]) == (up_axis, up_axis)
    assert (saved["default_color"], saved["num_points"]) == (0.4, 10_000)


def test_the_folder_is_complete_and_names_no_path_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(training_checkpoint(prefixed("module.", drawn(openshape(*SMALL, 1280)))), tmp_path / "latest.pt")
    convert_checkpoint(str(tmp_path / "latest.pt"), Path("models/mine"), preset="openshape-3")
    (tmp_path / "models" / "mine").rename(tmp_path / "mine")
    names = {file.name for file in (tmp_path / "mine").iterdir()}
    assert names >= {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"}
    assert {"modeling_point_bert.py", "feature_extraction_point_cloud.py"} <= names
    assert list(tmp_path.glob("incomplete-*")) == []
    for file in (tmp_path / "mine").glob("*.[jm][sd]*"):
        assert str(tmp_path) not in file.read_text()
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert (card.data.library_name, card.data.license) == ("transformers", "mit")
    assert "| source | latest.pt |" in card.text
    assert BIG_G in card.text
    assert "{{" not in card.content
    # Its first snippet runs as it stands, and the second one names the folder as well.
    (tmp_path / "mine").rename(tmp_path / "models" / "mine")
    first, second = re.findall(r"^```python\n(.*?)^```", card.content, flags=re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(first, names)
    assert names["embeds"].shape == (1, 1280) and 'model="models/mine"' in second
    moved = retarget_card(card.content, "org/mine")
    assert "models/mine" not in moved and 'model="org/mine"' in moved and "# org/mine\n" in moved


@pytest.mark.parametrize("where", ["beside", "inside"])
def test_the_scale_of_similarities_is_kept(tmp_path, where):
    """OpenShape's training keeps its logarithm in an entry of its own, ULIP and Uni3D among the tensors."""
    tensors = prefixed("module.", drawn(openshape(*SMALL, 1280)))
    if where == "beside":
        torch.save(training_checkpoint(tensors), tmp_path / "m.pt")
    else:
        torch.save({**tensors, "module.logit_scale": torch.tensor([2.66])}, tmp_path / "m.pt")
    convert_checkpoint(str(tmp_path / "m.pt"), tmp_path / "mine", preset="openshape-3")
    assert AutoModel.from_pretrained(tmp_path / "mine").config.logit_scale == pytest.approx(14.2963, rel=1e-4)


@pytest.mark.parametrize("value", [torch.nan, 1000.0, [1.0, 2.0]])
def test_a_scale_that_is_none_is_left_out(tmp_path, value):
    tensors = prefixed("module.", drawn(openshape(*SMALL, 1280)))
    torch.save({**tensors, "module.logit_scale": torch.tensor(value)}, tmp_path / "m.pt")
    convert_checkpoint(str(tmp_path / "m.pt"), tmp_path / "mine", preset="openshape-3")
    assert AutoModel.from_pretrained(tmp_path / "mine").config.logit_scale is None


def test_what_is_left_out_and_what_to_know_is_said(tmp_path):
    tensors = prefixed("module.", drawn(openshape(*SMALL, 1280)))
    raw = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    contents = {**training_checkpoint(raw), "state_dict_ema": tensors, "text_proj": {"weight": torch.zeros(2, 2)}}
    torch.save(contents, tmp_path / "m.pt")
    conversion = convert_checkpoint(str(tmp_path / "m.pt"), tmp_path / "mine", preset="openshape-3")
    assert conversion.encoder.peer == "MixCon3D"
    assert set(conversion.left_out()) == {*contents} - {"state_dict_ema"}
    assert "the moving average" in conversion.facts()["note"]
    assert "texts passed through text_proj" in conversion.facts()["note"]
    loaded = AutoModel.from_pretrained(tmp_path / "mine")
    assert torch.equal(loaded.projection.weight, tensors["module.proj.weight"])


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("entry", ["state_dict", "state_dict_ema"])
def test_every_scaling_is_told_by_its_sizes(scaling, entry):
    shapes = openshape(*SCALINGS[scaling], 1280)
    found = recognize(flat(prefixed("module.", empty(shapes)), entry))
    assert found.peer == ("OpenShape" if entry == "state_dict" else "MixCon3D")
    assert found.config.to_diff_dict() == _expected(f"openshape-{scaling}", teacher_id=BIG_G)
    assert found.extractor.encoder_up_axis == "z"
    assert_all_used(found, PointBertModel, shapes)


@pytest.mark.parametrize(
    ("preset", "shapes", "teacher"),
    [
        ("openshape-vitl14", openshape(*SCALINGS[3], 768), "openai/clip-vit-large-patch14"),
        ("openshape-vitb32", openshape(*SCALINGS[3], None), "openai/clip-vit-base-patch32"),
    ],
)
def test_openshapes_smaller_teachers_are_told_by_the_projection(preset, shapes, teacher):
    found = recognize(flat(prefixed("pc_encoder.", empty(shapes)) | empty({"logit_scale": ()})))
    assert found.peer == "OpenShape"
    assert found.config.to_diff_dict() == _expected(preset, teacher_id=teacher)
    assert found.extractor.encoder_up_axis == "y"
    assert_all_used(found, PointBertModel, shapes)


@pytest.mark.parametrize("adapters", ["in the state dict", "beside it", "elsewhere"])
def test_tamm_is_told_by_its_adapters_or_by_the_missing_projection(adapters):
    shapes = openshape(*SCALINGS[4], None)
    tensors, others = prefixed("module.", empty(shapes)), ()
    if adapters == "in the state dict":
        tensors |= prefixed("module.", empty({"image_adapter.fc.0.weight": (1024, 512), "text_adapter.b": (4,)}))
    elif adapters == "beside it":
        others = ("vision_adapter",)
    found = recognize(flat(tensors, "state_dict", others))
    assert found.peer == "TAMM"
    assert found.config.to_diff_dict() == _expected("openshape-4", projection_dim=None, teacher_id=None)
    assert "adapters" in found.notes[0]
    assert found.extractor.encoder_up_axis == "z"
    assert found.renamed.left_out.total() == (2 if adapters == "in the state dict" else 0)
    assert_all_used(found, PointBertModel, shapes)


@pytest.mark.parametrize(
    ("peer", "shapes", "preset", "teacher", "num_points"),
    [("ULIP", ulip(12, 3, 512), "ulip", SLIP, 8192), ("ULIP-2", ulip(18, 6, 1280), "ulip-2", BIG_G, 10_000)],
)
def test_ulips_towers_are_left_out(peer, shapes, preset, teacher, num_points):
    towers = {"visual.cls_token": (1, 1, 768), "visual.blocks.0.mlp.fc1.weight": (4, 4), "ln_final.bias": (4,)}
    towers |= {"transformer.resblocks.0.attn.in_proj_weight": (9, 3), "token_embedding.weight": (9, 4)}
    towers |= dict.fromkeys(("positional_embedding", "image_projection", "text_projection"), (4, 4))
    found = recognize(flat(prefixed("module.", empty(shapes | towers)), "state_dict"))
    assert found.peer == peer
    assert found.config.to_diff_dict() == _expected(preset, teacher_id=teacher)
    assert (found.extractor.num_points, found.extractor.encoder_up_axis) == (num_points, "y")
    assert found.renamed.left_out.total() == len(towers) + 1
    del shapes["logit_scale"]
    assert_all_used(found, PointBertModel, shapes)


def test_mixcon3d_is_told_by_its_projection_of_pairs_too():
    tensors = prefixed("module.", empty(openshape(*SCALINGS[3], 1280)))
    found = recognize(flat(tensors, "state_dict", ("pc_img_proj", "text_proj")))
    assert (found.peer, found.paper, found.config.teacher_id) == ("MixCon3D", "2311.01734", BIG_G)
    assert len(found.notes) == 1 and "text_proj" in found.notes[0]  # the weights are those of the last step
    assert recognize(flat(tensors, "state_dict", ("text_proj",))).peer == "OpenShape"


def test_ulip_2_without_colors_is_told_by_its_projection():
    found = recognize(flat(empty(ulip(12, 3, 1280))))
    assert (found.peer, found.paper) == ("ULIP-2", "2305.08275")
    assert found.config.to_diff_dict() == _expected("ulip", projection_dim=1280, teacher_id=BIG_G)
    assert found.extractor.num_points == 8192 and found.notes == ["it does not see colours"]


@pytest.mark.parametrize(
    ("shapes", "entry", "preset", "width"),
    [
        (openshape(*SCALINGS[3], 999), "state_dict", "openshape-3", 999),
        (openshape(*SCALINGS[3], 999), "state_dict_ema", "openshape-3", 999),
        (ulip(18, 6, 999), None, None, 999),
        (UNI3D["tiny"] | {"point_encoder.trans2embed.weight": (999, 192)}, "module", None, 999),
        # Known ones, of which nothing is to be said.
        (openshape(*SCALINGS[3], 1280), "state_dict", None, 1280),
        (openshape(*SCALINGS[3], 1280), "state_dict_ema", None, 1280),
        (ulip(18, 6, 1280), None, None, 1280),
        (UNI3D["tiny"], "module", None, 1024),
    ],
)
def test_a_teacher_that_the_width_does_not_tell_is_left_empty_and_said(shapes, entry, preset, width):
    found = recognize(flat(empty(shapes), entry), preset)
    assert found.config.projection_dim == width
    known = width != 999
    assert (found.config.teacher_id is not None) == known
    assert any("teacher cannot be told from the width" in note for note in found.notes) == (not known)


@pytest.mark.parametrize("size", UNI3D)
def test_every_size_of_uni3d_is_told_by_its_sizes(size):
    found = recognize(flat(empty(UNI3D[size]), "module"))
    assert found.peer == f"Uni3D {size}"
    assert found.config.to_diff_dict() == Uni3DConfig.from_preset(size, teacher_id=EVA_E).to_diff_dict()
    unused = ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "head.weight", "head.bias")
    dropped = {"logit_scale", *(f"point_encoder.visual.{name}" for name in unused)}
    assert found.renamed.left_out.total() == len(dropped)
    assert_all_used(found, Uni3DModel, {name: s for name, s in UNI3D[size].items() if name not in dropped})


def test_every_network_is_checked():
    assert set(UNI3D_PRESETS) == set(UNI3D)
    peers = {name for name in POINT_BERT_PRESETS if not name.startswith("mrd-")}
    assert peers == {*(f"openshape-{i}" for i in SCALINGS), "openshape-vitl14", "openshape-vitb32", "ulip", "ulip-2"}


def test_fused_tensors_fall_apart_in_their_order():
    """Of a plain MLP and of a network with three channels there is no recording."""
    tensors = drawn(ulip(1, 3, 512))
    model = build_encoder(recognize(flat(tensors)))
    qkv = tensors["point_encoder.blocks.blocks.0.attn.qkv.weight"]
    attention = model.layers[0].self_attn
    parts = [getattr(attention, f"{letter}_proj").weight for letter in "qkv"]
    assert torch.equal(torch.cat(parts), qkv)
    assert torch.equal(model.projection.weight, tensors["pc_projection"].T)
    second = tensors["point_encoder.encoder.second_conv.0.weight"][:, :, 0]
    network = model.embeddings.patch_network
    assert torch.equal(torch.cat([network.patch_linear3.weight, network.point_linear3.weight], dim=1), second)
    assert torch.equal(network.linear1.weight, tensors["point_encoder.encoder.first_conv.0.weight"][..., 0])
    # Giant's MLP, in one layer of the right name and shape.
    giant = recognize(flat(empty(UNI3D["giant"]))).renamed
    assert giant.sources["layers.39.mlp.up_proj.weight"] == "point_encoder.visual.blocks.39.mlp.fc1.weight (6144x1408)"
    assert "layers.39.mlp.gate_proj.weight" not in giant.sources


@pytest.mark.parametrize("prefix", ["", "module.", "module.pc_encoder.", "_orig_mod.module.", "model."])
def test_wrappers_prefixes_do_not_matter(prefix):
    shapes = openshape(*SMALL, 1280)
    assert_all_used(recognize(flat(prefixed(prefix, empty(shapes))), "openshape-3"), PointBertModel, shapes)


def test_the_preset_settles_the_patches_alone():
    config = recognize(flat(empty(openshape(*SMALL, 20))), "openshape-5").config
    assert (config.num_patches, config.patch_radius, config.patch_size) == (512, 0.2, 64)
    sizes = (config.hidden_size, config.num_hidden_layers, config.intermediate_size, config.patch_feature_size)
    assert sizes == SMALL
    assert (config.num_attention_heads, config.projection_dim, config.teacher_id) == (1, 20, None)


@pytest.mark.parametrize(
    ("shapes", "prefix", "message"),
    [
        (openshape(*SMALL, 1280), "module.", "no preset fits; say by --preset"),
        (
            openshape(*SCALINGS[3], 512),
            "module.",
            "several presets fit, openshape-3, openshape-vitl14, openshape-vitb32",
        ),
        (openshape(*SCALINGS[3], None), "module.", "several presets fit"),  # TAMM's, whichever patches it has
        (openshape(96, 1, 96, 32, 1280), "module.", "96 wide; expected heads of 64"),
        (openshape(0, 1, 96, 32, 1280), "module.", "0 wide; expected heads of 64"),
        (ulip(1, 3, 512, width=0), "module.", "0 wide; expected heads of 64"),
    ],
)
def test_sizes_that_do_not_tell_the_patches_are_refused(shapes, prefix, message):
    with pytest.raises(UserError, match=message):
        recognize(flat(prefixed(prefix, empty(shapes))))


@pytest.mark.parametrize("shapes", [ulip(2, 6, 1280), UNI3D["tiny"]])
def test_a_preset_is_refused_where_it_settles_nothing(shapes):
    with pytest.raises(UserError, match="leave --preset out"):
        recognize(flat(empty(shapes)), "openshape-3")


def test_a_uni3d_of_another_size_is_refused():
    with pytest.raises(UserError, match="none of its sizes, tiny, .* num_hidden_layers 2"):
        recognize(flat(empty(uni3d(192, 2, 512))))


NETWORKS = {
    "OpenShape": (openshape(*SMALL, 20), "openshape-3", PointBertModel),
    "ULIP": (ulip(2, 3, 20), None, PointBertModel),
    "Uni3D": (UNI3D["tiny"], None, Uni3DModel),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_single_tensor_is_needed(network):
    shapes, preset, model_class = NETWORKS[network]
    optional = recognize(flat(empty(shapes)), preset).renamed.left_out
    for name in shapes:
        if any(name.startswith(group) for group in optional) or ".visual.blocks." in name and ".blocks.0." not in name:
            continue
        with pytest.raises(
            UserError, match=r"none corresponds|not one that tells|none of its sizes|do not fit:\s+proj.bias"
        ):
            convert(empty({key: shape for key, shape in shapes.items() if key != name}), preset, model_class)


def test_one_name_does_not_decide_how_large_the_model_is():
    tensors = empty(ulip(2, 3, 20))
    tensors["point_encoder.blocks.blocks.99999999.norm1.weight"] = torch.empty(3 * 64)
    with pytest.raises(UserError, match="layer 2 of them is missing"):
        recognize(flat(tensors), None)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_single_shape_is_checked(network):
    shapes, preset, model_class = NETWORKS[network]
    optional = recognize(flat(empty(shapes)), preset).renamed.left_out
    for name, shape in shapes.items():
        if name == "pc_projection":  # as wide as it likes
            shape = shape[::-1]
        if any(name.startswith(group) for group in optional) or ".visual.blocks." in name and ".blocks.0." not in name:
            continue
        changed = (*shape[:-1], shape[-1] + 2) if len(shape) else (2,)
        with pytest.raises(UserError) as error:
            convert(empty({**shapes, name: changed}), preset, model_class)
        error.match(rf"(?s)do not fit:.* {name} \({'x'.join(map(str, changed))}\) for |sizes|expected heads")


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "extra",
    ["adapter_of_mine", "point_encoder.sa1.weight", "ppat.transformer.layers.0.0.fn.to_qkv.bias", "proj.gamma"],
)
def test_a_tensor_too_many_is_refused_by_its_name(network, extra):
    shapes, preset, model_class = NETWORKS[network]
    with pytest.raises(UserError, match=rf"(?s)1 that do not fit:\s+{extra} \(6\)") as error:
        convert(empty({**shapes, extra: (6,)}), preset, model_class)
    assert "none corresponds" not in str(error.value)


def test_a_tensor_that_is_there_twice_is_refused():
    shapes = openshape(*SMALL, 20)
    with pytest.raises(UserError, match=r"1 that do not fit:\s+module.proj.bias \(20\)"):
        convert(empty({**shapes, "module.proj.bias": (20,)}), "openshape-3", PointBertModel)


def test_an_unknown_network_is_refused_with_the_tensors_and_the_most_similar_one():
    pointnet2 = {f"module.point_encoder.sa1.mlp_convs.{i}.weight": (64, 3, 1, 1) for i in range(25)}
    with pytest.raises(UserError) as error:
        recognize(flat(empty({**pointnet2, "module.pc_projection": (256, 512)})))
    message = str(error.value)
    assert "1 of 26 have names as in ULIP's PointBERT" in message
    assert "25 that do not fit:" in message
    assert message.count("sa1.mlp_convs") == 20
    assert "... and 5 more" in message


def test_weights_that_are_not_finite_are_refused():
    tensors = drawn(openshape(*SMALL, 20))
    tensors["ppat.lift.0.bias"][3] = torch.nan
    with pytest.raises(UserError, match=r"ppat.lift.0.bias \(64\) has values that are not finite"):
        build_encoder(recognize(flat(tensors), "openshape-3"))


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ([torch.float16], torch.float16),
        ([torch.bfloat16], torch.bfloat16),
        ([torch.float16, torch.float32], torch.float32),
    ],
)
def test_the_type_of_the_weights_is_kept_if_they_have_one(tmp_path, dtypes, expected):
    tensors = drawn(openshape(*SMALL, 20))
    for i, (name, tensor) in enumerate(tensors.items()):
        if tensor.is_floating_point():
            tensors[name] = tensor.to(dtypes[i % len(dtypes)])
    torch.save(tensors, tmp_path / "half.pt")
    convert_checkpoint(str(tmp_path / "half.pt"), tmp_path / "out", preset="openshape-3")
    loaded = AutoModel.from_pretrained(tmp_path / "out")
    assert loaded.layers[0].mlp.fc1.weight.dtype == loaded.config.dtype == expected
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert {file.get_slice(k).get_dtype() for k in file.keys()} <= {  # noqa: SIM118
            "I64",
            {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}[expected],
        }


def test_a_folder_that_is_taken_is_left_alone(tmp_path):
    torch.save(drawn(openshape(*SMALL, 20)), tmp_path / "m.pt")
    arguments = {"source": str(tmp_path / "m.pt"), "preset": "openshape-3"}
    out = tmp_path / "out"
    out.mkdir()
    convert_checkpoint(folder=out, **arguments)  # empty folders are free
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="--overwrite"):
        convert_checkpoint(folder=out, **arguments)
    torch.save(drawn(openshape(*SMALL, 22)), tmp_path / "m.pt")
    convert_checkpoint(folder=out, overwrite=True, **arguments)
    assert (out / "model.safetensors").read_bytes() != before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "final.tex").touch()
    with pytest.raises(UserError, match="holds no model"):
        convert_checkpoint(folder=tmp_path / "thesis", overwrite=True, **arguments)
    with pytest.raises(UserError, match="is a file"):
        convert_checkpoint(folder=tmp_path / "m.pt", overwrite=True, **arguments)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("source", "filename"), [("dl/m.pt", None), ("dl", None), (".", "dl/m.pt")])
def test_a_folder_that_the_checkpoint_lies_in_is_refused(tmp_path, monkeypatch, source, filename, overwrite):
    monkeypatch.chdir(tmp_path)
    folder = Path("dl")
    folder.mkdir()
    torch.save(drawn(openshape(*SMALL, 20)), folder / "m.pt")
    (folder / "config.json").write_text("{}")  # as a download of the whole repository has it
    before = (folder / "m.pt").read_bytes()
    message = "dl would be replaced, and dl.* is read; give another folder"
    if filename is not None and not overwrite:
        message = "is not empty"
    with pytest.raises(UserError, match=message):
        convert_checkpoint(source, folder, filename=filename, preset="openshape-3", overwrite=overwrite)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "m.pt"]
    assert (folder / "m.pt").read_bytes() == before


def test_the_current_folder_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(UserError, match="is the folder that you are in"):
        convert_checkpoint("nowhere.pt", Path("."))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_conversion_that_fails_leaves_the_old_folder_and_no_other(tmp_path, monkeypatch):
    torch.save(drawn(openshape(*SMALL, 20)), tmp_path / "m.pt")
    out = tmp_path / "out"
    convert_checkpoint(str(tmp_path / "m.pt"), out, preset="openshape-3")
    before = (out / "model.safetensors").read_bytes()
    wrong = AutoModel.from_pretrained(out)
    torch.nn.init.zeros_(wrong.layers[1].mlp.fc2.bias)
    monkeypatch.setattr(AutoModel, "from_pretrained", lambda folder: wrong)
    with pytest.raises(UserError, match="differs from the converted one") as error:
        convert_checkpoint(str(tmp_path / "m.pt"), out, preset="openshape-3", overwrite=True)
    assert error.value.exit_code == 1
    assert (out / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pt", "out"]


def convert(tensors: dict[str, torch.Tensor], preset: str | None, model_class: type) -> None:
    found = recognize(flat(tensors), preset)
    fit(model_class, found.config, found.renamed)


def assert_all_used(found, model_class: type, shapes: dict[str, tuple[int, ...]]) -> None:
    """Every number of the checkpoint has its place in the model, and every place its number."""
    model = fit(model_class, found.config, found.renamed)
    assert sum(t.numel() for t in model.state_dict().values()) == sum(torch.Size(s).numel() for s in shapes.values())
    assert len(set(found.renamed.sources.values())) == len(shapes)


def _expected(preset: str, **changes) -> dict:
    return PointBertConfig.from_preset(preset, **changes).to_diff_dict()
