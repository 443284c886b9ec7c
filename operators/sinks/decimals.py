"""Fixed-point int64 to Arrow decimals and back, exactly and by whole columns.

An Arrow decimal128 is a signed 128-bit integer, two little-endian 64-bit words. value * 10**j with 0 <= j <= 18 is value * 5**j
shifted left by j bits; back, the exact division by 5**j is a multiplication by its inverse modulo 2**64, checked by going forward
again.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import LakeError

PRECISION: Final = 38
MAX_RAISE: Final = 12
"""Largest j: 5**12 < 2**28, so that a 32-bit half times it stays within 64 bits."""

_FIVES: Final = np.array([5**j for j in range(MAX_RAISE + 1)], np.uint64)
_INVERSES: Final = np.array([pow(5**j, -1, 2**64) for j in range(MAX_RAISE + 1)], np.uint64)
_LOW32: Final = np.uint64(0xFFFFFFFF)

Ints = npt.NDArray[np.int64]


def raised(value: Ints, j: Ints) -> tuple[npt.NDArray[np.uint64], Ints]:
    """(low, high) words of value * 10**j; `j` int64 (n,) in 0..MAX_RAISE."""
    fives = _FIVES[j]
    low_part = (value.view(np.uint64) & _LOW32) * fives
    high_part = (value >> 32) * fives.view(np.int64)
    shifted = high_part.view(np.uint64) << np.uint64(32)
    low = shifted + low_part
    high = (high_part >> 32) + (low < shifted)
    j64 = j.astype(np.uint64)
    spill = np.where(j > 0, low >> (np.uint64(64) - np.maximum(j64, np.uint64(1))), np.uint64(0))
    return low << j64, (high << j) | spill.view(np.int64)


def to_decimals(value: Ints, exponent: Ints | int, scale: int) -> Any:
    """Arrow decimal128(38, scale) of value * 10**-exponent; exponent <= scale, one for all rows or one a row."""
    value = np.ascontiguousarray(value)
    words = np.empty((value.size, 2), np.int64)
    if isinstance(exponent, int) and exponent == scale:
        words[:, 0] = value
        words[:, 1] = value >> 63
    else:
        low, high = raised(value, scale - np.broadcast_to(np.asarray(exponent, np.int64), value.shape))
        words[:, 0] = low.view(np.int64)
        words[:, 1] = high
    return pa.Array.from_buffers(pa.decimal128(PRECISION, scale), value.size, [None, pa.py_buffer(words)])


def from_decimals(column: Any, exponent: Ints | int, where: str) -> Ints:
    """The fixed-point integers of an Arrow decimal128 array: what `to_decimals` was given.

    Raises LakeError where a value is missing or has more places than its exponent, or does not fit 64 bits.
    """
    if column.null_count:
        msg = f"{where}: {column.null_count} values are missing; the lake was changed from outside"
        raise LakeError(msg)
    words = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, 2)[column.offset : column.offset + len(column)]
    j = column.type.scale - np.broadcast_to(np.asarray(exponent, np.int64), (len(column),))
    low, high = words[:, 0].copy().view(np.uint64), words[:, 1].copy()
    j64 = j.astype(np.uint64)
    carried = np.where(j > 0, high.view(np.uint64) << (np.uint64(64) - np.maximum(j64, np.uint64(1))), np.uint64(0))
    value: Ints = (((low >> j64) | carried) * _INVERSES[j]).view(np.int64)
    again_low, again_high = raised(value, j)
    bad = np.flatnonzero((again_low != low) | (again_high != high))
    if bad.size:
        msg = f"{where}: {column[int(bad[0])].as_py()} (row {int(bad[0])}) is not a multiple of the fixed-point unit"
        raise LakeError(msg)
    return value
