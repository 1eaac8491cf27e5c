"""Uploading: what goes and what stays, as which revision, again after a break, and what is said when it fails."""

import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path, PureWindowsPath

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from card_facts import FACTS
from huggingface_hub import HfApi, ModelCard, constants
from safetensors.torch import save_file
from support.hub_server import READER, WRITER, Blob, Repository, in_the_hubs_place
from support.paths import SCRIPTS
from support.tiny_encoders import tiny_encoder

from mrd_hf import PointCloudFeatureExtractor
from mrd_hf.commands.push import main
from mrd_hf.data.embedding.embedded_files import to_footer
from mrd_hf.errors import UserError
from mrd_hf.hub import pushing
from mrd_hf.hub.file_selection import ENDPOINT_FILES, check_for_secrets, select_files
from mrd_hf.hub.model_card import write_model_card
from mrd_hf.hub.pushing import check_login, push_command, push_folder


SCRIPT = SCRIPTS / "push_to_hub.py"
SECRET = "hf_" + "aB3dE6gH9" * 4


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "encoder"
    tiny_encoder("openshape").save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=32).save_pretrained(folder)
    write_model_card(folder, teacher="openai/clip-vit-base-patch32", **FACTS)
    return folder


@pytest.fixture
def checkpoint(saved, tmp_path) -> Path:
    """A folder of one's own to spoil."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with in_the_hubs_place(monkeypatch, tmp_path) as server:
        yield server


def test_a_checkpoint_is_uploaded_whole_and_its_card_names_the_repository(hub, checkpoint):
    push = push_folder(checkpoint, "org/model")
    files = hub.repository("org/model").files()
    here = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    assert push.url.endswith("/org/model") and push.left_out == {}
    assert set(push.files) == set(here) and set(files) == {*here, ".gitattributes"}
    assert {n: c for n, c in files.items() if n in here and n != "README.md"} == {
        n: c for n, c in here.items() if n != "README.md"
    }
    card = files["README.md"].decode()
    assert 'from_pretrained("org/model")' in card and "# org/model" in card
    assert 'from_pretrained("outputs/run/encoder")' in here["README.md"].decode()  # the folder is as it was
    assert not hub.repository("org/model").private


@pytest.mark.parametrize(
    ("home", "told"),
    [("/home/alice", "~/data, /home/alicea, https://h"), ("/", "/home/alice/data, /home/alicea, https://h")],
)
def test_where_ones_home_is_stays_at_home(hub, checkpoint, monkeypatch, home, told):
    monkeypatch.setenv("HOME", home)
    with (checkpoint / "README.md").open("a") as card:
        card.write("from /home/alice/data, /home/alicea, https://h")
    push_folder(checkpoint, "org/model")
    assert f"from {told}" in hub.repository("org/model").files()["README.md"].decode()


def test_where_ones_home_is_on_windows_stays_at_home(hub, checkpoint, monkeypatch):
    monkeypatch.setattr(pushing.Path, "home", lambda: PureWindowsPath("C:/Users/ann"))
    with (checkpoint / "README.md").open("a") as card:
        card.write("from C:\\Users\\ann\\data, C:/Users/ann/data, C:\\Users\\anna, in C:\\Users\\ann.")
    push_folder(checkpoint, "org/model")
    told = hub.repository("org/model").files()["README.md"].decode()
    assert "from ~\\data, ~/data, C:\\Users\\anna, in ~." in told


def test_other_paths_that_end_as_ones_home_does_stay(hub, checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", "/data")
    with (checkpoint / "README.md").open("a") as card:
        card.write("from outputs/data, https://x.org/data, (/data) and /data/a")
    push_folder(checkpoint, "org/model")
    told = hub.repository("org/model").files()["README.md"].decode()
    assert "from outputs/data, https://x.org/data, (~) and ~/a" in told


@pytest.mark.skipif(sys.platform == "win32", reason="of a POSIX shell")
def test_the_command_of_the_remedy_can_be_pasted():
    given = push_command(Path("out/my run"), "org/m", revision="v 2", message="it's new")
    assert shlex.split(given.strip("`")) == [
        *("mrd-hf", "push", "out/my run", "org/m", "--revision", "v 2", "--message", "it's new"),
    ]


def test_to_anothers_repository_files_can_be_proposed(hub, checkpoint):
    repository = Repository("models", "bob/model", private=False)
    repository.add_commit("refs/heads/main", {}, "initial commit")
    hub.repositories["models", "bob/model"] = repository
    for revision, remedy in ((None, "--create-pr."), ("v2", "--create-pr, which goes to main, without --revision.")):
        with pytest.raises(UserError, match=f"or propose the files with {remedy} The files are safe"):
            push_folder(checkpoint, "bob/model", revision=revision)
    push_folder(checkpoint, "bob/model", create_pr=True)
    assert "model.safetensors" in repository.files("refs/pr/1") and repository.files() == {}


def test_private_stays_private_and_public_is_not_taken_for_it(hub, checkpoint):
    push_folder(checkpoint, "org/secret", private=True)
    assert hub.repository("org/secret").private
    push_folder(checkpoint, "org/model")
    with pytest.raises(UserError, match="org/model exists and is public"):
        push_folder(checkpoint, "org/model", private=True)


def test_a_branch_is_made_and_main_stays_as_it_was(hub, checkpoint):
    push = push_folder(checkpoint, "org/model", revision="v2/test")
    repository = hub.repository("org/model")
    assert push.url.endswith("/org/model/tree/v2/test")
    assert set(repository.files()) == {".gitattributes"}
    assert "model.safetensors" in repository.files("v2/test")
    push_folder(checkpoint, "org/model", revision="v2/test")  # it may be there already
    assert repository.messages == ["initial commit", "Upload the encoder"]


def test_a_pull_request_is_opened_and_can_be_added_to(hub, checkpoint, monkeypatch):
    push_folder(checkpoint, "org/model")
    (checkpoint / "LICENSE").write_text("Apache-2.0")
    monkeypatch.setenv("HF_TOKEN", WRITER)
    push = push_folder(checkpoint, "org/model", create_pr=True)
    repository = hub.repository("org/model")
    assert push.url.endswith("/org/model/discussions/1")
    assert "LICENSE" not in repository.files() and "LICENSE" in repository.files("refs/pr/1")
    (checkpoint / "NOTICE").write_text("none")
    push_folder(checkpoint, "org/model", revision="refs/pr/1")
    assert "NOTICE" in repository.files("refs/pr/1") and "NOTICE" not in repository.files()
    with pytest.raises(UserError, match="leave out the revision"):
        push_folder(checkpoint, "org/model", revision="v2", create_pr=True)


def test_an_upload_that_broke_off_goes_on_where_it_was(hub, checkpoint):
    """Two shards: the second one's connection breaks, at every attempt."""
    (checkpoint / "model.safetensors").unlink()
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for number, name in enumerate(shards):
        save_file({f"weight{number}": torch.full((100_000,), float(number))}, checkpoint / name)
    index = {"weight_map": {f"weight{number}": name for number, name in enumerate(shards)}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    hub.break_uploads_after = [10**9] + [200_000] * 20  # the first that comes gets through
    with pytest.raises(UserError, match=f"The files are safe in {checkpoint}") as error:
        push_folder(checkpoint, "org/model")
    assert error.value.exit_code == 1 and "mrd-hf push" in str(error.value)
    assert set(hub.repository("org/model").files()) == {".gitattributes"}  # nothing half-done is to be seen
    assert sum(hub.uploaded.values()) == 1
    hub.break_uploads_after = []
    push_folder(checkpoint, "org/model")
    assert hub.uploaded == dict.fromkeys(hub.storage, 1)
    files = hub.repository("org/model").files()
    assert all(files[name] == (checkpoint / name).read_bytes() for name in shards)


def test_what_has_not_changed_is_not_uploaded_again(hub, checkpoint):
    push_folder(checkpoint, "org/model")
    push_folder(checkpoint, "org/model")
    assert hub.repository("org/model").messages == ["initial commit", "Upload the encoder"]
    assert sum(hub.uploaded.values()) == 1


LEFT_OUT = {
    "optimizer.safetensors": "training",
    "optimizer.bin": "training",
    "scheduler.bin": "training",
    "random_states_0.pkl": "training",
    "model.pt": "may run code",
    "pytorch_model.bin": "may run code",
    "training_args.bin": "training",
    "training_log.jsonl": "a log",
    "events.out.tfevents.1.host": "a log",
    ".env": "may hold secrets",
    ".env.local": "may hold secrets",
    "token": "may hold secrets",
    "arguments.json": "no part of a checkpoint",
    "notes.txt": "no part of a checkpoint",
    "other_code.py": "no part of a checkpoint",
    "checkpoint-100/model.safetensors": "a training checkpoint",
    "checkpoint-100/optimizer.bin": "a training checkpoint",
    ".git/config": "a repository's own files",
    ".cache/huggingface/download/x.metadata": "no part of a checkpoint",
    "deeper/config.json": "no part of a checkpoint",
    "data.parquet": "no part of a checkpoint",
}


def test_what_is_no_part_of_a_checkpoint_stays_and_is_named(hub, checkpoint):
    whole = {path.name for path in checkpoint.iterdir()}
    for name in LEFT_OUT:
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).write_bytes(b"x")
    push = push_folder(checkpoint, "org/model")
    assert set(hub.repository("org/model").files()) == {*whole, ".gitattributes"}
    assert push.left_out.keys() == LEFT_OUT.keys()
    for name, reason in LEFT_OUT.items():
        assert reason in push.left_out[name], name
    assert "left out: notes.txt" in push.summary()


