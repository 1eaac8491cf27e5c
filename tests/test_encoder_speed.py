"""scripts/benchmarks/encoder_speed.py and scaling.py: what is measured is the same thing, and all of it is written."""

import importlib
import json
import mmap
from pathlib import Path
from types import ModuleType

import pytest
import torch
from support.paths import ROOT


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")


@pytest.fixture
def encoder_speed() -> ModuleType:
    return importlib.import_module("encoder_speed")


@pytest.mark.parametrize("training", [False, True])
def test_the_plain_encoder_is_ours(encoder_speed, training):
    """The embeddings and the gradients of all weights."""
    from gpu_parts.part import shape_clouds
    from speed_parts import one_figure, plain_encoder

    model = one_figure.encoder("tiny").train(training)
    clouds = shape_clouds(3, 300)
    embeds, gradients = [], []
    for encode in (model.get_point_features, lambda values: plain_encoder.encode(model, values)):
        model.zero_grad()
        embeds.append(encode(clouds))
        embeds[-1].square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(embeds[0], embeds[1], rtol=1e-4, atol=1e-6)
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[1].norm()


def test_the_plain_objective_is_ours(encoder_speed):
    from speed_parts import plain_encoder

    from mrd_hf import MRDConfig
    from mrd_hf.models.mrd_objective import MRDObjective
    from mrd_hf.models.relation_distillation import RELATION_TERMS

    config = MRDConfig(relation_terms=list(RELATION_TERMS), mask_self_pairs=False, relation_weight=0.3)
    embeds = torch.randn(3, 12, 8)
    expected = MRDObjective(config)(*embeds).loss
    found = plain_encoder.objective(*embeds, config.student_temperature)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)  # the first scale has five digits


def test_the_floor_counts_the_products_of_a_forward_pass(encoder_speed):
    from gpu_parts.part import shape_clouds
    from speed_parts import one_figure, plain_encoder
    from speed_parts.floors import counted, encoder_flops

    model, clouds = one_figure.encoder("tiny"), shape_clouds(1, 50)
    model.set_attn_implementation("eager")
    of_distances = 2 * 3 * model.config.num_patches * 50  # of the plain one's table
    expected = counted(lambda: plain_encoder.encode(model, clouds))
    assert encoder_flops(model, backward=False)["whole"] in (expected, expected - of_distances)
    assert 2.5 < encoder_flops(model, backward=True)["whole"] / expected < 3.1


def test_every_stage_is_measured_and_written(encoder_speed, tmp_path, capsys):
    out = tmp_path / "speed.json"
    options = ["--encoders", "tiny", "--num-points", "64", "--batch", "2", "--seconds", "0", "--memory-batch", "0"]
    encoder_speed.main([*options, "--objective-batch", "8", "--device", "cpu", "--out", str(out)])
    rows = json.loads(out.read_text())["stages"]
    found = [(row["dtype"], row["stage"]) for row in rows]
    stages = ["sampling", "grouping", "patch network", "trunk", "forward", "step"]
    halves = [("bfloat16", stage) for stage in stages[3:]]
    assert found == [*(("float32", stage) for stage in stages), *halves, ("float32", "objective")]
    assert all(row["ours_ms"] > 0 for row in rows)
    assert "| encoder | dtype | stage | ours ms |" in capsys.readouterr().out


def test_overhead_of_the_objective(encoder_speed, monkeypatch, tmp_path):
    """With the figures of processes of their own given."""

    def figure(**task):
        return {"seconds": 2.0 if task["what"] == "step" else 0.5, "processor_seconds": 9.0, "peak_MiB": 3.0}

    monkeypatch.setattr(encoder_speed, "in_own_process", figure)
    out = tmp_path / "overhead.json"
    encoder_speed.main(
        ["--encoders", "tiny", "--batch", "4", "--overhead", "12", "--relations", "mrd", "--out", str(out)]
    )
    ((row,),) = [json.loads(out.read_text())["overhead"]]
    assert (row["encoder_step_s"], row["share"]) == (6.0, pytest.approx(0.5 / 6.5))


def test_a_figure_has_both_clocks_and_memory():
    from speed_parts.one_figure import measure

    found = measure({"what": "step", "encoder": "tiny", "batch": 2, "num_points": 100, "half": True, "runs": 2})
    assert set(found) == {"seconds", "processor_seconds", "peak_MiB"} and found["processor_seconds"] > 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell of memory")
def test_memory_that_was_given_back_before_the_first_call_does_not_count():
    from speed_parts.one_figure import measure, own_memory

    task = {"what": "forward", "encoder": "tiny", "batch": 1, "num_points": 50}
    measure(task)
    with mmap.mmap(-1, 2**29) as memory:
        for page in range(0, len(memory), mmap.PAGESIZE):
            memory[page] = 1
    assert own_memory("VmHWM") > own_memory("VmRSS") + 2**28
    assert measure(task)["peak_MiB"] < 2**28 / 2**20


def test_scaling_draws_what_it_measured(monkeypatch, tmp_path):
    scaling = importlib.import_module("scaling")
    figure = {"seconds": 1.0, "processor_seconds": 2.0, "peak_MiB": 0.0}
    monkeypatch.setattr(scaling, "in_own_process", lambda **task: figure)
    scaling.main(["--tiny", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "scaling.json").read_text())
    assert [row["size"] for row in rows if row["what"] == "step"][:6] == [1000, 3000, 1, 2, 64, 128]
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
