"""A pass of the paper venue over a window of ticks: from event to event, reading only symbols with live orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from operators.execution.kernels import OUT_FULL, note_last_quotes, scan, see_last_quote
from operators.execution.latency import CANCEL, ORDER
from operators.execution.layout import MARKET, NEVER, PHASE_DEAD, PHASE_IN_FLIGHT, VENUE_ORDER
from operators.execution.refusal import refusal
from operators.execution.window import TickWindow
from operators.timeline.stage import State
from schemas.errors import InstrumentError
from schemas.orders import EXECUTION_REPORT, REDUCE_ONLY, UNKNOWN_QUEUE, Operation, Reason, Reports, Requests, TimeInForce
from schemas.tables import Side

if TYPE_CHECKING:
    from operators.execution.venue import PaperVenue

LOOKAHEAD_SLICES: Final = 100
"""How far a symbol is scanned ahead of the driver, so that it is not asked again at each of the book's decisions."""

UNKNOWN_EXEC_N: Final = 2**32 - 1
"""`exec_n` of the report that a cancelled order is not known (any more)."""

_ROOM: Final = 2048
_CARRIED: Final = ("order_n", "symbol", "side", "type", "time_in_force", "flags", "account", "price", "stop_price")


@dataclass(slots=True)
class _Ahead:
    """What a scan found beyond the committed state: rows and market after it, where it stopped, its reports if it met an event."""

    orders: npt.NDArray[np.void]
    market: npt.NDArray[np.void]
    through: int
    event: int
    reports: Reports
    active: bool


