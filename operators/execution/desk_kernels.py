"""Compiled pass over all desks of a venue at once: requests enter, orders are scanned ahead to the next event, reports are handed out.

A desk is one account's orders in one symbol during a pass. Desk d is row d of each array of a Floor. `at`: the first slice of which
reports have not been handed out.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import carray, njit, types
from numba.extending import intrinsic

from operators.execution.kernels import OUT_FULL, scan
from operators.execution.layout import NO_EVENT, UNREPORTED
from operators.execution.market_kernels import first_tick, see_last_quote
from operators.execution.request_kernels import any_alive, enter, forget
from schemas.ticks import TICK_V1, Ints

LOOKAHEAD_SLICES: Final = 4
"""How far a symbol is scanned ahead of the driver, so that it is not scanned again for each of the book's decisions."""


class Floor(NamedTuple):
    """All desks of a pass. Arrays are replaced by larger ones where their room does not do.

    | field | layout | meaning |
    | --- | --- | --- |
    | desks | DESK (desks,) | where each one stands (layout.py) |
    | orders | VENUE_ORDER (desks, room) | how its orders stand at slice `done`; the first `rows` are in use |
    | markets | MARKET (desks,) | the market as they see it then |
    | ahead, ahead_markets | likewise | how both stand at slice `through`, where `through` > `done` |
    | found | EXECUTION_REPORT (desks, places) | what the scans from `done` on found; those before place `taken` were handed out |
    """

    desks: npt.NDArray[np.void]
    orders: npt.NDArray[np.void]
    markets: npt.NDArray[np.void]
    ahead: npt.NDArray[np.void]
    ahead_markets: npt.NDArray[np.void]
    found: npt.NDArray[np.void]


class Rules(NamedTuple):
    """What holds for a whole run.

    `sessions` int64 (k, 3): of all instruments, one after the other, open, close and the first corporate action at or after the close, and
    `calendars` int64 (instruments + 1,): where each one's begin;
    `parameters` PARAMETERS (instruments,); `cdf`, `quantile`: the tables of splitting.py.
    """

    sessions: Ints
    calendars: Ints
    parameters: npt.NDArray[np.void]
    cdf: npt.NDArray[np.float64]
    quantile: npt.NDArray[np.float64]


