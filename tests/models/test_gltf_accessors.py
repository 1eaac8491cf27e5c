"""Numbers as glTF stores them: component types, strides, offsets, sparse and missing data."""

import struct
import time

import numpy as np
import pytest
from support.gltf_seen import area, bounds, color, colors, corners, quarters, read
from support.gltf_writer import (
    BLUE,
    BYTE,
    FLOAT,
    GREEN,
    RED,
    SHORT,
    SQUARE,
    SQUARE_INDICES,
    SQUARE_UV,
    UBYTE,
    UINT,
    USHORT,
    YELLOW,
    Gltf,
    four_quarters,
    png,
)

from mrd_hf.models.gltf_document import GltfDocument


def accessor(file: Gltf, index: int = 0) -> list:
    document = GltfDocument(file.gltf(), lambda name: b"")
    return document.accessor(index).astype(float).tolist()


@pytest.mark.parametrize(
    ("component", "stored", "expected"),
    [
        (BYTE, (-128, -127, 0, 127), (-1, -1, 0, 1)),
        (UBYTE, (0, 51, 102, 255), (0, 0.2, 0.4, 1)),
        (SHORT, (-32768, -32767, 0, 32767), (-1, -1, 0, 1)),
        (USHORT, (0, 13107, 26214, 65535), (0, 0.2, 0.4, 1)),
        (UINT, (0, 0, 0, 4294967295), (0, 0, 0, 1)),
    ],
)
def test_integers_are_normalised_as_their_type_has_it(component, stored, expected):
    file = Gltf()
    file.accessor([stored], component, normalized=True)
    file.accessor([stored], component)
    np.testing.assert_allclose(accessor(file), [expected], atol=1e-6)
    assert accessor(file, 1) == [list(stored)]


@pytest.mark.parametrize("component", [FLOAT, 5124, 5130, 5131])
def test_floats_and_the_types_that_are_not_in_the_standard(component):
    file = Gltf()
    file.accessor([(-2, 7, 100)], component)
    assert accessor(file) == [[-2, 7, 100]]


def test_rows_are_interleaved_with_others_and_begin_at_two_offsets():
    file = Gltf()
    row = struct.Struct("<2h3f4B")  # texture coordinates, positions, colours
    rows = [row.pack(9, 9, *position, 255, 0, 0, 255) for position in SQUARE]
    file.view(b"xxxx")
    view = file.view(b"yyyyyyyy" + b"".join(rows), byteStride=20)
    position = file.add("accessors", bufferView=view, byteOffset=12, componentType=FLOAT, count=4, type="VEC3")
    paint = file.add(
        "accessors", bufferView=view, byteOffset=24, componentType=UBYTE, count=4, type="VEC4", normalized=True
    )
    file.show_mesh({"attributes": {"POSITION": position, "COLOR_0": paint}, "mode": 6})
    assert bounds(file) == [[0, 0, 0], [1, 1, 0]]
    assert color(file) == [255, 0, 0]


@pytest.mark.parametrize(
    ("kind", "code", "component", "column", "padding"),
    [
        ("MAT2", "2b", BYTE, 2, 2),
        ("MAT3", "3b", BYTE, 3, 1),
        ("MAT3", "3h", SHORT, 3, 2),
        ("MAT2", "2h", SHORT, 2, 0),
        ("MAT4", "4b", BYTE, 4, 0),
        ("MAT3", "3f", FLOAT, 3, 0),
    ],
)
def test_columns_of_matrices_begin_at_multiples_of_four_bytes(kind, code, component, column, padding):
    file = Gltf()
    values = list(range(1, 2 * column * column + 1))
    columns = [values[start : start + column] for start in range(0, len(values), column)]
    data = b"".join(struct.pack(f"<{code}", *each) + b"\x63" * padding for each in columns)
    # The last column's padding may be missing.
    view = file.view(data[: len(data) - padding])
    file.add("accessors", bufferView=view, componentType=component, count=2, type=kind)
    assert accessor(file) == [values[: column * column], values[column * column :]]


