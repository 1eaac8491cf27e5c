"""STL files as all kinds of tools write them: the page reads what the Python package reads, or both refuse."""

import struct

import numpy as np
from support.widget_parity import assert_same_answers, assert_same_points, write_files


LOW, HIGH = ((0, 0, 0), (2, 0, 0), (2, 1, 0)), ((0, 0, 0), (2, 1, 0), (0, 1, 0))
SQUARE = ((0, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0))
ARROW = ((0, 0, 0), (2, 0, 0), (0.5, 0.5, 0), (0, 2, 0))  # of which the other diagonal lies within


def facet(corners: tuple) -> str:
    vertices = "".join("   vertex " + " ".join(map(str, corner)) + "\n" for corner in corners)
    return f" facet normal 0 0 1\n  outer loop\n{vertices}  endloop\n endfacet\n"


def solid(*corners: tuple, name: str = "part") -> str:
    return f"solid {name}\n{''.join(map(facet, corners))}endsolid {name}\n"


def binary(count: int, start: bytes = b"", spare: tuple[int, int] = (0, 0)) -> bytes:
    content = start.ljust(80, b"\0") + struct.pack("<I", count)
    for corners, attribute in zip((LOW, HIGH), spare, strict=True):
        content += struct.pack("<12fH", 0, 0, 1, *np.ravel(corners), attribute)
    return content


def test_texts(widget, tmp_path):
    plain = solid(LOW, HIGH)
    texts = {
        "plain": plain,
        "four_corners": solid(SQUARE, SQUARE, ARROW),  # as many corners as four triangles have
        "five_and_four": solid((*SQUARE, (-1, 0.5, 0)), ARROW),
        "no_loops": plain.replace("outer loop", "").replace("endloop", ""),
        "joined_words": plain.replace("outer loop", "outerloop").replace("facet normal", "facetnormal"),
        "a_name_of_vertices": solid(LOW, HIGH, name="vertex 9 9 9 outer loop"),
        "returns": plain.replace("\n", "\r"),
        "utf_16": plain.encode("utf-16"),
        "a_mark": b"\xef\xbb\xbf" + plain.encode(),
        "capitals": plain.upper(),
        "one_line": plain.replace("\n", " "),
        "nan_of_normals": plain.replace("normal 0 0 1", "normal -nan(ind) 1.#QNAN 0"),
        "nan_of_vertices": solid(LOW, HIGH, LOW).replace("vertex 0 1 0", "vertex 1.#QNAN 0 0"),
        "zeros_after_the_end": plain + "\0\0\x1a",
    }
    assert_same_points(widget, write_files(tmp_path, "stl", texts))


def test_counts_that_were_never_filled_in(widget, tmp_path):
    texts = {
        "zero": binary(0),
        "most": binary(2**32 - 1),
        "solid": binary(0, b"solid part"),
        "colored": binary(0, b"COLOR=abcd", (31, 31 << 5)),
        "fewer": binary(1),
    }
    assert_same_points(widget, write_files(tmp_path, "stl", texts))


def test_what_is_refused(widget, tmp_path):
    plain = solid(LOW, HIGH)
    texts = {
        "two_corners": solid(LOW, HIGH[:2], SQUARE, SQUARE),
        "letters": plain.replace("vertex 2 0 0", "vertex two 0 0"),
        "commas": plain.replace("vertex 2 0 0", "vertex 2,0 0,0 0,0"),
        "cut_off": plain[: plain.rindex("vertex")],
        "announces_more": binary(3),
        "ends_within_a_facet": binary(0)[:-7],
        "empty": "solid a\nendsolid a\n",
    }
    refused = assert_same_answers(widget, write_files(tmp_path, "stl", texts))
    assert refused.keys() == texts.keys()
    assert "expected three a facet" in refused["two_corners"] and "decimals have a point" in refused["commas"]
