"""Saved folders carry their code: they load where the package is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.textured_square import quarters, textured_square, write_textured_obj
from support.tiny_encoders import TINY_ULIP, clouds, tiny_encoder
from support.tiny_mrd import teacher_embeds, tiny_mrd
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip
from transformers import AutoModel, pipeline
from transformers.dynamic_module_utils import get_imports, get_relative_imports

from mrd_hf import (
    MRDProcessor,
    PointBertConfig,
    PointBertForPartSegmentation,
    PointBertModel,
    PointCloudFeatureExtractor,
)


# Reads, of each folder, the Auto class, the output to write, and the model's inputs in their order.
STRANGER = """
import json
import sys

sys.modules["mrd_hf"] = None  # as if it were not installed: importing it raises ModuleNotFoundError

import transformers
from safetensors.torch import load_file, save_file

for folder, (auto_class, output, names) in json.load(sys.stdin).items():
    inputs = load_file(f"{folder}/inputs.safetensors")
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
    model = getattr(transformers, auto_class).from_pretrained(folder, trust_remote_code=True)
    shapes = [inputs["points"].numpy(), f"{folder}/shape/square.obj", f"{folder}/shape/square.glb"]
    values = extractor(shapes)["point_values"]
    result = model(*(inputs[name] for name in names))[output].detach()
    save_file({"values": values, "result": result}, f"{folder}/outputs.safetensors")
    print(type(model).__module__, type(extractor).__module__)
assert not any(name.startswith("mrd_hf.") for name in sys.modules)
"""


# Its arguments: a mesh, and the folders of encoders to classify it with. Writes beside each folder what it found.
STRANGER_CLASSIFIES = """
import json
import sys

sys.modules["mrd_hf"] = None

import transformers
from PIL import Image

mesh, *folders = sys.argv[1:]
for folder in folders:
    trusted = {"model": folder, "trust_remote_code": True, "device": "cpu"}
    classify = transformers.pipeline("zero-shot-point-cloud-classification", **trusted)
    embed = transformers.pipeline("point-cloud-feature-extraction", **trusted)
    on_the_hub = transformers.pipeline("feature-extraction", model=folder, trust_remote_code=True)
    score = transformers.pipeline("point-cloud-similarity", **trusted)
    processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    inputs = processor(points=mesh, text=["a mug"], images=[Image.new("RGB", (9, 9))])
    try:
        transformers.pipeline("point-cloud-feature-extraction", model=folder, trust_remote_code=False)
    except ValueError as error:
        refusal = str(error)
    # What was loaded as remote code carries its code on.
    classify.model.save_pretrained(f"{folder}-again")
    classify.feature_extractor.save_pretrained(f"{folder}-again")
    heir = transformers.pipeline(
        "point-cloud-feature-extraction", model=f"{folder}-again", trust_remote_code=True, device="cpu"
    )
    found = {
        "scores": classify([mesh, mesh], candidate_labels=["chair", "mug"], hypothesis_template="{}", batch_size=2),
        "similarities": score(mesh, texts=["chair", "mug"]),
        "embedding": embed(mesh),
        "as the Hub shows it": on_the_hub(mesh),
        "inherited": heir(mesh),
        "values": inputs["point_values"].tolist(),
        "names": sorted(inputs),
        "modules": [type(thing).__module__ for thing in (classify, embed, score, processor, heir)],
        "refusal": refusal,
    }
    with open(f"{folder}.json", "w") as out:
        json.dump(found, out)
