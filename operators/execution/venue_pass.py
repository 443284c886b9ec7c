"""A pass of the paper venue over a window of ticks: from event to event, reading only symbols with live orders."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from operators.execution.kernels import OUT_FULL, look
from operators.execution.layout import MARKET, NEVER, VENUE_ORDER
from operators.execution.market_kernels import note_last_quotes, see_last_quote
from operators.execution.request_kernels import REQUEST, REQUEST_HEAD, any_alive, enter, forget
from operators.execution.window import TickWindow
from operators.timeline.stage import State
from schemas.errors import InstrumentError
from schemas.orders import EXECUTION_REPORT, Reports, Requests
from schemas.ticks import rows_joined

if TYPE_CHECKING:
    from operators.execution.venue import PaperVenue

LOOKAHEAD_SLICES: Final = 4
"""How far a symbol is scanned ahead of the driver, so that it is not asked again at each of the book's decisions."""

_ROOM: Final = 2048
_ROWS: Final = 16
_NO_EVENT: Final = -1
_NO_REPORTS: Final = np.zeros(0, EXECUTION_REPORT)


@dataclass(slots=True)
class _Desk:
    """One account's orders in one symbol during a pass.

    The first `rows` of `orders`, and `market`, are committed up to slice `done`. `through` > `done`: `ahead` and `ahead_market` are
    how they stand at slice `through`, found by scans that met `event` in their last slice, or none (-1); `alive` says whether anything
    can still happen after it. `reports`: what the scans found and was not handed out yet, by time, with their `slices`. `near`: a place
    among the symbol's ticks not after slice `done`. `rules`: its sessions, parameters and tables, as the kernels take them.
    """

    symbol: int
    rules: tuple[Any, ...]
    orders: npt.NDArray[np.void]
    rows: int
    market: npt.NDArray[np.void]
    ahead: npt.NDArray[np.void]
    ahead_market: npt.NDArray[np.void]
    done: int
    through: int
    active: bool
    alive: bool
    near: int = 0
    event: int = _NO_EVENT
    reports: Reports = field(default_factory=lambda: _NO_REPORTS)
    slices: list[int] = field(default_factory=list)

    def commit(self) -> None:
        """Makes what the scan found the desk's state."""
        self.orders, self.ahead = self.ahead, self.orders
        self.market, self.ahead_market = self.ahead_market, self.market
        self.done, self.active, self.event = self.through, self.alive, _NO_EVENT

    def back(self) -> None:
        """Forgets what scans found ahead: something has changed."""
        self.through, self.event = self.done, _NO_EVENT
        self.reports, self.slices = _NO_REPORTS, []

    def take(self, until: int) -> Reports:
        """Hands the reports of slices before `until` out."""
        n = bisect_left(self.slices, until)
        taken, self.reports, self.slices = self.reports[:n], self.reports[n:], self.slices[n:]
        return taken


