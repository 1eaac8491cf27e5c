"""Numbers in texts, against Python's own parsing of each word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrd_hf.models import number_text
from mrd_hf.models.number_text import parse_integers, parse_numbers


# As files have them: fixed point, scientific, whole, with signs, without a digit before or after the point.
WRITTEN = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.floats(-1e6, 1e6).map(lambda x: f"{x:.6f}"),
    st.floats(-1e3, 1e3).map(lambda x: f"{x:+.3e}"),
    st.integers(-(10**20), 10**20).map(str),
    st.integers(0, 10**6).map(lambda x: f".{x}"),
    st.integers(-(10**6), 10**6).map(lambda x: f"{x}."),
    # More digits than are exact, around the place where the other way of parsing begins.
    st.integers(10**13, 10**18).map(lambda x: f"{str(x)[:3]}.{str(x)[3:]}"),
    st.sampled_from(
        ["nan", "inf", "-inf", "0", "-0.0", "+.5", "123456789012345.5", "0.1234567890123456789", "158.34414230246485"]
    ),
)
BLANK = st.sampled_from([" ", "  ", "\n", "\t", " \n", "\r\n"])


@given(
    st.lists(st.tuples(WRITTEN, BLANK), min_size=1), st.sampled_from(["", " ", "\n\n"]), st.sampled_from([7, 2**20])
)
def test_numbers_are_pythons(words, before, piece):
    text = (before + "".join(word + blank for word, blank in words)).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_text, "PIECE", piece)
        found = parse_numbers(text)
    np.testing.assert_array_equal(found, [float(word) for word, _ in words])


@given(st.lists(st.integers(1 - 10**17, 10**17), min_size=1), st.sampled_from([9, 2**20]))
def test_integers_are_pythons(values, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_text, "PIECE", piece)
        found = parse_integers(" ".join(map(str, values)).encode())
    assert found.dtype == np.int64 and found.tolist() == values


def test_more_digits_than_are_exact_are_rounded_once():
    """Seventeen digits as an integer are rounded, and their quotient again: 158.34414230246483."""
    assert parse_numbers(b"1.5 158.34414230246485 800.29559921305186").tolist() == [
        1.5,
        158.34414230246485,
        800.29559921305186,
    ]


def test_nothing_is_no_numbers():
    assert parse_numbers(b" \n").shape == parse_integers(b"").shape == (0,)


@pytest.mark.parametrize(
    "word", ["1.2.3", "1-2", "--5", "5-", "-", ".", "-.", "1d3", "1e", "1,5", "x", "1_0", "1\x002"]
)
def test_what_is_no_number_is_shown(word):
    for text in (f"1 {word} 2.5", f"{word}", f"3 4 {word}", f"1e3 {word}"):
        with pytest.raises(ValueError, match="is no number"):
            parse_numbers(text.encode())
    with pytest.raises(ValueError, match="is no (whole )?number"):
        parse_integers(f"1 {word} 2".encode())


@pytest.mark.parametrize("word", ["1.5", "nan", "inf", "1e300"])
def test_what_is_no_whole_number_is_shown(word):
    with pytest.raises(ValueError, match=f"'{word}' is no whole number"):
        parse_integers(f"1 {word} 2".encode())
    assert parse_integers(b"1 2.0 3e0").tolist() == [1, 2, 3]


def test_integers_beyond_64_bits_are_refused():
    with pytest.raises(ValueError, match="'100000000000000000000' is no whole number"):
        parse_integers(b"1 100000000000000000000")
