"""Numpy's .npy files that hold pickled plain values, read without running anything they contain.

`numpy.load(allow_pickle=True)` lets a file call any function. Here a small interpreter knows only those of pickle's
instructions that make plain values: str, bytes, int, float, bool, None, list, tuple, dict with text keys, and numpy's
arrays and scalars of numbers, bools and text. An array of objects of one dimension, as which numpy saves a list, is
read as a list. Nothing is called: the few names that numpy itself writes are understood, any other is refused.

Whatever sizes a file claims, memory stays in proportion to the bytes it has; and the bytes of an array stay where they
are, in the file, until someone looks at them.

Read are the files of numpy 1 and 2 (pickle protocols 2 to 4).
"""

import io
import math
import mmap
import re
import sys
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import UserError


# An instruction of one byte makes an object of up to a hundred.
MAX_INSTRUCTIONS = 1_000_000
# Numpy parses headers of at most 10,000 characters.
MAX_HEADER_BYTES = 2**16
MAX_AXES = 64  # of numpy's arrays
# Fewer bytes are copied: a view of them would take more memory than they do.
MIN_VIEWED_BYTES = 4096

_PLAIN = "plain arrays, strings, numbers, lists and dictionaries"
_DTYPE_CODE = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9]\d*|O8")
_DTYPE_KINDS = "biufSU"


class _Name(Enum):
    """What numpy's own pickles name: understood here, never looked up."""

    NDARRAY = "ndarray"
    DTYPE = "dtype"
    RECONSTRUCT = "_reconstruct"
    SCALAR = "scalar"
    ENCODE = "encode"
    BYTES = "bytes"


_NAMES = {
    ("numpy", "ndarray"): _Name.NDARRAY,
    ("numpy", "dtype"): _Name.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): _Name.SCALAR,
    ("numpy._core.multiarray", "scalar"): _Name.SCALAR,
    # How protocol 2 writes bytes, and empty bytes.
    ("_codecs", "encode"): _Name.ENCODE,
    ("__builtin__", "bytes"): _Name.BYTES,
    ("builtins", "bytes"): _Name.BYTES,
}


class _Unbuilt:
    """An array, or with a code a dtype, whose state is still to come; then it is replaced wherever it was noted."""

    def __init__(self, code: str | None = None) -> None:
        self.code = code
        self.memo_keys: list[int] = []


class _ObjectArray:
    """A 0-d array of one object, as `numpy.save` wraps whatever is no array."""

    def __init__(self, item: Any) -> None:
        self.item = item


class _Refused(Exception):
    """Why a file is not read; the file's name comes on top."""


def read_plain_npy(content: bytes | memoryview, name: str) -> Any:
    """The array, or the plain value, in a .npy file.

    Args:
        content (`bytes` or `memoryview`): Of the file. Keep its size within bounds: memory is in proportion to it.
        name (`str`): What messages call the file.

    Returns:
        What `numpy.load(file, allow_pickle=True)` gives, with `.item()` where a value was wrapped, and lists in the
        place of arrays of objects. Arrays are views of the file's bytes, not writable; so are bytes outside arrays,
        from 4 KB on.

    Raises:
        UserError: The file is damaged, is no .npy file or holds anything but plain values.
    """
    try:
        return _read(memoryview(content))
    except _Refused as refused:
        raise UserError(f"{name}: {refused}.") from None
    except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{name}: is damaged ({type(error).__name__}: {error}); download it again.") from None


def map_plain_npy(path: Path) -> Any:
    """The same of a file that may be larger than the memory: it is mapped, not read.

    Raises:
        UserError: As [`read_plain_npy`] does, and if there is no such file.
    """
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise UserError(f"{path}: cannot be read ({error}); download it again.") from None
    return read_plain_npy(content, str(path))


def _read(content: memoryview) -> Any:
    head = io.BytesIO(content[:MAX_HEADER_BYTES])
    try:
        version = np.lib.format.read_magic(head)
    except ValueError:
        raise _Refused("is not a .npy file") from None
    try:
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read_header(head)
    # Numpy has the header parsed as Python, which may fail in many ways.
    except Exception as error:
        raise _Refused(f"has a damaged header ({type(error).__name__})") from None
    data = content[head.tell() :]
    if dtype.kind != "O":
        return _array(dtype, shape, fortran_order, data)
    value = _Interpreter(data).run()
    if not isinstance(value, list if shape else _ObjectArray):
        raise _Refused("is damaged: its header promises an array of objects")
    value = value.item if isinstance(value, _ObjectArray) else value
    _check_plain(value)
    return value