def test_what_belongs_to_a_checkpoint_goes(hub, checkpoint):
    extras = {"tokenizer.json", "vocab.json", "merges.txt", "processor_config.json", "curves.png", "images/a.jpg"}
    extras |= {".eval_results/org-shapes-test.yaml"}
    extras |= {"handler.py", "shape_reading.py", "requirements.txt", "LICENSE"}
    for name in extras:
        (checkpoint / name).parent.mkdir(exist_ok=True)
        (checkpoint / name).write_text("{}")
    push_folder(checkpoint, "org/model")
    assert extras <= set(hub.repository("org/model").files())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.md", f"---\nlicense: mit\n---\nlogin(token='{SECRET}')"),
        ("config.json", json.dumps({"token": SECRET})),
        ("processor_config.json", json.dumps({"key": "ghp_" + "a1B2" * 9})),
        ("modeling_point_bert.py", "KEY = 'AKIAABCDEFGHIJKLMNOP'"),
        ("LICENSE", "-----BEGIN RSA PRIVATE KEY-----"),
        ("README.md", f"my own: {WRITER}"),
    ],
)
def test_a_file_with_an_access_token_is_refused(hub, checkpoint, name, text):
    (checkpoint / name).write_text(text)
    with pytest.raises(UserError, match=f"{name}: holds what looks like a") as error:
        push_folder(checkpoint, "org/model")
    assert SECRET not in str(error.value)
    assert ("models", "org/model") not in hub.repositories and not hub.requests


