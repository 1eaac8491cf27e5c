import codecs
import io
import os
import pickle
import struct
import sys
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrd_hf.files.plain_pickle
from mrd_hf.errors import UserError
from mrd_hf.files.plain_pickle import read_plain_npy


HEADER = (
    np.lib.format.magic(1, 0)
    + struct.pack("<H", 118)
    + (b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n")
)
# Of `np.array(value, dtype=object)` in protocol 2, up to the list of its one item, and after it.
WRAPPER = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    b"(K\x01)cnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87R(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK?tb\x89]"
).replace(b"U\x01b", b"C\x01b")


def saved(value):
    """As numpy 2 writes it."""
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


def saved_by_numpy_1(value, protocol=3):
    """As numpy 1 writes it: in protocol 3 (2 in old versions), from modules of other names."""
    return HEADER + pickle.dumps(wrapped(value), protocol=protocol).replace(b"numpy._core.", b"numpy.core.")


def wrapped(value):
    array = np.empty((), dtype=object)
    array[()] = value
    return array


def hostile(opcodes):
    """A file whose only item is what `opcodes` leave on the stack."""
    return HEADER + WRAPPER + opcodes + b"atb."


def same(left, right):
    if isinstance(left, np.ndarray):
        # Up to the order of bytes, which numpy changes to the machine's.
        native = left.dtype.newbyteorder("=") == right.dtype.newbyteorder("=")
        return native and left.shape == right.shape and np.array_equal(left, right)
    if isinstance(left, dict):
        return type(right) is dict and list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


SHAPE = {
    "id": "00a1",
    "xyz": np.arange(12, dtype=np.float32).reshape(4, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">f4"),
    "half": np.ones((1, 2), dtype=np.float16),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 3)),
    "single": np.array(3, dtype=np.int64),
    "words": np.array(["chair", "seat"]),
    "raw": np.array([b"ab", b"c"]),
    "number": np.float32(0.5),
    "truth": np.bool_(True),
    "word": np.str_("chair"),
    "text": ["a chair", "椅子", ""],
    "feat": [{"original": np.ones((1, 4), np.float32), "prompt_avg": np.zeros((1, 4), np.float32)}],
    "pair": (1, (2, ())),
    "others": [None, True, False, -1, 255, 65536, 2**40, -(2**70), 0.5, b"\x00\xff", b""],
}


@pytest.mark.parametrize(
    "write", [saved, saved_by_numpy_1, lambda value: saved_by_numpy_1(value, protocol=2)], ids=["2", "1", "1 old"]
)
def test_files_of_both_numpys_are_read_as_numpy_reads_them(write):
    content = write(SHAPE)
    assert same(np.load(io.BytesIO(content), allow_pickle=True).item(), SHAPE)
    assert same(read_plain_npy(content, "a.npy"), SHAPE)


def test_the_modules_of_numpy_1_are_in_its_files():
    assert b"numpy.core.multiarray" in saved_by_numpy_1(SHAPE) and b"_codecs" in saved_by_numpy_1(SHAPE, protocol=2)
    assert b"numpy._core.multiarray" in saved(SHAPE)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children) | st.lists(children).map(tuple),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(plain, st.sampled_from([2, 3, 4]))
def test_plain_values_come_back(value, protocol):
    content = HEADER + pickle.dumps(wrapped({"value": value}), protocol=protocol)
    assert same(read_plain_npy(content, "a.npy"), {"value": value})


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(3)[:2]), np.zeros((0, 3))])
def test_plain_arrays_are_read_without_unpickling(array):
    assert same(read_plain_npy(saved(array), "a.npy"), array)


@pytest.mark.parametrize("write", [saved, saved_by_numpy_1], ids=["2", "1"])
def test_long_values_are_views_of_the_file(write):
    """From 4 KB on bytes are not copied, and are read all the same: of an array, of a scalar, and alone."""
    value = {"xyz": np.arange(3000.0).reshape(1000, 3), "word": np.str_("chair" * 1000), "raw": b"0123" * 2000}
    content = write(value)
    found = read_plain_npy(content, "a.npy")
    assert isinstance(found["raw"], memoryview) and found["raw"].obj is content
    assert same({**found, "raw": bytes(found["raw"])}, value)
    assert np.shares_memory(found["xyz"], np.frombuffer(content, np.uint8))


