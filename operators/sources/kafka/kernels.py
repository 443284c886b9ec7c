"""Compiled pass over ticks that were just decoded."""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True)
def first_stray(symbol, carried):  # type: ignore[no-untyped-def]
    """Index of the first tick whose symbol is not carried or beyond the list, -1 where there is none. symbol uint32 (n,), carried bool."""
    for i in range(symbol.size):
        s = symbol[i]
        if s >= carried.size or not carried[s]:
            return i
    return -1
