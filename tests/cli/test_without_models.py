"""Commands that need no model do without torch, which takes seconds; who asks the package for one has it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_commands import save_tiny_encoder, write_shapes

from mrd_hf import PointBertConfig, PointBertForPartSegmentation, PointCloudFeatureExtractor
from mrd_hf_cli import without_models


COMMAND = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted({"torch", "transformers.modeling_utils"} & set(sys.modules)))))
from mrd_hf_cli.main import main
main()
"""
NETWORK = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
NETWORK |= {"num_patches": 8, "patch_radius": 0.5, "patch_size": 8, "patch_feature_size": 16}


def in_a_new_process(*arguments: object, cwd: Path | None = None) -> list[str]:
    """The lines that Python prints, given its arguments."""
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def shapes(tmp_path) -> Path:
    write_shapes(tmp_path / "shapes")
    return tmp_path / "shapes"


def test_a_cloud_is_drawn(shapes, tmp_path):
    words = ("render", "shapes/cloud.npy", "--output", "cloud.png", "--views", 1, "--size", 64)
    assert in_a_new_process("-c", COMMAND, *words, cwd=tmp_path) == ["cloud.png", "[]"]
    assert Image.open(tmp_path / "cloud.png").size == (64, 64)


def test_parts_are_drawn_by_a_network_all_the_same(shapes, tmp_path):
    config = PointBertConfig(**NETWORK, num_labels=2, object_parts={"lamp": [0, 1]})
    PointBertForPartSegmentation(config).save_pretrained(tmp_path / "network")
    PointCloudFeatureExtractor(num_points=64).save_pretrained(tmp_path / "network")
    words = ("render", "shapes/cloud.npy", "-o", "cloud.png", "--views", 1, "--size", 64, "--part-model", "network")
    file, *_, imported = in_a_new_process("-c", COMMAND, *words, cwd=tmp_path)
    assert file == "cloud.png" and json.loads(imported) == ["torch", "transformers.modeling_utils"]


def test_a_dataset_is_prepared(shapes, tmp_path):
    words = ("prepare", "meshes", "shapes", "--output", "prepared", "--no-images", "--num-workers", 2)
    assert in_a_new_process("-c", COMMAND, *words, cwd=tmp_path)[-1] == "[]"
    report = json.loads((tmp_path / "prepared" / "report.json").read_text())
    assert report["prepared"] == 3 and not report["skipped"]


def test_a_folder_is_looked_through_before_it_is_pushed(tmp_path):
    folder = save_tiny_encoder(tmp_path / "encoder")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# An encoder\n")
    said = in_a_new_process("-c", COMMAND, "push", folder, "org/encoder", "--dry-run")
    assert any("model.safetensors" in line for line in said) and said[-1] == "[]"


# A script with workers, in a process that does without the models.
WORKERS = """
import sys

def has_torch(job):
    return "torch" in sys.modules

if __name__ == "__main__":
    from mrd_hf_cli.without_models import import_without_models
    import_without_models()
    from mrd_hf.data.preparation.worker_pool import map_in_order
    print(*map_in_order(has_torch, range(2), 2), has_torch(None))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork server")
def test_workers_do_without_them_as_the_process_does_that_starts_them(tmp_path):
    (tmp_path / "script.py").write_text(WORKERS)
    assert in_a_new_process(tmp_path / "script.py") == ["False False False"]


# As a script may have it: a module first, and then what `import mrd_hf` promises.
LATER = """
import sys
from mrd_hf_cli.without_models import import_without_models, is_without_models
import_without_models()
import mrd_hf.models.shape_files
import mrd_hf
assert mrd_hf.models.shape_files.read_shape and not hasattr(mrd_hf, "__wrapped__")
assert is_without_models() and "torch" not in sys.modules
sys.modules["mrd_hf.models.text_tower"] = None
for _ in range(2):  # whoever asks is told what is missing, and not only the first one
    try:
        from mrd_hf import TextTower
    except ModuleNotFoundError as error:
        assert error.name == "mrd_hf.models.text_tower"
    else:
        raise AssertionError
del sys.modules["mrd_hf.models.text_tower"]
import mrd_hf
from mrd_hf import PointBertModel
assert not is_without_models() and mrd_hf.PointBertModel is PointBertModel and mrd_hf.__version__
from transformers import AutoConfig
assert type(AutoConfig.for_model("point_bert")) is mrd_hf.PointBertConfig
import_without_models()
assert type(AutoConfig.for_model("uni3d")) is mrd_hf.Uni3DConfig
print("all is as it should be")
"""


def test_the_package_is_imported_once_it_is_asked_for_something_of_its_own():
    assert in_a_new_process("-c", LATER) == ["all is as it should be"]


def test_what_is_there_already_stays(monkeypatch):
    package = sys.modules["mrd_hf"]
    monkeypatch.setitem(sys.modules, "mrd_hf", package)
    without_models.import_without_models()
    assert sys.modules["mrd_hf"] is package and not without_models.is_without_models()


# A job in one process, as scripts/hf_job.py is one, needs the models after a command that needs none.
JOB = """
import sys
from mrd_hf_cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code
import mrd_hf
from transformers import AutoConfig
print(AutoConfig.for_model("point_bert").model_type)
"""


@pytest.mark.parametrize("words", [["inspect", "shapes/box.glb"], ["prepare", "--help"]])
def test_a_command_that_another_program_calls_leaves_it_the_models(shapes, tmp_path, words):
    assert in_a_new_process("-c", JOB, *words, cwd=tmp_path)[-1] == "point_bert"