@pytest.mark.parametrize(("component", "code"), [(UBYTE, "B"), (USHORT, "H"), (UINT, "I")])
@pytest.mark.parametrize("has_base", [True, False])
def test_sparse_values_replace_those_of_the_base_or_zeros(component, code, has_base):
    file = Gltf()
    base = {"bufferView": file.view(struct.pack("<4f", 1, 2, 3, 4))} if has_base else {}
    indices = {"bufferView": file.view(b"??" * 2 + struct.pack(f"<2{code}", 1, 3)), "byteOffset": 4}
    values = {"bufferView": file.view(b"????" + struct.pack("<2f", 20, 40)), "byteOffset": 4}
    sparse = {"count": 2, "indices": {**indices, "componentType": component}, "values": values}
    file.add("accessors", **base, componentType=FLOAT, count=4, type="SCALAR", sparse=sparse)
    assert accessor(file) == ([[1], [20], [3], [40]] if has_base else [[0], [20], [0], [40]])


def test_a_sparse_index_beyond_the_end_is_an_error():
    file = Gltf()
    indices = {"bufferView": file.view(bytes([4])), "componentType": UBYTE}
    sparse = {"count": 1, "indices": indices, "values": {"bufferView": file.view(bytes(4))}}
    file.add("accessors", componentType=FLOAT, count=4, type="SCALAR", sparse=sparse)
    with pytest.raises(ValueError, match="accessors 0: a sparse index is beyond its 4 elements"):
        accessor(file)


def test_indices_and_colours_may_be_sparse():
    file = Gltf()
    # The indices 0 1 2 0 2 3, of which the last two are sparse; colours, white but for one corner that is black.
    places = {"bufferView": file.view(bytes([4, 5])), "componentType": UBYTE}
    sparse = {"count": 2, "indices": places, "values": {"bufferView": file.view(struct.pack("<2H", 2, 3))}}
    first = file.view(struct.pack("<6H", 0, 1, 2, 0, 0, 0))
    indices = file.add("accessors", bufferView=first, componentType=USHORT, count=6, type="SCALAR", sparse=sparse)
    places = {"bufferView": file.view(bytes([0, 1, 2, 3])), "componentType": UBYTE}
    sparse = {"count": 4, "indices": places, "values": {"bufferView": file.view(bytes([255, 0, 0, 0] * 4))}}
    view = file.view(bytes(16), byteStride=4)
    paint = file.add("accessors", bufferView=view, componentType=UBYTE, count=4, type="VEC3", normalized=True)
    file.json["accessors"][paint]["sparse"] = sparse
    file.json["bufferViews"][sparse["values"]["bufferView"]]["byteStride"] = 4
    file.show_mesh(file.square(attributes={"COLOR_0": paint}, indices=indices))
    assert bounds(file) == [[0, 0, 0], [1, 1, 0]]
    assert color(file) == [255, 0, 0]


def test_an_accessor_without_a_view_is_zeros():
    file = Gltf()
    uv = file.add("accessors", componentType=FLOAT, count=4, type="VEC2")
    material = file.material({"baseColorTexture": {"index": file.texture(png(four_quarters()))}})
    file.show_mesh(file.square(attributes={"TEXCOORD_0": uv}, material=material))
    assert color(file) == list(RED)  # the texture's upper left


