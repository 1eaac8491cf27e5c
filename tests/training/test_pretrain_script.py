"""scripts/pretrain.py as a user runs it: a run, a kill and a resume, two processes, and mistakes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pretrain_runs import ENVIRONMENT, RECIPE, assert_refused, command, pretrain
from safetensors.torch import load_file
from support.forked_processes import ForkedCommand
from support.launched import run_ranks
from support.tiny_teachers import save_tiny_clip
from support.tiny_triplets import WIDTH, save_tiny_triplets, tiny_rows
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mrd_hf import PointBertConfig, PointBertModel
from mrd_hf.data.loaders.batch_sampler import ShuffledBatchSampler
from mrd_hf.models.teacher_folder import folder_revision
from mrd_hf.training.checkpoints import list_checkpoints
from mrd_hf.training.training_log import read_log


TIMES = {"shapes_per_second", "data_waiting_share", "peak_memory_gib"}  # of the log, which no two runs have alike


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, dataset) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(f"dataset: {dataset}\nclass_texts: {dataset / 'class_texts.parquet'}\n{RECIPE}")
    return path


@pytest.fixture(scope="module")
def finished_run(recipe, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("run") / "whole"
    pretrain(recipe, output_dir, own_process=True)
    return output_dir


def test_a_run_leaves_what_it_promises(finished_run):
    found = {p.name for p in finished_run.iterdir()}
    assert found == {
        "arguments.json",
        "checkpoint-4",
        "checkpoint-8",
        "checkpoint-12",
        "encoder",
        "evaluation",
        "training_curves.png",
        "training_log.jsonl",
    }
    log = read_log(finished_run / "training_log.jsonl")
    assert [line["step"] for line in log if "loss" in line] == list(range(1, 13))
    assert log[0].keys() >= {
        "alignment_losses/point_to_image",
        "retrieval_accuracies/text_to_point",
        "relation_losses/intra_image",
        "relation_weights/cross_text_image",
        "weighting_loss",
        "logit_scale",
        "teacher_temperature",
        "student_temperature",
        *TIMES,
    }
    report = json.loads((finished_run / "evaluation" / "report.json").read_text())
    assert {"zero_shot_top1", "shape_to_image_recall_at_10"} <= {metric["key"] for metric in report["metrics"]}


def test_the_card_tells_what_ran(finished_run, dataset):
    card = (finished_run / "encoder" / "README.md").read_text()
    assert card.startswith("---\n")
    assert "library_name: transformers" in card
    assert str(dataset) in card
    assert "12 of global batch 8 (1 process(es))" in card
    assert "zero-shot top-1" in card
    assert "a-teacher" in card and f'from_pretrained("{finished_run / "encoder"}")' in card
    assert (finished_run / "encoder" / re.search(r"!\[.+\]\((.+)\)", card)[1]).is_file()
    changed, everything = re.findall(r"^```yaml\n(.*?)^```", card, flags=re.DOTALL | re.MULTILINE)
    assert "save_total_limit: 5" in changed and "seed: 0" not in changed and "seed: 0" in everything
    [snippet, _] = re.findall(r"^```python\n(.*?)^```", card, flags=re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(snippet, names)
    assert names["embeds"].shape == (1, 12)


def test_the_encoder_loads_in_a_new_process_and_gives_the_evaluated_embeddings(finished_run, dataset, tmp_path):
    """Without the training's code: the Auto classes and the dataset's columns alone."""
    code = f"""
import numpy as np, torch, mrd_hf
from datasets import load_dataset
from safetensors.torch import save_file
from transformers import AutoFeatureExtractor, AutoModel
model = AutoModel.from_pretrained("{finished_run / "encoder"}")
extractor = AutoFeatureExtractor.from_pretrained("{finished_run / "encoder"}")
rows = load_dataset("{dataset}", split="test").with_format("numpy")[:]
with torch.no_grad():
    embeds = model.get_point_features(**extractor(list(rows["points"]), list(rows["colors"])))
