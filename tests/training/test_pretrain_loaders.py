"""scripts/pretrain.py on streamed shards, on hard negatives, and with other chances for images and texts."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pretrain_runs import RECIPE, assert_refused, pretrain
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from support.tiny_triplets import save_tiny_triplets, tiny_rows

from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.loaders.triplet_shards import TripletShards
from mrd_hf.errors import UserError
from mrd_hf.training.training_data import check_hard_negatives


STEPS = ("--num_train_steps", "8", "--num_workers", "2")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("loaders")
    path = folder / "tiny.yaml"
    weights = "text_weights: {name: 1, caption: 3}\nfirst_image_probability: {test: 0.5}\n"
    path.write_text(f"dataset: {save_tiny_triplets(folder / 'tiny')}\n{RECIPE}{weights}")
    return path


def assert_resumes_exactly(recipe: Path, whole: Path, *arguments: str) -> None:
    """From the middle, as if the run had been killed there."""
    resumed = whole.with_name("resumed")
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "checkpoint-8")
    shutil.rmtree(resumed / "encoder")
    pretrain(recipe, resumed, *STEPS, *arguments, "--resume_from_checkpoint", "latest")
    expected = load_file(whole / "checkpoint-8" / "model.safetensors")
    ours = load_file(resumed / "checkpoint-8" / "model.safetensors")
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_a_streamed_run_resumes_exactly(recipe, tmp_path):
    arguments = ("--streaming", "True", "--shuffle_buffer", "10")
    pretrain(recipe, tmp_path / "whole", *STEPS, *arguments)
    assert_resumes_exactly(recipe, tmp_path / "whole", *arguments)


def test_a_run_on_hard_negatives_keeps_its_neighbors_and_resumes_exactly(recipe, tmp_path):
    pretrain(recipe, tmp_path / "whole", *STEPS, "--hard_negatives", "3")
    file = tmp_path / "whole" / "text_neighbors.safetensors"
    vectors = np.stack([row["text_embeds"].astype(np.float64).mean(axis=0) for row in tiny_rows(40)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    expected = np.argsort(-similarities, axis=1)[:, :31]
    np.testing.assert_array_equal(load_arrays(file)["neighbors"], expected)
    assert_resumes_exactly(recipe, tmp_path / "whole", "--hard_negatives", "3")


def test_what_hard_negatives_need_is_told():
    def triplets(cls: type, length: int = 40, cached: bool = True):
        made = cls.__new__(cls)
        made.cached, made.usable = cached, range(length)
        return made

    check_hard_negatives(triplets(TripletDataset), 31)
    for refused, count, message in (
        (triplets(TripletShards), 31, "leave out streaming"),
        (triplets(TripletDataset, cached=False), 31, "needs cached embeddings"),
        (triplets(TripletDataset), 40, "40 nearest shapes, and the dataset has 40 in all"),
    ):
        with pytest.raises(UserError, match=message):
            check_hard_negatives(refused, count)


def test_a_typo_is_told_before_anything_is_written(recipe, tmp_path):
    typo = '{"captoin": 1}'
    message = "has the source 'captoin'; it has caption, name"
    assert_refused(recipe, tmp_path / "none", "--text_weights", typo, message=message)
    assert not (tmp_path / "none").exists()
