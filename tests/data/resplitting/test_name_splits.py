"""Splits by names: seeded, by name alone, no name on two sides; of the demo data's names and of made-up ones."""

import csv
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import DEMO_DATA

from mrd_hf.data.resplitting.name_splits import count_splits, splits_of_names
from mrd_hf.errors import UserError


@pytest.fixture(scope="module")
def furniture():
    with (DEMO_DATA / "categories.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_by_hand():
    """Ten names of two shapes each: three of them in test, and of the seven others the first one in validation."""
    names = [f"thing {letter}" for letter in "abcdefghij"]
    order = sorted(names, key=lambda name: hashlib.sha256(f"7:{name}".encode()).hexdigest())
    expected = dict.fromkeys(names, "train") | dict.fromkeys(order[:3], "test") | {order[3]: "validation"}
    found = splits_of_names([*names, *reversed(names)], test_share=0.3, validation_share=0.2, seed=7)
    assert found == [expected[name] for name in [*names, *reversed(names)]]


def test_five_splits_of_the_furniture_differ_and_share_no_name(furniture):
    names = [row["name"] for row in furniture]
    tests = []
    for seed in range(5):
        splits = splits_of_names(names, 0.3, 0.2, seed)
        by_name: dict[str, set[str]] = {}
        for name, split in zip(names, splits, strict=True):
            by_name.setdefault(name.lower(), set()).add(split)
        assert all(len(of_name) == 1 for of_name in by_name.values())
        counts = count_splits(splits)
        assert sum(counts.values()) == 820
        shares = [sum(of == {split} for of in by_name.values()) / len(by_name) for split in ("test", "validation")]
        assert shares == pytest.approx([0.3, 0.7 * 0.2], abs=0.015)  # of words: "Parking slot 45°" is one
        tests.append({name for name, of in by_name.items() if of == {"test"}})
    # Each pair of test sets shares about as many names as two random draws of 30% do.
    for i, first in enumerate(tests):
        for second in tests[:i]:
            assert 0.15 < len(first & second) / len(first) < 0.45


@given(
    st.lists(st.sampled_from(["chair", "Chair 02", "mug", "lamp", "bed", "sofa", "rug"]), min_size=3, max_size=30),
    st.floats(0.01, 0.99),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_never_an_empty_split_nor_a_name_in_two(names, test_share, validation_share, seed):
    keys = [name.lower().removesuffix(" 02") for name in names]
    if len(set(keys)) < 3:
        with pytest.raises(UserError, match="need a name each"):
            splits_of_names(names, test_share, validation_share, seed)
        return
    splits = splits_of_names(names, test_share, validation_share, seed)
    assert min(count_splits(splits).values()) >= 1
    assert len(set(zip(keys, splits, strict=True))) == len(set(keys))
    # The order of the shapes does not matter.
    assert splits_of_names(names[::-1], test_share, validation_share, seed) == splits[::-1]


@pytest.mark.parametrize("share", [0, 1, -1, float("nan")])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(UserError, match="--test-share"):
        splits_of_names(list("abc"), share, 0.2, 0)
    with pytest.raises(UserError, match="--validation-share"):
        splits_of_names(list("abc"), 0.2, share, 0)


def test_labels_of_the_furniture(furniture):
    """The label is the demo's category or, where there is none, decided by the name alone: one name, one label."""
    by_name: dict[str, set[str]] = {}
    for row in furniture:
        assert row["category"] in ("", row["label"])
        if not row["category"]:
            by_name.setdefault(row["name"], set()).add(row["label"])
    assert all(len(labels) == 1 for labels in by_name.values())
    counts: dict[str, int] = {}
    for row in furniture:
        counts[row["label"]] = counts.get(row["label"], 0) + 1
    assert counts.pop("") == 252 and len(counts) == 66 and min(counts.values()) >= 3
    decided = {"Clothes horse": "", "Hot dog": "food", "Table fan": "fan", "Socket": "", "Tool": ""}
    for name, label in decided.items():
        assert {row["label"] for row in furniture if row["name"] == name} == {label}