save_file({{"embeds": embeds}}, "{tmp_path / "embeds.safetensors"}")
"""
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True, timeout=300)
    evaluated = load_file(finished_run / "evaluation" / "point_embeds.safetensors")["point_embeds"]
    loaded = load_file(tmp_path / "embeds.safetensors")["embeds"]
    torch.testing.assert_close(loaded, evaluated, atol=1e-6, rtol=1e-5)


def test_killed_and_resumed_it_ends_as_if_nothing_had_happened(recipe, finished_run, tmp_path):
    output_dir = tmp_path / "killed"
    # With a process that reads data, which the other runs do without.
    process = ForkedCommand(command(recipe, output_dir, "--num_workers", "1"), env=ENVIRONMENT)
    log = output_dir / "training_log.jsonl"
    deadline = time.monotonic() + 200
    # Past the first checkpoint and the step after it, so that there is work to repeat.
    while not (log.exists() and log.read_text().count('"loss"') >= 6):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert not (output_dir / "encoder").exists()

    pretrain(recipe, output_dir, "--resume_from_checkpoint", "latest", own_process=True)
    for checkpoint in ("model.safetensors", "ema.safetensors"):
        ours = load_file(output_dir / "checkpoint-12" / checkpoint)
        expected = load_file(finished_run / "checkpoint-12" / checkpoint)
        assert ours.keys() == expected.keys()
        assert all(torch.equal(ours[name], expected[name]) for name in expected), checkpoint
    ours, expected = (
        [{k: v for k, v in line.items() if k not in TIMES} for line in read_log(folder / "training_log.jsonl")]
        for folder in (output_dir, finished_run)
    )
    assert [line for line in ours if "loss" in line] == [line for line in expected if "loss" in line]


def test_told_to_end_it_ends_after_its_step_with_a_checkpoint(recipe, tmp_path):
    """SIGTERM to every process, as a cluster sends it."""
    output_dir = tmp_path / "told"
    words = command(recipe, output_dir, "--num_train_steps", "100000", "--save_steps", "100000")
    process = ForkedCommand(words, env=ENVIRONMENT)
    log = output_dir / "training_log.jsonl"
    deadline = time.monotonic() + 200
    while not (log.exists() and '"loss"' in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=200) == 143
    said = process.stderr.read_text()
    step = read_log(log)[-1]["step"]
    assert [path.name for path in list_checkpoints(output_dir)] == [f"checkpoint-{step}"]
    assert f"note: ended by SIGTERM after {step} of 100000 steps, with a checkpoint; resume by" in said
    assert "Traceback" not in said and not (output_dir / "encoder").exists()


def test_killed_before_the_export_it_only_evaluates_and_exports(recipe, finished_run, tmp_path):
    output_dir = tmp_path / finished_run.name  # which the report calls the model by
    shutil.copytree(finished_run, output_dir)
    shutil.rmtree(output_dir / "encoder")
    pretrain(recipe, output_dir, "--resume_from_checkpoint", "latest")
    for file in ("encoder/model.safetensors", "training_log.jsonl", "evaluation/report.json"):
        assert (output_dir / file).read_bytes() == (finished_run / file).read_bytes(), file
    loss = read_log(output_dir / "training_log.jsonl")[-2]["loss"]
    assert f"| final training loss | {loss:.4f} |" in (output_dir / "encoder" / "README.md").read_text()


def save_encoder_that_is_blind(folder: Path) -> Path:
    """It gives every shape the same embedding, so that only a batch's images and texts make its loss."""
    config = PointBertConfig(**yaml.safe_load(RECIPE)["point_config"], projection_dim=WIDTH)
    torch.manual_seed(0)
    model = PointBertModel(config)
    torch.nn.init.zeros_(model.projection.weight)
    torch.nn.init.normal_(model.projection.bias)
    model.save_pretrained(folder)
    return folder


def losses(output_dir: Path) -> list[float]:
    return [line["loss"] for line in read_log(output_dir / "training_log.jsonl") if "loss" in line]


