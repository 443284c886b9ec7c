"""How an account walks through slices, from event to event, with a venue beside it; and the account with its venue in one stage.

Slice by slice, which is what the result equals (tests drive it so and compare):

    the venue runs slice k          -> reports, visible to the book from slice k + 1 on
    marks move to the end of k      -> equity
    the book decides at the end of k with reports visible at k -> requests, sent at (k + 1) * W (plus the feed delay)

Nearly all slices change nothing but marks, and an acknowledgement changes nothing but its order's row, which is written with the next
decision. So the walk asks the venue for its next event other than that and the book for its next due time, lets the compiled scan take
the marks up to there (it stops earlier at a signal that would act or a drawdown near the limit), and only there runs the readable code.
`Walk` says so step by step, for any venue; `WalkBesideVenue` goes the same way in compiled code (walk_kernels.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, overload

import numpy as np
import numpy.typing as npt

from operators.book.book import Book, too_large
from operators.book.columns import NOTHING_SAID, Columns
from operators.book.control import from_version_1
from operators.book.desk import Report, kept
from operators.book.measures import summary_of
from operators.book.rows import RowBook
from operators.book.scan_kernels import ASK, BID, DECIDE, FULL, OVERFLOW, TOO_LARGE, close_second, scan
from operators.book.walk_kernels import CROWDED, Noted, Standing, walk_on
from operators.execution import PaperVenue, VenuePass
from operators.portfolio import MoneyOverflowError
from operators.timeline.stage import Migration, State
from schemas.control import NO_LOG, Accepted, Command, ControlLog, Refused
from schemas.entry_point import entry_point
from schemas.instruments import InstrumentList
from schemas.orders import EXECUTION_REPORT, ReportKind, Reports, Requests
from schemas.ranges import SliceOut
from schemas.settings import Settings
from schemas.tables import Rows
from schemas.ticks import END, rows_joined

SECONDS_AT_ONCE: Final = 1024
VISIBLE: Final = Report._fields.index("visible")
KIND: Final = Report._fields.index("kind")

# Members looked up once: at each use that costs ten times what a name does (Enum's __getattr__).
_ACK: Final = ReportKind.ACK


class VenueSide(Protocol):
    """The venue as the walk sees it: a VenuePass, or what stands for a venue that is elsewhere."""

    def next_event(self, until: int) -> int:
        """The first slice before `until` in which something happens to the orders that there are now; `until` if there is none.

        An acknowledgement need not count: the book has nothing to decide at it.
        """
        ...

    def run_until_event(self, until: int) -> Reports:
        """Goes on to that slice and returns its reports, with what was only acknowledged before it."""
        ...

    def skip(self, until: int) -> Reports:
        """Goes on to slice `until`, before which `next_event` has just found nothing, and returns what was only acknowledged."""
        ...

    def submit(self, requests: Requests) -> None:
        """Takes what the book has just decided."""
        ...


class LateRequests:
    """A venue in the same process to which requests get a slice or more after they were decided: `leaving` holds them by that slice."""

    def __init__(self, work: VenuePass, leaving: list[tuple[int, Requests]], slice_ns: int) -> None:
        self._work = work
        self._leaving = leaving
        self._slice_ns = slice_ns
        self._passed: list[Reports] = []

    def next_event(self, until: int) -> int:
        while self._leaving and self._leaving[0][0] < until:
            sent = self._leaving[0][0]
            event = self._work.next_event(sent)
            if event < sent:
                return event
            self._passed.append(self._work.skip(sent))
            self._work.submit(self._leaving.pop(0)[1])
        return self._work.next_event(until)

    def run_until_event(self, until: int) -> Reports:
        return self._with_passed(self._work.run_until_event(until))

    def skip(self, until: int) -> Reports:
        return self._with_passed(self._work.skip(until))

    def _with_passed(self, reports: Reports) -> Reports:
        """The reports, and what was acknowledged on the way to where requests left."""
        passed, self._passed = self._passed, []
        return rows_joined([*passed, reports]) if passed else reports

    def submit(self, requests: Requests) -> None:
        self._leaving.append((int(requests["sent_ts_ns"][0]) // self._slice_ns, requests))


class Walk:
    """An account's way through some slices. Owns the account's state (`book`, `pending`: reports that the book cannot see yet)."""

    def __init__(self, book: Book, state: State, venue: VenueSide) -> None:
        self.book = book
        self.state = state
        self.venue = venue
        self.rows = RowBook(book.key, state["book"]["n"])
        self.desk = book.desk(state["book"], self.rows)
        self._scan_slices = entry_point(scan)
        self._seconds = np.empty((SECONDS_AT_ONCE, 6), np.int64)
        self._made = 0
        self._mids2 = np.zeros(len(book.markets), np.int64)

    def advance(self, columns: Columns, k: int, hi: int) -> int:
        """From slice k to the slice after the next one in which something happens, at most to `hi`; returns that slice."""
        due = max(self._next_due(), k)
        target = min(due, hi - 1)
        event = self.venue.next_event(target + 1)
        stopped = self._scan(columns, k, min(event, target) + 1, event)
        if event <= target and (stopped is None or stopped == event):
            keep(self.state, self.venue.run_until_event(event + 1), self._mids2)
            if stopped is None and self._next_due() > event:
                return event + 1
            stopped = event
        elif stopped is None:
            if due > target:
                keep(self.state, self.venue.skip(target + 1), self._mids2)
                return target + 1
            stopped = target
        keep(self.state, self.venue.skip(stopped + 1), self._mids2)
        self._decide(columns, stopped)
        return stopped + 1

    def _decide(self, columns: Columns, k: int) -> None:
        requests = self.book.decide(self.state["book"], self.desk, k, columns.wishes(k), self._visible(k))
        if requests.size:
            self.venue.submit(requests)

    def close(self, at: int) -> tuple[Rows, ...]:
        """Ends the walk before slice `at`; its rows."""
        book = self.state["book"]
        for report in self._visible(at - 1):
            self.desk.receive(report)
        self._made = close_second(book["money"], at, self.book.slice_ns, self._seconds, self._made)
        self._drain()
        book["orders"] = self.desk.close(at * self.book.slice_ns)
        return self.rows.take()

    def _next_due(self) -> int:
        due: int = self.state["book"]["next_due"]
        for report in self.state["pending"]:
            if report[KIND] != _ACK:
                due = min(due, report[VISIBLE])
                break
        return due

    def _scan(self, columns: Columns, lo: int, hi: int, event: int) -> int | None:
        """Marks over [lo, hi); the slice at which the book must decide, or None. `_mids2`: bid + ask before slice `event`."""
        book = self.state["book"]
        kill = self.book.kill_share(book)
        why = FULL
        while why == FULL:
            lo, why, self._made = self._scan_slices(
                lo,
                hi,
                *columns.said,
                book["market"],
                book["weight"],
                book["stance"],
                book["money"],
                self.book.slice_ns,
                kill,
                self._seconds,
                self._made,
                event,
                self._mids2,
            )
            if why == FULL:
                self._drain()
        if why == TOO_LARGE or book["money"][OVERFLOW]:
            raise MoneyOverflowError(too_large(self.book.key, lo))
        return int(lo) if why == DECIDE else None

    def _visible(self, k: int) -> list[Report]:
        """Takes the reports out that the book may see at the end of slice k."""
        pending = self.state["pending"]
        seen = 0
        while seen < len(pending) and pending[seen][VISIBLE] <= k:
            seen += 1
        reports = [Report._make(r) for r in pending[:seen]]
        del pending[:seen]
        return reports

    def _drain(self) -> None:
        self.rows.equity(self._seconds[: self._made], self.book.slice_ns)
        self._made = 0


class WalkBesideVenue(Walk):
    """The same walk where the venue is in this process and hears of a decision at once: in compiled code from decision to decision."""

    venue: VenuePass

    def __init__(self, book: Book, state: State, venue: VenuePass) -> None:
        super().__init__(book, state, venue)
        of = state["book"]
        self._standing = Standing(of["market"], of["weight"], of["stance"], of["money"])
        self._floor = venue.floor
        self._noted = self._room()
        self._walk_on = entry_point(walk_on)
        self._scanned = NOTHING_SAID

    def advance(self, columns: Columns, k: int, hi: int) -> int:
        """As of Walk; it may end between decisions, where much was reported."""
        venue = self.venue
        if venue.floor is not self._floor:
            self._floor, self._noted = venue.floor, self._room()
        noted = self._noted
        kill, due = self.book.kill_share(self.state["book"]), self._next_due()
        of_venue = (venue.floor, venue.rules, venue.desks, venue.at)
        k, venue.at, why, self._made, n, self._scanned = self._walk_on(
            *of_venue, columns.said, self._standing, noted, k, hi, due, kill, self._made, self._scanned
        )
        if n:
            self.state["pending"] += kept(noted.reports[:n], noted.before2[:n].tolist())
            self.state["pending"].sort()
        if why == DECIDE:
            self._decide(columns, k)
            return k + 1
        if why == TOO_LARGE:
            raise MoneyOverflowError(too_large(self.book.key, k))
        if why == FULL:
            self._drain()
        elif why == CROWDED:
            venue.give_room()
        return k

    def _room(self) -> Noted:
        """Room for what is noted on the way: for twice the reports that the venue's floor can hold, so that a walk goes on with some."""
        n = 2 * self.venue.floor.found.size
        return Noted(self._seconds, np.empty(n, EXECUTION_REPORT), np.empty(n, np.int64), self._mids2)