def _array(dtype: Any, shape: Any, fortran_order: Any, data: Any) -> np.ndarray:
    """A view of `data`, which must have just the bytes that dtype and shape ask for."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in _DTYPE_KINDS or dtype.itemsize == 0:
        raise _Refused(f"has an array of dtype {dtype}; read are {_PLAIN}")
    if not _is_shape(shape):
        raise _Refused("has an array whose shape is not made of whole numbers")
    if not isinstance(data, (bytes, memoryview)):
        raise _Refused("has an array without bytes")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise _Refused(f"has an array of dtype {dtype} whose shape does not fit its {len(data)} bytes")
    if dtype.kind == "U" and len(data):
        # Numpy does not check them, and later fails with errors of the interpreter itself.
        code_points = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
        if code_points.max() > sys.maxunicode:
            raise _Refused("has text with characters that do not exist")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def _is_shape(shape: Any) -> bool:
    """Whether numpy could have an array of this shape: what is not may be nested, or huge, beyond any printing."""
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_AXES
        and all(type(size) is int and 0 <= size <= sys.maxsize for size in shape)
    )


def _check_plain(value: Any) -> None:
    """Refuse what an interrupted or crafted pickle may have left inside. Each object is seen once, in any nesting."""
    pending, seen = [value], set()
    while pending:
        value = pending.pop()
        if isinstance(value, (list, tuple, dict)):
            if id(value) not in seen:
                seen.add(id(value))
                pending += value.values() if isinstance(value, dict) else value
        elif isinstance(value, _ObjectArray):
            raise _Refused("has a wrapped object inside; only the outermost is read")
        elif not (value is None or isinstance(value, (str, bytes, memoryview, int, float, np.ndarray, np.generic))):
            what = value.value if isinstance(value, _Name) else "dtype" if isinstance(value, np.dtype) else "array"
            raise _Refused(f"has a bare {what} where a value belongs")


class _Interpreter:
    """Runs a pickle's instructions; see the documentation of Python's `pickletools` for their meaning."""

    def __init__(self, content: memoryview) -> None:
        self.content = content
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def run(self) -> Any:
        for _ in range(MAX_INSTRUCTIONS):
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                return self.stack.pop()
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise _Refused(f"has the pickle instruction {code:#04x}, which plain values do not need")
            instruction(self)
        raise _Refused(f"has more than {MAX_INSTRUCTIONS} pickle instructions")

    def take(self, size: int) -> memoryview:
        end = self.position + size
        if end > len(self.content):
            raise _Refused(f"is damaged: it ends {end - len(self.content)} bytes too early; download it again")
        taken = self.content[self.position : end]
        self.position = end
        return taken

    def copy(self, size: int) -> None:
        """Account for a copy of bytes, or a look at them all: of what numpy writes, each is copied once at most."""
        self.copied += size
        if self.copied > len(self.content):
            raise _Refused("is crafted: it has the same bytes copied over and over")

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> str:
        head = bytes(self.content[self.position : self.position + 1000])  # names are short
        return str(self.take(head.index(b"\n") + 1)[:-1], "utf-8")

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_text(self, size_bytes: int) -> None:
        # As Python writes text: halves of a surrogate pair may stand alone.
        self.push(str(self.take(self.number(size_bytes)), "utf-8", "surrogatepass"))

    def push_bytes(self, size_bytes: int) -> None:
        taken = self.take(self.number(size_bytes))
        self.push(taken if len(taken) >= MIN_VIEWED_BYTES else bytes(taken))

    def push_tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise IndexError("tuple without its items")
        self.stack[len(self.stack) - size :] = [tuple(self.stack[len(self.stack) - size :])]

    def push_name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a name that is no text")
        if (module, name) not in _NAMES:
            raise _Refused(f"asks for {module}.{name}, which could run code; read are {_PLAIN}")
        self.push(_NAMES[module, name])

    def push_name_of_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push_name(module, name)

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError(f"items for a {type(target).__name__}")
        target += items

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise TypeError(f"keys and values for a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Numbers could be chosen to collide, which makes a dictionary slow; the hash of text is salted.
            if type(key) is not str:
                raise _Refused(f"has a dictionary with a key of type {type(key).__name__}; expected text")
            target[key] = value

    def last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("too few values")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def note(self, key: int) -> None:
        value = self.stack[-1]
        self.memo[key] = value
        if isinstance(value, _Unbuilt):
            value.memo_keys.append(key)

    def recall(self, key: int) -> None:
        self.push(self.memo[key])

    def reduce(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        match name, arguments:
            case _Name.RECONSTRUCT, (_Name.NDARRAY, (0,), b"b"):
                self.push(_Unbuilt())
            case _Name.DTYPE, (str(code), _, _) if _DTYPE_CODE.fullmatch(code):
                self.push(_Unbuilt(code))
            case _Name.SCALAR, (np.dtype() as dtype, (bytes() | memoryview()) as data):
                if len(data) != dtype.itemsize:
                    raise _Refused(f"has a scalar of dtype {dtype} in {len(data)} bytes")
                self.copy(len(data))
                self.push(_array(dtype, (), False, data)[()])
            case _Name.ENCODE, (str(string), "latin1" | "latin-1"):
                self.copy(len(string))
                self.push(string.encode("latin-1"))
            case _Name.BYTES, ():
                self.push(b"")
            case _Name(), _:
                _refuse_use(name, arguments)
            case _:
                raise _Refused("is damaged or crafted: it has a call of what is no function")

    def build(self) -> None:
        state, unbuilt = self.stack.pop(), self.stack[-1]
        if not isinstance(unbuilt, _Unbuilt):
            raise _Refused("is damaged or crafted: it sets the state of what has none")
        built = _built_array(state) if unbuilt.code is None else _built_dtype(unbuilt.code, state)
        if isinstance(built, np.ndarray) and built.dtype.kind == "U":  # whose characters were looked at
            self.copy(built.nbytes)
        self.stack[-1] = built
        for key in unbuilt.memo_keys:
            self.memo[key] = built


def _refuse_use(name: _Name, arguments: Any) -> NoReturn:
    of = f" {arguments[0]!r:.40}" if name is _Name.DTYPE and arguments and isinstance(arguments[0], str) else ""
    raise _Refused(f"uses numpy's {name.value}{of} in a way that is not read; read are {_PLAIN}")


def _built_dtype(code: str, state: Any) -> np.dtype:
    match state:
        case (3, ("<" | ">" | "|" | "=") as order, None, None, None, int(), int(), int()):
            return np.dtype(code).newbyteorder(order)
    raise _Refused(f"has the dtype {code} with fields or of another version; read are {_PLAIN}")


def _built_array(state: Any) -> Any:
    match state:
        case (1, shape, np.dtype(kind="O"), bool() | int(), [item]) if shape == ():
            return _ObjectArray(item)
        case (1, (int() as count,), np.dtype(kind="O"), bool() | int(), list() as items) if len(items) == count:
            return items
        case (1, shape, np.dtype(kind="O"), *_):
            shown = f"shape {shape!r:.40}" if _is_shape(shape) else "a shape that is none"
            raise _Refused(f"has an array of objects of {shown}; read are those of one dimension")
        case (1, shape, dtype, bool() | int() as fortran_order, data):
            return _array(dtype, shape, fortran_order, data)
    raise _Refused("has an array in a state that numpy does not write")


_INSTRUCTIONS = {
    0x80: lambda run: run.take(1),  # PROTO
    0x95: lambda run: run.take(8),  # FRAME, a hint for reading ahead
    0x28: _Interpreter.mark,  # MARK
    0x4E: lambda run: run.push(None),  # NONE
    0x88: lambda run: run.push(True),  # NEWTRUE
    0x89: lambda run: run.push(False),  # NEWFALSE
    0x4B: lambda run: run.push(run.number(1)),  # BININT1
    0x4D: lambda run: run.push(run.number(2)),  # BININT2
    0x4A: lambda run: run.push(run.number(4, signed=True)),  # BININT
    0x8A: lambda run: run.push(run.number(run.number(1), signed=True)),  # LONG1
    0x47: lambda run: run.push(float(np.frombuffer(run.take(8), ">f8")[0])),  # BINFLOAT
    0x8C: lambda run: run.push_text(1),  # SHORT_BINUNICODE
    0x58: lambda run: run.push_text(4),  # BINUNICODE
    0x8D: lambda run: run.push_text(8),  # BINUNICODE8
    0x43: lambda run: run.push_bytes(1),  # SHORT_BINBYTES
    0x42: lambda run: run.push_bytes(4),  # BINBYTES
    0x8E: lambda run: run.push_bytes(8),  # BINBYTES8
    0x29: lambda run: run.push(()),  # EMPTY_TUPLE
    0x85: lambda run: run.push_tuple(1),  # TUPLE1
    0x86: lambda run: run.push_tuple(2),  # TUPLE2
    0x87: lambda run: run.push_tuple(3),  # TUPLE3
    0x74: lambda run: run.push(tuple(run.since_mark())),  # TUPLE
    0x5D: lambda run: run.push([]),  # EMPTY_LIST
    0x61: lambda run: run.append(run.last(1)),  # APPEND
    0x65: lambda run: run.append(run.since_mark()),  # APPENDS
    0x7D: lambda run: run.push({}),  # EMPTY_DICT
    0x73: lambda run: run.set_items(run.last(2)),  # SETITEM
    0x75: lambda run: run.set_items(run.since_mark()),  # SETITEMS
    0x71: lambda run: run.note(run.number(1)),  # BINPUT
    0x72: lambda run: run.note(run.number(4)),  # LONG_BINPUT
    0x94: lambda run: run.note(len(run.memo)),  # MEMOIZE
    0x68: lambda run: run.recall(run.number(1)),  # BINGET
    0x6A: lambda run: run.recall(run.number(4)),  # LONG_BINGET
    0x63: lambda run: run.push_name(run.line(), run.line()),  # GLOBAL
    0x93: _Interpreter.push_name_of_stack,  # STACK_GLOBAL
    0x52: _Interpreter.reduce,  # REDUCE
    0x62: _Interpreter.build,  # BUILD
}