@dataclass(slots=True)
class _Desk:
    """One account's orders in one symbol during a pass: committed up to slice `done`, scanned ahead as far as `ahead` says."""

    account: int
    symbol: int
    orders: npt.NDArray[np.void]
    market: npt.NDArray[np.void]
    done: int
    active: bool
    ahead: _Ahead | None


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
        orders = state["orders"]
        for m in range(len(state["markets"])):
            market = _copied(state["markets"][m : m + 1])
            account, symbol = int(market["account"][0]), int(market["symbol"][0])
            rows = orders[(orders["account"] == account) & (orders["symbol"] == symbol)]
            self._desks[account, symbol] = _Desk(account, symbol, rows, market, window.lo, _active(rows), None)

    def submit(self, requests: Requests) -> None:
        """Takes new orders and cancels that were sent in slice `at` (at its start, for a book's decisions of slice at - 1).

        A new order whose number is below one seen before from its account is ignored: repeating a request never doubles an order.
        Raises ValueError for a request of another slice, InstrumentError for a symbol id that the tape does not have.
        """
        for request in requests:
            sent = int(request["sent_ts_ns"])
            account, symbol, order_n = int(request["account"]), int(request["symbol"]), int(request["order_n"])
            if sent // self._venue.slice_ns != self.at:
                msg = f"order {order_n}: sent in slice {sent // self._venue.slice_ns}, but the venue stands at slice {self.at}"
                raise ValueError(msg)
            if symbol >= len(self._venue.instruments.instruments):
                msg = f"order {order_n}: no instrument has the id {symbol}, there are {len(self._venue.instruments.instruments)}"
                raise InstrumentError(msg)
            desk = self._desk(account, symbol)
            if request["op"] == Operation.CANCEL:
                self._cancel(desk, request, sent)
            elif order_n >= self._state["next_order"][account]:
                self._state["next_order"][account] = order_n + 1
                self._add(desk, self._order(desk, request, sent))

    def next_event(self, until: int) -> int:
        """First slice in [at, until) in which a report arises with the orders that there are now; `until` if there is none."""
        event = min(until, self._window.hi)
        for desk in self._desks.values():
            if desk.active:
                event = min(event, self._look_ahead(desk, event))
        return event

    def run_until_event(self, until: int) -> Reports:
        """Goes on to the first slice before `until` that has reports, and returns those of this slice; `at` is then the slice after it.

        Without an event `at` becomes `until` (at most the window's end) and the array is empty. Reports are ordered by (ts_ns,
        account, order_n, exec_n).
        """
        until = min(until, self._window.hi)
        event = self.next_event(until)
        if event >= until:
            self.at = max(self.at, until)
            return _copied(self._out[:0])
        found = []
        for desk in self._desks.values():
            if desk.active and desk.ahead is not None and desk.ahead.event == event:
                found.append(desk.ahead.reports)
                self._commit(desk, event + 1)
        self.at = event + 1
        reports = found[0] if len(found) == 1 else np.concatenate(found)
        return (
            reports
            if len(reports) == 1
            else reports[np.lexsort((reports["exec_n"], reports["order_n"], reports["account"], reports["ts_ns"]))]
        )

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
        rows, markets = [], []
        for key in sorted(self._desks):
            desk = self._desks[key]
            self._catch_up(desk)
            self._forget(desk)
            rows.append(desk.orders)
            markets.append(desk.market)
        seen = np.zeros(len(venue.instruments.instruments), np.uint8)
        for shard in self._window.shards:
            x = self._window.shard(shard)
            note_last_quotes(x.ticks, x.slices, x.gate, venue.slice_ns, venue.quoted_of_shard.get(shard, 0), seen, state["quotes"])
        state["at"] = self.at
        state["orders"] = np.concatenate(rows) if rows else np.zeros(0, VENUE_ORDER)
        state["markets"] = np.concatenate(markets) if markets else np.zeros(0, MARKET)
        return state

    def _look_ahead(self, desk: _Desk, until: int) -> int:
        """The desk's first event in [at, until), or a slice at or after `until`."""
        ahead = desk.ahead
        if ahead is not None and ahead.event >= 0:
            return ahead.event
        if ahead is None or ahead.through < until:
            self._scan(desk, min(self._window.hi, max(until, self.at + LOOKAHEAD_SLICES)))
            ahead = desk.ahead
        return until if ahead is None or ahead.event < 0 else ahead.event

    def _scan(self, desk: _Desk, until: int) -> None:
        """Scans on from where the desk's last scan ended, or from its committed state, up to `until` or the first event."""
        ahead, venue = desk.ahead, self._venue
        orders, market, start = (desk.orders, desk.market, desk.done) if ahead is None else (ahead.orders, ahead.market, ahead.through)
        x = self._window.of(desk.symbol)
        first = int(np.searchsorted(x.slices, start))
        while True:
            rows, m = _copied(orders), _copied(market)
            status, n, event, active = scan(
                x.ticks,
                x.slices,
                x.gate,
                first,
                until,
                rows,
                m,
                venue.sessions[desk.symbol],
                venue.parameters[desk.symbol],
                venue.tables.poisson_cdf,
                venue.tables.beta_quantile,
                self._out,
            )
            if status != OUT_FULL:
                break
            self._out = np.zeros(2 * len(self._out), EXECUTION_REPORT)
        desk.ahead = _Ahead(rows, m, event + 1 if event >= 0 else until, event, _copied(self._out[:n]), active)

    def _commit(self, desk: _Desk, done: int) -> None:
        if desk.ahead is not None:
            desk.orders, desk.market, desk.active = desk.ahead.orders, desk.ahead.market, desk.ahead.active
        desk.done, desk.ahead = done, None

    def _catch_up(self, desk: _Desk) -> None:
        """Commits the desk up to slice `at`; nothing can happen on the way, its events have all been handed out."""
        if desk.active and desk.done < self.at:
            if desk.ahead is None or desk.ahead.through != self.at or desk.ahead.event >= 0:
                desk.ahead = None
                self._scan(desk, self.at)
            self._commit(desk, self.at)
        desk.ahead = None

    def _desk(self, account: int, symbol: int) -> _Desk:
        """The desk of an account and symbol, committed up to `at`, knowing the last quote before slice `at`."""
        desk = self._desks.get((account, symbol))
        if desk is None:
            market = np.zeros(1, MARKET)
            market["account"], market["symbol"], market["seq"], market["session_close"] = account, symbol, -1, -NEVER
            desk = self._desks[account, symbol] = _Desk(account, symbol, np.zeros(0, VENUE_ORDER), market, self.at, False, None)
        self._catch_up(desk)
        self._forget(desk)
        if not desk.active:
            x, venue = self._window.of(symbol), self._venue
            stop = int(np.searchsorted(x.slices, self.at))
            noted = self._state["quotes"][symbol : symbol + 1]
            see_last_quote(*x, stop, noted, desk.orders, desk.market, venue.sessions[symbol], venue.parameters[symbol])
            desk.done = self.at
        return desk

    def _forget(self, desk: _Desk) -> None:
        """Drops orders whose end the book has seen, so that it sends no cancel for them any more."""
        o = desk.orders
        if len(o):
            keep = (o["phase"] != PHASE_DEAD) | (o["cancel_ns"] < NEVER) | (o["final_visible"] + 1 >= self.at)
            if not keep.all():
                desk.orders = o[keep]

    def _order(self, desk: _Desk, request: np.void, sent: int) -> npt.NDArray[np.void]:
        instrument = self._venue.instruments.instruments[desk.symbol]
        row = np.zeros(1, VENUE_ORDER)
        for name in _CARRIED:
            row[name] = request[name]
        row["arrival_ns"] = sent + self._venue.sent_latency_ns(ORDER, desk.account, int(request["order_n"]))
        row["cancel_ns"] = row["final_visible"] = NEVER
        row["expires_ns"] = request["expires_ts_ns"] if request["time_in_force"] == TimeInForce.GTD else NEVER
        row["leaves"] = request["quantity"]
        row["queue_ahead"] = UNKNOWN_QUEUE
        row["phase"] = PHASE_IN_FLIGHT
        row["reason"] = refusal(request, instrument)
        row["reduces"] = bool(request["flags"] & REDUCE_ONLY) or (request["side"] == Side.SELL and not instrument.shortable)
        return row

    def _cancel(self, desk: _Desk, request: np.void, sent: int) -> None:
        order_n = int(request["order_n"])
        arrival = sent + self._venue.sent_latency_ns(CANCEL, desk.account, order_n)
        for o in desk.orders[desk.orders["order_n"] == order_n]:
            if o["cancel_ns"] == NEVER and o["reason"] != Reason.CANCEL_UNKNOWN_ORDER:
                desk.orders["cancel_ns"][desk.orders["order_n"] == order_n] = max(arrival, int(o["arrival_ns"]))
                desk.active = True
            return
        row = np.zeros(1, VENUE_ORDER)
        row["order_n"], row["account"], row["symbol"], row["side"] = order_n, desk.account, desk.symbol, request["side"]
        row["arrival_ns"] = row["cancel_ns"] = arrival
        row["expires_ns"] = row["final_visible"] = NEVER
        row["phase"], row["reason"], row["exec_n"] = PHASE_DEAD, Reason.CANCEL_UNKNOWN_ORDER, UNKNOWN_EXEC_N
        self._add(desk, row)

    def _add(self, desk: _Desk, row: npt.NDArray[np.void]) -> None:
        place = int(np.searchsorted(desk.orders["arrival_ns"], row["arrival_ns"][0], side="right"))
        rows = np.empty(len(desk.orders) + 1, VENUE_ORDER)
        rows[:place], rows[place], rows[place + 1 :] = desk.orders[:place], row[0], desk.orders[place:]
        desk.orders = rows
        desk.active = True


def _active(orders: npt.NDArray[np.void]) -> bool:
    return bool(np.any((orders["phase"] != PHASE_DEAD) | (orders["cancel_ns"] < NEVER)))


def _copied(a: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """A copy of records as plain bytes: NumPy copies records field by field otherwise, which takes thirty times longer."""
    return a.view(f"V{a.dtype.itemsize}").copy().view(a.dtype)