@pytest.mark.parametrize("name", ["README.md", "ATTRIBUTION.md"])
@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=" ".join)
def test_a_dataset_with_an_access_token_is_refused(hub, tmp_path, name, options):
    folder = tmp_path / "furniture"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train-00000-of-00001.parquet").write_text("rows")
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Furniture\n")
    with (folder / name).open("a") as file:
        file.write(f"fetched with {SECRET}\n")
    with pytest.raises(UserError, match=f"{name}: holds what looks like a Hugging Face access token") as error:
        main([str(folder), "org/furniture", "--type", "dataset", *options])
    assert SECRET not in str(error.value)
    assert not hub.repositories and not hub.requests


def test_a_token_anywhere_in_a_file_is_found_and_words_like_one_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "an-odd-token")
    file = tmp_path / "tokenizer.json"
    for place in (0, 1, 2**20 - 20, 2**20, 2**21 - 1, 3 * 2**20 - 5):
        content = bytearray(b" " * (3 * 2**20 + 200))
        content[place : place + len(SECRET)] = SECRET.encode()
        file.write_bytes(content)
        with pytest.raises(UserError, match=f"at byte {place}"):
            check_for_secrets(file)
    file.write_text("token = 'an-odd-token'")
    with pytest.raises(UserError, match="you are logged in with"):
        check_for_secrets(file)
    file.write_text("hf_hub_download hf_transfer self.hf_token hf_xxxx api_org_ x" + SECRET)
    check_for_secrets(file)
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"token": SECRET})
    with pytest.raises(UserError, match="Hugging Face access token"):
        check_for_secrets(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no model"),
        (
            lambda folder: (
                (folder / "a.parquet").write_text(""),
                (folder / "encoder").mkdir(),
                (folder / "config.json").rename(folder / "encoder" / "config.json"),
            ),
            "holds no model .*; did you mean .*encoder",
        ),
        (
            lambda folder: ((folder / "config.json").unlink(), (folder / "a.parquet").write_text("")),
            r"holds no model \(config.json\) but parquet files; for a dataset add --type dataset",
        ),
        (lambda folder: (folder / "README.md").unlink(), "has no model card"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights as safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04pickled"), "is no safetensors file"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(
                (folder / "model.safetensors").read_bytes()[:-10]
            ),
            "or not a whole one",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text(
                '{"weight_map": {"w": "model-00001-of-00001.safetensors"}}'
            ),
            "names model-00001-of-00001.safetensors, which is not there",
        ),
        *(
            (
                lambda folder, text=text: (folder / "model.safetensors.index.json").write_bytes(text),
                r"model\.safetensors\.index\.json: is damaged .*'weight_map'",
            )
            for text in (b"{", b"{}", b"[]", b"\xff", b'{"weight_map": ["a"]}', b'{"weight_map": {"w": ["a"]}}')
        ),
        (lambda folder: (folder / "point_sampling.py").unlink(), "point_sampling.py.* is not there"),
        (lambda folder: (folder / "modeling_point_bert.py").unlink(), "modeling_point_bert.py"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not valid JSON"),
    ],
)
def test_a_folder_that_is_no_whole_checkpoint_is_refused(checkpoint, spoil, message):
    spoil(checkpoint)
    with pytest.raises(UserError, match=message):
        select_files(checkpoint)