assert not any(name.startswith("mrd_hf.") for name in sys.modules)
"""


def test_pipelines_and_processor_run_without_the_package(tmp_path):
    teacher = save_tiny_clip(tmp_path / "clip")
    processor = MRDProcessor.from_teacher(PointCloudFeatureExtractor(num_points=30), str(teacher))
    mesh = str(tmp_path / "square.glb")
    textured_square(quarters()).export(mesh)
    folders = {kind: tmp_path / kind for kind in ("openshape", "uni3d")}
    for kind, folder in folders.items():
        model = tiny_encoder(kind, projection_dim=CLIP_WIDTH, teacher_id=str(teacher), logit_scale=50.0)
        model.save_pretrained(folder)  # alone: no pipeline was saved
        processor.save_pretrained(folder)
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER_CLASSIFIES, mesh, *folders.values()],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    for folder in folders.values():
        found = json.loads(folder.with_suffix(".json").read_text())
        assert all(module.startswith("transformers_modules.") for module in found["modules"])
        assert "trust_remote_code=True" in found["refusal"]
        classify = pipeline("zero-shot-point-cloud-classification", model=str(folder), device="cpu")
        embed = pipeline("point-cloud-feature-extraction", model=str(folder), device="cpu")
        assert type(classify).__module__.startswith("mrd_hf.")
        expected = classify(mesh, candidate_labels=["chair", "mug"], hypothesis_template="{}")
        for one in found["scores"]:
            assert [entry["label"] for entry in one] == [entry["label"] for entry in expected]
            assert [entry["score"] for entry in one] == pytest.approx([e["score"] for e in expected], abs=1e-5)
        score = pipeline("point-cloud-similarity", model=str(folder), device="cpu")
        assert found["similarities"] == pytest.approx(score(mesh, texts=["chair", "mug"]), abs=1e-6)
        assert found["embedding"] == pytest.approx(embed(mesh), abs=1e-6)
        assert found["as the Hub shows it"] == pytest.approx(found["embedding"], abs=1e-6)
        assert found["inherited"] == pytest.approx(found["embedding"], abs=1e-6)
        assert torch.equal(torch.tensor(found["values"]), processor(mesh)["point_values"])
        assert found["names"] == ["attention_mask", "input_ids", "pixel_values", "point_values"]


def tiny_segmenter():
    torch.manual_seed(0)
    return PointBertForPartSegmentation(PointBertConfig(**TINY_ULIP, num_labels=3, object_parts={"lamp": [0, 2]}))


STRANGERS = {
    "openshape": (lambda: tiny_encoder("openshape"), "AutoModel", "point_embeds", ["point_values"]),
    "parts": (tiny_segmenter, "AutoModelForSemanticSegmentation", "logits", ["point_values"]),
    "uni3d": (lambda: tiny_encoder("uni3d"), "AutoModel", "point_embeds", ["point_values"]),
    "mrd": (tiny_mrd, "AutoModelForPreTraining", "loss", ["point_values", "image_embeds", "text_embeds"]),
}


@pytest.fixture(scope="module")
def strangers(tmp_path_factory) -> Path:
    """Folders of all kinds, with what one process has made of them."""
    parent = tmp_path_factory.mktemp("strangers")
    image, text = teacher_embeds(6)
    points = clouds(1, num_points=40)[0, :, :3].contiguous()
    inputs = {"point_values": clouds(6), "image_embeds": image, "text_embeds": text, "points": points}
    for kind, (make, *_) in STRANGERS.items():
        make().save_pretrained(parent / kind)
        PointCloudFeatureExtractor(num_points=30).save_pretrained(parent / kind)
        save_file(inputs, parent / kind / "inputs.safetensors")
        (parent / kind / "shape").mkdir()
        write_textured_obj(parent / kind / "shape")
        textured_square(quarters()).export(parent / kind / "shape" / "square.glb")
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER],
        input=json.dumps({str(parent / kind): how for kind, (_, *how) in STRANGERS.items()}),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_MODULES_CACHE": str(parent / "modules"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("transformers_modules.") == len(done.stdout.split()) == 2 * len(STRANGERS)
    return parent


@pytest.mark.parametrize("kind", STRANGERS)
def test_loads_without_the_package(strangers, kind):
    folder, (_, auto_class, output, names) = strangers / kind, STRANGERS[kind]
    model = getattr(transformers, auto_class).from_pretrained(folder)
    extractor = PointCloudFeatureExtractor(num_points=30)
    assert type(model).__module__.startswith("mrd_hf.")
    inputs, outputs = (load_file(folder / f"{name}.safetensors") for name in ("inputs", "outputs"))
    torch.testing.assert_close(outputs["result"], model(*(inputs[name] for name in names))[output])
    shapes = [inputs["points"].numpy(), *(folder / "shape" / f"square.{suffix}" for suffix in ("obj", "glb"))]
    assert torch.equal(outputs["values"], extractor(shapes)["point_values"])
    assert all(len(values[:, 3:].unique(dim=0)) == 4 for values in outputs["values"][1:])  # the texture's colours


def test_the_extractors_folder_has_all_its_code_and_asks_for_nothing_else(tmp_path):
    PointCloudFeatureExtractor().save_pretrained(tmp_path)
    code = {path.name for path in tmp_path.glob("*.py")}
    assert code == {
        "dae_document.py",
        "dae_materials.py",
        "dae_meshes.py",
        "dae_reading.py",
        "draco_header.py",
        "feature_extraction_point_cloud.py",
        "gltf_compression.py",
        "gltf_document.py",
        "gltf_extensions.py",
        "gltf_materials.py",
        "gltf_nodes.py",
        "gltf_primitives.py",
        "gltf_reading.py",
        "las_files.py",
        "left_out_parts.py",
        "mesh_loading.py",
        "number_text.py",
        "obj_materials.py",
        "obj_reading.py",
        "obj_text.py",
        "off_reading.py",
        "pcd_files.py",
        "ply_reading.py",
        "ply_splats.py",
        "ply_text.py",
        "ply_textures.py",
        "point_cloud_files.py",
        "point_preparation.py",
        "polygons.py",
        "shape_colors.py",
        "shape_files.py",
        "shape_limits.py",
        "shape_suffixes.py",
        "shapes.py",
        "stl_reading.py",
        "surface_sampling.py",
        "text_clouds.py",
        "textures.py",
        "threemf_reading.py",
        "threemf_text.py",
        "trimesh_shapes.py",
        "usd_layers.py",
        "usd_materials.py",
        "usd_probe.py",
        "usd_reading.py",
        "xml_text.py",
        "zip_members.py",
        "zip_reading.py",
    }
    needed = {package for name in code for package in get_imports(tmp_path / name)}
    assert needed - set(sys.stdlib_module_names) == {"numpy", "transformers"}


def test_an_encoders_folder_has_all_its_code_and_asks_for_nothing_else(tmp_path):
    tiny_encoder("openshape").save_pretrained(tmp_path)
    code = {path.name for path in tmp_path.glob("*.py")}
    needed = {package for name in code for package in get_imports(tmp_path / name)}
    # All that transformers itself needs as well.
    expected = {"huggingface_hub", "numpy", "safetensors", "torch", "transformers"}
    assert needed - set(sys.stdlib_module_names) == expected
    relative = {name for path in tmp_path.glob("*.py") for name in get_relative_imports(path)}
    assert {f"{name}.py" for name in relative} <= code


def test_with_the_package_its_own_code_is_used(tmp_path):
    tiny_encoder("openshape").save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == {
        "AutoConfig": "configuration_point_bert.PointBertConfig",
        "AutoModel": "modeling_point_bert.PointBertModel",
    }
    assert type(AutoModel.from_pretrained(tmp_path)) is PointBertModel
