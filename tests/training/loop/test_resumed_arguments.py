"""A run resumes with other settings than it began with: some count, some are told, some are refused."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from accelerate.state import GradientState
from support.short_runs import tiny_run
from support.tiny_runs import OPTIONS, train_tiny_run
from support.tiny_triplets import save_tiny_triplets

from mrd_hf.errors import UserError


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
    train_tiny_run(run, data, **latest, num_train_steps=3, save_steps=1, logging_steps=2)
    assert "note: the run began" not in capsys.readouterr().err
    train_tiny_run(run, data, **latest, num_train_steps=4, seed=5, learning_rate=0.02)
    told = "note: the run began with other settings than it is resumed with: learning_rate 0.01 -> 0.02, seed 0 -> 5."
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train_steps": 3}, "checkpoint-4 is of step 4, and num_train_steps is 3; raise it, or resume from an"),
        (
            {"mrd_config": {"relation_terms": TERMS}},
            "checkpoint-4 has weights of the relations intra_image, .* asks for",
        ),
        (
            {"point_config": {**OPTIONS["point_config"], "hidden_size": 64}},
            r"checkpoint-4 is of another network \(size mismatch for .*\); resume with the encoder",
        ),
    ],
)
def test_what_does_not_fit_is_refused(run, data, changes, message):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=message):
        train_tiny_run(run, data, resume_from_checkpoint="latest", **changes)
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
    with pytest.raises(UserError, match="class_texts.parquet are those of the teacher org/another-clip, and the data"):
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
