"""Rows of an Arrow table's list columns, without copies: of a memory-mapped table only what is used is read.

`datasets` can format rows as numpy arrays too, but reads each row's lists whole and one by one; of OpenShape's sizes
that is several times slower.
"""

from bisect import bisect_right
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa


class _Chunked:
    """Finds the chunk of a row."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        arrays = [chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk for chunk in column.chunks]
        self.arrays = [array for array in arrays if len(array)]
        self.ends = list(accumulate(map(len, self.arrays)))

    def locate(self, row: int) -> tuple[int, int]:
        # Several times for each shape of a batch, and so faster than numpy would.
        chunk = bisect_right(self.ends, row)
        return chunk, row - (self.ends[chunk - 1] if chunk else 0)

    def lengths(self) -> np.ndarray:
        """Length of each row's list, `(num_rows,)`; 0 where it is null."""
        return np.concatenate([np.diff(array.offsets.to_numpy()) for array in self.arrays])


class ListRows(_Chunked):
    """Rows of a column of lists; `rows[i]` is a `pa.Array` of the row's elements."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        super().__init__(column)
        self.offsets = [array.offsets.to_numpy() for array in self.arrays]
        self.values = [array.values for array in self.arrays]

    def __getitem__(self, row: int) -> Any:
        chunk, place = self.locate(row)
        offsets = self.offsets[chunk]
        start = int(offsets[place])
        return self.values[chunk].slice(start, int(offsets[place + 1]) - start)


class ArrayRows(_Chunked):
    """Rows of an `Array2D` column; `rows[i]` is a read-only `np.ndarray` of shape `(n, width)`.

    Args:
        column (`pa.ChunkedArray`): Lists of lists of numbers.
        width (`int`): Length of the inner lists.

    Raises:
        pa.ArrowInvalid: when a number is null.
    """

    def __init__(self, column: pa.ChunkedArray, width: int) -> None:
        super().__init__(column)
        self.width = width
        self.outer = [array.offsets.to_numpy() for array in self.arrays]
        self.inner = [array.values.offsets.to_numpy() for array in self.arrays]
        self.numbers = [array.values.values.to_numpy(zero_copy_only=True) for array in self.arrays]

    def __getitem__(self, row: int) -> np.ndarray:
        chunk, place = self.locate(row)
        outer, inner = self.outer[chunk], self.inner[chunk]
        return self.numbers[chunk][inner[outer[place]] : inner[outer[place + 1]]].reshape(-1, self.width)
