"""What `make dist` built, as a user gets it: installed in a new environment, and used from an empty folder.

    python tests/installation/check_dist.py dist

Ends with an error at the first step that fails. It takes a minute or two, most of it pip's.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from environments import PROJECT, ROOT, lend_torch, pinned_torch, pip_install


DEMO_DATA = ROOT / "scripts" / "demo_data"
# Ten steps in seconds.
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY |= {"num_patches": 8, "patch_size": 8, "patch_feature_size": 24}
# Of this environment; a user's shell has none of it.
HIDDEN = ("PYTHONPATH", "VIRTUAL_ENV", "MRD_MODEL")


def built(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source archive, of which there is one each, of this version."""
    version = PROJECT["version"]
    wheel, source = folder / f"mrd_hf-{version}-py3-none-any.whl", folder / f"mrd_hf-{version}.tar.gz"
    found = sorted(folder.iterdir())
    assert found == sorted([wheel, source]), f"{folder} has {[path.name for path in found]}"
    return wheel, source


def check_contents(wheel: Path, source: Path) -> None:
    """Both have all of the package's files and the licence; the wheel has nothing else."""
    package = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name and ".egg-info/" not in name}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    assert "mrd_hf/hub/widget/bundle/index.html" in package, "the page for browsers is not built: make dist builds it"
    assert package <= in_wheel, f"not in the wheel: {sorted(package - in_wheel)}"
    records = {name for name in in_wheel if ".dist-info/" in name}
    assert in_wheel == package | records, f"too much in the wheel: {sorted(in_wheel - package - records)}"
    assert any(name.endswith("/licenses/LICENSE") for name in records), sorted(records)
    needed = {f"src/{name}" for name in package} | {"LICENSE", "README.md", "pyproject.toml"}
    assert needed <= in_source, f"not in the source archive: {sorted(needed - in_source)}"


def use(bin_folder: Path, folder: Path) -> None:
    """The smoke test; ten steps of pretraining; the scores, and a classification, of the encoder that these made."""
    environment = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    environment |= {"HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}

    def run(program: str, *arguments: object) -> str:
        command = [str(bin_folder / program), *map(str, arguments)]
        print("$", program, *arguments, flush=True)
        finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    print(run("python", ROOT / "tests" / "installation" / "smoke_test.py"))
    labels = DEMO_DATA / "class_texts.parquet"
    options = ["--config", "demo", "--dataset", DEMO_DATA, "--class-texts", labels, "--output-dir", "run"]
    options += ["--num-train-steps", 10, "--warmup-steps", 2, "--per-device-batch-size", 16, "--num-points", 64]
    options += ["--num-workers", 0, "--point-config", json.dumps(TINY)]
    trained = run("accelerate", "launch", "--quiet", "-m", "mrd_hf.commands.pretrain", *options)
    assert "zero-shot top-1" in trained, trained
    steps = [json.loads(line) for line in (folder / "run" / "training_log.jsonl").read_text().splitlines()]
    assert max(step["step"] for step in steps) == 10, steps
    assert "# run" in (folder / "run" / "encoder" / "README.md").read_text()  # by the card's template
    options = ["--model", "run/encoder", "--dataset", DEMO_DATA, "--class-texts", labels]
    scored = run("mrd-hf", "evaluate", *options, "-o", "evaluation")
    assert "zero-shot top-1" in scored, scored
    assert {file.name for file in folder.iterdir()} == {"run", "evaluation"}
    options = ["--model", "run/encoder", "--class-texts", labels, "--top-k", 3]
    classified = run("mrd-hf", "classify", DEMO_DATA / "shapes" / "chair.glb", *options)
    assert classified.count("%") == 3, classified
    print(classified)


def main(dist: Path) -> None:
    wheel, source = built(dist)
    check_contents(wheel, source)
    with tempfile.TemporaryDirectory() as name:
        environment, empty = Path(name) / "environment", Path(name) / "empty"
        empty.mkdir()
        venv.create(environment, symlinks=sys.platform != "win32")
        bin_folder = environment / ("Scripts" if sys.platform == "win32" else "bin")
        lend_torch(bin_folder / "python")
        pip_install(bin_folder / "python", pinned_torch(), str(wheel))
        use(bin_folder, empty)
    print(f"{wheel.name} and {source.name} are good.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
