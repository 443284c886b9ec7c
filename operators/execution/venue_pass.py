"""A pass of the paper venue over a window of ticks: from event to event, reading only symbols with live orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from operators.execution.desk_kernels import LOOKAHEAD_SLICES, Floor, enter_all, finish, gather, hand_out, look_ahead, seat
from operators.execution.layout import DESK, MARKET, NEVER, NO_EVENT, UNREPORTED, VENUE_ORDER
from operators.execution.market_kernels import note_last_quotes
from operators.execution.request_kernels import REQUEST, REQUEST_HEAD
from operators.execution.window import TickWindow
from operators.timeline.stage import State
from schemas.entry_point import entry_point
from schemas.errors import InstrumentError
from schemas.orders import EXECUTION_REPORT, Reports, Requests

if TYPE_CHECKING:
    from operators.execution.venue import PaperVenue

_DESKS: Final = 16
_ROWS: Final = 16
_FOUND: Final = 1024
_NO_REPORTS: Final = np.zeros(0, EXECUTION_REPORT)


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

    `operators/book/walk_kernels.py` drives the `floor` itself, by the same kernels, and says so by setting `at`.

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
        self._look_ahead = entry_point(look_ahead)
        self._hand_out = entry_point(hand_out)
        self._enter_all = entry_point(enter_all)
        self.rules = venue.rules
        self.at: int = window.lo
        # What the last look ahead found: the event, the slice before which there is no other, the first one with a report.
        self._event = NO_EVENT
        self._clear = window.lo
        self._reported = UNREPORTED
        markets = state["markets"]
        self._places = {owner: d for d, owner in enumerate(zip(markets["account"].tolist(), markets["symbol"].tolist(), strict=True))}
        self.floor = _floor(len(markets) + _DESKS, len(state["orders"]) + _ROWS, _FOUND)
        self._out = _out_of(self.floor)
        seat(self.floor, state["orders"], markets, self.at)
        self._reads = [False] * len(markets)
        for d in np.flatnonzero(self.floor.desks["active"]).tolist():
            self._read(d)

    def submit(self, requests: Requests) -> None:
        """Takes new orders and cancels that were sent in slice `at` (at its start, for a book's decisions of slice at - 1).

        A new order whose number is below one seen before from its account is ignored: repeating a request never doubles an order.
        Raises ValueError for a request of another slice, InstrumentError for a symbol id that the tape does not have.
        """
        raw = requests.tobytes()
        slice_ns, at = self._venue.slice_ns, self.at
        places = []
        for order_n, sent, symbol, account in REQUEST_HEAD.iter_unpack(raw):
            if sent // slice_ns != at:
                msg = f"order {order_n}: sent in slice {sent // slice_ns}, but the venue stands at slice {at}"
                raise ValueError(msg)
            d = self._places.get((account, symbol))
            if d is None:
                d = self._open(account, symbol, order_n)
            if not self._reads[d]:
                self._read(d)
            places.append(d)
        fields, owners, first = np.frombuffer(raw, REQUEST), np.array(places, np.int64), 0
        next_order, noted = self._state["next_order"], self._state["quotes"]
        while (first := self._enter_all(self.floor, self.rules, fields, first, owners, at, next_order, noted)) < len(places):
            self._grow(rows=2)
        self._event, self._clear = NO_EVENT, at

    def next_event(self, until: int) -> int:
        """First slice in [at, until) in which an event arises with the orders that there are now; `until` if there is none."""
        until = min(until, self._window.hi)
        if self._event == NO_EVENT and self._clear < until:
            horizon = min(self._window.hi, max(until, self.at + LOOKAHEAD_SLICES))
            while True:
                done, self._event, self._clear, self._reported = self._look_ahead(
                    self.floor, self.rules, self.desks, self.at, horizon, self._acks_stop
                )
                if done:
                    break
                self.give_room()
        return until if self._event == NO_EVENT else min(self._event, until)

    def run_until_event(self, until: int) -> Reports:
        """Goes on to the first slice before `until` that has an event, and returns its reports; `at` is then the slice after it.

        Without an event `at` becomes `until` (at most the window's end). Reports are ordered by (ts_ns, account, order_n, exec_n).
        """
        event = self.next_event(until)
        if event >= until or event >= self._window.hi:
            return self.skip(until)
        self._event, self._clear = NO_EVENT, event + 1
        return self._handed_out(event, event + 1)

    def skip(self, until: int) -> Reports:
        """Goes on to slice `until`, before which `next_event` has just found nothing; the acknowledgements on the way."""
        until = min(until, self._window.hi)
        if until <= self.at:
            return _NO_REPORTS
        if until <= self._reported:
            self.at = until
            return _NO_REPORTS
        return self._handed_out(NO_EVENT, until)

    def _handed_out(self, event: int, until: int) -> Reports:
        """All reports of slices before `until` that were not handed out yet; `at` becomes `until`. Commits desks that meet `event`."""
        self.at = until
        n, self._reported = self._hand_out(self.floor, self.desks, event, until, self._out)
        reports = np.frombuffer(self._out[:n].tobytes(), EXECUTION_REPORT)
        if n < 2 or not self._acks_stop:
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
        while not finish(self.floor, self.rules, self.desks, self.at, self._acks_stop):
            self.give_room()
        seen = np.zeros(len(venue.instruments.instruments), np.uint8)
        for shard in self._window.shards:
            x = self._window.shard(shard)
            note_last_quotes(x.ticks, x.slices, x.gate, venue.slice_ns, venue.quoted_of_shard.get(shard, 0), seen, state["quotes"])
        state["at"] = self.at
        state["orders"] = np.zeros(int(self.floor.desks["rows"].sum()), VENUE_ORDER)
        state["markets"] = np.zeros(self.desks, MARKET)
        gather(self.floor, np.array([self._places[owner] for owner in sorted(self._places)], np.int64), state["orders"], state["markets"])
        return state

    @property
    def desks(self) -> int:
        """How many desks of the floor are in use."""
        return len(self._reads)

    def give_room(self) -> None:
        """Gives the floor twice the places for reports."""
        self._grow(found=2)

    def _open(self, account: int, symbol: int, order_n: int) -> int:
        """A new desk without orders; its place."""
        d = self.desks
        if symbol >= len(self.rules.parameters):
            msg = f"order {order_n}: no instrument has the id {symbol}, there are {len(self.rules.parameters)}"
            raise InstrumentError(msg)
        if d == len(self.floor.desks):
            self._grow(desks=2)
        desk, market = self.floor.desks[d], self.floor.markets[d]
        desk["account"], desk["symbol"], desk["event"] = account, symbol, NO_EVENT
        market["account"], market["symbol"], market["seq"], market["session_close"] = account, symbol, -1, -NEVER
        self._places[account, symbol] = d
        self._reads.append(False)
        return d

    def _read(self, d: int) -> None:
        """Tells desk d where its symbol's ticks are. The window keeps them."""
        desk = self.floor.desks[d]
        x = self._window.of(int(desk["symbol"]))
        desk["ticks"], desk["slices"], desk["gate"] = (a.ctypes.data for a in x)
        desk["size"] = len(x.ticks)
        self._reads[d] = True

    def _grow(self, desks: int = 1, rows: int = 1, found: int = 1) -> None:
        """Gives the floor so many times the room."""
        old = self.floor
        n, room = old.orders.shape
        self.floor = _floor(desks * n, rows * room, found * old.found.shape[1])
        for new, a in zip(self.floor, old, strict=True):
            new[tuple(slice(k) for k in a.shape)] = a
        self._out = _out_of(self.floor)


def _floor(desks: int, rows: int, found: int) -> Floor:
    return Floor(
        np.zeros(desks, DESK),
        np.zeros((desks, rows), VENUE_ORDER),
        np.zeros(desks, MARKET),
        np.empty((desks, rows), VENUE_ORDER),
        np.empty(desks, MARKET),
        np.empty((desks, found), EXECUTION_REPORT),
    )


def _out_of(floor: Floor) -> Reports:
    """Room for all reports that the desks can hold."""
    return np.empty(floor.found.size, EXECUTION_REPORT)