def test_shared_values_stay_shared():
    shared = [1]
    first, second = read_plain_npy(saved({"pair": [shared, shared]}), "a.npy")["pair"]
    assert first is second


@pytest.mark.parametrize(("count", "protocol"), [(100, 2), (300, 2), (300, 4), (70_000, 2)])
def test_values_are_shared_beyond_what_a_byte_or_two_can_count(count, protocol):
    values = [[number] for number in range(count)]
    value = {"all": values, "again": [values[place] for place in (0, count // 2, count - 1)]}
    found = read_plain_npy(HEADER + pickle.dumps(wrapped(value), protocol=protocol), "a.npy")
    assert found == value
    assert all(again is found["all"][place] for again, place in zip(found["again"], (0, count // 2, -1), strict=True))


class Evil:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("evil", "named"),
    [
        (Evil(os.system, "touch pwned"), "posix.system"),
        (Evil(eval, "open('pwned', 'w')"), "builtins.eval"),
        (Evil(getattr, "", "join"), "builtins.getattr"),
        (Evil(np.load, "pwned"), "numpy.load"),
        (Evil(np.fromfile, "pwned"), "numpy.fromfile"),
        (Evil(np.testing.rundocs, "pwned.py"), "numpy.testing._private.utils.rundocs"),
        (Evil(codecs.decode, "", "zip"), "_codecs.decode"),
        (Evil(bytearray, 10), "builtins.bytearray"),
        (Evil(type(sys.implementation), "x"), "types.SimpleNamespace"),
        (1j, "builtins.complex"),
        (np.matrix([1]), "numpy.matrix"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("write", [saved, saved_by_numpy_1], ids=["2", "1"])
def test_what_could_run_code_is_refused_by_name(evil, named, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"a\.npy: .*") as refused:
        read_plain_npy(write({"xyz": evil}), "a.npy")
    named = named.replace("builtins", "__builtin__") if "__builtin__" in str(refused.value) else named
    assert named.split(".")[-1] in str(refused.value) and not list(tmp_path.iterdir())


def text(string):
    return b"X" + struct.pack("<I", len(string)) + string.encode()


GET_NDARRAY, GET_RECONSTRUCT = b"cnumpy\nndarray\n", b"cnumpy.core.multiarray\n_reconstruct\n"
FLOAT32 = (
    b"cnumpy\ndtype\n"
    + text("f4")
    + b"K\x00K\x01\x87R(K\x03"
    + text("<")
    + b"NNNJ\xff\xff\xff\xff" * 1
    + (b"J\xff\xff\xff\xffK\x00tb")
)


def array_of(shape, content, dtype=FLOAT32):
    return GET_RECONSTRUCT + GET_NDARRAY + b"K\x00\x85C\x01b\x87R(K\x01" + shape + dtype + b"\x89" + content + b"tb"


def test_a_crafted_array_is_read():
    four = b"C\x10" + np.arange(4, dtype="<f4").tobytes()
    assert same(read_plain_npy(hostile(array_of(b"K\x04\x85", four)), "a.npy"), np.arange(4, dtype="<f4"))


# A tuple of tuples with 2^100 leaves, and a number of 2,040 bits.
LAUGHS = (
    b"()q\x00" + b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(100)) + b"t"
)
HUGE = b"\x8a\xff" + b"\x7f" * 255


@pytest.mark.parametrize(
    ("opcodes", "reason"),
    [
        # Odd uses of what is allowed.
        (GET_RECONSTRUCT + b"cnumpy\ndtype\nK\x00\x85C\x01b\x87R", "_reconstruct"),
        (b"ccopyreg\n_reconstructor\n", "copyreg._reconstructor"),
        (b"ccopy_reg\n_reconstructor\n", "copy_reg._reconstructor"),
        (b"cnumpy.core.multiarray\nscalar\n" + FLOAT32 + b"C\x02ab\x86R", "scalar"),
        (b"c_codecs\nencode\n" + text("ab") + text("zip") + b"\x86R", "encode"),
        (b"c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R", "bytes"),
        (b"cnumpy\ndtype\n" + text("O8,f4") + b"K\x00K\x01\x87R", "dtype"),
        (b"cnumpy\ndtype\n" + text("V8") + b"K\x00K\x01\x87R", "dtype"),
        (b"cnumpy\nndarray.tofile\n", "numpy.ndarray.tofile"),
        (GET_NDARRAY, "ndarray"),
        (FLOAT32, "dtype"),
        (GET_RECONSTRUCT + GET_NDARRAY + b"K\x00\x85C\x01b\x87R", "array"),
        (GET_NDARRAY + b"}" + text("x") + b"K\x01sb", "state"),
        (b"]}" + text("append") + b"K\x01sb", "state"),
        (b"]K\x01\x85R", "call"),
        # Sizes that lie.
        (array_of(b"K\x04\x85", b"C\x04abcd"), "4 bytes"),
        (array_of(b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85", b"C\x04abcd"), "4 bytes"),
        (array_of(b"J\xff\xff\xff\xffJ\xfc\xff\xff\xff\x86", b"C\x10" + bytes(16)), "shape"),
        (array_of(text("a") + b"\x85", b"C\x04abcd"), "shape"),
        (array_of(LAUGHS, b"C\x04abcd"), "shape"),
        (array_of(b"(" + HUGE * 64 + b"t", b"C\x04abcd"), "shape"),
        (array_of(b"(" + b"K\x01" * 65 + b"t", b"C\x04abcd"), "shape"),
        (array_of(b"K\x01\x85", b"]"), "array"),
        (b"B\xff\xff\xff\x7fabc", "ends"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc", "ends"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc", "ends"),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\x7fN", None),
        # CPython's own unpickler reserves 8 GB for this one.
        (b"Nr\xff\xff\xff\x3f", None),
        # Nothing that numpy writes.
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x00", "0x96"),
        (b"Ppersistent\n", "0x50"),
        (b"\x82\x01", "0x82"),
        (b"(ios\nsystem\n", "0x69"),
        (b"I1\n", "0x49"),
        (b"h\x63", "damaged"),
        (b"s" * 9, "damaged"),
        (b"}K\x01K\x02s", "key"),
        (b"}]K\x02s", "key"),
        (b"", "damaged"),
    ],
)
def test_crafted_opcodes_are_refused_in_little_memory(opcodes, reason):
    content = hostile(opcodes)
    tracemalloc.start()
    if reason is None:
        assert read_plain_npy(content, "a.npy") is None
    else:
        with pytest.raises(UserError, match="a.npy: ") as refused:
            read_plain_npy(content, "a.npy")
        assert reason in str(refused.value)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


def test_a_file_of_tiny_objects_is_refused_before_it_fills_the_memory(monkeypatch):
    assert mrd_hf.files.plain_pickle.MAX_INSTRUCTIONS <= 1_000_000
    monkeypatch.setattr("mrd_hf.files.plain_pickle.MAX_INSTRUCTIONS", 50_000)
    content = hostile(b"}" * 10_000_000)
    tracemalloc.start()
    with pytest.raises(UserError, match="more than 50000 pickle instructions"):
        read_plain_npy(content, "a.npy")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_deep_nesting_and_repetition_cost_no_more_than_their_bytes():
    deep = read_plain_npy(hostile(b"]" * 100_000 + b"a" * 99_999), "a.npy")
    depth = 0
    while deep:
        (deep,) = deep
        depth += 1
    assert depth == 99_999
    # Eight million leaves, if anyone walked them one by one.
    doubled = b"]q\x00" + b"".join(b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(23))
    start = time.process_time()
    laughs = read_plain_npy(hostile(b"(" + doubled + b"t"), "a.npy")[-1]
    assert laughs[0] is laughs[1] and time.process_time() - start < 0.5
    itself = read_plain_npy(hostile(b"]q\x07h\x07a"), "a.npy")
    assert itself[0] is itself


SHARED = b"a\x00\x00\x00" * 125_000


def shared_array(dtype, content):
    return array_of(b"K\x01\x85", content, dtype)


@pytest.mark.parametrize(
    ("of", "long"),
    [
        (lambda dtype, long: b"c_codecs\nencode\n" + long + text("latin1") + b"\x86R", text("a" * len(SHARED))),
        (lambda dtype, long: b"cnumpy.core.multiarray\nscalar\n" + dtype + long + b"\x86R", None),
        (shared_array, None),
    ],
    ids=["bytes", "scalars", "texts"],
)
def test_the_same_bytes_are_not_copied_over_and_over(of, long):
    """A file of 0.5 MB that would take 200 MB, or as long as that."""
    dtype = FLOAT32.replace(text("f4"), text("U125000"))
    first = of(dtype + b"q\x01", (long or b"B" + struct.pack("<I", len(SHARED)) + SHARED) + b"q\x00")
    (once,) = read_plain_npy(hostile(b"](" + first + b"e"), "a.npy")
    assert len(once) in (1, 125_000, 500_000)
    crafted = hostile(b"](" + first + of(b"h\x01", b"h\x00") * 400 + b"e")
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(UserError, match="a.npy: is crafted: it has the same bytes copied over and over"):
        read_plain_npy(crafted, "a.npy")
    assert tracemalloc.get_traced_memory()[1] < 4e6 and time.process_time() - start < 1
    tracemalloc.stop()


def test_a_shape_of_objects_is_not_printed_before_it_is_one():
    start = time.process_time()
    with pytest.raises(UserError, match="of a shape that is none"):
        read_plain_npy(HEADER + WRAPPER.replace(b"(K\x01)", b"(K\x01" + LAUGHS, 1) + b"Natb.", "a.npy")
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("write", [saved, saved_by_numpy_1], ids=["2", "1"])
def test_text_of_characters_that_do_not_exist_is_refused(write, order):
    """Numpy reads it, and ends with a SystemError when someone looks at it."""
    words = np.array(["chair", chr(sys.maxunicode)], dtype=f"{order}U5")
    assert read_plain_npy(write({"words": words}), "a.npy")["words"].tolist() == words.tolist()
    assert read_plain_npy(saved(words), "a.npy").tolist() == words.tolist()
    for content in (write({"words": words}), write({"word": words[1]}), saved(words)):
        for end in ("little", "big"):  # a scalar has the machine's
            content = content.replace(*((sys.maxunicode + n).to_bytes(4, end) for n in (0, 1)))
        with pytest.raises(UserError, match="a.npy: has text with characters that do not exist"):
            read_plain_npy(content, "a.npy")


def test_damage_anywhere_is_one_kind_of_error():
    random = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for content in (saved(SHAPE), saved_by_numpy_1(SHAPE)):
        for _ in range(400):
            damaged = bytearray(content)
            place = random.integers(len(damaged))
            damaged[place : place + random.integers(3)] = random.bytes(random.integers(3))
            try:
                read_plain_npy(bytes(damaged), "a.npy")
                outcomes["read"] += 1
            except UserError as error:
                assert str(error).startswith("a.npy: ")
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a .npy file"),
        (b"hello, this is a text", "not a .npy file"),
        (saved(SHAPE)[:-40], "damaged"),
        (saved(SHAPE)[:130], "damaged"),
        (saved(np.array([[{}, {}]], dtype=object)), "shape (1, 2)"),
        (saved({"inner": np.array([[1, None]], dtype=object)}), "shape (1, 2)"),
        (saved(np.array([{}, {}], dtype=object)).replace(b"K\x02\x85", b"K\x03\x85"), "shape (3,)"),
        (saved(np.array([{}, {}], dtype=object)).replace(b"(2,)", b"()  "), "promises an array of objects"),
        (saved({"a": 1}).replace(b"(), }  ", b"(2,), }"), "promises an array of objects"),
        (saved({"inner": np.array({}, dtype=object)}), "object"),
        (saved({"a_set": {1, 2}}), "0x8f"),
        (saved({"time": np.datetime64("2024-01-01")}), "dtype"),
        (saved({"record": np.zeros(2, dtype=[("a", "f4")])}), "dtype"),
        (saved(np.zeros(2, dtype=[("a", "f4")])), "dtype"),
        (saved(np.zeros(2, dtype=complex)), "dtype"),
        (saved(np.zeros(4)).replace(b"(4,), }         ", b"(4000000000,), }"), "32 bytes"),
        (saved(np.zeros(4))[:-8], "24 bytes"),
        (saved(np.zeros(4)).replace(b"(4,)", b"(-4,)").replace(b" \n", b"\n", 1), "shape"),
        (saved(np.zeros(4)).replace(b"'<f8'", b"(((((").replace(b"(4,)", b"((((("), "header"),
    ],
)
def test_files_that_are_not_what_they_claim(content, reason):
    with pytest.raises(UserError, match="a.npy: ") as refused:
        read_plain_npy(content, "a.npy")
    assert reason in str(refused.value)
