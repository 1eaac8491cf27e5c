"""What a run tells DeepSpeed. A stand-in takes the accelerator's place: DeepSpeed itself needs GPUs."""

import json
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from support.tiny_mrd import tiny_mrd

from mrd_hf.errors import UserError
from mrd_hf.training.arguments import PretrainingArguments
from mrd_hf.training.checkpoints import STATE_FILE, load_checkpoint
from mrd_hf.training.zero import fit_deepspeed


def accelerator(stage: int = 2, num_processes: int = 2) -> SimpleNamespace:
    """With the configuration that accelerate makes of the recipe."""
    config = {"train_micro_batch_size_per_gpu": "auto", "gradient_clipping": "auto"}
    plugin = SimpleNamespace(deepspeed_config={**config, "zero_optimization": {"stage": stage}})
    return SimpleNamespace(
        distributed_type=DistributedType.DEEPSPEED,
        num_processes=num_processes,
        state=SimpleNamespace(deepspeed_plugin=plugin),
    )


def test_the_runs_arguments_complete_the_configuration():
    ours = accelerator()
    arguments = PretrainingArguments(output_dir="none", per_device_batch_size=6, max_grad_norm=0.5)
    model = tiny_mrd()
    before = model.objective.log_logit_scale.detach().clone()
    fit_deepspeed(ours, arguments, model.objective)
    config = ours.state.deepspeed_plugin.deepspeed_config
    assert config["train_micro_batch_size_per_gpu"] == 6
    assert config["gradient_clipping"] == 0.5
    assert all(parameter.ndim > 0 for parameter in model.objective.parameters())
    assert torch.equal(model.objective.log_logit_scale[0], before)


def test_without_deepspeed_nothing_changes():
    model = tiny_mrd()
    others = SimpleNamespace(distributed_type=DistributedType.MULTI_GPU)
    fit_deepspeed(others, PretrainingArguments(output_dir="none", mixed_precision="bf16"), model.objective)
    assert model.objective.log_logit_scale.ndim == 0


def test_what_is_not_supported_is_refused():
    objective = tiny_mrd().objective
    with pytest.raises(UserError, match="mixed_precision bf16 does not go with DeepSpeed"):
        fit_deepspeed(accelerator(), PretrainingArguments(output_dir="none", mixed_precision="bf16"), objective)
    with pytest.raises(UserError, match="zero_stage 3 shards the weights themselves"):
        fit_deepspeed(accelerator(stage=3), PretrainingArguments(output_dir="none"), objective)


def test_a_checkpoint_of_another_number_of_processes_is_refused(tmp_path):
    (tmp_path / "pytorch_model").mkdir()
    (tmp_path / STATE_FILE).write_text(json.dumps({"step": 1, "loss": 0.5}))
    for rank in range(2):
        (tmp_path / "pytorch_model" / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    with pytest.raises(UserError, match="saved by 2 processes of DeepSpeed, .* pass --num_processes 2"):
        load_checkpoint(accelerator(num_processes=4), tmp_path, average=None)
    others = SimpleNamespace(distributed_type=DistributedType.MULTI_GPU)
    with pytest.raises(UserError, match=r"was saved by DeepSpeed; resume it by .*/deepspeed_zero2\.yaml"):
        load_checkpoint(others, tmp_path, average=None)
