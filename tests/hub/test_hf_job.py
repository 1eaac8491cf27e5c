"""The documented line of scripts/hf_job.py: from meshes to an encoder on the Hub, in one process, and once more."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import trimesh
from huggingface_hub import ModelCard, constants
from support.forked_processes import run_command
from support.hub_server import Repository, environment, in_the_hubs_place
from support.pages import blocks, command_lines, hf_parameters
from support.paths import ROOT, SCRIPTS
from support.tiny_teachers import save_tiny_clip
from support.tiny_triplets import save_tiny_triplets

from mrd_hf.data import rendering
from mrd_hf.errors import UserError
from mrd_hf.hub.pushing import push_folder


SCRIPT = SCRIPTS / "hf_job.py"
PAGE = ROOT / "docs" / "serving.md"
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL |= {"num_patches": 8, "patch_radius": 0.5, "patch_size": 8, "patch_feature_size": 16}
# Of mrd-hf pretrain, for a test's time.
PRETRAIN = ["--num-points", "64", "--num-train-steps", "4", "--warmup-steps", "1", "--per-device-batch-size", "4"]
PRETRAIN += ["--num-workers", "0", "--cpu-threads", "1", "--point-config", json.dumps(SMALL)]


def documented() -> list[str]:
    """The words of the page's own line, of the user whom the stand-in for the Hub knows."""
    lines = [words for _, code in blocks(PAGE, "bash") for words in command_lines(code)]
    (words,) = [words for words in lines if words[:2] == ["python", "scripts/hf_job.py"]]
    return [re.sub("^me/", "alice/", word) for word in words]


def write_meshes(folder: Path) -> Path:
    kinds = {"box": trimesh.creation.box, "ball": trimesh.creation.icosphere, "cone": trimesh.creation.cone}
    rows = ["file_name,name,category"]
    for number in range(12):
        kind = list(kinds)[number % 3]
        mesh = kinds[kind](**({"radius": 1, "height": 1 + number / 9} if kind == "cone" else {}))
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / f"{number}.glb").write_bytes(mesh.export(file_type="glb"))
        rows.append(f"{kind}/{number}.glb,{kind} {number},{kind}")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.skipif(rendering.EmbreeScene is None, reason="needs embreex")
def test_a_job_goes_from_meshes_to_the_hub_and_resumes(tmp_path):
    with pytest.MonkeyPatch.context() as patch, in_the_hubs_place(patch, tmp_path / "hub") as hub:
        push_clip = save_tiny_clip(tmp_path / "clip")
        (push_clip / "README.md").write_text("---\nlicense: mit\n---\n# A teacher\n")
        push_folder(push_clip, "org/clip")
        write_meshes(tmp_path / "my_models")
        (tmp_path / "scripts").symlink_to(SCRIPTS)
        command = [sys.executable, *documented()[1:], "--teacher", "org/clip", "--test-share", "0.4"]
        command += [
            "--prepare",
            "--keep-mesh --num-points 128 --num-views 1 --resolution 32 --num-workers 1",
            "--",
            *PRETRAIN,
        ]
        job = {"capture_output": True, "text": True, "cwd": tmp_path, "timeout": 500}
        settings = {**environment(constants.ENDPOINT, tmp_path / "home"), "ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(command, env=settings, **job)
        assert done.returncode == 0, done.stdout + done.stderr
        repository = hub.repository("alice/my-encoder")
        files = repository.files()
        assert repository.private and {"model.safetensors", "config.json", "README.md"} <= set(files)
        card = ModelCard(files["README.md"].decode())
        assert {"zero_shot_top1"} <= {result.metric_type for result in card.data.eval_results}
        assert card.data.base_model == "org/clip" and json.loads(files["config.json"])["teacher_id"] == "org/clip"
        ran = re.findall(r"^\$ mrd-hf ([\w-]+)", done.stdout, flags=re.MULTILINE)
        assert ran == ["prepare", "embed-teacher", "pretrain", "evaluate", "push"]
        again = subprocess.run(command, env=settings, **job)
        assert again.returncode == 0, again.stdout + again.stderr
        ran = re.findall(r"^\$ mrd-hf ([\w-]+)", again.stdout, flags=re.MULTILINE)
        assert ran == ["prepare", "embed-teacher", "evaluate", "push"]
        assert repository.files()["model.safetensors"] == files["model.safetensors"]


def test_a_repository_without_an_owner_is_refused_before_anything_is_made(tmp_path):
    done = run_command([SCRIPT, "--dataset", "x", "--repo-id", "job"], cwd=tmp_path)
    assert done.returncode == 2 and "names no owner; give OWNER/NAME" in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["my_models/captions.csv", "captions.csv"])
