"""What embeddings that are kept are of: the same only where files and reading are."""

import numpy as np
import pytest

from mrd_hf.evaluation import scored_shapes
from mrd_hf.evaluation.scored_shapes import ShapeOptions, open_shapes


@pytest.fixture
def fingerprint(tmp_path, monkeypatch):
    """Of a folder of shapes, by its name and options."""
    (tmp_path / "shapes" / "mug").mkdir(parents=True)
    np.save(tmp_path / "shapes" / "mug" / "a.npy", np.zeros((9, 3)))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(scored_shapes, "_labeled_shapes", lambda *arguments: arguments[4])

    def of(name: str = str(tmp_path / "shapes"), **options: str) -> str:
        return open_shapes(ShapeOptions(name, "shape-folder", **options), "encoder", None)

    return of


def test_an_axis_that_is_told_is_another_reading(fingerprint):
    """Of files that say where up is, which are turned without it."""
    assert len({fingerprint(), fingerprint(up_axis="y"), fingerprint(up_axis="z")}) == 3
    assert fingerprint() == fingerprint()


def test_files_in_the_users_folder_are_looked_at(fingerprint, tmp_path):
    before = fingerprint("~/shapes")
    assert before == fingerprint()
    np.save(tmp_path / "shapes" / "mug" / "a.npy", np.zeros((10, 3)))
    assert fingerprint("~/shapes") != before