class VenuePass:
    """A pass over one window [lo, hi), driven by the book event by event. The driver's loop:

        work = venue.open(state, venue.window(lo, hi, [gated of every shard]))
        while work.at < hi:
            k = the book's next slice with something to decide (a signal, a timer, a report that becomes visible), else hi - 1
            reports = work.run_until_event(k + 1)      # stops after the first slice that has reports
            keep the reports by their `visible`; if there were any and work.at <= k: ask again, k may have become earlier
            the book decides at the end of slice k, using reports with visible <= k
            work.submit(requests)                      # sent_ts_ns == (k + 1) * W == work.at * W
        state = work.close()

    `at` is the first slice not yet processed: reports of all slices before it have been handed out. A report of slice j is never
    visible before slice j + 1, so running to k + 1 before the decision at the end of slice k shows the book nothing too early.
    Slices in which nothing is decided and nothing fills are never visited, symbols without live orders never read.

    A driver that has nothing to do at an acknowledgement says so (`acks_stop` False): then a slice with nothing else is no event, its
    acknowledgements are handed out by `skip`, or together with the reports of the next event, in no particular order.
    """

    def __init__(self, venue: PaperVenue, state: State, window: TickWindow, acks_stop: bool = True) -> None:
        if state["at"] not in (-1, window.lo):
            msg = f"the venue stands at slice {state['at']}, the window begins at {window.lo}: ranges must follow each other"
            raise ValueError(msg)
        self._venue = venue
        self._window = window
        self._state = state
        self._acks_stop = acks_stop
        self._out = np.zeros(_ROOM, EXECUTION_REPORT)
        self._desks: dict[tuple[int, int], _Desk] = {}
        self.at: int = window.lo
        self._event = _NO_EVENT
        self._clear = window.lo
        orders, markets = state["orders"], state["markets"]
        owners = list(zip(orders["account"].tolist(), orders["symbol"].tolist(), strict=True))
        desks = zip(markets["account"].tolist(), markets["symbol"].tolist(), strict=True)
        first = 0
        for m, owner in enumerate(desks):
            n = owners.count(owner)
            market = _copied(markets[m : m + 1])
            self._desks[owner] = self._opened(owner[1], orders[first : first + n], market)
            first += n

    def submit(self, requests: Requests) -> None:
        """Takes new orders and cancels that were sent in slice `at` (at its start, for a book's decisions of slice at - 1).

        A new order whose number is below one seen before from its account is ignored: repeating a request never doubles an order.
        Raises ValueError for a request of another slice, InstrumentError for a symbol id that the tape does not have.
        """
        venue, next_order = self._venue, self._state["next_order"]
        raw = requests.tobytes()
        fields = np.frombuffer(raw, REQUEST)
        for i, (order_n, sent, symbol, account) in enumerate(REQUEST_HEAD.iter_unpack(raw)):
            if sent // venue.slice_ns != self.at:
                msg = f"order {order_n}: sent in slice {sent // venue.slice_ns}, but the venue stands at slice {self.at}"
                raise ValueError(msg)
            if symbol >= len(venue.sessions):
                msg = f"order {order_n}: no instrument has the id {symbol}, there are {len(venue.instruments.instruments)}"
                raise InstrumentError(msg)
            desk = self._desk(account, symbol)
            if desk.rows == len(desk.orders):
                desk.orders = np.concatenate([desk.orders, np.zeros(desk.rows, VENUE_ORDER)])
                desk.ahead = np.zeros(2 * desk.rows, VENUE_ORDER)
            desk.rows, changed = enter(fields, i, self.at, next_order, desk.orders, desk.rows, venue.parameters[symbol])
            desk.back()
            desk.active = desk.active or changed
            self._event, self._clear = _NO_EVENT, self.at

    def next_event(self, until: int) -> int:
        """First slice in [at, until) in which an event arises with the orders that there are now; `until` if there is none."""
        until = min(until, self._window.hi)
        if self._event == _NO_EVENT and self._clear < until:
            self._look_ahead(until)
        return until if self._event == _NO_EVENT else min(self._event, until)

    def run_until_event(self, until: int) -> Reports:
        """Goes on to the first slice before `until` that has an event, and returns its reports; `at` is then the slice after it.

        Without an event `at` becomes `until` (at most the window's end). Reports are ordered by (ts_ns, account, order_n, exec_n).
        """
        event = self.next_event(until)
        if event >= until or event >= self._window.hi:
            return self.skip(until)
        for desk in self._desks.values():
            if desk.event == event:
                desk.commit()
        self._event, self._clear = _NO_EVENT, event + 1
        return self._handed_out(event + 1)

    def skip(self, until: int) -> Reports:
        """Goes on to slice `until`, before which `next_event` has just found nothing; the acknowledgements on the way."""
        until = min(until, self._window.hi)
        return self._handed_out(until) if until > self.at else _NO_REPORTS

    def _handed_out(self, until: int) -> Reports:
        """All reports of slices before `until` that were not handed out yet; `at` becomes `until`."""
        self.at = until
        found = [desk.take(until) for desk in self._desks.values() if desk.slices and desk.slices[0] < until]
        if not found:
            return _NO_REPORTS
        reports = found[0] if len(found) == 1 else rows_joined(found)
        if len(reports) == 1 or not self._acks_stop:
            return reports
        return reports[np.lexsort((reports["exec_n"], reports["order_n"], reports["account"], reports["ts_ns"]))]

    def run(self, until: int) -> list[Reports]:
        """Processes all slices before `until`; the reports of each slice that has any, in order."""
        found = []
        while self.at < min(until, self._window.hi):
            reports = self.run_until_event(until)
            if len(reports):
                found.append(reports)
        return found

    def close(self) -> State:
        """The state after the window, which must have been processed to its end. Notes the last quotes for orders to come."""
        if self.at != self._window.hi:
            msg = f"the window ends at slice {self._window.hi}, but the venue has only been run to {self.at}"
            raise ValueError(msg)
        venue, state = self._venue, self._state
        rows, markets = [np.zeros(0, VENUE_ORDER)], [np.zeros(0, MARKET)]
        for key in sorted(self._desks):
            desk = self._desks[key]
            if desk.active and desk.done < self.at:
                if desk.through < self.at:
                    self._scan(desk, self.at)
                desk.commit()
            desk.rows = forget(desk.orders, desk.rows, self.at)
            rows.append(desk.orders[: desk.rows])
            markets.append(desk.market)
        seen = np.zeros(len(venue.instruments.instruments), np.uint8)
        for shard in self._window.shards:
            x = self._window.shard(shard)
            note_last_quotes(x.ticks, x.slices, x.gate, venue.slice_ns, venue.quoted_of_shard.get(shard, 0), seen, state["quotes"])
        state["at"] = self.at
        state["orders"] = _joined(rows)
        state["markets"] = _joined(markets)
        return state

    def _look_ahead(self, until: int) -> None:
        """Finds the first event of all desks before `until`, or a while after it, or how far there is none."""
        horizon = min(self._window.hi, max(until, self.at + LOOKAHEAD_SLICES))
        for desk in self._desks.values():
            if not desk.active:
                continue
            if desk.event == _NO_EVENT and desk.through < horizon:
                self._scan(desk, horizon)
            if _NO_EVENT < desk.event < horizon:
                self._event = desk.event
                horizon = desk.event + 1
        self._clear = horizon

    def _scan(self, desk: _Desk, until: int) -> None:
        """Scans on from where the desk's last scan ended, or from its committed state, up to `until` or the first event."""
        start = max(desk.through, desk.done)
        while True:
            status, made, event, alive, first = look(
                *self._window.of(desk.symbol),
                desk.near,
                start,
                until,
                desk.orders,
                desk.rows,
                desk.market,
                desk.ahead,
                desk.ahead_market,
                start > desk.done,
                self._acks_stop,
                *desk.rules,
                self._out,
            )
            if status != OUT_FULL:
                break
            self._out = np.zeros(2 * len(self._out), EXECUTION_REPORT)
            start = desk.done
        if start == desk.done:
            desk.near = first
            desk.reports, desk.slices = _NO_REPORTS, []
        desk.event, desk.alive = event, alive
        desk.through = event + 1 if event >= 0 else until
        if made:
            self._found(desk, np.frombuffer(self._out[:made].tobytes(), EXECUTION_REPORT))

    def _found(self, desk: _Desk, reports: Reports) -> None:
        """Keeps what a scan found; what it found again after the desk went back was handed out before."""
        slices = reports["slice"].tolist()
        again = bisect_left(slices, self.at)
        desk.reports = rows_joined([desk.reports, reports[again:]]) if desk.slices else reports[again:]
        desk.slices += slices[again:]

    def _desk(self, account: int, symbol: int) -> _Desk:
        """The desk of an account and symbol; one at which nothing was alive learns the last quote before slice `at`."""
        desk = self._desks.get((account, symbol))
        if desk is None:
            market = np.zeros(1, MARKET)
            market["account"], market["symbol"], market["seq"], market["session_close"] = account, symbol, -1, -NEVER
            desk = self._desks[account, symbol] = self._opened(symbol, np.zeros(0, VENUE_ORDER), market)
        if not desk.active:
            noted = self._state["quotes"][symbol : symbol + 1]
            resting = desk.orders[: desk.rows]
            sessions, parameters = desk.rules[:2]
            ticks = self._window.of(symbol)
            see_last_quote(*ticks, desk.near, self.at, noted, resting, desk.market, sessions, parameters)
            desk.done = desk.through = self.at
        return desk

    def _opened(self, symbol: int, orders: npt.NDArray[np.void], market: npt.NDArray[np.void]) -> _Desk:
        """The desk of orders that stand at slice `at`."""
        venue, n = self._venue, len(orders)
        rows = np.zeros(max(_ROWS, 2 * n), VENUE_ORDER)
        _bytes(rows)[:n] = _bytes(orders)
        active = n > 0 and any_alive(rows, n)
        rules = (venue.sessions[symbol], venue.parameters[symbol], venue.tables.poisson_cdf, venue.tables.beta_quantile)
        ahead, ahead_market = np.zeros(len(rows), VENUE_ORDER), np.zeros(1, MARKET)
        return _Desk(symbol, rules, rows, n, market, ahead, ahead_market, self.at, self.at, active, active)


def _bytes(a: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Records seen as plain bytes: NumPy copies them field by field otherwise, which takes thirty times longer."""
    return a.view(f"V{a.dtype.itemsize}")


def _copied(a: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    return _bytes(a).copy().view(a.dtype)


def _joined(parts: list[npt.NDArray[np.void]]) -> npt.NDArray[np.void]:
    """Records one after the other, copied as plain bytes."""
    dtype = parts[0].dtype
    return np.frombuffer(bytearray().join(p.tobytes() for p in parts), dtype)