def keep(state: State, reports: Reports, before2: npt.NDArray[np.int64]) -> None:
    """Keeps reports until the book may see them, in the order in which it will (schemas/orders.py).

    `before2` int64 (instruments,): bid + ask at the end of the slice before that in which they happened.
    """
    if reports.size:
        state["pending"] += kept(reports, before2[reports["symbol"]].tolist())
        state["pending"].sort()


def mids2(book: State) -> npt.NDArray[np.int64]:
    """Bid + ask of each instrument as the book knows them, int64 (instruments,), a new array."""
    market: npt.NDArray[np.int64] = book["market"]
    doubled: npt.NDArray[np.int64] = market[:, BID] + market[:, ASK]
    return doubled


class Account:
    """What an account is, whether its venue is in the same stage or elsewhere. `log` and `not_before`: see Book."""

    def __init__(
        self, instruments: InstrumentList, settings: Settings, shards: tuple[int, ...], log: ControlLog = NO_LOG, not_before: int = 0
    ) -> None:
        self.shards = shards
        self.book = Book(instruments, settings, log, not_before)

    def summary(self, state: State) -> dict[str, Any]:
        """What happened so far (measures.py says what is in it), amounts as decimals of the account's currency."""
        return summary_of(self.book, state["book"])

    def accept(self, state: State, command: Command) -> Accepted | Refused:
        """Takes a message of the control topic: effective from the first slice that is not yet decided, or refused."""
        return self.book.accept(state["book"], command, state["at"])

    def checked(self, x: tuple[SliceOut, ...], at: int) -> tuple[int, int]:
        """The slices of a range of every shard, which must follow on `at` (-1: none yet). ValueError: other shards or slices."""
        shards = tuple(o.shard for o in x)
        bounds = {(o.lo, o.hi) for o in x}
        if shards != self.shards or len(bounds) != 1:
            msg = f"account {self.book.key}: expected one range of slices of each shard {self.shards}, got shards {shards}, slices {bounds}"
            raise ValueError(msg)
        lo, hi = bounds.pop()
        if at not in (-1, lo) or hi <= lo:
            msg = f"account {self.book.key}: stands at slice {at}, was given slices [{lo}, {hi})"
            raise ValueError(msg)
        return lo, hi


