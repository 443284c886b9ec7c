"""Compiled part of the columns: row ids as the bytes of an Arrow string array."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

MAX_DIGITS = 20
"""Longest decimal form of a non-negative int64, with room to spare."""


@numba.njit(nogil=True, cache=True)
def write_ids(
    prefixes: npt.NDArray[np.uint8],
    prefix_ends: npt.NDArray[np.int64],
    group_ends: npt.NDArray[np.int64],
    n: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32],
    out: npt.NDArray[np.uint8],
) -> int:
    """Writes prefix + decimal digits of n, row after row, and returns how many bytes were written.

    `prefixes`: all prefixes joined, the g-th ending at `prefix_ends[g]`; rows before `group_ends[g]` (and not of an earlier
    group) have the g-th prefix; `n` >= 0; `offsets` int32 (rows + 1,) is filled as Arrow wants it; `out` is long enough.
    """
    digits = np.empty(MAX_DIGITS, np.uint8)
    at = 0
    row = 0
    begin = 0
    offsets[0] = 0
    for g in range(group_ends.size):
        end = prefix_ends[g]
        while row < group_ends[g]:
            for i in range(begin, end):
                out[at] = prefixes[i]
                at += 1
            v = n[row]
            d = 0
            while True:
                digits[d] = 48 + v % 10
                d += 1
                v //= 10
                if v == 0:
                    break
            for i in range(d - 1, -1, -1):
                out[at] = digits[i]
                at += 1
            row += 1
            offsets[row] = at
        begin = end
    return at
