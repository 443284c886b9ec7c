"""The compiled walk: an account with its venue beside it, from one decision to the next in one call.

It is what driver.py describes, for a venue in the same process: the venue's next event, marks up to there, the event's reports, and so
on, until the book has something to decide. In Python each of these steps costs more than it does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from operators.book.scan_kernels import DECIDE, FULL, NOTHING, OVERFLOW, TOO_LARGE, scan
from operators.execution import LOOKAHEAD_SLICES, NO_EVENT, hand_out, look_ahead
from schemas.orders import ReportKind
from schemas.ticks import Ints

CROWDED = 4
"""After those of the scan: the venue's floor needs more room for reports."""

_ACK = int(ReportKind.ACK)
_FILL = int(ReportKind.FILL)


class Standing(NamedTuple):
    """What of the book's state the scan moves (scan_kernels.py)."""

    market: Ints
    weight: Ints
    stance: npt.NDArray[np.int8]
    money: Ints


class Noted(NamedTuple):
    """What a walk notes on its way.

    `seconds`: equity rows to be (scan_kernels.py); `reports` EXECUTION_REPORT (n,); `before2` int64 (n,): of each that is a fill bid + ask
    before its slice, else 0; `mids2` int64 (instruments,): work space.
    """

    seconds: Ints
    reports: npt.NDArray[np.void]
    before2: Ints
    mids2: Ints


@njit(cache=True)
def walk_on(
    floor: Any,
    rules: Any,
    desks: int,
    at: int,
    said: Any,
    standing: Any,
    noted: Any,
    k: int,
    hi: int,
    due: int,
    kill: float,
    made: int,
    scanned: int,
) -> tuple[int, int, int, int, int, int]:
    """From slice k, at which the book stands, to the next in which it must decide; at most to `hi`, the end of what the shards `said`.

    `floor`, `rules`, `desks`, `at`: of the venue's pass (desk_kernels.py). `due`: the first slice that must be decided as far as is known;
    `kill`: as `kill_share` of `scan`; `made`: equity rows that are noted already; `scanned`: where the marks stand if that is beyond k.

    Returns (slice, `at` of the venue, why, equity rows, reports noted, `scanned`). DECIDE: marks are those of the slice's end, the venue
    has gone beyond it. NOTHING: all before the slice is done, and it is `hi` or `noted` could not take all that `floor.found` may hold.
    FULL: `noted.seconds` has no room, half way to the venue's event. TOO_LARGE: as of `scan`. CROWDED: `floor.found` needs more places.
    After FULL, CROWDED and NOTHING the walk goes on from there with what was returned.
    """
    slice_ns = rules.parameters[0].slice_ns
    reported = 0
    enough = noted.reports.size - floor.found.size
    while k < hi and reported <= enough:
        target = min(max(due, k), hi - 1)
        roomy, event, _, _ = look_ahead(floor, rules, desks, at, min(hi, max(target + 1, at + LOOKAHEAD_SLICES)), False)
        if not roomy:
            return k, at, CROWDED, made, reported, scanned
        if event == NO_EVENT or event > target:
            event = hi
        scanned, why, made = scan(
            max(scanned, k),
            min(event, target) + 1,
            said.quotes,
            said.quote_order,
            said.signal_slices,
            said.signal_symbols,
            said.actions,
            said.place,
            standing.market,
            standing.weight,
            standing.stance,
            standing.money,
            slice_ns,
            kill,
            noted.seconds,
            made,
            event,
            noted.mids2,
        )
        if standing.money[OVERFLOW] != 0:
            why = TOO_LARGE
        if why in (FULL, TOO_LARGE):
            return k, at, why, made, reported, scanned
        stopped = why == DECIDE
        k = scanned if stopped else min(event, target)
        meets = event <= target and k == event
        n, _ = hand_out(floor, desks, event if meets else NO_EVENT, k + 1, noted.reports[reported:])
        at = k + 1
        for i in range(reported, reported + n):
            r = noted.reports[i]
            noted.before2[i] = noted.mids2[r.symbol] if r.kind == _FILL else 0
            if r.kind != _ACK:
                due = min(due, r.visible)
        reported += n
        if stopped or due <= k:
            return k, at, DECIDE, made, reported, scanned
        k += 1
    return k, at, NOTHING, made, reported, scanned