def test_minima_and_maxima_are_not_believed():
    file = Gltf()
    file.show_mesh(file.square())
    file.json["accessors"][0] |= {"min": [7, 7, 7], "max": [-7, None, 1e9]}
    assert bounds(file) == [[0, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize("component", [UBYTE, USHORT, UINT])
def test_indices_of_every_width(component):
    file = Gltf()
    file.show_mesh(file.square(indices=file.accessor([3, 0, 1], component)))
    assert corners(file).tolist() == [[[0, 1, 0], [0, 0, 0], [1, 0, 0]]]


def test_indices_with_a_stride_and_those_that_are_called_normalised():
    file = Gltf()
    strided = file.view(struct.pack("<6H", 3, 99, 0, 99, 1, 99), byteStride=4)
    indices = file.add("accessors", bufferView=strided, componentType=USHORT, count=3, type="SCALAR")
    other = file.accessor([3, 0, 1], USHORT, normalized=True)
    file.show_mesh(file.square(indices=indices), file.square(indices=other))
    first, second = corners(file).tolist()
    assert first == second == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize(("component", "highest"), [(UBYTE, 255), (USHORT, 65535), (UINT, 4294967295)])
def test_a_restart_of_a_strip_is_an_error_that_says_so(component, highest):
    file = Gltf()
    file.show_mesh(file.square(indices=file.accessor([0, 1, 2, highest, 1, 2, 3], component), mode=5))
    with pytest.raises(
        ValueError, match=r"a vertex that does not exist \(there are 4\); the highest index, which res"
    ):
        read(file)


def test_what_has_no_elements_is_left_out():
    file = Gltf()
    empty = file.add("accessors", componentType=FLOAT, count=0, type="VEC3")
    no_indices = file.add("accessors", componentType=USHORT, count=0, type="SCALAR")
    file.show_mesh({"attributes": {"POSITION": empty}}, file.square(indices=no_indices), file.square())
    assert len(corners(file)) == 2


def test_corners_beyond_the_last_triangle_are_left_out_with_a_word():
    file = Gltf()
    file.show_mesh(file.square(indices=file.accessor([0, 1, 2, 0, 2], UBYTE)))
    assert len(corners(file)) == 1
    assert read(file).warnings == ["2 of 5 corners left out: a triangle has three"]


def test_what_is_not_used_may_be_damaged():
    file = Gltf()
    broken = file.add("accessors", bufferView=99, componentType=1, count=-1, type="?")
    attributes = {"TEXCOORD_0": broken, "NORMAL": broken, "TANGENT": broken, "WEIGHTS_0": broken, "_MINE": broken}
    file.show_mesh(file.square(attributes=attributes))
    file.add("images", uri="missing.png")
    assert len(read(file).parts[0].triangles) == 2 and not read(file).warnings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 5}, r"accessors 0: ends at byte 60 of a buffer view of 48"),
        ({"count": "4"}, r"accessors 0: count '4'"),
        ({"byteOffset": 4}, r"accessors 0: ends at byte 52 of a buffer view of 48"),
        ({"byteOffset": -4}, r"accessors 0: byteOffset -4"),
        ({"bufferView": 7}, r"bufferViews 7 does not exist"),
        ({"componentType": 5127}, r"accessors 0: componentType 5127"),
        ({"type": "VEC2"}, r"POSITION has 2 components, expected 3"),
        ({"count": 10**9}, r"accessors 0: ends at byte 12,000,000,000 of a buffer view of 48"),
    ],
)
def test_an_accessor_that_does_not_fit_its_data_is_an_error(change, message):
    file = Gltf()
    file.show_mesh(file.square())
    file.json["accessors"][0] |= change
    with pytest.raises(ValueError, match=message):
        read(file)


def test_colours_that_are_not_called_normalised_are_so_all_the_same():
    file = Gltf()
    paint = file.accessor([(0, 32768, 65535)] * 4, USHORT)
    file.show_mesh(file.square(attributes={"COLOR_0": paint}))
    assert color(file) == [0, 188, 255]  # half of the light


def test_colours_of_another_number_of_vertices_are_an_error():
    file = Gltf()
    file.show_mesh(file.square(attributes={"COLOR_0": file.accessor([(1, 0, 0)] * 3)}))
    with pytest.raises(ValueError, match="COLOR_0 has 3 elements, POSITION 4"):
        read(file)