def test_the_table_lies_in_the_folder_of_meshes_or_beside_it(place, tmp_path, monkeypatch):
    """docs/data.md has it beside the folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_models").mkdir()
    (tmp_path / place).write_text("file_name\nbox.glb\n")
    job = runpy.run_path(str(SCRIPT))
    calls = []
    monkeypatch.setitem(job["prepared"].__globals__, "run", lambda *words: calls.append([str(word) for word in words]))
    job["prepared"](job["parse"](documented()[2:]))
    (words,) = calls
    assert words[words.index("--metadata") + 1] == place


def test_a_table_that_is_in_neither_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_models").mkdir()
    with (
        in_the_hubs_place(monkeypatch, tmp_path / "hub"),
        pytest.raises(UserError, match=r"there is no my_models/captions\.csv and no captions\.csv"),
    ):
        runpy.run_path(str(SCRIPT))["main"](documented()[2:])


def test_what_cannot_be_pushed_is_said_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = runpy.run_path(str(SCRIPT))
    monkeypatch.setitem(job["main"].__globals__, "run", lambda *words: pytest.fail(f"ran {words}"))

    def refused(*words: str) -> str:
        with pytest.raises(UserError) as refusal:
            job["main"](["--dataset", "triplets", "--repo-id", *words])
        return str(refusal.value)

    with in_the_hubs_place(monkeypatch, tmp_path / "hub") as hub:
        repository = Repository("models", "alice/public", private=False)
        repository.add_commit("refs/heads/main", {}, "initial commit")
        hub.repositories["models", "alice/public"] = repository
        assert "'alice/my encoder' cannot be a repository's name" in refused("alice/my encoder")
        assert "alice/public exists and is public" in refused("alice/public", "--private")
        monkeypatch.delenv("HF_TOKEN")
        assert refused("alice/my-encoder").startswith("not logged in to")
        monkeypatch.setenv("HF_TOKEN", "hf_nobody")
        assert "the access token was not accepted" in refused("alice/my-encoder", "--private")
        assert list(hub.repositories) == [("models", "alice/public")]
    assert not any(tmp_path.iterdir())


EMBEDDINGS = ("image_embeds", "text_embeds", "teacher", "teacher_revision", "image_backend")


def embedding_of(dataset: str, tmp_path: Path, monkeypatch) -> tuple[str, list[str], list[list[str]]]:
    """The dataset that a job of `dataset` trains on, the option of its classes, and what it runs to get there."""
    job = runpy.run_path(str(SCRIPT))
    calls = []
    monkeypatch.setitem(job["embedded"].__globals__, "run", lambda *words: calls.append([str(word) for word in words]))
    words = ["--dataset", dataset, "--repo-id", "me/job", "--teacher", "org/clip", "--work-dir", str(tmp_path / "job")]
    arguments = job["parse"](words)
    found, texts = job["embedded"](arguments, job["prepared"](arguments))
    return found, [str(word) for word in texts], calls


def test_a_folder_with_embeddings_is_not_embedded_again(tmp_path, monkeypatch):
    """One without a card, of which `datasets` does not say what it has."""
    folder = save_tiny_triplets(tmp_path / "triplets")
    assert embedding_of(str(folder), tmp_path, monkeypatch) == (
        str(folder),
        ["--class-texts", str(folder / "class_texts.parquet")],
        [],
    )


@pytest.mark.parametrize("classes_of_its_own", [True, False])
def test_a_folder_without_embeddings_is_embedded_with_its_classes(tmp_path, monkeypatch, classes_of_its_own):
    """Where it says itself which classes there are, mrd-hf embed-teacher refuses to be told to find them."""
    folder = save_tiny_triplets(tmp_path / "triplets", without=EMBEDDINGS)
    if not classes_of_its_own:
        (folder / "class_texts.parquet").unlink()
    found, _, (words,) = embedding_of(str(folder), tmp_path, monkeypatch)
    assert found == str(tmp_path / "job" / "embedded") == words[-1] and words[:2] == ["embed-teacher", str(folder)]
    assert ("--class-texts" in words) is not classes_of_its_own


# In a process of its own, as `datasets` learns where the Hub is when it is imported.
ON_THE_HUB = """
import json, runpy, sys
job = runpy.run_path(sys.argv[1])
for dataset in sys.argv[2:]:
    calls = []
    job["embedded"].__globals__["run"] = lambda *words: calls.append([str(word) for word in words])
    arguments = job["parse"](["--dataset", dataset, "--repo-id", "me/job"])
    print(json.dumps([job["embedded"](arguments, job["prepared"](arguments))[0], calls]))
