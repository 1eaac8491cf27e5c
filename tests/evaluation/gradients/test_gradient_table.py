"""Short names of runs, and the table of their gradients."""

from pathlib import Path

import pytest

from mrd_hf.evaluation.gradients.gradient_table import cosine, gradient_table, short_names


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["outputs/a"], ["outputs/a"]),
        (["outputs/a", "outputs/b"], ["a", "b"]),
        (["runs/mrd/split-0/seed-1/pretrain", "runs/fixed/split-0/seed-1/pretrain"], ["mrd", "fixed"]),
        (["runs/mrd/seed-1/pretrain", "runs/mrd/seed-2/pretrain"], ["seed-1", "seed-2"]),
        (["runs/mrd/seed-1/x", "runs/fixed/seed-2/x"], ["mrd/seed-1", "fixed/seed-2"]),
        (["outputs/a", "outputs/a/b"], ["a", "a/b"]),
        (["outputs/b/a", "outputs/a"], ["b/a", "a"]),
        (["a", "b/a", "c/d"], ["a", "b/a", "c/d"]),
    ],
)
def test_names_are_what_tells_runs_apart(folders, expected):
    assert short_names([Path(folder) for folder in folders]) == expected


def checkpoint(step: int, value: float | None) -> dict:
    rows = ["alignment", "intra", "cross", "relations", "loss"]
    matrix = [[1.0 if a == b else value for b in rows] for a in rows]
    return {
        "step": step,
        "encoder": {
            "norms": {name: {"mean": 1.5, "spread": None} for name in rows},
            "cosines": {"rows": rows, "mean": matrix, "spread": [[0.25] * 5] * 5},
            "of_mean": {"cosines": [[None] * 5] * 5},
        },
    }


def test_the_table_has_a_line_a_checkpoint_and_dashes_for_what_is_not_there():
    shown = gradient_table({"a run": [checkpoint(0, -0.5), checkpoint(20, None)]})
    lines = shown.splitlines()
    assert lines[0].split()[:5] == ["step", "|alignment|", "|intra|", "|cross|", "|loss|"]
    assert lines[2] == "a run"
    assert lines[3].split() == ["0", *["1.500"] * 4, *2 * ["-0.50", "sd", "0.25", "(-)"]]
    assert lines[4].split() == ["20", *["1.500"] * 4, "-", "-"]
    assert len({len(line) for line in (*lines[:2], *lines[3:5])}) == 1


def test_a_cosine_is_found_by_names():
    found = checkpoint(0, -0.5)
    assert cosine(found, "encoder", ("intra", "cross")) == -0.5
    assert cosine(found, "encoder", ("intra", "intra")) == 1
    assert cosine(found, "encoder", ("intra", "cross"), "spread") == 0.25
    assert cosine(found, "encoder", ("intra", "intra_image")) is None
