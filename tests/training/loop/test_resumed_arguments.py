"""A run resumes with other settings than it was last told: some count, some are told, some are refused."""

import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
from accelerate.state import GradientState
from support.short_runs import tiny_run
from support.tiny_runs import OPTIONS, train_tiny_run
from support.tiny_triplets import save_tiny_triplets

from mrd_hf.errors import UserError
from mrd_hf.training.checkpoints import ARGUMENTS_FILE
from mrd_hf.training.loop.resumed_arguments import check_resumed, keep_arguments


TERMS = ["intra_text", "intra_image"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Steps 1 to 4, with checkpoints of 2 and 4."""
    return train_tiny_run(tmp_path_factory.mktemp("runs") / "whole", data)


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def test_other_settings_are_told_and_those_of_no_consequence_are_not(run, data, capsys):
    shutil.rmtree(run / "checkpoint-4")
    latest = {"resume_from_checkpoint": "latest"}
    train_tiny_run(run, data, **latest, save_steps=1, logging_steps=2, num_workers=1)
    assert "note: the run is resumed" not in capsys.readouterr().err
    train_tiny_run(run, data, **latest, num_train_steps=5, seed=5, learning_rate=0.02)
    told = "learning_rate 0.01 -> 0.02, num_train_steps 4 -> 5, seed 0 -> 5."
    note = "note: the run is resumed with other settings than it was last told: "
    assert f"{note}{told}" in capsys.readouterr().err
    # Told what it began with, it is told something else than the last time.
    train_tiny_run(run, data, **latest, num_train_steps=5, seed=5, learning_rate=0.01)
    assert f"{note}learning_rate 0.02 -> 0.01." in capsys.readouterr().err


def test_a_number_of_processes_is_kept_and_another_one_told(run, data, capsys):
    latest, file = {"resume_from_checkpoint": "latest"}, run / ARGUMENTS_FILE
    began = json.loads(file.read_text())
    assert began["num_processes"] == 1
    file.write_text(json.dumps({**began, "num_processes": 4}))
    train_tiny_run(run, data, **latest)
    assert "than it was last told: num_processes 4 -> 1." in capsys.readouterr().err
    del began["num_processes"]  # as of earlier versions
    file.write_text(json.dumps(began))
    train_tiny_run(run, data, **latest)
    assert "note: the run is resumed" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("resumed", "rate", "is_another"),
    [("checkpoint-2", 0.02, True), ("checkpoint-2", 0.01, False), ("latest", 0.02, False)],
)
def test_going_back_with_other_settings_is_another_run_of_the_trackers(run, data, resumed, rate, is_another):
    file = run / "tracking.json"
    file.write_text(json.dumps({"project": "mrd", "run_name": "first", "run_id": "0"}))
    resumed = resumed if resumed == "latest" else run / resumed
    train_tiny_run(run, data, resume_from_checkpoint=resumed, learning_rate=rate, report_to="tensorboard")
    assert (json.loads(file.read_text())["run_name"] != "first") == is_another


def test_a_temperature_that_the_teacher_says_is_no_hindrance(tmp_path):
    """The arguments do not say it: `--teacher` does, once it is loaded."""
    of_teacher = {"mrd_config": json.dumps({"teacher_temperature": None})}
    keep_arguments(tmp_path, of_teacher)
    assert check_resumed(tmp_path / "checkpoint-1", of_teacher) is False
    other = {"mrd_config": json.dumps({"teacher_temperature": None, "relation_terms": TERMS})}
    with pytest.raises(UserError, match="weights of the relations intra_image, .* asks for intra_text, intra_image;"):
        check_resumed(tmp_path / "checkpoint-1", other)


def test_a_kill_while_the_arguments_are_written_leaves_those_that_were_there(tmp_path, monkeypatch):
    def killed(_):
        raise KeyboardInterrupt

    keep_arguments(tmp_path, {"learning_rate": 0.1})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", killed)
        keep_arguments(tmp_path, {"learning_rate": 0.2})
    assert json.loads((tmp_path / ARGUMENTS_FILE).read_text()) == {"learning_rate": 0.1}
    keep_arguments(tmp_path, {"learning_rate": 0.2})
    assert json.loads((tmp_path / ARGUMENTS_FILE).read_text()) == {"learning_rate": 0.2}


@pytest.mark.parametrize(
    ("streaming", "before", "now", "told"),
    [(True, 1, 2, True), (True, 0, 1, False), (True, 3, 3, False), (False, 1, 2, False)],
)
def test_how_many_read_counts_of_a_stream_alone(tmp_path, capsys, streaming, before, now, told):
    """Whose shapes are shared out among them; where there is none, the training process reads as one would."""
    (tmp_path / ARGUMENTS_FILE).write_text(json.dumps({"streaming": streaming, "num_workers": before}))
    check_resumed(tmp_path / "checkpoint-1", {"streaming": streaming, "num_workers": now})
    assert (f"num_workers {before} -> {now}." in capsys.readouterr().err) == told


@pytest.mark.parametrize("kind", ["abandoned", "copy", "link"])
def test_a_checkpoint_of_any_name_in_the_runs_folder_is_resumed_from(whole, run, data, kind):
    """To the run's own end, bit for bit; those after its step are set aside."""
    saved, named = run / "checkpoint-2", run / {"abandoned": "abandoned-checkpoint-2"}.get(kind, "best")
    if kind == "abandoned":
        saved.rename(named)
    elif kind == "copy":
        shutil.copytree(saved, named)
    else:
        named.symlink_to(saved.name, target_is_directory=True)
    train_tiny_run(run, data, resume_from_checkpoint=named)
    ours, aside, expected = (
        (folder / "model.safetensors").read_bytes()
        for folder in (run / "checkpoint-4", run / "abandoned-checkpoint-4", whole / "checkpoint-4")
    )
    assert ours == aside == expected and named.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_train_steps": 1},
            "checkpoint-{step} is of step {step}, and num_train_steps is 1; raise it, or re",
        ),
        (
            {"mrd_config": {"relation_terms": TERMS}},
            "checkpoint-{step} has weights of the relations intra_image, .* asks for",
        ),
        (
            {"point_config": {**OPTIONS["point_config"], "hidden_size": 64}},
            r"checkpoint-{step} is of another network \(size mismatch for .*\); resume with the encoder",
        ),
        ({"ema_decay": 0.5}, "checkpoint-{step} has no moving average"),
    ],
)
@pytest.mark.parametrize("step", [4, 2])
def test_what_does_not_fit_is_refused(run, data, changes, message, step):
    """And changes nothing: of an earlier checkpoint, those after it stay what they are."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=message.format(step=step)):
        train_tiny_run(run, data, resume_from_checkpoint=run / f"checkpoint-{step}", **changes)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_weight_decay_counts_as_the_learning_rate_does(data, tmp_path):
    run = tiny_run(data, tmp_path, weight_decay=0.05)
    run.save()
    resumed = tiny_run(data, tmp_path, weight_decay=0.5)
    before = [group["weight_decay"] for group in resumed.optimizer.param_groups]
    resumed.resume(tmp_path / "checkpoint-0")
    assert [group["weight_decay"] for group in resumed.optimizer.param_groups] == before and 0.5 in before


def test_a_finished_runs_checkpoint_is_exported_into_a_new_folder(whole, data, tmp_path):
    """There is nothing to log and so nothing to draw."""
    new = train_tiny_run(tmp_path / "new", data, resume_from_checkpoint=whole / "checkpoint-4")
    exported, expected = (folder / "encoder" / "model.safetensors" for folder in (new, whole))
    assert exported.read_bytes() == expected.read_bytes() and not (new / "training_curves.png").exists()


def test_class_texts_that_say_they_are_of_another_teacher_are_refused(data, tmp_path):
    file = tmp_path / "class_texts.parquet"
    record = {"source": "", "settings": {"teacher": "org/another-clip"}, "left_out": []}
    table = pq.read_table(data / "class_texts.parquet")
    pq.write_table(table.replace_schema_metadata({"mrd_hf.embedded": json.dumps(record)}), file)
    with pytest.raises(UserError, match="are those of the teacher org/another-clip, and those of the data"):
        train_tiny_run(tmp_path / "run", data, eval_split="test", class_texts=file)
    assert not (tmp_path / "run").exists()


def test_accumulation_that_no_loop_here_does_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setattr(GradientState, "_shared_state", {})  # or the next ones in this process would have it too
    with pytest.raises(UserError, match="accumulate gradients over 4 batches .* set it to 1"):
        train_tiny_run(tmp_path / "run", data)


def test_the_encoder_comes_with_the_grey_that_it_has_learned(data, tmp_path):
    run = train_tiny_run(tmp_path / "run", data, augmentation={"default_color": 0.7}, num_train_steps=1)
    assert json.loads((run / "encoder" / "preprocessor_config.json").read_text())["default_color"] == 0.7


def test_the_encoders_settings_are_not_among_the_objectives(data, tmp_path):
    with pytest.raises(UserError, match="mrd_config: point_config is an argument of its own"):
        train_tiny_run(tmp_path / "run", data, mrd_config={"point_config": {"hidden_size": 32}})