"""


def test_a_dataset_on_the_hub_is_fetched_only_to_embed_it(tmp_path, monkeypatch):
    with in_the_hubs_place(monkeypatch, tmp_path / "hub"):
        for name, without in (("embedded", ()), ("bare", EMBEDDINGS)):
            folder = save_tiny_triplets(tmp_path / name, without=without)
            (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Things\n")
            push_folder(folder, f"org/{name}", repo_type="dataset", private=True)
        done = subprocess.run(
            [sys.executable, "-c", ON_THE_HUB, SCRIPT, "org/embedded", "org/bare"],
            env=environment(constants.ENDPOINT, tmp_path / "home"),
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    embedded, bare = map(json.loads, done.stdout.splitlines())
    assert embedded == ["org/embedded", []]
    found, ((command, fetched, *_),) = bare
    assert command == "embed-teacher" and found == str(Path("mrd-job", "embedded"))
    for file in folder.rglob("*.parquet"):
        assert (Path(fetched) / file.relative_to(folder)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("where", ["page", "script"])
def test_a_job_on_hugging_faces_machines_is_told_all_its_words(where):
    """`hf` takes a `--` for itself."""
    text = PAGE.read_text() if where == "page" else SCRIPT.read_text()
    (line,) = re.findall(r"^ *(hf jobs (?:.*\\\n)*.*)", text, flags=re.MULTILINE)
    ((_, *words),) = command_lines(line)
    parameters = hf_parameters(words)
    assert parameters["script"] == "scripts/hf_job.py" and parameters["secrets"] == ["HF_TOKEN"]
    told = runpy.run_path(str(SCRIPT))["parse"](parameters["script_args"])
    given = words[words.index("--", words.index("scripts/hf_job.py")) + 1 :]
    assert told.pretrain == given != []
    # There is no folder of this machine there.
    assert "/" in told.meshes and not (ROOT / told.meshes).exists()


def test_its_inline_dependencies_are_the_packages_own():
    block = re.search(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$", SCRIPT.read_text())
    content = tomllib.loads("".join(line[2:] or "\n" for line in block["content"].splitlines(keepends=True)))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert content["requires-python"] == project["requires-python"]
    (requirement,) = content["dependencies"]
    name, extras = re.fullmatch(r"([\w-]+)\[(.*)\]", requirement).groups()
    assert name == project["name"] and set(extras.split(",")) <= set(project["optional-dependencies"])
    assert "render" in extras.split(",")  # its first step draws pictures