class AccountStage(Account):
    """An account, its book and the paper venue. Input: one SliceOut of each shard, all over the same [lo, hi); or a control message.

    Output: the rows of the shards, in their order, then the account's; for a control message what became of it. State: `at` the next
    slice (-1: none yet), `book`, `venue`, `pending`, `leaving`: requests that wait for the feed delay.
    """

    version = 2
    migrations: Mapping[int, Migration] = {1: lambda state: {**state, "book": from_version_1(state["book"], state["at"])}}

    def __init__(
        self, instruments: InstrumentList, settings: Settings, shards: tuple[int, ...], log: ControlLog = NO_LOG, not_before: int = 0
    ) -> None:
        super().__init__(instruments, settings, shards, log, not_before)
        self.venue = PaperVenue(instruments, settings)

    def start(self) -> State:
        """The account with its capital before the first slice."""
        return {"at": -1, "book": self.book.start(), "venue": self.venue.start(), "pending": [], "leaving": []}

    @overload
    def step(self, state: State, x: tuple[SliceOut, ...]) -> tuple[State, tuple[Rows, ...]]: ...

    @overload
    def step(self, state: State, x: Command) -> tuple[State, Accepted | Refused]: ...

    def step(self, state: State, x: tuple[SliceOut, ...] | Command) -> tuple[State, tuple[Rows, ...] | Accepted | Refused]:
        """Takes the next range; one that ends with END only passes rows on. ValueError: other shards or slices than expected."""
        self.book.join_log(state["book"], state["at"])
        if isinstance(x, Command):
            return state, self.accept(state, x)
        lo, hi = self.checked(x, state["at"])
        passed = tuple(r for o in x for r in o.rows)
        if hi >= END:
            return state, passed
        columns = Columns.of(x, lo, hi)
        self.book.begin(state["book"], columns.first)
        work = self.venue.open(state["venue"], self.venue.window(lo, hi, [o.gated for o in x if o.gated is not None]), acks_stop=False)
        late = self.book.delay_ns >= self.book.slice_ns
        if late:
            walk = Walk(self.book, state, LateRequests(work, state["leaving"], self.book.slice_ns))
        else:
            walk = WalkBesideVenue(self.book, state, work)
        k = lo
        while k < hi:
            k = walk.advance(columns, k, hi)
        rows = walk.close(hi)
        state["venue"] = work.close()
        state["at"] = hi
        return state, passed + rows
