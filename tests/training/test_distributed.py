"""Several processes give the loss and the gradients of one on the joined batch, with real processes."""

import os
import socket
import time
from itertools import accumulate

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from support.tiny_encoders import TINY_UNI3D, clouds
from support.tiny_mrd import teacher_embeds, tiny_mrd
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mrd_hf import MRDForPretraining
from mrd_hf.models import mrd_objective
from mrd_hf.training.distributed import DistributedGather


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


def run_process(rank: int, shares: tuple[int, ...], port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    mrd_objective.PAIRS_AT_ONCE = 5 * BATCH  # so that relations are worked on in parts
    dist.init_process_group("gloo", rank=rank, world_size=len(shares))
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
        torch.save({"means": means / len(shares), "gradients": gradients}, f"{folder}/{case}-{rank}.pt")
    dist.barrier()
    # No clean-up: destroyed right after a collective, gloo's threads and the interpreter can wait for each other.
    os._exit(0)


@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES)
def test_processes_equal_one_process_on_the_joined_batch(tmp_path, shares):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = mp.spawn(run_process, (shares, port, str(tmp_path)), nprocs=len(shares), join=False)
    deadline = time.monotonic() + 200
    while not processes.join(timeout=10):
        if time.monotonic() > deadline:
            for process in processes.processes:
                process.kill()
            pytest.fail("the processes did not finish")

    for case, (changes, _) in CASES.items():
        model = model_on_running_statistics(changes)
        output = model(**inputs(slice(None)))
        output.loss.backward()
        expected = torch.stack([output.loss.detach(), *output.relation_losses.detach(), *output.retrieval_accuracies])
        for rank in range(len(shares)):
            result = torch.load(tmp_path / f"{case}-{rank}.pt", weights_only=True)
            torch.testing.assert_close(result["means"], expected, atol=1e-5, rtol=1e-5, msg=case)
            for name, parameter in model.named_parameters():
                found = result["gradients"][name]
                message = f"{case}: {name}"
                torch.testing.assert_close(found, parameter.grad, atol=1e-5, rtol=1e-4, msg=message)


def test_one_process_gathers_nothing():
    tensors = torch.randn(3, 2, requires_grad=True), torch.randn(3, 4)
    joined, first_row = DistributedGather()(*tensors)
    assert first_row == 0
    assert all(a is b for a, b in zip(joined, tensors, strict=True))
