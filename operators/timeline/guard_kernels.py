"""Compiled pass of the time guard."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def is_ahead(a, b, jump):  # type: ignore[no-untyped-def]
    """Whether time a lies more than `jump` (uint64) after time b; exact over the whole int64 range."""
    return a > b and np.uint64(a) - np.uint64(b) > jump


@njit(nogil=True, cache=True)
def judge_times(ts_ns, jump, confirmations, latest, known, final, largest, believed):  # type: ignore[no-untyped-def]
    """Decides on ticks in file order: `believed[i]` = 1 or 0. Returns (ticks decided, latest believed time, whether there is one).

    ts_ns int64 (n,): the undecided ticks; believed uint8 (n,). `latest`: running maximum of the believed times, valid where
    `known`. Stops at the first tick that needs more followers than there are, unless `final`.
    """
    n = ts_ns.size
    for i in range(n):
        t = ts_ns[i]
        if t < 0 or t >= largest:
            believed[i] = 0
            continue
        if known and not is_ahead(t, latest, jump):
            believed[i] = 1
            if t > latest:
                latest = t
            continue
        followers = min(confirmations, n - i - 1)
        contradicted = False
        for j in range(i + 1, i + 1 + followers):
            if is_ahead(t, ts_ns[j], jump):
                contradicted = True
                break
        if not contradicted:
            if followers < confirmations and not final:
                return i, latest, known
            if known and followers == 0:
                contradicted = True
        if contradicted:
            believed[i] = 0
        else:
            believed[i] = 1
            latest = t
            known = True
    return n, latest, known
