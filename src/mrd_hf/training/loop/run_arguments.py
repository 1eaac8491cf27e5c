"""What every training run can be told: how long, how fast, what to save and when."""

from dataclasses import dataclass, field, fields
from typing import Any

from ...errors import UserError


MAX_SEED = 2**32 - 1  # numpy's


@dataclass
class RunArguments:
    """Of pretraining and of fine-tuning."""

    output_dir: str = field(metadata={"help": "Where checkpoints, the log and the trained model go."})
    num_train_steps: int = field(default=100_000, metadata={"help": "Optimizer steps in all."})
    max_train_minutes: float | None = field(
        default=None,
        metadata={
            "help": "End after the step in which this launch has trained so long, with a checkpoint, an evaluation "
            "and an export; the learning rate is the one of num_train_steps. Default: no limit."
        },
    )
    per_device_batch_size: int = field(default=64, metadata={"help": "Shapes in a batch of one process."})
    weight_decay: float = field(default=0.05, metadata={"help": "Of weight matrices; biases and norms have none."})
    warmup_steps: int = field(default=1000, metadata={"help": "Steps of linear warm-up; then a cosine down to 0."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Norm to clip the gradient at."})
    mixed_precision: str = field(
        default="no",
        metadata={"help": "Precision of the forward pass; fp16: GPUs only.", "choices": ["no", "bf16", "fp16"]},
    )
    ema_decay: float = field(
        default=0.0,
        metadata={"help": "Decay of the weights' moving average, which is then evaluated and exported; 0: none."},
    )
    cpu_threads: int | None = field(
        default=None,
        metadata={"help": "Threads of each process on CPUs; default: its share of the cores (launchers set 1)."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of weights, shuffling, choices and augmentation."})
    logging_steps: int = field(default=10, metadata={"help": "Log every n steps."})
    eval_steps: int | None = field(default=None, metadata={"help": "Evaluate every n steps; always at the end."})
    save_steps: int = field(default=1000, metadata={"help": "Save a checkpoint every n steps, and at the end."})
    save_total_limit: int = field(default=2, metadata={"help": "How many checkpoints to keep; 0: all."})
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "A checkpoint's folder, or 'latest' for the newest one in output_dir; if there is none yet, "
            "'latest' starts from the beginning, so that a job can always be given it."
        },
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={
            "help": "Whether to delete an earlier run in output_dir that has a checkpoint or a trained encoder; one "
            "that has neither yet is replaced in any case. What else lies there stays."
        },
    )

    def __post_init__(self) -> None:
        check_least(self, num_train_steps=1, per_device_batch_size=1, cpu_threads=1, max_train_minutes=0)
        check_least(self, logging_steps=1, eval_steps=1, save_steps=1, save_total_limit=0)
        check_least(self, weight_decay=0, warmup_steps=0, seed=0)
        if not self.max_grad_norm > 0:
            raise UserError(f"max_grad_norm must be above 0, got {self.max_grad_norm}; a large one clips nothing.")
        if self.seed > MAX_SEED:
            raise UserError(f"seed must be at most {MAX_SEED}, got {self.seed}.")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay must be in [0, 1), got {self.ema_decay}.")


def check_least(arguments: Any, **bounds: int) -> None:
    """Raise a [`UserError`] for the first of a dataclass's fields that is below its bound; those that are None are
    not."""
    optional = [f.name for f in fields(arguments) if f.default is None]
    for name, bound in bounds.items():
        value = getattr(arguments, name)
        if value is not None and not value >= bound:  # nor is nan
            remedy = "; leave it out." if name in optional else "."
            raise UserError(f"{name} must be at least {bound}, got {value}{remedy}")
