"""FSDP2 trains as DDP and as one process do, and checkpoints outlive a change of the number of processes."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sharded_runs import save_weights, start_run
from support.processes_together import Job, run_together
from support.tiny_mrd import tiny_mrd
from support.tiny_triplets import save_tiny_triplets
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from mrd_hf.errors import UserError
from mrd_hf.training import sharding
from mrd_hf.training.checkpoints import list_checkpoints
from mrd_hf.training.loop import compilation
from mrd_hf.training.loop.stopping import Ending
from mrd_hf.training.recipe_files import ACCELERATE_RECIPES
from mrd_hf.training.sharding import Sharding, requested_sharding, shard
from mrd_hf.training.training_log import read_log


KINDS = ("ddp", "fsdp2")


def train(data: Path, folder: Path, name: str, resume: Path | None = None, **settings) -> None:
    """A run in `folder / name`, with its weights beside it."""
    run = start_run(data, folder / name, fsdp2=name.startswith("fsdp2"), **settings)
    if resume is not None:
        run.resume(resume)
        save_weights(run, folder / f"{name}-resumed.safetensors")
    run.run()
    save_weights(run, folder / f"{name}.safetensors")


def on_one_process(data: Path, folder: Path) -> None:
    for kind in KINDS:
        train(data, folder, f"{kind}-one", alike=True)
        train(data, folder, f"{kind}-uni3d-one", alike=True, uni3d=True)


def on_two_processes(data: Path, folder: Path) -> None:
    rank = int(os.environ["RANK"])
    for kind in KINDS:
        train(data, folder, f"{kind}-two", alike=True)
        train(data, folder, f"{kind}-uni3d-two", alike=True, uni3d=True)
        train(data, folder, f"{kind}-one-to-two", alike=True, model_seed=7, resume=folder / f"{kind}-one/checkpoint-2")
        train(data, folder, f"{kind}-parts", alike=True, encoder_batch_size=3)
        train(data, folder, f"{kind}-live")
        # Other initial weights on each process: the first one's count.
        train(data, folder, f"{kind}-bf16", mixed_precision="bf16", num_train_steps=2, ema_decay=0, model_seed=rank)
        train(data, folder, f"{kind}-live-again", resume=folder / f"{kind}-live/checkpoint-2", model_seed=7)
        with_switches(data, folder, kind)
        stopped(data, folder, kind, rank)
    evaluated(data, folder)
    sharded(data, folder, rank)
    refused(data, folder, rank)


def with_switches(data: Path, folder: Path, kind: str) -> None:
    """As the live run, but compiled (without writing code), checkpointed, and its numbers read as of a GPU."""
    compilation.BACKEND = "aot_eager"
    settings = {"compile": True, "gradient_checkpointing": True, "logging_steps": 2}
    run = start_run(data, folder / f"{kind}-switches", kind == "fsdp2", **settings)
    run.finite.at_once = False
    run.run()
    save_weights(run, folder / f"{kind}-switches.safetensors")


def stopped(data: Path, folder: Path, kind: str, rank: int) -> None:
    """Only the second process is told to end, in its third step."""
    run = start_run(data, folder / f"{kind}-stopped", kind == "fsdp2", save_steps=1000)
    agreed = run.stop.agreed

    def told() -> Ending | None:
        if rank == 1 and run.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return agreed()

    run.stop.agreed = told
    result = run.run()
    (folder / f"{kind}-stopped-{rank}.json").write_text(json.dumps([result.ending.name, result.steps]))


def evaluated(data: Path, folder: Path) -> None:
    """What the evaluation sees in training, which only the main process calls."""

    def evaluate(model) -> dict[str, float]:
        assert not any(isinstance(tensor, DTensor) for tensor in model.state_dict().values())
        return {"size": float(sum(p.abs().sum() for p in model.parameters())), "caller": int(os.environ["RANK"])}

    for kind in KINDS:
        run = start_run(data, folder / f"{kind}-evaluated", kind == "fsdp2", evaluate=evaluate, eval_steps=1)
        run.run()


def sharded(data: Path, folder: Path, rank: int) -> None:
    """What a process holds of the encoder, its average and its optimizer's state."""
    run = start_run(data, folder / "fsdp2-held", fsdp2=True, num_train_steps=1)
    run.run()
    encoders = [run.sharded.model.point_bert, run.average.module.point_bert]
    tensors = {name: [*encoder.parameters()] for name, encoder in zip(("weights", "average"), encoders, strict=True)}
    states = [run.sharded.optimizer.state[p] for p in tensors["weights"]]
    tensors["optimizer"] = [state[k] for state in states for k in ("exp_avg", "exp_avg_sq")]
    for encoder in encoders:
        groups = [type(module).__name__ for module in encoder.modules() if isinstance(module, FSDPModule)]
        assert groups == ["FSDPPointBertModel", *2 * ["FSDPPointBertLayer"]]
    held = {
        name: (sum(t.to_local().numel() for t in part), sum(t.numel() for t in part)) for name, part in tensors.items()
    }
    (folder / f"held-{rank}.json").write_text(json.dumps(held))