def test_two_processes_train_on_the_batches_of_one(recipe, tmp_path):
    """Every step's loss is the same, of an encoder that stays blind: batch norm and augmentation are per process."""
    blind = ("--encoder", str(save_encoder_that_is_blind(tmp_path / "blind")))
    blind += ("--learning_rate", "1e-9", "--loss_learning_rate", "1e-9")
    pretrain(recipe, tmp_path / "one", *blind, "--num_train_steps", "6", "--save_steps", "6")
    expected = losses(tmp_path / "one")
    assert len(expected) == 6 and min(np.diff(np.sort(expected))) > 1e-3  # another batch would be seen
    output_dir = tmp_path / "two"
    tracked = ("--report_to", "tensorboard", "--project", "shapes", "--run_name", "two processes")
    short = ("--per_device_batch_size", "4", "--num_train_steps", "4", "--save_steps", "2", "--eval_steps", "2")
    run_ranks(2, command(recipe, output_dir, *blind, *short, *tracked), ENVIRONMENT)
    assert losses(output_dir) == pytest.approx(expected[:4], rel=1e-5)
    assert "(2 process(es))" in (output_dir / "encoder" / "README.md").read_text()
    # Resumed on one process at the same global batch, from before the last steps, which are repeated.
    shutil.rmtree(output_dir / "checkpoint-4")
    resume = ("--num_train_steps", "6", "--resume_from_checkpoint", "latest", "--report_to", "tensorboard")
    said = pretrain(recipe, output_dir, *blind, *resume, "--save_steps", "2", "--eval_steps", "2").stderr
    assert "num_processes 2 -> 1, num_train_steps 4 -> 6, per_device_batch_size 4 -> 8" in said
    assert [line["step"] for line in read_log(output_dir / "training_log.jsonl") if "loss" in line] == list(
        range(1, 7)
    )
    assert losses(output_dir) == pytest.approx(expected, rel=1e-5)
    logged = dict(enumerate(losses(output_dir), start=1))
    # The tracker has one run, under the name that was given once, with each step once.
    [run] = (output_dir / "shapes").iterdir()
    assert run.name == "two processes" and len(list(run.iterdir())) == 2 and all(p.is_file() for p in run.iterdir())
    events = EventAccumulator(str(run)).Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 7))
    assert {e.step: e.value for e in events.Scalars("loss")} == pytest.approx(logged, rel=1e-6)
    assert [event.step for event in events.Scalars("eval/zero_shot_top1")] == [2, 4, 6]


def test_a_teacher_embeds_on_the_fly(recipe, tmp_path):
    data = save_tiny_triplets(tmp_path / "plain", without=("image_embeds", "text_embeds", "teacher"))
    teacher = save_tiny_clip(tmp_path / "tiny-clip")
    output_dir = tmp_path / "run"
    plain = tmp_path / "plain.yaml"
    plain.write_text(RECIPE)
    pretrain(plain, output_dir, "--dataset", str(data), "--teacher", str(teacher), "--num_train_steps", "3")
    config = json.loads((output_dir / "encoder" / "config.json").read_text())
    assert (config["teacher_id"], config["teacher_revision"]) == ("tiny-clip", folder_revision(teacher))
    report = json.loads((output_dir / "evaluation" / "report.json").read_text())
    assert "shape_to_text_recall_at_1" in {metric["key"] for metric in report["metrics"]}


def test_mistakes_end_with_one_message_and_nothing_written(recipe, dataset, tmp_path):
    out = tmp_path / "none"
    lacking = save_tiny_triplets(tmp_path / "lacking", train=8, test=2, without=("colors",))
    assert_refused(recipe, out, "--dataset", str(lacking), message="no column 'colors'")
    everything = tmp_path / "unsplit.yaml"
    everything.write_text(f"dataset: {dataset}\n{RECIPE.replace('eval_split: test', 'eval_steps: 2')}")
    assert_refused(everything, out, message="eval_steps is of the evaluation on eval_split, and none is given")
    wide = '{"projection_dim": 40}'
    assert_refused(recipe, out, "--point_config", wide, message="have width 40 (point_config.projection_dim), those")
    nowhere = str(tmp_path / "no-teacher")
    assert_refused(recipe, out, "--teacher", nowhere, message=f"teacher '{nowhere}': no such folder")
    assert not out.exists()


def test_an_earlier_run_is_not_overwritten(recipe, finished_run):
    before = {p: p.stat().st_mtime_ns for p in finished_run.rglob("*")}
    assert_refused(
        recipe, finished_run, message="has a run in it already (checkpoint-12); pass --resume-from-checkpoint latest"
    )
    assert {p: p.stat().st_mtime_ns for p in finished_run.rglob("*")} == before


def test_a_loss_that_is_not_finite_stops_the_run(recipe, tmp_path):
    """One shape's cached embedding is broken: the run names it, and the last good checkpoint stays the last."""
    third_batch = list(ShuffledBatchSampler(40, 8, 3, seed=0))[2]
    broken, _ = third_batch[0]
    data = save_tiny_triplets(tmp_path / "broken", broken=broken)
    output_dir = tmp_path / "run"
    finished = pretrain(recipe, output_dir, "--dataset", str(data), "--save_steps", "1", code=1)
    assert "the loss is nan at step 3" in finished.stderr
    ids = [row["id"] for row in tiny_rows(40)]
    assert ", ".join(ids[index] for index, _ in third_batch) in finished.stderr
    assert f"the last good checkpoint is {output_dir / 'checkpoint-2'}" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert [p.name for p in list_checkpoints(output_dir)] == ["checkpoint-1", "checkpoint-2"]
    assert all(torch.isfinite(t).all() for t in load_file(output_dir / "checkpoint-2/model.safetensors").values())
