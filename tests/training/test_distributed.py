"""Two processes give the loss and the gradients of one, with real processes."""

import os
import socket
import time

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from test_modeling_mrd import teacher_embeds, tiny_mrd
from tiny_encoders import clouds
from torch.nn.parallel import DistributedDataParallel

from mrd_hf.training.distributed import DistributedGather


BATCH = 32


def inputs(rows: slice) -> dict[str, torch.Tensor]:
    image, text = teacher_embeds(BATCH)
    text[20] = text[3]  # the same text on two processes
    return {"point_values": clouds(BATCH)[rows], "image_embeds": image[rows], "text_embeds": text[rows]}


def model_on_running_statistics() -> torch.nn.Module:
    """Batch statistics are per process on CPUs; running statistics are the same everywhere."""
    model = tiny_mrd().train()
    for norm in model.point_bert.embeddings.patch_network.norms:
        norm.eval()
    return model


def run_process(rank: int, world_size: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    model = DistributedDataParallel(model_on_running_statistics())
    share = BATCH // world_size
    output = model(**inputs(slice(rank * share, (rank + 1) * share)), gather=DistributedGather())
    output.loss.backward()
    gradients = {name: p.grad for name, p in model.module.named_parameters()}
    loss = output.loss.detach().clone()
    dist.all_reduce(loss)
    torch.save({"loss": loss / world_size, "gradients": gradients}, f"{folder}/{rank}.pt")
    dist.barrier()
    # No clean-up: destroyed right after a collective, gloo's threads and the interpreter can wait for each other.
    os._exit(0)


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_equal_one_process_on_the_joined_batch(tmp_path, world_size):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = mp.spawn(run_process, (world_size, port, str(tmp_path)), nprocs=world_size, join=False)
    deadline = time.monotonic() + 200
    while not processes.join(timeout=10):
        if time.monotonic() > deadline:
            for process in processes.processes:
                process.kill()
            pytest.fail("the processes did not finish")

    model = model_on_running_statistics()
    output = model(**inputs(slice(None)), gather=DistributedGather())
    output.loss.backward()
    for rank in range(world_size):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(result["loss"], output.loss.detach(), atol=1e-5, rtol=0)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(result["gradients"][name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_one_process_gathers_nothing():
    tensor = torch.randn(3, 2, requires_grad=True)
    assert DistributedGather()(tensor) is tensor