def refused(data: Path, folder: Path, rank: int) -> None:
    messages = []
    for fsdp2, checkpoint in ((True, "ddp-two"), (False, "fsdp2-two"), (True, "fsdp2-bf16")):
        run = start_run(data, folder / "refused", fsdp2)
        with pytest.raises(UserError) as caught:
            run.resume(folder / checkpoint / "checkpoint-2")
        messages.append(str(caught.value))
    (folder / f"refused-{rank}.json").write_text(json.dumps(messages))


def back_on_one_process(data: Path, folder: Path) -> None:
    for kind in KINDS:
        checkpoint = folder / f"{kind}-two/checkpoint-2"
        train(data, folder, f"{kind}-two-to-one", alike=True, model_seed=7, resume=checkpoint)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    data = save_tiny_triplets(folder / "data")
    jobs = ((1, on_one_process), (2, on_two_processes), (1, back_on_one_process))
    run_together(*(Job(num_processes, work, (data, folder)) for num_processes, work in jobs))
    return folder


def losses(runs: Path, name: str) -> list[float]:
    return [line["loss"] for line in read_log(runs / name / "training_log.jsonl") if "loss" in line]


def assert_same_training(runs: Path, ours: str, expected: str, atol: float = 1e-5, live: bool = False) -> None:
    """The same losses in the steps that both made, and the same weights in the end."""
    assert losses(runs, ours) == pytest.approx(losses(runs, expected)[-len(losses(runs, ours)) :], abs=atol)
    tensors, others = (load_file(runs / f"{name}.safetensors") for name in (ours, expected))
    assert tensors.keys() == others.keys()
    assert_same_weights(tensors, others, atol, live)


def assert_same_weights(
    tensors: dict[str, torch.Tensor], others: dict[str, torch.Tensor], atol: float, live: bool
) -> None:
    for name, tensor in tensors.items():
        # A live batch norm takes away what these add. Their gradients are rounding, which Adam makes whole steps of.
        if live and re.search(r"patch_network\.(linears\.\d\.bias|norms\.\d\.running_mean)", name):
            continue
        torch.testing.assert_close(tensor, others[name], atol=atol, rtol=0, msg=lambda m, name=name: f"{name}: {m}")


def test_fsdp2_trains_as_ddp_does(runs):
    """All that is random and each process's own is alive: batch norm, augmentation, stochastic depth, the average."""
    assert_same_training(runs, "fsdp2-live", "ddp-live", live=True)


@pytest.mark.parametrize("name", ["ddp-uni3d-two", "fsdp2-uni3d-two", "fsdp2-uni3d-one"])
def test_uni3d_trains_on_two_processes_as_on_one(runs, name):
    assert_same_training(runs, name, "ddp-uni3d-one")


@pytest.mark.parametrize("name", ["ddp-two", "fsdp2-two", "fsdp2-one", "ddp-parts", "fsdp2-parts"])
def test_two_processes_train_as_one_does(runs, name):
    """Also where each encodes its share in parts, of 3 and 1 (`encoder_batch_size`)."""
    assert_same_training(runs, name, "ddp-one")


def test_in_bfloat16_fsdp2_trains_as_ddp_does(runs):
    """The points and the loss in float32, the encoder's products in bfloat16; and the first process's weights."""
    assert_same_training(runs, "fsdp2-bf16", "ddp-bf16", atol=1e-4, live=True)
    assert losses(runs, "fsdp2-bf16")[0] != pytest.approx(losses(runs, "fsdp2-live")[0], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_checkpointed_and_read_rarely_it_trains_the_same(runs, kind):
    ours, expected = (load_file(runs / f"{name}.safetensors") for name in (f"{kind}-switches", f"{kind}-live"))
    assert ours.keys() == expected.keys()
    assert losses(runs, f"{kind}-switches") == pytest.approx(losses(runs, f"{kind}-live")[1::2], abs=1e-5)
    # Compiled, the patch network is rounded in other places.
    assert_same_weights(ours, expected, atol=1e-4, live=True)


@pytest.mark.parametrize("kind", KINDS)
def test_all_processes_end_at_the_same_step(runs, kind):
    for rank in range(2):
        assert json.loads((runs / f"{kind}-stopped-{rank}.json").read_text()) == ["SIGTERM", 3]
    assert [path.name for path in list_checkpoints(runs / f"{kind}-stopped")] == ["checkpoint-3"]


def test_every_parameter_is_trained(runs):
    """The loss's own too; weights after the steps differ from the initial ones in every tensor."""
    before = load_file(runs / "fsdp2-two-to-one-resumed.safetensors")
    after = load_file(runs / "fsdp2-two-to-one.safetensors")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name.rsplit(".", 1)[-1] for name in same} <= {"running_mean", "running_var", "num_batches_tracked"}


