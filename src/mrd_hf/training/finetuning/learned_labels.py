"""What a run learns, kept beside its checkpoints, so that it is not resumed on other classes, parts or shapes.

    output_dir/
      labels.json                names of the labels in their order, parts of each class, digest of shapes and classes

Without it weights of another size end in a traceback, and classes in another order pass unseen, with labels that mean
something else.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...files.atomic_file import atomic_file


LABELS_FILE = "labels.json"


@dataclass(frozen=True)
class LearnedLabels:
    """Labels and shapes of a run.

    Args:
        names (`list[str]`): Of the classes or, with `object_parts`, of the parts, in the order of the labels.
        object_parts (`dict[str, list[int]]`, *optional*): The parts of each class of objects, in the classes' order.
        shapes_sha256 (`str`): Digest of the training shapes' ids and classes, in their order.
    """

    names: list[str]
    object_parts: dict[str, list[int]] | None
    shapes_sha256: str

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        object_parts: dict[str, list[int]] | None,
        ids: Sequence[str],
        labels: np.ndarray,
    ) -> "LearnedLabels":
        """From what was opened: `ids` and `labels` `(num_shapes,)` are the training shapes'."""
        digest = hashlib.sha256(json.dumps([list(ids), labels.tolist()]).encode()).hexdigest()
        return cls(list(names), object_parts, digest)

    def save(self, output_dir: Path) -> None:
        """Write them into a run's folder."""
        with atomic_file(output_dir / LABELS_FILE) as file:
            file.write(json.dumps(asdict(self), indent=2).encode() + b"\n")

    def check_resumed(self, checkpoint: Path) -> None:
        """Compare with those of the run that saved a checkpoint. Runs of earlier versions did not keep them.

        Raises:
            UserError: They are others, or the file cannot be read.
        """
        file = checkpoint.resolve().parent / LABELS_FILE
        if not file.is_file():
            return
        try:
            saved = LearnedLabels(**json.loads(file.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{file}: cannot be read ({error}); delete it to resume without comparing.") from None
        # As lists of pairs: the order of the classes is that of their numbers.
        parts, saved_parts = (list((labels.object_parts or {}).items()) for labels in (self, saved))
        what = None
        if self.names != saved.names or [name for name, _ in parts] != [name for name, _ in saved_parts]:
            what = f"learned other classes ({_difference(saved, self)})"
        elif parts != [(name, list(of_class)) for name, of_class in saved_parts]:
            what = "learned other parts of its classes"
        elif self.shapes_sha256 != saved.shapes_sha256:
            what = "learned from other shapes, or from the same in other classes or another order"
        if what is not None:
            raise UserError(
                f"{checkpoint}: {what}; resume with the same data, or start with another --output-dir, and with "
                "--model to learn from what this run made."
            )


def _difference(saved: LearnedLabels, now: LearnedLabels) -> str:
    """The first label that is another."""
    names = [[*labels.names, *(labels.object_parts or {})] for labels in (saved, now)]
    for before, after in zip(*names, strict=False):
        if before != after:
            return f"'{before}', where the data has '{after}'"
    return f"{len(names[0])} names, where the data has {len(names[1])}"
