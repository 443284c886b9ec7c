"""The account without a venue in its process: it hears of the venue's reports turn by turn, and says what it has decided.

Lockstep. The book may decide slice k once it knows all reports of slices before k. It knows them up to where the venue's turns reach; and
where nothing of what it asked for can be reported on any more (`settled` of the venue's turn is beyond the last slice in which it asked
for something), it knows them all, and works ahead over whatever the shards have said. What it asks for at the end of slice k reaches the
venue in slice k + 1 or later, so reports of slices up to there are known to be none.

While it waits it stands at most one slice beyond what it has heard: of that slice's reports it will want to know the marks before it
(`before`). What waits meanwhile, slices of the shards and reports of slices to come, is in the state; the credit of the sources bounds it
(operators/timeline/control.py).

Everything else is the same walk as that of AccountStage, so the rows are the same too, however the inputs are cut and in whatever order
they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from operators.book.columns import Columns
from operators.book.driver import Account, Walk, keep, mids2
from operators.timeline.stage import Migration, State
from schemas.control import Accepted, Command, Refused
from schemas.errors import InstrumentError, StateMismatchError
from schemas.order_wire import NO_REPORTS, NO_REQUESTS, NO_SLICES, NOTHING_HEARD, UNSETTLED, BookTurn, VenueTurn, unheard
from schemas.orders import EXECUTION_REPORT, Reports, Requests
from schemas.ranges import SliceOut
from schemas.tables import Rows
from schemas.ticks import END, Ints, rows_joined

NEVER_ASKED: Final = UNSETTLED - 1
GOES_ON, OVER, SAID = range(3)

BookInput = tuple[SliceOut, ...] | VenueTurn | Command
BookItem = tuple[Rows, ...] | BookTurn | Accepted | Refused


class VenueElsewhere:
    """The venue as the walk sees it where it is a process of its own: what was heard of it, and what goes to it."""

    def __init__(self, state: State, slice_ns: int, delay_ns: int) -> None:
        self._state = state
        self._slice_ns = slice_ns
        self._delay_ns = delay_ns
        self._asked: list[tuple[int, Requests]] = []

    def next_event(self, until: int) -> int:
        reports = self._state["reports"]
        return min(reports[0][0], until) if reports else until

    def run_until_event(self, until: int) -> Reports:
        reports = self._state["reports"]
        if not reports or reports[0][0] >= until:
            return NO_REPORTS
        return np.frombuffer(reports.pop(0)[1], EXECUTION_REPORT)

    def skip(self, _until: int) -> Reports:
        """Nothing: what was not heard of is not waited for here, and an acknowledgement is an event."""
        return NO_REPORTS

    def submit(self, requests: Requests) -> None:
        state, sent_ns = self._state, int(requests["sent_ts_ns"][0])
        if state["settled"] > state["asked"]:
            state["since"] = sent_ns // self._slice_ns
        state["asked"] = (sent_ns - self._delay_ns) // self._slice_ns - 1
        self._asked.append((state["asked"], requests))

    def asked(self) -> tuple[Requests, Ints]:
        """All that was asked for, in order, and at the end of which slice each was decided."""
        if not self._asked:
            return NO_REQUESTS, NO_SLICES
        sizes = [r.size for _, r in self._asked]
        return rows_joined([r for _, r in self._asked]), np.repeat(np.array([k for k, _ in self._asked], np.int64), sizes)


class BookStage(Account):
    """An account without its venue. Input: a range of every shard, a turn of the venue, or a control message, in any order.

    Output, a list: the rows of the shards as they come and the account's as they arise; a BookTurn for all slices decided since the last;
    what became of a control message.

    State:

    | field | meaning |
    | --- | --- |
    | at | the first slice not yet decided, -1 before the first range |
    | book, pending | as in AccountStage |
    | waiting | columns of ranges that are not yet decided, as dicts of arrays (columns.py) |
    | through | everything the shards say of slices before this has come, -1: nothing yet |
    | over | GOES_ON; OVER: the shards have ended at `through`; SAID: the venue was told so |
    | heard | the venue's turns reach up to this slice |
    | settled | of its last turn |
    | asked | the last slice at whose end something was asked of the venue, NEVER_ASKED before |
    | since | first slice that what was asked for can be reported on, from when it last had nothing at the venue |
    | reports | reports heard of slices from `at` on: (slice, EXECUTION_REPORT records as bytes) |
    | before, before_of | bid + ask of each instrument before slice `before_of`, int64 (instruments,) |
    """

    version = 1
    migrations: Mapping[int, Migration] = {}

    def start(self) -> State:
        """The account with its capital before the first slice."""
        return {
            "at": -1,
            "book": self.book.start(),
            "pending": [],
            "waiting": [],
            "through": -1,
            "over": GOES_ON,
            "heard": NOTHING_HEARD,
            "settled": UNSETTLED,
            "asked": NEVER_ASKED,
            "since": NOTHING_HEARD,
            "reports": [],
            "before": np.zeros(len(self.book.markets), np.int64),
            "before_of": NOTHING_HEARD,
        }

    def step(self, state: State, x: BookInput) -> tuple[State, list[BookItem]]:
        """Takes what came and decides every slice that can be decided now.

        Raises ValueError for ranges that do not follow each other, StateMismatchError for turns that do not, InstrumentError for a
        symbol that the deployment does not have.
        """
        self.book.join_log(state["book"], state["at"])
        if isinstance(x, Command):
            return state, [self.accept(state, x)]
        passed: tuple[Rows, ...] = ()
        if isinstance(x, VenueTurn):
            self._hear(state, x)
        else:
            passed = tuple(r for o in x for r in o.rows)
            self._take(state, x)
        rows, turn = self._decide(state)
        out: list[BookItem] = [passed + rows] if passed or rows else []
        if turn is not None:
            out.append(turn)
        return state, out

    def _take(self, state: State, x: tuple[SliceOut, ...]) -> None:
        lo, hi = self.checked(x, state["through"])
        if state["at"] == -1:
            state["at"] = lo
        if hi >= END:
            state["over"] = OVER
            state["through"] = lo
            return
        columns = Columns.of(x, lo, hi)
        self._check_symbol(columns.largest_symbol, f"slices [{lo}, {hi})")
        self.book.begin(state["book"], columns.first)
        state["waiting"].append(columns.stored())
        state["through"] = hi

    def _hear(self, state: State, said: VenueTurn) -> None:
        turn = unheard(said, state["heard"], f"account {self.book.key}", "the venue's reports")
        if turn is None:
            return
        self._check_symbol(int(turn.reports["symbol"].max(initial=0)), f"reports of slices [{turn.lo}, {turn.hi})")
        for k, reports in _by_slice(turn.reports):
            if state["at"] == -1 or k >= state["at"]:
                state["reports"].append((k, reports.tobytes()))
            elif k == state["before_of"]:
                keep(state, reports, state["before"])
            else:
                msg = f"account {self.book.key}: a report of slice {k} came after slice {state['at'] - 1} was decided"
                raise StateMismatchError(msg)
        state["heard"], state["settled"] = turn.hi, turn.settled

    def _check_symbol(self, symbol: int, where: str) -> None:
        if symbol >= len(self.book.markets):
            msg = f"account {self.book.key}: {where} name symbol {symbol}, the deployment has {len(self.book.markets)}"
            raise InstrumentError(msg)

    def _decide(self, state: State) -> tuple[tuple[Rows, ...], BookTurn | None]:
        """Decides every slice that can be decided; its rows and the turn that says so, None if there was nothing to do."""
        waiting, lo = state["waiting"], state["at"]
        at = hi = lo
        rows: tuple[Rows, ...] = ()
        requests, decided = NO_REQUESTS, NO_SLICES
        if waiting and at <= known(state):
            venue = VenueElsewhere(state, self.book.slice_ns, self.book.delay_ns)
            walk = Walk(self.book, state, venue)
            while waiting and at <= known(state):
                at = _through(state, walk, Columns(**waiting[0]), at)
                if at == waiting[0]["hi"]:
                    waiting.pop(0)
            rows = walk.close(at)
            requests, decided = venue.asked()
            state["at"] = hi = at
        if state["over"] == OVER and at == state["through"]:
            state["over"], hi = SAID, END
        return rows, BookTurn(lo, hi, requests, decided) if hi > lo else None


def known(state: State) -> int:
    """All reports of slices before this one are known, or there are none; END while nothing of the account is at the venue."""
    if state["settled"] > state["asked"]:
        return END
    reached: int = max(state["heard"], state["since"])
    return reached


def is_over(state: State) -> bool:
    """Whether the account has decided its last slice, and the turn that says so was given out."""
    return bool(state["over"] == SAID)


def awaited(state: State) -> str | None:
    """What of the venue an account waits for though the shards have said more, in words; None: nothing."""
    if not state["waiting"] or state["at"] <= known(state):
        return None
    return f"slice {state['at']} waits for the venue, whose reports (topic reports) reach to slice {state['heard']}"


def _through(state: State, walk: Walk, columns: Columns, at: int) -> int:
    """Decides slices of a range from `at` on: those before which all reports are known, the last of them with its own still to come."""
    while at < columns.hi:
        reach = known(state)
        if at < reach:
            at = walk.advance(columns, at, min(columns.hi, reach))
        elif at == reach:
            state["before"], state["before_of"] = mids2(state["book"]), at
            at = walk.advance(columns, at, at + 1)
        else:
            break
    return at


def _by_slice(reports: Reports) -> list[tuple[int, Reports]]:
    """Reports of each slice, in order."""
    if not reports.size:
        return []
    slices = reports["slice"]
    starts = np.flatnonzero(np.diff(slices, prepend=slices[:1] - 1)).tolist()
    return [(int(slices[a]), reports[a:b]) for a, b in zip(starts, [*starts[1:], slices.size], strict=True)]
