"""Numbers that are written as text, parsed all at once: the slowest part of reading an ASCII file.

Decimal fractions go the way that Clinger's fast path goes: digits without the point as an integer, divided by a power
of ten. Up to 15 digits both are exact in float64, so that the quotient is the nearest number, as strtod gives; numpy
parses integers ten times as fast as floats.
"""

import re
import warnings

import numpy as np


BLANKS, DIGITS = b" \t\n\r\v\f", b"0123456789"
SPACE = 32
# Digits whose integers are exact in float64, and their sign and point.
MAX_EXACT_LENGTH = 15
POWERS = 10.0 ** np.arange(MAX_EXACT_LENGTH + 1)
PIECE = 2**20
MAX_SHOWN = 30
# As the libraries of several compilers spell nan: -nan(ind), 1.#QNAN, and inf.
NOT_A_NUMBER = re.compile(rb"(?i)[-+]?(?:nan\([^)\s]{0,40}\)|1\.#(?:qnan|snan|ind)\d*)")
INFINITE = re.compile(rb"(?i)1\.#inf\d*")


def parse_numbers(text: bytes) -> np.ndarray:
    """The numbers of a text, separated by blanks: float64 of shape `(num_numbers,)`.

    Raises:
        ValueError: Something is no number; the message shows it.
    """
    return np.concatenate([_numbers(piece) for piece in _pieces(text)])


def parse_integers(text: bytes) -> np.ndarray:
    """The whole numbers of a text, separated by blanks: int64 of shape `(num_numbers,)`. `1.0` is one as well.

    Raises:
        ValueError: Something is no whole number; the message shows it.
    """
    return np.concatenate([_integers(piece) for piece in _pieces(text)])


def _pieces(text: bytes) -> list[bytes]:
    """Parts that end where a number ends, small enough that what is made of them stays in the cache."""
    pieces, start = [], 0
    while len(text) - start > PIECE:
        end = max(text.rfind(b" ", start, start + PIECE), text.rfind(b"\n", start, start + PIECE)) + 1
        if end <= start:
            break
        pieces.append(text[start:end])
        start = end
    return [*pieces, text[start:]]


def _numbers(text: bytes) -> np.ndarray:
    characters = np.frombuffer(text, dtype=np.uint8)
    starts, ends = word_places(characters)
    # Exponents, nan and inf, or more digits than are exact.
    if text.translate(None, BLANKS + DIGITS + b"+-.") or (ends - starts).max(initial=0) > MAX_EXACT_LENGTH:
        return _parse(text, len(starts), np.float64)
    dots = np.flatnonzero(characters == ord("."))
    words: np.ndarray | slice = slice(None)
    if len(dots) != len(starts) or (dots < starts).any() or (dots >= ends).any():  # not one in each word
        words = np.searchsorted(starts, dots, side="right") - 1
        if (words[1:] == words[:-1]).any():
            return _parse(text, len(starts), np.float64)
    values = _parse(text.replace(b".", b""), len(starts), np.int64, text).astype(np.float64)
    values[words] /= POWERS[ends[words] - dots - 1]
    return values


def _integers(text: bytes) -> np.ndarray:
    starts, ends = word_places(np.frombuffer(text, dtype=np.uint8))
    if not text.translate(None, BLANKS + DIGITS + b"+-") and (ends - starts).max(initial=0) < 19:
        return _parse(text, len(starts), np.int64)
    values = _parse(text, len(starts), np.float64)
    is_whole = (np.abs(values) < 2**53) & (values == np.trunc(values))  # False for nan as well
    if not is_whole.all():
        raise ValueError(f"{_shown(text.split()[int(np.argmin(is_whole))])} is no whole number")
    return values.astype(np.int64)


def word_places(characters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where words start and, one behind their last character, end.

    Args:
        characters (`np.ndarray` of shape `(num_characters,)`): uint8. All up to the space are blanks.
    """
    is_blank = np.ones(len(characters) + 2, dtype=bool)
    np.less_equal(characters, SPACE, out=is_blank[1:-1])
    changes = np.flatnonzero(is_blank[1:] != is_blank[:-1])
    return changes[::2], changes[1::2]


def _parse(text: bytes, count: int, dtype: type, written: bytes | None = None) -> np.ndarray:
    """numpy takes 1-2 for two numbers, - for 0, and stops at x, in earlier versions with a warning."""
    values: np.ndarray = np.empty(0, dtype)
    characters = np.frombuffer(text + b" ", dtype=np.uint8)
    is_sign = (characters == ord("+")) | (characters == ord("-"))
    is_bare = is_sign[:-1] & (characters[1:] <= ord("-"))  # before a blank or another sign
    if is_bare.any():
        count = -1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            values = np.fromstring(text, dtype=dtype, sep=" ") if count > 0 else values
    except ValueError:
        pass
    if len(values) != count:
        raise ValueError(f"{_shown(_first_wrong((written or text).split()))} is no number")
    return values


def _first_wrong(words: list[bytes]) -> bytes:
    for word in words:
        try:
            if b"_" in word:
                return word
            float(word)
        except ValueError:
            return word
    return b"something"


def _shown(word: bytes) -> str:
    text = word.decode("ascii", "replace")
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...")
