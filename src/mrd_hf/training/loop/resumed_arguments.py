"""What a run is told, and when it resumes what it was told the time before."""

import json
import sys
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files.atomic_file import atomic_file
from ...models.configuration_mrd import MRDConfig
from ..checkpoints import ARGUMENTS_FILE
from ..recipe_files import parse_mapping


# What changes nothing in the course of training: where it runs, what it writes, and when it stops on the way.
FREE = {
    "output_dir",
    "resume_from_checkpoint",
    "overwrite_output_dir",
    "max_train_minutes",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "save_total_limit",
    "num_workers",
    "prefetch_factor",
    "profile",
    "compile",
    "gradient_checkpointing",
    "report_to",
    "project",
    "run_name",
    "push_to_hub",
    "votes",
}


def check_resumed(checkpoint: Path, told: dict[str, Any], tell: bool = True) -> bool:
    """Say what a run is told otherwise than the last time, so far as that is known.

    Args:
        checkpoint (`Path`): That it resumes from; beside it may be the arguments of the run that saved it.
        told (`dict`): Its arguments.
        tell (`bool`, defaults to `True`): Whether to say it, as one of several processes does.

    Returns:
        `bool`: Whether it is told anything otherwise.

    Raises:
        UserError: It has other relations, to which the learned weights would not belong.
    """
    file = checkpoint.parent / ARGUMENTS_FILE
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    earlier, now = _relation_terms(before), _relation_terms(told)
    # Fine-tuning has none.
    if "mrd_config" in told and earlier != now:
        raise UserError(
            f"{checkpoint} has weights of the relations {', '.join(earlier)}, and mrd_config asks for "
            f"{', '.join(now)}; resume with the same, or begin a new run from its encoder (--encoder)."
        )
    changed = {name for name in told.keys() & before.keys() - FREE if told[name] != before[name]}
    changed = {name for name in changed if not name.startswith("hub_")}
    if told.get("streaming") and "num_workers" in before:
        # It is shared out among those that read it: without workers, the process itself.
        earlier_readers, readers = (max(1, of["num_workers"]) for of in (before, told))
        changed |= {"num_workers"} if readers != earlier_readers else set()
    if changed and tell:
        changes = ", ".join(f"{name} {before[name]} -> {told[name]}" for name in sorted(changed))
        print(f"note: the run is resumed with other settings than it was last told: {changes}.", file=sys.stderr)
    return bool(changed)


def _relation_terms(arguments: dict[str, Any]) -> list[str]:
    """Of the arguments alone: a whole configuration may need what the teacher says."""
    told = parse_mapping(arguments.get("mrd_config", "{}"), "mrd_config")
    return list(told.get("relation_terms") or MRDConfig().relation_terms)


def keep_arguments(output_dir: Path, told: dict[str, Any]) -> None:
    """Write down what a run is told, in the place of what it was told before."""
    with atomic_file(output_dir / ARGUMENTS_FILE) as sink:
        sink.write((json.dumps(told, indent=2) + "\n").encode())