def test_each_process_holds_half(runs):
    for rank in range(2):
        for part, (held, whole) in json.loads((runs / f"held-{rank}.json").read_text()).items():
            assert 0.45 < held / whole < 0.55, part


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_on_as_many_processes_it_is_the_same_run(runs, kind):
    assert losses(runs, f"{kind}-live-again") == losses(runs, f"{kind}-live")[2:]
    ours, expected = (load_file(runs / f"{kind}-{name}.safetensors") for name in ("live-again", "live"))
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("change", "saved_by"), [("one-to-two", "one"), ("two-to-one", "two")])
def test_resumed_on_another_number_of_processes_it_goes_on(runs, kind, change, saved_by):
    """As if nothing had happened: weights, optimizer, average and step are those of the checkpoint."""
    assert len(losses(runs, f"{kind}-{change}")) == 2
    assert_same_training(runs, f"{kind}-{change}", f"{kind}-{saved_by}")


def test_evaluation_in_training_sees_the_whole_model(runs):
    logs = {
        kind: [x for x in read_log(runs / f"{kind}-evaluated/training_log.jsonl") if "eval/size" in x]
        for kind in KINDS
    }
    assert [line["step"] for line in logs["fsdp2"]] == [1, 2, 3, 4]
    assert {line["eval/caller"] for line in logs["fsdp2"]} == {0}
    sizes = {kind: [line["eval/size"] for line in lines] for kind, lines in logs.items()}
    assert sizes["fsdp2"] == pytest.approx(sizes["ddp"], rel=1e-5)


def test_a_sharded_checkpoint_is_safetensors_alone(runs):
    assert [p.name for p in list_checkpoints(runs / "fsdp2-two")] == ["checkpoint-2", "checkpoint-4"]
    files = [p for p in (runs / "fsdp2-two/checkpoint-4").rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".safetensors", ".json"}
    assert len([p for p in files if p.parent.name == "shards"]) == 2
    assert not list(runs.glob("*/incomplete-*"))


def test_what_cannot_be_resumed_says_how_to(runs):
    for rank in range(2):
        plain, shards, averageless = json.loads((runs / f"refused-{rank}.json").read_text())
        launch = f"resume it by accelerate launch --config_file {ACCELERATE_RECIPES}"
        assert f"was saved without FSDP2 and DeepSpeed; {launch}/ddp.yaml" in plain
        assert f"was saved by FSDP2; {launch}/fsdp2.yaml" in shards
        assert "has no moving average; resume with --ema-decay 0" in averageless


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FSDP_VERSION", "1", "fsdp_version must be 2"),
        ("FSDP_AUTO_WRAP_POLICY", "SIZE_BASED_WRAP", "fsdp_auto_wrap_policy must be TRANSFORMER_BASED_WRAP"),
        ("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT", "fsdp_state_dict_type must be SHARDED_STATE_DICT"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "fsdp_cpu_ram_efficient_loading must be false"),
        ("FSDP_OFFLOAD_PARAMS", "true", "fsdp_offload_params must be false"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "fsdp_activation_checkpointing must be false"),
    ],
)
def test_a_recipe_that_asks_for_more_is_refused(monkeypatch, variable, value, message):
    for name, setting in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", variable: value}.items():
        monkeypatch.setenv(name, setting)
    if variable != "FSDP_AUTO_WRAP_POLICY":
        monkeypatch.setenv("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP")
    with pytest.raises(UserError, match=message):
        requested_sharding("no")


def test_layers_that_the_encoder_does_not_have_are_refused():
    with pytest.raises(UserError, match="fsdp_transformer_layer_cls_to_wrap: the encoder has no module BertLayer"):
        shard(tiny_mrd(), Sharding(layers=("BertLayer",), reshard_after_forward=True))


def test_what_fsdp2_cannot_do_is_refused(monkeypatch):
    assert requested_sharding("fp16") is None
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setenv("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP")
    with pytest.raises(UserError, match="mixed_precision fp16 .* use bf16"):
        requested_sharding("fp16")
    with pytest.raises(UserError, match="needs processes to shard over: accelerate launch"):
        requested_sharding("no")
    # Whose clipping of gradients has no notion of sharded ones beside whole ones.
    monkeypatch.setattr(sharding, "compare_versions", lambda name, operation, version: False)
    with pytest.raises(UserError, match=r"FSDP2 needs accelerate 1\.15 or newer"):
        requested_sharding("no")