@intrinsic
def _pointer(typingctx, address):  # noqa: ARG001
    """An address as a pointer: Numba knows no array of arrays that is cheap to hand over, so desks hold their ticks' addresses."""

    def codegen(context, builder, _signature, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen


@njit(cache=True)
def read_by(desk: Any) -> tuple[Any, Any, Any]:
    """The symbol's ticks, their slices and gate bits. Whoever wrote the addresses keeps the arrays alive."""
    n = desk.size
    return (
        carray(_pointer(desk.ticks), (n,), TICK_V1),
        carray(_pointer(desk.slices), (n,), np.int64),
        carray(_pointer(desk.gate), (n,), np.uint8),
    )


@njit(cache=True)
def seat(floor: Any, rows: Any, seen: Any, at: int) -> None:
    """Opens a desk for each of the markets `seen` (MARKET) with its orders among `rows` (VENUE_ORDER), both by (account, symbol)."""
    i = 0
    for d in range(seen.size):
        floor.markets[d] = seen[d]
        desk = floor.desks[d]
        desk.account = seen[d].account
        desk.symbol = seen[d].symbol
        n = 0
        while i < rows.size and rows[i].account == desk.account and rows[i].symbol == desk.symbol:
            floor.orders[d, n] = rows[i]
            n += 1
            i += 1
        desk.rows = n
        desk.done = at
        desk.through = at
        desk.event = NO_EVENT
        desk.active = any_alive(floor.orders[d], n)


@njit(cache=True)
def gather(floor: Any, places: Any, rows: Any, seen: Any) -> None:
    """The contrary of `seat`: the desks at `places` to `rows` and `seen`, which have room for just that."""
    i = 0
    for k in range(places.size):
        d = places[k]
        seen[k] = floor.markets[d]
        for j in range(floor.desks[d].rows):
            rows[i] = floor.orders[d, j]
            i += 1


@njit(cache=True)
def enter_all(floor: Any, rules: Any, requests: Any, first: int, places: Any, at: int, next_order: Any, noted: Any) -> int:
    """Takes the requests (REQUEST) from place `first` on, all sent in slice `at`, request i to desk `places[i]`.

    A desk at which nothing was alive learns the last quote before `at`, from its ticks or from `noted` (LAST_QUOTE by symbol); what a
    scan found ahead is forgotten. Returns the place of the first request for which there is no room, or how many there are.
    """
    for i in range(first, requests.size):
        d = places[i]
        desk = floor.desks[d]
        n = desk.rows
        if n == floor.orders.shape[1]:
            return i
        s = desk.symbol
        own = rules.parameters[s : s + 1]
        hours = rules.sessions[rules.calendars[s] : rules.calendars[s + 1]]
        if not desk.active:
            ticks, slices, gate = read_by(desk)
            desk.near = first_tick(slices, desk.near, at)
            orders, market = floor.orders[d, :n], floor.markets[d : d + 1]
            see_last_quote(ticks, slices, gate, desk.near, at, noted[s : s + 1], orders, market, hours, own)
            desk.done = at
        desk.rows, changed = enter(requests, i, at, next_order, floor.orders[d], n, hours, own)
        desk.through = desk.done
        desk.event = NO_EVENT
        desk.found = 0
        desk.taken = 0
        if changed:
            desk.active = 1
    return int(requests.size)


@njit(cache=True)
def scan_on(floor: Any, rules: Any, d: int, at: int, until: int, acks_stop: bool) -> bool:
    """Scans desk d on from where its last scan ended, or from slice `done`, up to `until` or the first event.

    False: `found` has too few places; then the desk stands at `done` again.
    """
    desk = floor.desks[d]
    n = desk.rows
    ticks, slices, gate = read_by(desk)
    if desk.through == desk.done:
        desk.near = first_tick(slices, desk.near, desk.done)
        for j in range(n):
            floor.ahead[d, j] = floor.orders[d, j]
        floor.ahead_markets[d] = floor.markets[d]
        desk.taken = desk.found
    if desk.taken == desk.found:
        desk.found = 0
        desk.taken = 0
    first = first_tick(slices, desk.near, desk.through)
    s = desk.symbol
    orders, market = floor.ahead[d, :n], floor.ahead_markets[d : d + 1]
    hours, own = rules.sessions[rules.calendars[s] : rules.calendars[s + 1]], rules.parameters[s : s + 1]
    out = floor.found[d, desk.found :]
    status, made, event, alive = scan(
        ticks, slices, gate, first, until, orders, market, acks_stop, hours, own, rules.cdf, rules.quantile, out
    )
    if status == OUT_FULL:
        desk.through = desk.done
        return False
    desk.found += made
    while desk.taken < desk.found and floor.found[d, desk.taken].slice < at:
        desk.taken += 1
    desk.event = event
    desk.alive = alive
    desk.through = event + 1 if event >= 0 else until
    return True


@njit(cache=True)
def commit(floor: Any, d: int) -> None:
    """Makes what the scan found the desk's state."""
    desk = floor.desks[d]
    for j in range(desk.rows):
        floor.orders[d, j] = floor.ahead[d, j]
    floor.markets[d] = floor.ahead_markets[d]
    desk.done = desk.through
    desk.active = desk.alive
    desk.event = NO_EVENT


@njit(cache=True)
def first_reported(floor: Any, n: int) -> int:
    """The first slice of a report that was found and not handed out, UNREPORTED where there is none."""
    first = UNREPORTED
    for d in range(n):
        desk = floor.desks[d]
        if desk.taken < desk.found:
            first = min(first, floor.found[d, desk.taken].slice)
    return first


@njit(cache=True)
def look_ahead(floor: Any, rules: Any, n: int, at: int, horizon: int, acks_stop: bool) -> tuple[bool, int, int, int]:
    """Finds the first event of the first `n` desks before `horizon`.

    Returns (False where `found` has too few places, the event or NO_EVENT, the slice before which there is no other, `first_reported`).
    """
    event = NO_EVENT
    for d in range(n):
        desk = floor.desks[d]
        if not desk.active:
            continue
        if desk.event == NO_EVENT and desk.through < horizon and not scan_on(floor, rules, d, at, horizon, acks_stop):
            return False, NO_EVENT, at, UNREPORTED
        if NO_EVENT < desk.event < horizon:
            event = desk.event
            horizon = desk.event + 1
    return True, event, horizon, first_reported(floor, n)


@njit(cache=True)
def hand_out(floor: Any, n: int, event: int, until: int, out: Any) -> tuple[int, int]:
    """Commits the desks that meet an event in slice `event`, and writes all reports of slices before `until` to `out`, desk after desk.

    Returns how many there are, and `first_reported`.
    """
    made = 0
    for d in range(n):
        desk = floor.desks[d]
        if event != NO_EVENT and desk.event == event:
            commit(floor, d)
        while desk.taken < desk.found and floor.found[d, desk.taken].slice < until:
            out[made] = floor.found[d, desk.taken]
            made += 1
            desk.taken += 1
    return made, first_reported(floor, n)


@njit(cache=True)
def finish(floor: Any, rules: Any, n: int, at: int, acks_stop: bool) -> bool:
    """Brings every desk to slice `at`, before which nothing happens any more; drops what the book needs no more. False: as `scan_on`."""
    for d in range(n):
        desk = floor.desks[d]
        if desk.active and desk.done < at:
            if desk.through < at and not scan_on(floor, rules, d, at, at, acks_stop):
                return False
            commit(floor, d)
        desk.rows = forget(floor.orders[d], desk.rows, at)
    return True
