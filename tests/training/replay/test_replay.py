"""A run's folder read again: its arguments, its models at each step, and batches like those it saw."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_runs import train_tiny_run
from support.tiny_triplets import WIDTH, save_tiny_triplets

from mrd_hf.errors import UserError
from mrd_hf.training.arguments import DataArguments, ModelArguments, PretrainingArguments
from mrd_hf.training.model_building import build_model
from mrd_hf.training.replay.replayed_batches import open_triplets, replayed_batches
from mrd_hf.training.replay.run_folder import RunFolder


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    return train_tiny_run(folder / "run", save_tiny_triplets(folder / "tiny"), seed=7, num_train_steps=4)


def test_a_run_is_what_it_was_told(tiny_run):
    run = RunFolder.open(tiny_run)
    told = json.loads((tiny_run / "arguments.json").read_text())
    assert isinstance(run.data, DataArguments) and isinstance(run.model, ModelArguments)
    assert isinstance(run.training, PretrainingArguments)
    found = {**vars(run.data), **vars(run.model), **vars(run.training)}
    assert found | {"num_processes": 1} == told and run.path == tiny_run


def test_what_an_earlier_version_did_not_know_has_its_default(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    told = json.loads((run / "arguments.json").read_text())
    del told["cpu_threads"], told["first_image_probability"]
    (run / "arguments.json").write_text(json.dumps(told | {"of_a_later_version": 3}))
    opened = RunFolder.open(run)
    assert opened.training.cpu_threads is None and opened.data.first_image_probability == "{}"


def test_models_are_the_untrained_one_and_each_checkpoint(tiny_run):
    models = RunFolder.open(tiny_run).models(WIDTH, "a-teacher")
    assert [model.step for model in models] == [0, 2, 4]
    torch.manual_seed(123)  # untrained weights are of the run's seed, not of this
    states = [model.load().state_dict() for model in models]
    for state, step in zip(states[1:], (2, 4), strict=True):
        saved = load_file(tiny_run / f"checkpoint-{step}" / "model.safetensors")
        assert state.keys() == saved.keys() and all(torch.equal(state[name], saved[name]) for name in saved)
    torch.manual_seed(RunFolder.open(tiny_run).training.seed)
    fresh = build_model(RunFolder.open(tiny_run).model, WIDTH, "a-teacher").state_dict()
    assert all(torch.equal(states[0][name], fresh[name]) for name in fresh)
    moved = [name for name in fresh if not torch.equal(states[0][name], states[2][name])]
    assert len(moved) > len(fresh) / 2


def test_batches_are_those_of_training_and_the_same_again(tiny_run):
    run = RunFolder.open(tiny_run)
    triplets = open_triplets(run, run.data.dataset, "train", seed=3)

    def batches(seed: int):
        return list(replayed_batches(run, triplets, 8, 3, seed))

    torch.manual_seed(0)
    first = batches(3)
    states = []
    torch.manual_seed(1)
    for again, expected in zip(replayed_batches(run, triplets, 8, 3, 3), first, strict=True):
        assert again.keys() == {"point_values", "image_embeds", "text_embeds"}
        assert all(torch.equal(again[name], expected[name]) for name in expected)
        states.append(torch.rand(1).item())
    assert len(set(states)) == 3 and [torch.rand(1).item() for _ in replayed_batches(run, triplets, 8, 3, 3)] == states
    assert first[0]["point_values"].shape == (8, 64, 6) and first[0]["text_embeds"].shape == (8, WIDTH)
    assert not torch.equal(first[0]["point_values"], batches(4)[0]["point_values"])
    drawn = torch.cat([batch["image_embeds"] for batch in first])
    stored = np.concatenate(triplets.dataset.with_format("numpy")["image_embeds"]).astype(np.float32)
    assert len({tuple(row) for row in drawn.tolist()} & {tuple(row) for row in stored.tolist()}) == 24  # none twice
    with pytest.raises(UserError, match="the dataset has 40 samples, fewer than one global batch of 41"):
        next(replayed_batches(run, triplets, 41, 1, 0))


def test_batches_are_augmented_as_the_run_augments(tiny_run, tmp_path):
    told = json.loads((tiny_run / "arguments.json").read_text())
    still = {"point_dropout": 0, "scale_min": 1, "scale_max": 1, "shift": 0, "jitter_std": 0, "rotate": False}
    run = shutil.copytree(tiny_run, tmp_path / "still")
    changes = {"augmentation": json.dumps({**still, "color_dropout": 0}), "num_points": None}
    (run / "arguments.json").write_text(json.dumps(told | changes))
    opened = RunFolder.open(run)
    triplets = open_triplets(opened, told["dataset"], "train", seed=0)
    stored = {
        tuple(np.sort(cloud.astype(np.float32).ravel())) for cloud in triplets.dataset.with_format("numpy")["points"]
    }
    for batch in replayed_batches(opened, triplets, 8, 2, 0):
        assert batch["point_values"].shape == (8, 96, 6)
        assert {tuple(np.sort(cloud[:, :3].numpy().ravel())) for cloud in batch["point_values"]} < stored


def test_what_cannot_be_analysed_is_refused_with_a_remedy(tiny_run, tmp_path):
    def changed(name: str, **changes) -> Path:
        run = shutil.copytree(tiny_run, tmp_path / name)
        told = json.loads((run / "arguments.json").read_text()) | changes
        (run / "arguments.json").write_text(json.dumps(told))
        return run

    with pytest.raises(UserError, match="is no folder of a run.*give the --output-dir of mrd-hf pretrain"):
        RunFolder.open(tmp_path)
    with pytest.raises(UserError, match="on the fly; embed its dataset by mrd-hf embed-teacher"):
        RunFolder.open(changed("teacher", teacher="openai/clip"))
    (without := changed("without") / "arguments.json").write_text("{}")
    with pytest.raises(UserError, match="lacks what a run is told"):
        RunFolder.open(without.parent)
    bare = changed("bare")
    for step in (2, 4):
        shutil.rmtree(bare / f"checkpoint-{step}")
    with pytest.raises(UserError, match="has no checkpoint; train again with --save-steps"):
        RunFolder.open(bare)
    sharded = changed("sharded")
    (sharded / "checkpoint-2" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="checkpoint-2 has no model.safetensors.*FSDP2 or DeepSpeed"):
        RunFolder.open(sharded).models(WIDTH, "a-teacher")[1].load()
    other = changed("other")
    save_file({"x": torch.zeros(2)}, other / "checkpoint-4" / "model.safetensors")
    with pytest.raises(UserError, match="checkpoint-4/model.safetensors does not fit"):
        RunFolder.open(other).models(WIDTH, "a-teacher")[2].load()
