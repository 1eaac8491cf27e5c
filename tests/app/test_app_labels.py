"""Labels as they are typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrd_hf.app.labels import MAX_LABELS, MAX_LENGTH, MAX_TYPED, UnusableLabels, parse_labels


def test_labels_are_split_and_cleaned():
    assert parse_labels(" chair ,floor  lamp;\n chair,\n\ntable,, ") == ["chair", "floor lamp", "table"]


def test_labels_of_any_script_are_kept():
    typed = "стул, 椅子，كرسي、 👩‍🦽 wheelchair, <b>bed</b>"
    assert parse_labels(typed) == ["стул", "椅子", "كرسي", "👩‍🦽 wheelchair", "<b>bed</b>"]
    assert parse_labels("cafe\u0301, caf\u00e9") == ["caf\u00e9"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "at least one label"),
        (" ,;\n", "at least one label"),
        (",".join(f"{number}" for number in range(MAX_LABELS + 1)), f"{MAX_LABELS + 1} labels; at most {MAX_LABELS}"),
        (",".join(f"label {number}" for number in range(10_000)), "10,000 labels; at most 100"),
        ("chair, " + "x" * (MAX_LENGTH + 1), f"begins with '{'x' * 30}' has {MAX_LENGTH + 1} characters"),
        ("x" * 10**8, "100,000,000 characters"),
    ],
)
def test_what_is_no_list_of_labels_is_refused(typed, message):
    with pytest.raises(UnusableLabels, match=message):
        parse_labels(typed)


@given(st.text(max_size=MAX_TYPED))
def test_whatever_is_typed_gives_labels_within_the_limits_or_an_error(typed):
    try:
        labels = parse_labels(typed)
    except UnusableLabels:
        return
    assert 0 < len(labels) <= MAX_LABELS and len(set(labels)) == len(labels)
    assert all(0 < len(label) <= MAX_LENGTH and label == label.strip() and "," not in label for label in labels)
