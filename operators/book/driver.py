"""The account as one pure stage: venue and book in turn over a range of slices, from event to event.

Slice by slice, which is what the result equals (tests drive it so and compare):

    the venue runs slice k          -> reports, visible to the book from slice k + 1 on
    marks move to the end of k      -> equity
    the book decides at the end of k with reports visible at k -> requests, sent at (k + 1) * W (plus the feed delay)

Nearly all slices change nothing but marks, and an acknowledgement changes nothing but its order's row. So the driver asks the venue
for its next event and the book for its next due time, lets the compiled scan take the marks up to there (it stops earlier at a
signal that would act or a drawdown near the limit), and only there runs the readable code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.book.book import Book, too_large
from operators.book.desk import Desk, Report, kept
from operators.book.entrance import Wish
from operators.book.measures import summary_of
from operators.book.rows import RowBook
from operators.book.scan_kernels import (
    ASK,
    BID,
    DECIDE,
    FULL,
    OVERFLOW,
    TOO_LARGE,
    close_second,
    merge,
    scan,
)
from operators.execution import PaperVenue, VenuePass
from operators.portfolio import MoneyOverflowError
from operators.risk import Mode
from operators.timeline.stage import Migration, State
from schemas.instruments import InstrumentList
from schemas.orders import ReportKind, Reports, Requests
from schemas.ranges import SLICE_QUOTE, SliceOut
from schemas.settings import Settings
from schemas.tables import SIGNAL, Rows
from schemas.ticks import END

SECONDS_AT_ONCE: Final = 1024
VISIBLE: Final = Report._fields.index("visible")
KIND: Final = Report._fields.index("kind")
SPARSE: Final = 8
"""With more slices than this for each row, rows are put in order by sorting; else by counting, which takes one step a slice."""
NEVER_KILLS: Final = 2.0
ALMOST: Final = 1.0 - 1e-9
"""The scan compares the drawdown in floating point and stops this much early; the book compares exactly."""


@dataclass(slots=True)
class _Columns:
    """Quotes and signals of all shards over a range, merged by slice, and how far they were read. Signals stand in order."""

    quotes: npt.NDArray[np.void]
    quote_order: npt.NDArray[np.int64]
    signal_slices: npt.NDArray[np.int64]
    signal_symbols: npt.NDArray[np.int64]
    actions: npt.NDArray[np.int8]
    confidence_e6: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.int64]
    made: int

    def wishes(self, k: int) -> list[Wish]:
        """The last action of each symbol in slice k, which the scan has just read."""
        last: dict[int, Wish] = {}
        at = int(self.place[1]) - 1
        while at >= 0 and self.signal_slices[at] == k:
            symbol = int(self.signal_symbols[at])
            last.setdefault(symbol, Wish(symbol, int(self.actions[at]), int(self.confidence_e6[at])))
            at -= 1
        return [last[s] for s in sorted(last)]


class AccountStage:
    """An account, its book and the paper venue. Input: one SliceOut of each shard, all over the same [lo, hi).

    Output: the rows of the shards, in their order, then the account's. State: `at` the next slice (-1: none yet), `book`, `venue`,
    `pending`: reports that the book cannot see yet, `leaving`: requests that wait for the feed delay.
    """

    version = 1
    migrations: Mapping[int, Migration] = {}

    def __init__(self, instruments: InstrumentList, settings: Settings, shards: tuple[int, ...]) -> None:
        self.shards = shards
        self.book = Book(instruments, settings)
        self.venue = PaperVenue(instruments, settings)
        self._slice_ns = settings.slice_ns
        self._kill_share = float(settings.risk.max_drawdown) * ALMOST

    def start(self) -> State:
        """The account with its capital before the first slice."""
        return {"at": -1, "book": self.book.start(), "venue": self.venue.start(), "pending": [], "leaving": []}

    def ask_mode(self, state: State, mode: Mode) -> None:
        """Asks for another mode; it holds from the end of the next slice on and is recorded there as a verdict.

        Raises RefusedError where it may not follow the present one.
        """
        self.book.ask_mode(state["book"], mode)

    def summary(self, state: State) -> dict[str, Any]:
        """What happened so far (measures.py says what is in it), amounts as decimals of the account's currency."""
        return summary_of(self.book, state["book"])

    def step(self, state: State, x: tuple[SliceOut, ...]) -> tuple[State, tuple[Rows, ...]]:
        """Takes the next range; one that ends with END only passes rows on. ValueError: other shards or slices than expected."""
        lo, hi = self._checked(state, x)
        passed = tuple(r for o in x for r in o.rows)
        if hi >= END:
            return state, passed
        book = state["book"]
        rows = RowBook(self.book.key, book["n"])
        desk = self.book.desk(book, rows)
        columns = self._columns(x, lo, hi)
        work = self.venue.open(state["venue"], self.venue.window(lo, hi, [o.gated for o in x if o.gated is not None]))
        k = lo
        while k < hi:
            k = self._advance(state, columns, work, desk, k, hi)
        for report in self._visible(state, hi - 1):
            desk.receive(report)
        columns.made = close_second(book["money"], hi, self._slice_ns, columns.seconds, columns.made)
        self._drain(columns, rows)
        book["orders"] = desk.close(hi * self._slice_ns)
        state["venue"] = work.close()
        state["at"] = hi
        return state, passed + rows.take()

    def _checked(self, state: State, x: tuple[SliceOut, ...]) -> tuple[int, int]:
        shards = tuple(o.shard for o in x)
        bounds = {(o.lo, o.hi) for o in x}
        if shards != self.shards or len(bounds) != 1:
            msg = f"account {self.book.key}: expected one range of slices of each shard {self.shards}, got shards {shards}, slices {bounds}"
            raise ValueError(msg)
        lo, hi = bounds.pop()
        if state["at"] not in (-1, lo) or hi <= lo:
            msg = f"account {self.book.key}: stands at slice {state['at']}, was given slices [{lo}, {hi})"
            raise ValueError(msg)
        return lo, hi

    def _columns(self, x: tuple[SliceOut, ...], lo: int, hi: int) -> _Columns:
        quotes, quote_order = _merged([o.quotes for o in x], SLICE_QUOTE, lo, hi)
        signals, signal_order = _merged([o.signals for o in x], SIGNAL, lo, hi)
        signals = signals[signal_order]
        return _Columns(
            quotes,
            quote_order,
            np.ascontiguousarray(signals["slice"]),
            signals["symbol"].astype(np.int64),
            np.ascontiguousarray(signals["action"]),
            np.ascontiguousarray(signals["confidence_e6"]),
            np.zeros(2, np.int64),
            np.empty((SECONDS_AT_ONCE, 6), np.int64),
            0,
        )

    def _advance(self, state: State, columns: _Columns, work: VenuePass, desk: Desk, k: int, hi: int) -> int:
        """From slice k to the slice after the next one in which something happens, at most to `hi`."""
        due = max(self._next_due(state), k)
        self._send_late(state, work, k)
        target = min(due, hi - 1)
        event = work.next_event(target + 1)
        stopped = self._scan(state, columns, desk.rows, k, min(event, target + 1))
        if stopped is None and event <= target:
            before2 = state["book"]["market"][:, BID] + state["book"]["market"][:, ASK]
            self._keep(state, work.run_until_event(event + 1), before2)
            stopped = self._scan(state, columns, desk.rows, event, event + 1)
            if stopped is None and self._next_due(state) > event:
                return event + 1
            stopped = event
        elif stopped is None:
            if due > target:
                work.skip(target + 1)
                return target + 1
            stopped = target
        work.skip(stopped + 1)
        self._decide(state, columns, work, desk, stopped)
        return stopped + 1

    def _next_due(self, state: State) -> int:
        due: int = state["book"]["next_due"]
        for report in state["pending"]:
            if report[KIND] != ReportKind.ACK:
                due = min(due, report[VISIBLE])
                break
        if state["leaving"]:
            due = min(due, state["leaving"][0][0] - 1)
        return due

    def _scan(self, state: State, columns: _Columns, rows: RowBook, lo: int, hi: int) -> int | None:
        """Marks over [lo, hi); the slice at which the book must decide, or None."""
        book = state["book"]
        kill = NEVER_KILLS if book["mode"] == Mode.EMERGENCY else self._kill_share
        why = FULL
        while why == FULL:
            lo, why, columns.made = scan(
                lo,
                hi,
                columns.quotes,
                columns.quote_order,
                columns.signal_slices,
                columns.signal_symbols,
                columns.actions,
                columns.place,
                book["market"],
                book["weight"],
                book["stance"],
                book["money"],
                self._slice_ns,
                kill,
                columns.seconds,
                columns.made,
            )
            if why == FULL:
                self._drain(columns, rows)
        if why == TOO_LARGE or book["money"][OVERFLOW]:
            raise MoneyOverflowError(too_large(self.book.key, lo))
        return int(lo) if why == DECIDE else None

    def _decide(self, state: State, columns: _Columns, work: VenuePass, desk: Desk, k: int) -> None:
        requests = self.book.decide(state["book"], desk, k, columns.wishes(k), self._visible(state, k))
        if requests.size == 0:
            return
        if self.book.delay_ns < self._slice_ns:
            work.submit(requests)
        else:
            state["leaving"].append((int(requests["sent_ts_ns"][0]) // self._slice_ns, requests))

    def _visible(self, state: State, k: int) -> list[Report]:
        """Takes the reports out that the book may see at the end of slice k."""
        pending = state["pending"]
        seen = 0
        while seen < len(pending) and pending[seen][VISIBLE] <= k:
            seen += 1
        reports = [Report(*r) for r in pending[:seen]]
        del pending[:seen]
        return reports

    def _send_late(self, state: State, work: VenuePass, k: int) -> None:
        """Requests that waited for the feed delay and leave in slice k."""
        leaving: list[tuple[int, Requests]] = state["leaving"]
        while leaving and leaving[0][0] <= k:
            work.submit(leaving.pop(0)[1])

    def _keep(self, state: State, reports: Reports, before2: npt.NDArray[np.int64]) -> None:
        """Keeps reports until the book may see them, in the order in which it will (REPORT_ORDER)."""
        state["pending"] += kept(reports, before2.tolist())
        state["pending"].sort()

    def _drain(self, columns: _Columns, rows: RowBook) -> None:
        rows.equity(columns.seconds[: columns.made], self._slice_ns)
        columns.made = 0


def _merged(
    parts: list[npt.NDArray[np.void]], dtype: np.dtype[np.void], lo: int, hi: int
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """Rows of all shards over slices [lo, hi), one after the other, and their order by (slice, shard, place)."""
    bare = f"V{dtype.itemsize}"
    whole = np.concatenate([np.ascontiguousarray(p).view(bare) for p in parts]).view(dtype)
    if hi - lo > SPARSE * whole.size:
        return whole, np.argsort(whole["slice"], kind="stable")
    order = np.empty(whole.size, np.int64)
    merge(whole["slice"], lo, np.zeros(hi - lo + 1, np.int64), order)
    return whole, order
