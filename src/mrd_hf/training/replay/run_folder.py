"""A run that has ended, from its folder: what it was told, and its model at the beginning and at each checkpoint."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from safetensors.torch import load_file

from ...errors import UserError
from ...models.modeling_mrd import MRDForPretraining
from ..arguments import ARGUMENT_CLASSES, DataArguments, ModelArguments, PretrainingArguments
from ..checkpoints import ARGUMENTS_FILE, list_checkpoints
from ..model_building import build_model


WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class RunFolder:
    """What a run was told.

    Attributes:
        path (`Path`): The `--output-dir` of `mrd-hf pretrain`.
        data ([`DataArguments`])
        model ([`ModelArguments`])
        training ([`PretrainingArguments`])
    """

    path: Path
    data: DataArguments
    model: ModelArguments
    training: PretrainingArguments

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Read a run's folder.

        Raises:
            UserError: when it is no run's, or the run has no checkpoint or embedded images and texts on the fly.
        """
        try:
            told = json.loads((path / ARGUMENTS_FILE).read_text())
        except (OSError, ValueError):
            raise UserError(
                f"{path} is no folder of a run: no {ARGUMENTS_FILE} can be read in it; give the --output-dir of "
                "mrd-hf pretrain."
            ) from None
        run = cls(path, *(_told(arguments, told, path) for arguments in ARGUMENT_CLASSES))
        if run.model.teacher is not None:
            raise UserError(
                f"{path}: the run embedded images and texts on the fly; embed its dataset by mrd-hf embed-teacher, "
                "and train on that."
            )
        if not list_checkpoints(path):
            raise UserError(
                f"{path} has no checkpoint; train again with --save-steps and a --save-total-limit that keeps them "
                "(mrd-hf ablate deletes those of its runs when they have ended)."
            )
        return run

    def models(self, embedding_dim: int, teacher_id: str) -> list["SavedModel"]:
        """The models of the run, oldest first: untrained, at step 0, and at each checkpoint.

        Args:
            embedding_dim (`int`): Of the teacher.
            teacher_id (`str`): The teacher's identifier.
        """
        checkpoints = [(int(folder.name.split("-")[1]), folder) for folder in list_checkpoints(self.path)]
        return [
            SavedModel(self, step, folder, embedding_dim, teacher_id) for step, folder in [(0, None), *checkpoints]
        ]


@dataclass(frozen=True)
class SavedModel:
    """A run's model at a step.

    Attributes:
        run ([`RunFolder`])
        step (`int`): Optimizer steps done.
        checkpoint (`Path`, *optional*): Where its weights are; None: as the run's seed makes them.
        embedding_dim (`int`): Of the teacher.
        teacher_id (`str`): The teacher's identifier.
    """

    run: RunFolder
    step: int
    checkpoint: Path | None
    embedding_dim: int
    teacher_id: str

    def load(self) -> MRDForPretraining:
        """The model, with the weights that are trained and not their moving average.

        Raises:
            UserError: when the checkpoint has no weights in one file, or others than the run's model has.
        """
        set_seed(self.run.training.seed)
        model = build_model(self.run.model, self.embedding_dim, self.teacher_id)
        if self.checkpoint is None:
            return model
        file = self.checkpoint / WEIGHTS_FILE
        if not file.is_file():
            raise UserError(
                f"{self.checkpoint} has no {WEIGHTS_FILE}, as it was saved in parts by FSDP2 or DeepSpeed; only "
                "runs without these can be analysed."
            )
        try:
            model.load_state_dict(load_file(file))
        except RuntimeError as error:
            raise UserError(
                f"{file} does not fit the model that {self.run.path / ARGUMENTS_FILE} tells of: {error}"
            ) from None
        return model


def _told(arguments: type, told: dict[str, Any], path: Path) -> Any:
    """One group of arguments, from all that the run was told; what an earlier version did not know has its default."""
    known = {f.name: told[f.name] for f in fields(arguments) if f.name in told}
    try:
        return arguments(**known)
    except TypeError as error:
        raise UserError(f"{path / ARGUMENTS_FILE} lacks what a run is told: {error}.") from None
