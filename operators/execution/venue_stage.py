"""The paper venue as a process of its own: it hears of the book's requests turn by turn, and says what happened.

Lockstep. The venue may work through slice k once it has the ticks of all shards through k and knows all requests that were decided
before k: what is decided at the end of slice k is sent in slice k + 1 or later. The same rules fill the same orders as in one process
(venue.py), however the inputs are cut and in whatever order they come. What waits meanwhile, ticks and requests, is in the state; the
credit of the sources bounds it (operators/timeline/control.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from operators.execution.venue import PaperVenue, VenueInput
from operators.timeline.stage import Migration, State
from schemas.errors import StateMismatchError
from schemas.instruments import InstrumentList
from schemas.order_wire import NO_REPORTS, NO_REQUESTS, NOTHING_HEARD, UNSETTLED, BookTurn, VenueTurn, unheard
from schemas.ranges import GatedRange
from schemas.settings import Settings
from schemas.ticks import END, rows_joined

GOES_ON, OVER, SAID = range(3)

Held = tuple[int, int, int, Any, Any, Any]
"""A gated range as it waits: shard, lo, hi, ticks, slices, gate."""


class VenueStage:
    """The venue of one deployment. Input: a gated range of every shard, or a turn of the book, in any order. Output: its turns, a list.

    State:

    | field | meaning |
    | --- | --- |
    | at | the first slice not yet worked through, -1 before the first range |
    | venue | the paper venue's state |
    | waiting | gated ranges that are not yet worked through (Held), each shard's in order |
    | through | the ticks of all slices before this have come, -1: nothing yet |
    | over | GOES_ON; OVER: the ticks have ended at `through`; SAID: the book was told so |
    | heard | the book's turns reach up to this slice |
    | requests | those that are not yet sent, ORDER_REQUEST (n,) in the order of sending |
    """

    version = 1
    migrations: Mapping[int, Migration] = {}

    def __init__(self, instruments: InstrumentList, settings: Settings, shards: tuple[int, ...]) -> None:
        self.shards = shards
        self.venue = PaperVenue(instruments, settings)

    def start(self) -> State:
        """The venue before the first slice: no orders."""
        return {
            "at": -1,
            "venue": self.venue.start(),
            "waiting": [],
            "through": -1,
            "over": GOES_ON,
            "heard": NOTHING_HEARD,
            "requests": NO_REQUESTS,
        }

    def step(self, state: State, x: tuple[GatedRange, ...] | BookTurn) -> tuple[State, list[VenueTurn]]:
        """Takes what came and works through every slice that can be.

        Raises ValueError for ranges that do not follow each other, StateMismatchError for turns that do not, InstrumentError for an
        order in an instrument that the deployment does not have.
        """
        if isinstance(x, BookTurn):
            self._hear(state, x)
        else:
            self._take(state, x)
        turn = self._work(state)
        return state, [] if turn is None else [turn]

    def _take(self, state: State, x: tuple[GatedRange, ...]) -> None:
        shards, bounds = tuple(g.shard for g in x), {(g.lo, g.hi) for g in x}
        if shards != self.shards or len(bounds) != 1:
            msg = f"venue: expected one range of slices of each shard {self.shards}, got shards {shards}, slices {bounds}"
            raise ValueError(msg)
        lo, hi = bounds.pop()
        if state["through"] not in (-1, lo) or hi <= lo:
            msg = f"venue: has ticks up to slice {state['through']}, was given slices [{lo}, {hi})"
            raise ValueError(msg)
        if state["at"] == -1:
            state["at"] = lo
        if hi >= END:
            state["over"], state["through"] = OVER, lo
            return
        state["waiting"] += [(g.shard, lo, hi, g.ticks, g.slices, g.gate) for g in x if g.ticks.size]
        state["through"] = hi

    def _hear(self, state: State, said: BookTurn) -> None:
        turn = unheard(said, state["heard"], "venue", "the book's requests")
        if turn is None:
            return
        if turn.requests.size:
            sent = int(turn.requests["sent_ts_ns"][0]) // self.venue.slice_ns
            if sent < state["at"]:
                msg = f"venue: a request sent in slice {sent} came after slice {state['at'] - 1} was worked through"
                raise StateMismatchError(msg)
            state["requests"] = rows_joined([state["requests"], turn.requests])
        state["heard"] = turn.hi

    def _work(self, state: State) -> VenueTurn | None:
        """Works through every slice that can be; the turn that says what happened, None if there was nothing to do."""
        lo = hi = state["at"]
        reports, settled = NO_REPORTS, UNSETTLED
        limit = min(state["through"], state["heard"] + 1)
        if limit > lo:
            requests = state["requests"]
            sent = int(np.searchsorted(requests["sent_ts_ns"], limit * self.venue.slice_ns))
            pieces = tuple(_head(held, limit) for held in state["waiting"] if held[1] < limit)
            state["waiting"] = [_tail(held, limit) for held in state["waiting"] if held[2] > limit]
            state["venue"], reports = self.venue.step(state["venue"], VenueInput(lo, limit, pieces, requests[:sent]))
            state["requests"] = requests[sent:]
            state["at"] = hi = limit
            if not state["requests"].size and self.venue.idle(state["venue"]):
                settled = state["heard"]
        if state["over"] == OVER and hi == state["through"]:
            state["over"], hi, settled = SAID, END, END
        return VenueTurn(lo, hi, reports, settled) if hi > lo else None


def is_over(state: State) -> bool:
    """Whether the venue has worked through its last slice, and the turn that says so was given out."""
    return bool(state["over"] == SAID)


def awaited(state: State) -> str | None:
    """What of the book the venue waits for though it has the ticks, in words; None: nothing."""
    if not state["at"] < state["through"] or state["at"] < state["heard"] + 1:
        return None
    return f"slice {state['at']} waits for the book, whose decisions (topic requests) reach to slice {state['heard']}"


def _head(held: Held, k: int) -> GatedRange:
    """What of a range stands before slice k."""
    shard, lo, hi, ticks, slices, gate = held
    i = int(np.searchsorted(slices, k))
    return GatedRange(shard, lo, min(hi, k), ticks[:i], slices[:i], gate[:i], (), i, 0)


def _tail(held: Held, k: int) -> Held:
    """What of a range stands from slice k on."""
    shard, lo, hi, ticks, slices, gate = held
    i = int(np.searchsorted(slices, k))
    return shard, max(lo, k), hi, ticks[i:], slices[i:], gate[i:]