def test_a_runs_folder_is_told_from_the_encoders(checkpoint):
    with pytest.raises(UserError, match=f"did you mean {checkpoint}?"):
        select_files(checkpoint.parent)
    with pytest.raises(UserError, match="no such folder"):
        select_files(checkpoint / "nowhere")


def test_who_may_not_write_is_told_so(hub, checkpoint, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(UserError, match="could not upload to org/model: you may not write there"):
        push_folder(checkpoint, "org/model")
    monkeypatch.setenv("HF_TOKEN", "hf_" + "nobody" * 6)
    with pytest.raises(UserError, match="the access token was not accepted"):
        push_folder(checkpoint, "org/model")
    monkeypatch.setenv("HF_TOKEN", WRITER)
    with pytest.raises(UserError, match="could not upload to elsewhere/model: you may not write there"):
        push_folder(checkpoint, "elsewhere/model")


def test_without_a_login_or_a_network_nothing_is_lost(hub, checkpoint, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 cannot be reached.*The files are safe in") as error:
        push_folder(checkpoint, "org/model", private=True, revision="v2")
    assert f"mrd-hf push {checkpoint} org/model --private --revision v2`" in str(error.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="hf auth login"):
        push_folder(checkpoint, "org/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        check_login()


def test_a_card_that_the_hub_refuses_is_told_before_anything_is_uploaded(hub, checkpoint):
    (checkpoint / "README.md").write_text("---\nlicense: [\n---\n# encoder\n")
    with pytest.raises(UserError, match="Invalid metadata in README.md"):
        push_folder(checkpoint, "org/model")
    assert not hub.uploaded


@pytest.mark.parametrize("name", ["org/model/more", "org/mo del", "-", "org/model--x"])
def test_a_name_that_cannot_be_is_refused(checkpoint, name):
    with pytest.raises(UserError, match="cannot be a repository's name"):
        push_folder(checkpoint, name)


def test_a_dataset_goes_with_its_documents(hub, tmp_path):
    folder = tmp_path / "furniture"
    (folder / "data").mkdir(parents=True)
    for name in ("data/train-00000-of-00001.parquet", "class_texts.parquet", "ATTRIBUTION.md"):
        (folder / name).write_text(name)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Furniture\n")
    for name in ("report.json", "data/.train.partial-1", "train.pkl", "model.safetensors"):
        (folder / name).write_text(name)
    push = push_folder(folder, "org/furniture", repo_type="dataset")
    repository = hub.repository("org/furniture", "datasets")
    assert set(repository.files()) == {*push.files, ".gitattributes"}
    assert len(push.files) == 4 and push.url.endswith("/datasets/org/furniture")
    assert push.left_out["report.json"] == "no part of a dataset"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no parquet files"):
        select_files(tmp_path / "empty", "dataset")


@pytest.mark.parametrize("embedded", [False, True])
def test_a_dataset_that_is_not_whole_is_refused_and_deletes_nothing(hub, tmp_path, embedded):
    """Else its shards would take the place of those of an earlier, whole upload."""
    folder = tmp_path / "furniture"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Furniture\n")
    (folder / "data/train-00000-of-00001.parquet").write_text("rows")
    push_folder(folder, "org/furniture", repo_type="dataset")
    before = hub.repository("org/furniture", "datasets").files()
    (folder / "data/train-00000-of-00001.parquet").unlink()
    record = {"source": "", "settings": {"teacher": "org/clip"}, "left_out": []}
    table = pa.table({"id": ["a"]}).replace_schema_metadata(to_footer(record) if embedded else {})
    for number in (0, 2):
        pq.write_table(table, folder / f"data/train-{number:05d}-of-00003.parquet")
    remedy = "`mrd-hf embed-teacher DATASET --teacher org/clip" if embedded else "`mrd-hf prepare "
    message = rf"1 of its 3 files are missing \(data.train-00001-of-00003.parquet\); {remedy}"
    with pytest.raises(UserError, match=message):
        push_folder(folder, "org/furniture", repo_type="dataset")
    assert hub.repository("org/furniture", "datasets").files() == before


def test_shards_of_an_earlier_upload_are_deleted_and_nothing_else_is(hub, tmp_path):
    folder = tmp_path / "furniture"
    (folder / "data").mkdir(parents=True)
    (folder / "data/train-00000-of-00002.parquet").write_text("rows")
    (folder / "data/train-00001-of-00002.parquet").write_text("rows")
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Furniture\n")
    push_folder(folder, "org/furniture", repo_type="dataset")
    repository = hub.repository("org/furniture", "datasets")
    others = {"class_texts.parquet", "data/notes.txt", "data/more/x.parquet", "data.parquet", "LICENSE"}
    files = repository.commits[repository.refs["refs/heads/main"]]
    files |= dict.fromkeys(others, files["README.md"])
    for file in (folder / "data").iterdir():
        file.unlink()
    (folder / "data/train-00000-of-00001.parquet").write_text("rows")
    proposed = push_folder(folder, "org/furniture", repo_type="dataset", create_pr=True)
    assert len(proposed.deleted) == 2 and "data/train-00001-of-00002.parquet" in repository.files()
    push = push_folder(folder, "org/furniture", repo_type="dataset")
    now = {"README.md", "data/train-00000-of-00001.parquet", ".gitattributes", *others}
    assert set(repository.files()) == set(repository.files("refs/pr/1")) == now
    assert "deleted there: data/train-00001-of-00002.parquet (not in the folder any more)" in push.summary()
    assert push_folder(folder, "org/furniture", repo_type="dataset").deleted == []
    shutil.rmtree(folder / "data")  # documents, and texts of classes, may be pushed alone
    (folder / "class_texts.parquet").write_text("other texts")
    assert push_folder(folder, "org/furniture", repo_type="dataset").deleted == []
    assert "data/train-00000-of-00001.parquet" in repository.files()


@pytest.mark.parametrize("whole_first", [True, False])
def test_weights_of_an_earlier_upload_are_deleted(hub, checkpoint, whole_first):
    whole = {"model.safetensors": (checkpoint / "model.safetensors").read_bytes()}
    save_file({"w": torch.zeros(1)}, checkpoint / "model-00001-of-00001.safetensors")
    shards = {"model-00001-of-00001.safetensors": (checkpoint / "model-00001-of-00001.safetensors").read_bytes()}
    shards["model.safetensors.index.json"] = json.dumps({"weight_map": {"w": next(iter(shards))}}).encode()
    for weights in (whole, shards) if whole_first else (shards, whole):
        for name in (*whole, *shards):
            (checkpoint / name).unlink(missing_ok=True)
        for name, content in weights.items():
            (checkpoint / name).write_bytes(content)
        push_folder(checkpoint, "org/model")
        repository = hub.repository("org/model")
        files = repository.files()
        repository.commits[repository.refs["refs/heads/main"]]["model.fp16.safetensors"] = Blob(b"mine", True)
        assert {n: c for n, c in files.items() if re.match(r"model[-.](\d|safe)", n)} == weights
    assert {path.name for path in checkpoint.iterdir()} <= set(files) and files["model.fp16.safetensors"] == b"mine"


def test_the_command_uploads_to_the_branch_or_the_pull_request_that_it_names(hub, checkpoint):
    main([str(checkpoint), "org/model", "--revision", "v2"])
    main([str(checkpoint), "org/model", "--create-pr"])
    repository = hub.repository("org/model")
    for place in ("v2", "refs/pr/1"):
        assert "model.safetensors" in repository.files(place)
    assert set(repository.files()) == {".gitattributes"}


def test_the_script_says_what_goes_and_what_stays(hub, checkpoint, monkeypatch, capsys):
    (checkpoint / "notes.txt").write_text("x")
    before = {path.name: path.stat().st_mtime_ns for path in checkpoint.iterdir()}
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(checkpoint), "org/model", "--handler", "--dry_run"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    said = capsys.readouterr().out
    assert said.startswith("would upload to the model repository org/model, branch main, public if it is yet to be")
    sizes = re.findall(r"^ *([\d.]+) (B|kB|MB)  (\S+)$", said, re.MULTILINE)
    assert len(sizes) == len(before) - 1 + len(ENDPOINT_FILES) and f"  in {len(sizes)} files\n" in said
    expected = {path.name: path.stat().st_size for path in checkpoint.iterdir()}
    for number, unit, name in sizes:
        size = float(number) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit]
        assert size == pytest.approx(expected.get(name, size), rel=0.05), name
    assert {name for _, _, name in sizes} > ENDPOINT_FILES and "left out: notes.txt (no part of a checkpoint)" in said
    assert not hub.requests and {path.name: path.stat().st_mtime_ns for path in checkpoint.iterdir()} == before
    options = ["--dry-run", "--private", "--revision", "v2", "--type", "dataset"]
    (checkpoint / "train.parquet").write_text("x" * 1500)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(checkpoint), "org/data", *options])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    said = capsys.readouterr().out
    assert said.startswith("would upload to the dataset repository org/data, branch v2, private:\n")
    assert "   1.5 kB  train.parquet\n" in said and "deleted there: shards in data/ of an earlier upload" in said
    (checkpoint / "train.parquet").unlink()
    options = ["--private", "--message", "First", "--handler"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(checkpoint), "org/model", *options])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert hub.repository("org/model").private and hub.repository("org/model").messages[-1] == "First"
    assert "handler.py" in hub.repository("org/model").files()
    assert f"uploaded to {constants.ENDPOINT}/org/model" in capsys.readouterr().out
    # A handler that somebody has changed is not replaced in silence.
    (checkpoint / "handler.py").write_text("mine")
    for option in ("--dry_run", "--private"):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(checkpoint), "org/model", "--handler", option])
        with pytest.raises(SystemExit) as exit:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        assert exit.value.code == 2 and "replace it with --overwrite" in capsys.readouterr().err
    assert (checkpoint / "handler.py").read_text() == "mine"
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--overwrite"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert "class EndpointHandler" in (checkpoint / "handler.py").read_text()
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(checkpoint / "nowhere"), "org/model"])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert exit.value.code == 2 and "no such folder" in capsys.readouterr().err


def test_the_server_is_used_as_the_hub_is(hub, checkpoint):
    """What the tests lean on: the client's own functions see what was pushed."""
    push_folder(checkpoint, "org/model", revision="v2")
    api = HfApi(endpoint=constants.ENDPOINT)
    assert api.whoami()["name"] == "alice"
    assert {ref.name for ref in api.list_repo_refs("org/model").branches} == {"main", "v2"}
    assert "model.safetensors" in api.list_repo_files("org/model", revision="v2")
    assert [info.path for info in api.get_paths_info("org/model", ["config.json"], revision="v2")] == ["config.json"]
    assert ModelCard.load(checkpoint / "README.md").validate() is None
