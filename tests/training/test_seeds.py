"""What a run draws is of its seed, its step and its process, and what it logs has its own name."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from support.short_runs import tiny_run
from support.tiny_finetuning import TINY_POINT_CONFIG, finetune_tiny, write_classes
from support.tiny_runs import OPTIONS, train_tiny_run
from support.tiny_triplets import WIDTH, save_tiny_triplets
from transformers import set_seed

from mrd_hf import MRDConfig, MRDForPretraining, PointBertForShapeClassification
from mrd_hf.data.loaders.batch_sampler import ShuffledBatchSampler


# The one step moves no weight by as much.
CLOSE = 1e-6
STANDING = {"num_train_steps": 1, "learning_rate": 1e-12}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save_tiny_triplets(tmp_path_factory.mktemp("triplets"))


def assert_same_weights(found: dict[str, torch.Tensor], expected: torch.nn.Module, same: bool) -> None:
    """Of those that are drawn; biases begin with zeros, whatever the seed."""
    for name, parameter in expected.named_parameters():
        if parameter.detach().unique().numel() > 2:
            assert torch.allclose(found[name].float(), parameter, rtol=0, atol=CLOSE) == same, name


def test_pretraining_begins_with_the_weights_of_its_seed(data, tmp_path):
    folder = train_tiny_run(tmp_path / "run", data, seed=7, save_steps=1, **STANDING)
    found = load_file(folder / "encoder" / "model.safetensors")
    for seed in (7, 8):
        set_seed(seed)
        model = MRDForPretraining(MRDConfig(point_config=OPTIONS["point_config"] | {"projection_dim": WIDTH}))
        assert_same_weights(found, model.encoder, same=seed == 7)


def test_finetuning_begins_with_the_weights_of_its_seed(tmp_path):
    shapes = write_classes(tmp_path / "shapes", train=8, test=4)
    folder = finetune_tiny(tmp_path / "run", shapes, seed=7, warmup_steps=0, **STANDING)
    trained = PointBertForShapeClassification.from_pretrained(folder / "model")
    for seed in (7, 8):
        set_seed(seed)
        model = PointBertForShapeClassification(trained.config)
        assert_same_weights(dict(trained.named_parameters()), model, same=seed == 7)
    assert trained.config.num_hidden_layers == TINY_POINT_CONFIG["num_hidden_layers"]


def test_pretraining_takes_the_batches_of_its_seed_and_its_process(data, tmp_path):
    run = tiny_run(data, tmp_path / "run", seed=7)
    expected = [[index for index, _ in batch] for batch in ShuffledBatchSampler(40, 8, 6, seed=7)]
    ids = [run.dataset[[(index, 0)]]["ids"][0] for index in range(40)]
    for batch, indices in zip(run.batches(), expected, strict=True):
        assert batch["ids"] == [ids[index] for index in indices]
    run.gather = SimpleNamespace(rank=1, world_size=2)
    second = [[index for index, _ in batch] for batch in ShuffledBatchSampler(40, 8, 6, 7, 1, 2)]
    assert [batch["ids"] for batch in run.batches()] == [[ids[index] for index in indices] for indices in second]


def test_pretraining_draws_augmentation_and_dropout_by_seed_step_and_process(data, tmp_path):
    drawn = {}
    for seed, step, rank in [(7, 0, 0), (7, 0, 1), (7, 1, 0), (8, 0, 0), (7, 0, 0)]:
        run = tiny_run(data, tmp_path / "run", seed=seed)
        run.step, run.gather = step, SimpleNamespace(rank=rank, world_size=2)
        values = run.model_inputs(run.dataset[[(index, 0) for index in range(8)]])["point_values"]
        draw = (values.sum().item(), torch.rand(()).item())
        assert drawn.setdefault((seed, step, rank), draw) == draw
    for numbers in zip(*drawn.values(), strict=True):
        assert len(set(numbers)) == 4


def test_each_number_of_the_log_has_its_own_name(data, tmp_path):
    run = tiny_run(data, tmp_path / "run")
    inputs = run.model_inputs(run.dataset[[(index, 0) for index in range(8)]])
    output = run.model(**inputs)
    run.finite.last_loss = 0.5
    output.alignment_losses = torch.tensor([1.0, 2, 3, 4])
    output.retrieval_accuracies = torch.tensor([5.0, 6, 7, 8])
    output.relation_losses = torch.tensor([9.0, 10, 11, 12])
    output.relation_weights = torch.tensor([13.0, 14, 15, 16])
    metrics = run.metrics(output)
    pairs = ["point_to_image", "image_to_point", "point_to_text", "text_to_point"]
    terms = ["intra_image", "intra_text", "cross_image_text", "cross_text_image"]
    expected = {f"alignment_losses/{pair}": number for number, pair in enumerate(pairs, 1)}
    expected |= {f"retrieval_accuracies/{pair}": number for number, pair in enumerate(pairs, 5)}
    expected |= {f"relation_losses/{term}": number for number, term in enumerate(terms, 9)}
    expected |= {f"relation_weights/{term}": number for number, term in enumerate(terms, 13)}
    assert {name: value for name, value in metrics.items() if "/" in name} == expected
    assert metrics["loss"] == 0.5
