"""A pass of the paper venue over a window of ticks: from event to event, reading only symbols with live orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from operators.execution.kernels import OUT_FULL, look, note_last_quotes, see_last_quote
from operators.execution.layout import MARKET, NEVER, VENUE_ORDER
from operators.execution.request_kernels import REQUEST, REQUEST_HEAD, any_alive, enter, forget
from operators.execution.window import TickWindow
from operators.timeline.stage import State
from schemas.errors import InstrumentError
from schemas.orders import EXECUTION_REPORT, Reports, Requests

if TYPE_CHECKING:
    from operators.execution.venue import PaperVenue

LOOKAHEAD_SLICES: Final = 100
"""How far a symbol is scanned ahead of the driver, so that it is not asked again at each of the book's decisions."""

_ROOM: Final = 2048
_ROWS: Final = 16
_NO_EVENT: Final = -1
_NO_REPORTS: Final = np.zeros(0, EXECUTION_REPORT)


@dataclass(slots=True)
class _Desk:
    """One account's orders in one symbol during a pass.

    The first `rows` of `orders`, and `market`, are committed up to slice `done`. `through` > `done`: `ahead` and `ahead_market` are
    how they stand at slice `through`, found by a scan that met `event` in its last slice, with `reports`, or none (-1); `alive`
    says whether anything can still happen after it. `near`: a place among the symbol's ticks not after slice `done`.
    """

    account: int
    symbol: int
    near: int
    orders: npt.NDArray[np.void]
    rows: int
    market: npt.NDArray[np.void]
    ahead: npt.NDArray[np.void]
    ahead_market: npt.NDArray[np.void]
    done: int
    through: int
    event: int
    reports: Reports
    active: bool
    alive: bool

    def commit(self) -> None:
        """Makes what the scan found the desk's state."""
        self.orders, self.ahead = self.ahead, self.orders
        self.market, self.ahead_market = self.ahead_market, self.market
        self.done, self.active, self.event = self.through, self.alive, _NO_EVENT

    def back(self) -> None:
        """Forgets what a scan found ahead: something has changed."""
        self.through, self.event = self.done, _NO_EVENT


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
    """

    def __init__(self, venue: PaperVenue, state: State, window: TickWindow) -> None:
        if state["at"] not in (-1, window.lo):
            msg = f"the venue stands at slice {state['at']}, the window begins at {window.lo}: ranges must follow each other"
            raise ValueError(msg)
        self._venue = venue
        self._window = window
        self._state = state
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
            self._desks[owner] = _opened(*owner, orders[first : first + n], market, window.lo)
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
        """First slice in [at, until) in which a report arises with the orders that there are now; `until` if there is none."""
        until = min(until, self._window.hi)
        if self._event == _NO_EVENT and self._clear < until:
            self._look_ahead(until)
        return until if self._event == _NO_EVENT else min(self._event, until)

    def run_until_event(self, until: int) -> Reports:
        """Goes on to the first slice before `until` that has reports, and returns those of this slice; `at` is then the slice after it.

        Without an event `at` becomes `until` (at most the window's end) and the array is empty. Reports are ordered by (ts_ns,
        account, order_n, exec_n).
        """
        until = min(until, self._window.hi)
        event = self.next_event(until)
        if event >= until:
            self.at = max(self.at, until)
            return _NO_REPORTS
        found = []
        for desk in self._desks.values():
            if desk.event == event:
                found.append(desk.reports)
                desk.commit()
        self.at = event + 1
        self._event, self._clear = _NO_EVENT, self.at
        reports = found[0] if len(found) == 1 else np.concatenate(found)
        if len(reports) == 1:
            return reports
        return reports[np.lexsort((reports["exec_n"], reports["order_n"], reports["account"], reports["ts_ns"]))]

    def skip(self, until: int) -> None:
        """Goes on to slice `until`, before which `next_event` has just found nothing."""
        self.at = max(self.at, until)

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
        venue, symbol = self._venue, desk.symbol
        ticks = self._window.of(symbol)
        start = max(desk.through, desk.done)
        while True:
            status, made, event, alive, first = look(
                *ticks,
                desk.near,
                start,
                until,
                desk.orders,
                desk.rows,
                desk.market,
                desk.ahead,
                desk.ahead_market,
                start > desk.done,
                venue.sessions[symbol],
                venue.parameters[symbol],
                venue.tables.poisson_cdf,
                venue.tables.beta_quantile,
                self._out,
            )
            if status != OUT_FULL:
                break
            self._out = np.zeros(2 * len(self._out), EXECUTION_REPORT)
            start = desk.done
        if start == desk.done:
            desk.near = first
        desk.event, desk.alive = event, alive
        desk.through = event + 1 if event >= 0 else until
        if made:
            desk.reports = np.frombuffer(self._out[:made].tobytes(), EXECUTION_REPORT)

    def _desk(self, account: int, symbol: int) -> _Desk:
        """The desk of an account and symbol; one at which nothing was alive learns the last quote before slice `at`."""
        desk = self._desks.get((account, symbol))
        if desk is None:
            market = np.zeros(1, MARKET)
            market["account"], market["symbol"], market["seq"], market["session_close"] = account, symbol, -1, -NEVER
            desk = self._desks[account, symbol] = _opened(account, symbol, np.zeros(0, VENUE_ORDER), market, self.at)
        if not desk.active:
            venue = self._venue
            noted = self._state["quotes"][symbol : symbol + 1]
            resting = desk.orders[: desk.rows]
            see_last_quote(
                *self._window.of(symbol), desk.near, self.at, noted, resting, desk.market, venue.sessions[symbol], venue.parameters[symbol]
            )
            desk.done = desk.through = self.at
        return desk


def _opened(account: int, symbol: int, orders: npt.NDArray[np.void], market: npt.NDArray[np.void], at: int) -> _Desk:
    n = len(orders)
    rows = np.zeros(max(_ROWS, 2 * n), VENUE_ORDER)
    _bytes(rows)[:n] = _bytes(orders)
    active = n > 0 and any_alive(rows, n)
    return _Desk(
        account,
        symbol,
        0,
        rows,
        n,
        market,
        np.zeros(len(rows), VENUE_ORDER),
        np.zeros(1, MARKET),
        at,
        at,
        _NO_EVENT,
        _NO_REPORTS,
        active,
        active,
    )


def _bytes(a: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Records seen as plain bytes: NumPy copies them field by field otherwise, which takes thirty times longer."""
    return a.view(f"V{a.dtype.itemsize}")


def _copied(a: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    return _bytes(a).copy().view(a.dtype)


def _joined(parts: list[npt.NDArray[np.void]]) -> npt.NDArray[np.void]:
    """Records one after the other, copied as plain bytes."""
    dtype = parts[0].dtype
    return np.frombuffer(bytearray().join(p.tobytes() for p in parts), dtype)
