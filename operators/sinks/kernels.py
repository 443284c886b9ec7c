"""Compiled part of the columns: row ids as the bytes of an Arrow string array."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

MAX_DIGITS = 20
"""Longest decimal form of a non-negative int64, with room to spare."""
CHUNK = 32
"""Bytes that are copied at once: a fixed length is one or two machine instructions, and what is too much the next row overwrites."""


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
    group) have the g-th prefix; `n` >= 0; `offsets` int32 (rows + 1,) is filled as Arrow wants it; `out` is long enough, with
    CHUNK bytes to spare.
    """
    longest = 0
    begin = 0
    for g in range(prefix_ends.size):
        longest = max(longest, prefix_ends[g] - begin)
        begin = prefix_ends[g]
    text = np.empty(longest + MAX_DIGITS + CHUNK, np.uint8)
    at = 0
    row = 0
    begin = 0
    offsets[0] = 0
    for g in range(group_ends.size):
        head = prefix_ends[g] - begin
        text[:head] = prefixes[begin : prefix_ends[g]]
        begin = prefix_ends[g]
        width = 0
        before = -1
        while row < group_ends[g]:
            v = n[row]
            if v == before + 1 and width > 0 and text[width - 1] != 57:
                text[width - 1] += 1  # mostly the number runs up by one, and only its last digit changes
            else:
                width = head + write_digits(v, text[head:])
            before = v
            for c in range(0, width, CHUNK):
                copy_chunk(text, c, out, at + c)
            at += width
            row += 1
            offsets[row] = at
    return at


@numba.njit(nogil=True, cache=True)
def write_digits(v: int, text: npt.NDArray[np.uint8]) -> int:
    """The decimal digits of v >= 0 at the beginning of `text`; how many there are."""
    digits = 1
    rest = v // 10
    while rest > 0:
        digits += 1
        rest //= 10
    for i in range(digits - 1, -1, -1):
        text[i] = 48 + v % 10
        v //= 10
    return digits


@numba.njit(nogil=True, cache=True)
def copy_chunk(text: npt.NDArray[np.uint8], begin: int, out: npt.NDArray[np.uint8], at: int) -> None:
    """Copies CHUNK bytes of `text` from `begin` on to `out` from `at` on. Unsigned places: none counts from the end."""
    source = np.uint64(begin)
    target = np.uint64(at)
    for i in range(np.uint64(CHUNK)):
        out[target + i] = text[source + i]