def test_positions_of_bytes_and_shorts_are_scaled_by_their_node():
    """As gltfpack writes them: positions as integers, and a node that brings them to their size."""
    for component, one, normalized in (
        (BYTE, 127, True),
        (SHORT, 32767, True),
        (UBYTE, 200, False),
        (USHORT, 50000, False),
        (SHORT, -300, False),
    ):
        file = Gltf()
        rows = [tuple(one * value for value in row) for row in SQUARE]
        position = file.accessor(rows, component, normalized=normalized)
        scale = 2.0 if normalized else 2.0 / one
        primitive = file.square(attributes={"POSITION": position})
        file.show({"mesh": file.mesh(primitive), "translation": [5, 0, 0], "scale": [scale] * 3})
        assert bounds(file) == [[5, 0, 0], [7, 2, 0]], component


def test_quantized_texture_coordinates_are_brought_to_their_place_by_a_transform():
    """As gltfpack writes them: 12 bits of a short, which a texture transform scales to 0..1."""
    file = Gltf()
    uv = file.accessor([(u * 4095, v * 4095) for u, v in SQUARE_UV], USHORT, normalized=True)
    scale = 65535 / 4095
    reference = {
        "index": file.texture(png(four_quarters())),
        "extensions": {"KHR_texture_transform": {"scale": [0.5 * scale, 0.5 * scale], "offset": [0, 0.5]}},
    }
    material = file.material({"baseColorTexture": reference})
    file.show_mesh(file.square(attributes={"TEXCOORD_0": uv}, material=material))
    assert colors(file) == {BLUE}  # the lower left quarter


def test_coordinates_of_three_numbers_count_by_two():
    """Assimp writes them where its source has so many."""
    file = Gltf()
    uv = file.accessor([(u, v, 0.5) for u, v in SQUARE_UV])
    material = file.material({"baseColorTexture": {"index": file.texture(png(four_quarters()))}})
    file.show_mesh(file.square(attributes={"TEXCOORD_0": uv}, material=material))
    assert quarters(file) == [RED, GREEN, BLUE, YELLOW]


def test_a_list_of_vertices_that_many_primitives_share():
    """100 squares of 100,000 vertices: 10 million if each took all; colours, coordinates, joints and targets too."""
    file = Gltf()
    count = 100
    rows = np.zeros((100_000, 3), dtype="<f4")
    for number in range(count):
        rows[4 * number : 4 * number + 4] = np.array(SQUARE) + (2 * number, 0, 0)
    position = file.add(
        "accessors", bufferView=file.view(rows.tobytes()), componentType=FLOAT, count=100_000, type="VEC3"
    )
    moved = file.add("accessors", bufferView=file.view((rows * 0 + (0, 0, 1)).astype("<f4").tobytes()))
    file.json["accessors"][moved] |= {"componentType": FLOAT, "count": 100_000, "type": "VEC3"}
    colors_ = np.zeros((100_000, 4), dtype=np.uint8)
    colors_[: 4 * count] = (255, 0, 0, 255)
    paint = file.add("accessors", bufferView=file.view(colors_.tobytes()), componentType=UBYTE, count=100_000)
    file.json["accessors"][paint] |= {"type": "VEC4", "normalized": True}
    attributes = {"POSITION": position, "COLOR_0": paint}
    primitives = [
        {
            "attributes": attributes,
            "indices": file.accessor([4 * number + corner for corner in SQUARE_INDICES], UINT),
            "targets": [{"POSITION": moved}],
        }
        for number in range(count)
    ]
    data = file.show_mesh(*primitives, weights=[0.5]).gltf()
    start = time.process_time()
    assert bounds(data) == [[0, 0, 0.5], [2 * count - 1, 1, 0.5]]
    assert area(data) == count and color(data) == [255, 0, 0]
    assert time.process_time() - start < 3
