"""Which changes of what a run learns keep it from being resumed."""

import numpy as np
import pytest

from mrd_hf.errors import UserError
from mrd_hf.training.finetuning.learned_labels import LearnedLabels


NAMES = ["chair 1", "chair 2", "lamp 1"]
SAVED = (NAMES, {"chair": [0, 1], "lamp": [2]}, ["a", "b", "c"], np.array([0, 1, 0]))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, ["chair 1", "chair 2", "lamp 2"], r"other classes \('lamp 1', where the data has 'lamp 2'\)"),
        (1, {"lamp": [2], "chair": [0, 1]}, r"other classes \('chair', where the data has 'lamp'\)"),
        (1, {"chair": [0, 1], "lamp": [1, 2]}, "other parts of its classes"),
        (2, ["a", "b", "d"], "from other shapes"),
        (2, ["a", "c", "b"], "from other shapes"),
        (3, np.array([0, 1, 1]), "or from the same in other classes"),
    ],
)
def test_what_differs_is_said(place, value, message, tmp_path):
    checkpoint = tmp_path / "checkpoint-1"
    changed = LearnedLabels.of(*SAVED[:place], value, *SAVED[place + 1 :])
    changed.check_resumed(checkpoint)  # of a run that did not keep them
    LearnedLabels.of(*SAVED).save(tmp_path)
    LearnedLabels.of(*SAVED).check_resumed(checkpoint)
    with pytest.raises(UserError, match=message):
        changed.check_resumed(checkpoint)


@pytest.mark.parametrize("content", ["", "[]", '{"names": []}'])
def test_a_damaged_file_is_named(content, tmp_path):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(UserError, match=r"labels\.json: cannot be read"):
        LearnedLabels.of(*SAVED).check_resumed(tmp_path / "checkpoint-1")
