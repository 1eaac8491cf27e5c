"""OpenShape's evaluation files: pickled .npy files of many clouds, mapped into memory instead of read.

They differ from what [`mrd_hf.data.plain_pickle`] reads in two ways. Some hold an array of objects with a row a shape
(numpy saves a list of dictionaries so), and they are large: 0.6 GB for ModelNet40. So here, with the same interpreter
and so with the same promise that nothing of a file is run,

- an array of objects of one dimension is a list, wherever it stands;
- the bytes of an array stay where they are in the file, until someone looks at them.
"""

import io
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from ...data import plain_pickle
from ...errors import UserError


# Fewer bytes are copied, as are those of scalars, of which the interpreter asks for it.
MAPPED_BYTES = 4096
# As numpy limits the header of a .npy file.
MAX_HEADER_BYTES = 2**16


def read_pickled_arrays(path: Path) -> Any:
    """The plain value in a pickled .npy file.

    Returns:
        What `numpy.load(path, allow_pickle=True)` gives, `.item()` of it where a value was wrapped, with lists in
        place of arrays of objects. Arrays are views of the file, not writable.

    Raises:
        UserError: There is no such file, it is damaged, no .npy file, or it holds anything but plain values.
    """
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise UserError(f"{path}: cannot be read ({error}); download it again.") from None
    head = io.BytesIO(bytes(content[:MAX_HEADER_BYTES]))
    try:
        version = np.lib.format.read_magic(head)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(head)
    except Exception:  # numpy has the header parsed as Python; the other reader says what is wrong with it
        return plain_pickle.read_plain_npy(path.read_bytes(), str(path))
    if dtype.kind != "O" or len(shape) > 1:
        return plain_pickle.read_plain_npy(path.read_bytes(), str(path))
    try:
        value = _Interpreter(content[head.tell() :]).run()
        value = value.item if isinstance(value, plain_pickle._ObjectArray) else value
        plain_pickle._check_plain(value)
    except plain_pickle._Refused as refused:
        raise UserError(f"{path}: {refused}.") from None
    except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: is damaged ({type(error).__name__}: {error}); download it again.") from None
    return value


class _Interpreter(plain_pickle._Interpreter):
    """Runs the same instructions, two of them its own way."""

    def run(self) -> Any:
        for _ in range(plain_pickle.MAX_INSTRUCTIONS):
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                return self.stack.pop()
            if code == 0x62:  # BUILD
                self.build()
            elif code in _BYTES:
                self.push_bytes(_BYTES[code])
            elif code in plain_pickle._INSTRUCTIONS:
                plain_pickle._INSTRUCTIONS[code](self)
            else:
                raise plain_pickle._Refused(f"has the pickle instruction {code:#04x}, which plain values do not need")
        raise plain_pickle._Refused(f"has more than {plain_pickle.MAX_INSTRUCTIONS} pickle instructions")

    def push_bytes(self, size_bytes: int) -> None:
        taken = self.take(self.number(size_bytes))
        self.push(taken if len(taken) >= MAPPED_BYTES else bytes(taken))

    def build(self) -> None:
        match self.stack[-2:]:
            case [plain_pickle._Unbuilt(code=None) as unbuilt, (1, (int() as count,), dtype, _, list() as items)] if (
                isinstance(dtype, np.dtype) and dtype.kind == "O" and len(items) == count
            ):
                self.stack[-2:] = [items]
                for key in unbuilt.memo_keys:
                    self.memo[key] = items
            case _:
                super().build()


# BINBYTES, SHORT_BINBYTES, BINBYTES8, and how many bytes say how long the bytes are.
_BYTES = {0x42: 4, 0x43: 1, 0x8E: 8}
