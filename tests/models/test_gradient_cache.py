"""Encoding a batch in parts gives the loss and the gradients of the whole batch, in the memory of a part."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.tiny_encoders import TINY, clouds
from support.tiny_mrd import teacher_embeds, tiny_mrd
from torch import nn

from mrd_hf import MRDConfig, MRDForPretraining


BATCH = 12


def inputs() -> dict[str, torch.Tensor]:
    image, text = teacher_embeds(BATCH)
    text[7] = text[2]
    return {"point_values": clouds(BATCH), "image_embeds": image, "text_embeds": text}


def on_running_statistics(model: MRDForPretraining) -> MRDForPretraining:
    """In training mode, but for the batch norms, whose batch statistics differ between a part and the whole."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    return model


def gradients(model: MRDForPretraining, encoder_batch_size: int | None, dtype: torch.dtype | None = None) -> dict:
    model.zero_grad()
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        output = model(**inputs(), encoder_batch_size=encoder_batch_size)
    output.loss.backward()
    return {"loss": output.loss.detach(), **{name: p.grad.clone() for name, p in model.named_parameters()}}


@pytest.mark.parametrize("part_size", [1, 5, 12, 20])
@pytest.mark.parametrize("changes", [{}, {"loss": "contrastive"}, {"learn_student_temperature": True}])
def test_gradients_are_those_of_the_whole_batch(part_size, changes):
    model = on_running_statistics(tiny_mrd(**changes))
    whole, parts = gradients(model, None), gradients(model, part_size)
    assert all(g.abs().sum() > 0 for name, g in whole.items() if "relation_weights" not in name)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_gradients_under_autocast_are_those_of_the_whole_batch_under_autocast():
    model = on_running_statistics(tiny_mrd())
    whole, parts = (gradients(model, size, torch.bfloat16) for size in (None, 4))
    for name, gradient in whole.items():  # summed over parts in float32, over the whole in bfloat16
        assert (parts[name] - gradient).norm() < 0.02 * gradient.norm() + 1e-6, name


def test_the_second_pass_repeats_the_firsts_random_numbers():
    """With stochastic depth and patch dropout, what reaches the last block is the same in both passes, so that the
    gradient is that of the loss that was computed."""
    torch.manual_seed(0)
    point_config = {**TINY, "drop_path_rate": 0.5, "patch_dropout": 0.5}
    model = on_running_statistics(MRDForPretraining(MRDConfig(point_config=point_config)))
    seen: list[torch.Tensor] = []
    model.point_bert.layers[-1].layer_norm1.register_forward_hook(lambda _m, states, _o: seen.append(states[0]))
    model(**inputs(), encoder_batch_size=4).loss.backward()
    assert len(seen) == 6
    first, second = seen[:3], seen[5:2:-1]  # the backward pass begins with the last part
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    model(**inputs(), encoder_batch_size=4)
    assert not torch.equal(first[0], seen[6])  # other random numbers the next time


def test_running_statistics_move_once_a_part():
    model, expected = tiny_mrd().train(), tiny_mrd().train()
    with torch.no_grad():
        for part in clouds(BATCH).split(4):
            expected.get_point_features(part)
    model(**inputs(), encoder_batch_size=4).loss.backward()
    for name, buffer in expected.named_buffers():
        torch.testing.assert_close(dict(model.named_buffers())[name], buffer, msg=name)
    assert all(m.momentum == 0.1 for m in model.modules() if isinstance(m, nn.BatchNorm1d))


def test_batch_norms_without_running_statistics_have_none_to_keep():
    model = tiny_mrd().train()
    tracked = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in tracked:
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    model(**inputs(), encoder_batch_size=4).loss.backward()
    assert tracked and all(norm.momentum == 0.1 and norm.num_batches_tracked is None for norm in tracked)


# Of /proc, as getrusage's peak begins with that of the process which started this one.
PEAKS = """
import os, re, sys, torch
from mrd_hf import MRDConfig, MRDForPretraining

def peak():
    return int(re.search("VmHWM:\\\\s+([0-9]+)", open("/proc/self/status").read())[1])

torch.set_num_threads(1)
model = MRDForPretraining(MRDConfig(point_config={"num_hidden_layers": 4, "num_patches": 64, "projection_dim": 16}))
image, text = torch.randn(2, 32, 16)
batch = {"point_values": torch.randn(32, 256, 6), "image_embeds": image, "text_embeds": text}
for encoder_batch_size in (2, None):
    if os.fork() == 0:
        model(**{name: value[:1] for name, value in batch.items()}).loss.backward()
        before = peak()
        model(**batch, encoder_batch_size=encoder_batch_size).loss.backward()
        print(peak() - before, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is told on Linux only")
def test_memory_is_that_of_a_part():
    # Every block of 64 KB goes back when it is freed; without it glibc keeps some, and not as many in every run.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", PEAKS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    of_parts, of_all = map(int, done.stdout.split())
    assert 0 < of_parts < of_all / 3


def test_states_are_not_recorded_and_sizes_are_checked():
    output = tiny_mrd()(**inputs(), encoder_batch_size=4, output_hidden_states=True)
    assert output.hidden_states is None
    with pytest.raises(ValueError, match="encoder_batch_size must be at least 1, got 0"):
        tiny_mrd()(**inputs(), encoder_batch_size=0)
