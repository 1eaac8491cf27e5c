"""Commands that need no model do without torch, which takes seconds; who asks the package for one has it."""

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image
from tiny_commands import write_shapes

from mrd_hf_cli import without_models


COMMAND = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted({"torch", "transformers.modeling_utils"} & set(sys.modules)))))
from mrd_hf_cli.main import main
main()
"""


def in_a_new_process(code: str, *words: object, cwd: Path | None = None) -> str:
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cloud_is_drawn_without_torch(tmp_path):
    write_shapes(tmp_path / "shapes")
    words = ("render", "shapes/cloud.npy", "--output", "cloud.png", "--views", 1, "--size", 64)
    said = in_a_new_process(COMMAND, *words, cwd=tmp_path)
    assert said.splitlines() == ["cloud.png", "[]"]
    assert Image.open(tmp_path / "cloud.png").size == (64, 64)


def test_a_dataset_is_prepared_without_torch(tmp_path):
    write_shapes(tmp_path / "shapes")
    words = ("prepare", "meshes", "shapes", "--output", "prepared", "--no-images", "--num-workers", 2)
    said = in_a_new_process(COMMAND, *words, cwd=tmp_path)
    assert said.splitlines()[-1] == "[]"
    report = json.loads((tmp_path / "prepared" / "report.json").read_text())
    assert report["prepared"] == 3 and not report["skipped"]


# As a script may have it: a module first, and then what `import mrd_hf` promises.
LATER = """
import sys
from mrd_hf_cli.without_models import import_without_models
import_without_models()
import mrd_hf.models.shape_files
assert "torch" not in sys.modules
import mrd_hf
assert mrd_hf.models.shape_files.read_shape and "torch" not in sys.modules
from mrd_hf import PointBertModel
assert mrd_hf.PointBertModel is PointBertModel and mrd_hf.__version__
from transformers import AutoConfig
assert type(AutoConfig.for_model("point_bert")) is mrd_hf.PointBertConfig
import_without_models()
assert type(AutoConfig.for_model("uni3d")) is mrd_hf.Uni3DConfig
"""


def test_the_package_is_imported_once_it_is_asked_for_something_of_its_own():
    in_a_new_process(LATER)


def test_what_is_there_already_stays():
    package = sys.modules["mrd_hf"]
    without_models.import_without_models()
    assert sys.modules["mrd_hf"] is package and package.PointBertModel is not None
