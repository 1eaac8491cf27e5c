"""The wheel in an empty environment without extras, and what saved encoders need where it is not installed."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from installation.environments import build_wheel, environment_python, install_wheel
from support.tiny_teachers import save_tiny_clip

import mrd_hf


ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "mrd_hf"


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """The interpreter of an environment with the wheel of this code and what it requires."""
    python = environment_python("plain")
    install_wheel(python, build_wheel(tmp_path_factory.mktemp("wheel")))
    return python


def test_the_package_is_imported_without_a_warning(run, plain, tmp_path):
    code = "import mrd_hf; print(mrd_hf.__version__, mrd_hf.__file__)"
    version, file = run(plain, "-W", "error", "-c", code, cwd=tmp_path).split()
    assert version == mrd_hf.__version__ and Path(file).is_relative_to(plain.parents[1])


def test_the_commands_need_no_extra(run, plain, folder, expected):
    run(plain, Path(__file__).with_name("plain_commands.py"), folder, cwd=folder)

    def printed(name: str) -> str:
        return (folder / f"{name}.out").read_text()

    def complaint(name: str) -> str:
        return (folder / f"{name}.err").read_text()

    table = pq.read_table(folder / "shapes.parquet")
    embedded = dict(zip(table["path"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    assert embedded.keys() == {f"shapes/{name}" for name in expected}, complaint("embed")
    for name, embed in expected.items():
        np.testing.assert_allclose(embedded[f"shapes/{name}"], embed, rtol=1e-4, atol=1e-5)
    classified = json.loads(printed("classify"))
    assert [len(result["labels"]) for result in classified] == [3, 3], complaint("classify")
    found = json.loads(printed("search"))["hits"]
    assert found[0]["item"]["path"] == "shapes/box.glb" and len(found) == len(expected), complaint("search")
    assert "pip install 'mrd-hf[render]'" in complaint("render") and "exit code 2" in complaint("render")
    for extra in ("benchmarks", "evaluation", "interactive"):
        assert "pip install 'mrd-hf[" in complaint(extra), extra
    assert "h5py" in complaint("benchmarks") and "scikit-learn" in complaint("evaluation")


def test_every_file_of_the_package_is_in_the_wheel(plain):
    """Recipes, templates, the page's style, the HTML of the map: what is read by its place beside the code."""
    installed = Path(next(plain.parents[1].glob("lib/*/site-packages/mrd_hf")))
    of_source = {file.relative_to(SOURCE) for file in SOURCE.rglob("*") if file.is_file()}
    of_source = {file for file in of_source if "__pycache__" not in file.parts}
    of_wheel = {file.relative_to(installed) for file in installed.rglob("*") if file.is_file()}
    assert of_source <= of_wheel, of_source - of_wheel


REMOTE_CODE = """
import sys
import numpy as np
from transformers import AutoModel, pipeline

assert AutoModel.from_pretrained("encoder", trust_remote_code=True).config.projection_dim == 24
trusted = {"model": "encoder", "trust_remote_code": True, "device": "cpu"}
embed = pipeline("point-cloud-feature-extraction", **trusted)
names = sys.argv[1:]
np.savez("remote.npz", **{name: np.asarray(embed(f"shapes/{name}")) for name in names})
try:
    embed("https://127.0.0.1:9/cloud.npy")
except ValueError as error:
    print(error)
"""


def test_remote_code_needs_torch_transformers_trimesh_and_pillow_alone(run, folder, expected):
    python = environment_python("remote_code")
    printed = run(python, "-c", REMOTE_CODE, *expected, cwd=folder)
    assert "https://127.0.0.1:9/cloud.npy: cannot be fetched (ConnectionRefused" in printed
    with np.load(folder / "remote.npz") as embeds:
        for name, embed in expected.items():
            np.testing.assert_allclose(embeds[name].reshape(-1), embed, rtol=1e-4, atol=1e-5)


HANDLER = """
import base64, json, sys
sys.path.insert(0, "encoder")
from handler import EndpointHandler

handler = EndpointHandler("encoder")
encoded = base64.b64encode(open("shapes/box.glb", "rb").read()).decode()
shape = {"file": encoded, "format": "glb"}
embedding = handler({"inputs": shape})
labels = handler({"inputs": shape, "parameters": {"candidate_labels": ["chair", "mug"]}})
print(json.dumps({"embedding": embedding, "labels": labels}))
handler.reader.close()
"""


def test_the_handler_needs_its_requirements_alone(run, folder, expected, monkeypatch):
    python = environment_python("handler")
    monkeypatch.setenv("MRD_TEXT_TOWER", str(save_tiny_clip(folder / "clip")))
    answer = json.loads(run(python, "-c", HANDLER, cwd=folder).splitlines()[-1])
    assert sorted(label["label"] for label in answer["labels"]) == ["chair", "mug"]
    np.testing.assert_allclose(answer["embedding"]["embedding"], expected["box.glb"], rtol=1e-4, atol=1e-5)
