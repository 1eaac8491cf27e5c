"""Checkpoints of a training run: complete or absent, at any moment.

    output_dir/
      arguments.json             what the run was told
      checkpoint-100/            what accelerate saves (weights, optimizer, random states) and
        trainer_state.json         the step and its loss
        ema.safetensors            the moving average, if there is one
        shards/                    with FSDP2, in place of all but trainer_state.json: see `sharded_state`

A checkpoint is written under a name that no reader accepts and renamed when it is complete. Where a run resumes from
an earlier one than the last, those after it become `abandoned-checkpoint-200` and so on, see `loop.courses`.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeGuard

from accelerate import Accelerator
from accelerate.utils import SCALER_NAME, DistributedType
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.api import CheckpointException
from torch.optim.swa_utils import AveragedModel

from ..errors import UserError
from ..files.atomic_folder import check_writable, flush_to_disk
from ..files.exchange import exchange
from ..files.run_lock import LOCK_FILE
from .recipe_files import ACCELERATE_RECIPES
from .sharded_state import ShardedState


ARGUMENTS_FILE = "arguments.json"
STATE_FILE = "trainer_state.json"
EMA_FILE = "ema.safetensors"
SHARDS_FOLDER = "shards"
ZERO_SHARDS = "pytorch_model/zero_pp_rank_*_optim_states.pt"  # DeepSpeed's, one a process
TRACKING_FILE = "tracking.json"
CURVES_FILE = "training_curves.png"
# What else than a checkpoint is the result of a run, which is not to be lost.
RESULTS = ("evaluation", "encoder", "model")
# What a run that was killed before its first checkpoint leaves, and the next one makes again. Removed in this order:
# the last one says that the folder is a run's.
LEFTOVERS = (
    "labels.json",
    "training_log.jsonl*",
    TRACKING_FILE,
    "text_neighbors.safetensors",
    "profile",
    "incomplete-*",
    ARGUMENTS_FILE,
)
CHECKPOINTS = re.compile(r"checkpoint-\d+|abandoned-checkpoint-\d+(-\d+)?")
# How torch and safetensors, which have no error of their own for it, say that a file could not be written.
WRITE_FAILURES = re.compile(r"inline_container|PytorchStreamWriter|iostream error|IoError|os error|OSError")
FULL_DISK = re.compile(r"os error 28|No space left|StorageFull|write failed|unexpected pos")
MANNERS = {"fsdp2": "by FSDP2", "deepspeed_zero2": "by DeepSpeed", "ddp": "without FSDP2 and DeepSpeed"}


@dataclass(frozen=True)
class TrainerState:
    """Where a run stands.

    Args:
        step (`int`): Optimizer steps done.
        loss (`float`): The last one's loss, over the global batch.
    """

    step: int
    loss: float


def list_checkpoints(output_dir: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    found = [p for p in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)]
    return sorted((p for p in found if (p / STATE_FILE).is_file()), key=step_of)


def step_of(checkpoint: Path) -> int:
    """By its name, as [`list_checkpoints`] finds it."""
    return int(checkpoint.name.split("-")[1])


def find_checkpoint(output_dir: Path, choice: str) -> Path | None:
    """The checkpoint to resume from.

    Args:
        output_dir (`Path`): The run's folder.
        choice (`str`): A checkpoint's folder, or "latest".

    Returns:
        `Path`: The checkpoint; None where there is no latest one.

    Raises:
        UserError: when the folder is no checkpoint.
    """
    if choice == "latest":
        return next(reversed(list_checkpoints(output_dir)), None)
    if not (Path(choice) / STATE_FILE).is_file() or Path(choice).resolve().name.startswith("incomplete-"):
        raise UserError(
            f"{choice} is not a checkpoint: it has no {STATE_FILE}, or was not finished; give a folder such as "
            f"{output_dir}/checkpoint-1000, or 'latest'."
        )
    return Path(choice)


def save_checkpoint(
    accelerator: Accelerator,
    output_dir: Path,
    state: TrainerState,
    average: AveragedModel | None,
    total_limit: int,
    sharded: ShardedState | None = None,
) -> Path:
    """Save the whole state of training, then delete the oldest checkpoints beyond `total_limit`, if that is not
    0. Called by all processes; `sharded` is given where the run is.

    Raises:
        UserError: It cannot be written, as on a full disk; those before it are as they were.
    """
    step = state.step
    final = output_dir / f"checkpoint-{step}"
    temporary = output_dir / f"incomplete-checkpoint-{step}"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    accelerator.wait_for_everyone()
    with _removed_on_failure(temporary, final):
        if sharded is not None:
            sharded.save(temporary / SHARDS_FOLDER)
        else:
            accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        with _removed_on_failure(temporary, final):
            if average is not None and sharded is None:
                save_file({k: v.contiguous() for k, v in average.state_dict().items()}, temporary / EMA_FILE)
            (temporary / STATE_FILE).write_text(json.dumps(asdict(state)))
            flush_to_disk(temporary)
            if not final.exists():
                temporary.rename(final)
            elif exchange(temporary, final):
                shutil.rmtree(temporary)
            else:
                replaced = _set_aside(final)
                temporary.rename(final)
                shutil.rmtree(replaced)
        if total_limit:
            for old in list_checkpoints(output_dir)[:-total_limit]:
                shutil.rmtree(_set_aside(old))
    accelerator.wait_for_everyone()
    return final


def _set_aside(checkpoint: Path) -> Path:
    """Give a checkpoint that is to be deleted a name that no reader accepts, for a kill may leave half of it."""
    doomed = checkpoint.with_name(f"incomplete-{checkpoint.name}-old")
    shutil.rmtree(doomed, ignore_errors=True)
    return checkpoint.rename(doomed)


@contextmanager
def _removed_on_failure(temporary: Path, final: Path) -> Iterator[None]:
    """Where a checkpoint cannot be written, take away what there is of it, and say what is kept and how to go on."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, CheckpointException) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not (isinstance(error, OSError) or WRITE_FAILURES.search(str(error))):
            raise
        kept = list_checkpoints(final.parent)
        raise UserError(
            f"cannot write {final}: {_reason(error)}. Nothing of it is left; "
            + (f"{kept[-1].name} is kept. " if kept else "there was no checkpoint before it. ")
            + "Free some space, or see to the folder, and go on by the same command with "
            "--resume-from-checkpoint latest.",
            exit_code=1,
        ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _reason(error: BaseException) -> str:
    """In a few words: torch's have dozens of lines, and the addresses of its functions."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if FULL_DISK.search(str(error)):
        return os.strerror(errno.ENOSPC)
    said = re.search(r"\[Errno \d+\] ([^:'\n]+)", str(error))  # somewhere in a report of several processes
    if said is not None:
        return said.group(1)
    return str(error).partition("\n")[0][:200]


def check_step(checkpoint: Path, num_train_steps: int) -> None:
    """Raise a [`UserError`] if a checkpoint is of a later step than the last one that a run is to have."""
    step = json.loads((checkpoint / STATE_FILE).read_text())["step"]
    if step > num_train_steps:
        raise UserError(
            f"{checkpoint} is of step {step}, and num_train_steps is {num_train_steps}; raise it, or resume from an "
            "earlier checkpoint."
        )


def load_checkpoint(
    accelerator: Accelerator, checkpoint: Path, average: AveragedModel | None, sharded: ShardedState | None = None
) -> TrainerState:
    """Restore what [`save_checkpoint`] saved, with any number of processes. Called by all processes.

    Raises:
        UserError: when the run has a moving average or a loss scale and the checkpoint has none, or when it was saved
            by FSDP2 or DeepSpeed and is loaded without, or the other way round, or by DeepSpeed on another number of
            processes, or is of another network.
    """
    shards, zero_shards = checkpoint / SHARDS_FOLDER, list(checkpoint.glob(ZERO_SHARDS))
    saved = "fsdp2" if shards.is_dir() else "deepspeed_zero2" if zero_shards else "ddp"
    deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
    if saved != ("fsdp2" if sharded is not None else "deepspeed_zero2" if deepspeed else "ddp"):
        raise UserError(
            f"{checkpoint} was saved {MANNERS[saved]}; resume it by accelerate launch --config_file "
            f"{ACCELERATE_RECIPES / saved}.yaml."
        )
    if deepspeed and len(zero_shards) != accelerator.num_processes:
        raise UserError(
            f"{checkpoint} was saved by {len(zero_shards)} processes of DeepSpeed, which loads it on as many only; "
            f"pass --num_processes {len(zero_shards)}."
        )
    if sharded is not None:
        sharded.load(shards)
    else:
        if average is not None and not (checkpoint / EMA_FILE).is_file():
            raise UserError(f"{checkpoint} has no moving average ({EMA_FILE}); resume with --ema-decay 0.")
        if accelerator.scaler is not None and not (checkpoint / SCALER_NAME).is_file():
            raise UserError(
                f"{checkpoint} has no loss scale ({SCALER_NAME}), which --mixed-precision fp16 goes on with; resume "
                "with the precision that the run began with."
            )
        try:
            accelerator.load_state(str(checkpoint))
        except RuntimeError as error:
            if "Error(s) in loading state_dict" not in str(error):
                raise
            first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
            raise UserError(
                f"{checkpoint} is of another network ({first}); resume with the encoder and the objective that the "
                f"run began with, as {checkpoint.parent / ARGUMENTS_FILE} has them."
            ) from None
        if average is not None:
            average.load_state_dict(load_file(checkpoint / EMA_FILE))
    return TrainerState(**json.loads((checkpoint / STATE_FILE).read_text()))


def check_output_dir(output_dir: Path, resume: str | None, overwrite: bool) -> Path | None:
    """Make sure that a run does not destroy an earlier one, or anything else. Changes nothing.

    An earlier run that has neither a checkpoint nor a trained encoder, as it failed or was killed early, is no loss.

    Args:
        output_dir (`Path`): The run's folder.
        resume (`str`, *optional*): A checkpoint's folder, or "latest".
        overwrite (`bool`): Whether an earlier run may be deleted.

    Returns:
        `Path`: The checkpoint to resume from; None to start from the beginning, also where there is no latest one.

    Raises:
        UserError: when the folder cannot be used, or it was not said what to do with what is in it.
    """
    checkpoint = find_checkpoint(output_dir, resume) if resume is not None else None
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"{output_dir} is a file; choose another --output-dir.")
    check_writable(output_dir)
    if checkpoint is not None and overwrite and checkpoint.resolve().is_relative_to(output_dir.resolve()):
        raise UserError(
            f"--overwrite-output-dir would delete {checkpoint}, which --resume-from-checkpoint asks for; leave out "
            "one of them."
        )
    if is_of_the_run(checkpoint, output_dir):
        return checkpoint
    if not output_dir.exists() or not _content(output_dir):
        return checkpoint
    finished = [path for name in RESULTS if (path := output_dir / name).exists()] + list_checkpoints(output_dir)
    if not (output_dir / ARGUMENTS_FILE).is_file() and (overwrite or not finished):
        raise UserError(
            f"{output_dir} holds something other than a training run (no {ARGUMENTS_FILE}), so it is left as it is; "
            "choose another --output-dir."
        )
    if finished and not overwrite:
        resuming = "--resume-from-checkpoint latest to resume it, " if list_checkpoints(output_dir) else ""
        raise UserError(
            f"{output_dir} has a run in it already ({finished[-1].name}); pass {resuming}--overwrite-output-dir True "
            "to delete it, or another --output-dir."
        )
    return checkpoint


def prepare_output_dir(output_dir: Path, resume: str | None, overwrite: bool) -> Path | None:
    """Make the folder ready for a run: as [`check_output_dir`], after which what is no loss is removed.

    The checkpoints after the one that it returns stay until the run has resumed, see [`abandon_others`]. Called by the
    main process alone, which has the folder by [`only_run`].
    """
    checkpoint = check_output_dir(output_dir, resume, overwrite)
    if is_of_the_run(checkpoint, output_dir):
        for leftover in output_dir.glob("incomplete-checkpoint-*"):
            shutil.rmtree(leftover)
        return checkpoint
    output_dir.mkdir(parents=True, exist_ok=True)
    leftovers = [path for pattern in LEFTOVERS for path in output_dir.glob(pattern)]
    if overwrite:
        leftovers = [*_written_later(output_dir), *leftovers]
    # The file says that the folder is a run's. Where something else stays in it, so does the file, until the new run
    # writes its own: were that one killed before, the folder would be nobody's.
    if set(_content(output_dir)) - set(leftovers):
        leftovers.remove(output_dir / ARGUMENTS_FILE)
    for leftover in leftovers:
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    return checkpoint


def _written_later(output_dir: Path) -> list[Path]:
    """What a run writes once it is under way: its checkpoints, results, picture and tensorboard's files.

    Users keep what they made of a run beside these, as indexes and exports, which no new run replaces.
    """
    found = [path for path in output_dir.iterdir() if CHECKPOINTS.fullmatch(path.name)]
    for name in (*RESULTS, *(f"replaced-{name}" for name in RESULTS), CURVES_FILE):
        found += output_dir.glob(name)
    with suppress(OSError, ValueError, KeyError, TypeError):
        tracked = json.loads((output_dir / TRACKING_FILE).read_text(encoding="utf-8"))
        curves = output_dir / tracked["project"] / tracked["run_name"]
        inside = output_dir.resolve() in curves.resolve().parents  # a file may say anything
        if inside and any(curves.glob("events.out.tfevents.*")):
            found.append(curves)
    return found


def _content(output_dir: Path) -> list[Path]:
    """What is in a run's folder, but for the lock of the run that has it, and what a kill left of its arguments."""
    names = [path for path in output_dir.iterdir() if path.name != LOCK_FILE]
    return [path for path in names if not path.name.startswith(f".{ARGUMENTS_FILE}.")]


def is_of_the_run(checkpoint: Path | None, output_dir: Path) -> TypeGuard[Path]:
    """Whether there is a checkpoint to resume from, and it lies in the run's folder, under whatever name."""
    return checkpoint is not None and checkpoint.resolve().parent == output_dir.resolve()
