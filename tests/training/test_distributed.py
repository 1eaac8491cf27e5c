"""Several processes give the loss and the gradients of one on the joined batch, with real processes."""

from itertools import accumulate
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.processes_together import Job, run_together
from support.tiny_encoders import TINY_UNI3D, clouds
from support.tiny_mrd import teacher_embeds, tiny_mrd
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mrd_hf import MRDForPretraining
from mrd_hf.models import mrd_objective
from mrd_hf.training.distributed import PATIENCE, DistributedGather, start_accelerator


BATCH = 32
SHARES = {"two": (16, 16), "four": (8, 8, 8, 8), "two, uneven": (25, 7), "four, uneven": (10, 3, 1, 18)}
EVERYTHING = {
    "relation_form": "euclidean",
    "relation_weighting": "target",
    "relation_terms": [
        "intra_image",
        "intra_text",
        "cross_image_text",
        "cross_text_image",
        "cross_image_text_transposed",
        "cross_text_image_transposed",
    ],
    "learn_student_temperature": True,
    "mask_duplicate_relations": True,
}
# The model's settings, and how it is called.
CASES = {
    "default": ({}, {}),
    "everything": (EVERYTHING, {}),
    "partial order": ({"relation_form": "partial_order", "relation_weighting": "uncertainty"}, {}),
    "uni3d": ({"point_config": {**TINY_UNI3D, "model_type": "uni3d"}}, {}),
    "gradient cache": ({"learn_student_temperature": True}, {"encoder_batch_size": 3}),
}


def inputs(rows: slice) -> dict[str, torch.Tensor]:
    image, text = teacher_embeds(BATCH)
    text[20] = text[3]  # the same text on two processes
    return {"point_values": clouds(BATCH)[rows], "image_embeds": image[rows], "text_embeds": text[rows]}


def model_on_running_statistics(changes: dict) -> MRDForPretraining:
    """Batch statistics are per process on CPUs; running statistics are the same everywhere."""
    model = tiny_mrd(**changes).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    return model


def on_a_process(shares: tuple[int, ...], folder: Path) -> None:
    rank = dist.get_rank()
    mrd_objective.PAIRS_AT_ONCE = 5 * BATCH  # so that relations are worked on in parts
    end = list(accumulate(shares))[rank]
    for case, (changes, call) in CASES.items():
        model = DistributedDataParallel(model_on_running_statistics(changes))
        # Where all have as many rows, they need not ask each other.
        gather = DistributedGather(shares[0] if len(set(shares)) == 1 else None)
        output = model(**inputs(slice(end - shares[rank], end)), gather=gather, **call)
        output.loss.backward()
        gradients = {name: p.grad for name, p in model.module.named_parameters()}
        means = torch.stack([output.loss.detach(), *output.relation_losses.detach(), *output.retrieval_accuracies])
        dist.all_reduce(means)
        torch.save({"means": means / len(shares), "gradients": gradients}, folder / f"{case}-{rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """What the processes of each way to share a batch found, in a folder of its own."""
    folder = tmp_path_factory.mktemp("results")
    for name in SHARES:
        (folder / name).mkdir()
    run_together(*(Job(len(shares), on_a_process, (shares, folder / name)) for name, shares in SHARES.items()))
    return folder


@pytest.mark.parametrize("name", SHARES)
def test_processes_equal_one_process_on_the_joined_batch(results, name):
    for case, (changes, _) in CASES.items():
        model = model_on_running_statistics(changes)
        output = model(**inputs(slice(None)))
        output.loss.backward()
        expected = torch.stack([output.loss.detach(), *output.relation_losses.detach(), *output.retrieval_accuracies])
        for rank in range(len(SHARES[name])):
            result = torch.load(results / name / f"{case}-{rank}.pt", weights_only=True)
            torch.testing.assert_close(result["means"], expected, atol=1e-5, rtol=1e-5, msg=case)
            for weight, parameter in model.named_parameters():
                found = result["gradients"][weight]
                message = f"{case}: {weight}"
                torch.testing.assert_close(found, parameter.grad, atol=1e-5, rtol=1e-4, msg=message)


def wrong_on_one_process() -> None:
    assert dist.get_rank() == 0, "wrong here"


def test_what_goes_wrong_on_one_process_fails_a_test():
    """The first process may fail as well, since it waits for the second one: the cause is said all the same."""
    message = r"on 2 processes: (rank 0 .*, )?rank 1 failed.*\nrank 1 said: (.*\n)+AssertionError: wrong here"
    with pytest.raises(pytest.fail.Exception, match=message):
        run_together(Job(2, wrong_on_one_process))


def test_one_process_gathers_nothing():
    tensors = torch.randn(3, 2, requires_grad=True), torch.randn(3, 4)
    joined, first_row = DistributedGather()(*tensors)
    assert first_row == 0
    assert all(a is b for a, b in zip(joined, tensors, strict=True))


def with_patience(folder: Path) -> None:
    dist.destroy_process_group()
    start_accelerator("no", folder)
    group = dist.distributed_c10d._get_default_group()
    assert group._get_backend(torch.device("cpu")).options._timeout == PATIENCE


def test_processes_wait_long_for_one_that_evaluates(tmp_path):
    run_together(Job(2, with_patience, (tmp_path,)))
