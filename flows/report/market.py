"""What the market did over a run's tape: paths of the mid, volume, and what was left out. One pass through the gates alone.

The gate is the run's own, so what it refused is refused here. A path holds one entry per change of bid or ask in session (locked quotes
included), and one at each session's first quote; so its memory grows with the changes of the price, not with the ticks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flows.offline import ShardChain, gated_ranges
from flows.trading import Stages
from operators.sources.replay import TapeCursor
from schemas.ranges import FILLS, IN_SESSION, LIT, LOCKED, VOLUME, GatedRange
from schemas.ticks import QUOTE, TRADE, Ints

BATCH_TICKS = 131_072
MS = 1_000_000
HORIZON_MS = 60_000
"""A label looks for the next change of the mid at most this far (realism.md section 6)."""


@dataclass(frozen=True, eq=False)
class Path:
    """Prices of a symbol in session: `ts_ns` int64 (m,) never decreasing; `bid`, `ask` int64 (m,) fixed point; `session` int64 (m,) the
    number of the session; `sessions` int64 (s, 2): open and close."""

    ts_ns: Ints
    bid: Ints
    ask: Ints
    session: Ints
    sessions: Ints

    @property
    def mid2(self) -> Ints:
        """Twice the mid."""
        return self.bid + self.ask

    def as_of(self, ts_ns: Ints, horizon_ns: int) -> tuple[Ints, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Twice the mid `horizon_ns` after each time, at most at the close of the session of `ts_ns`.

        Returns (mid2, known, cut): `known` is False where the session has no quote up to there, `cut` True where the close cut the horizon.
        """
        inside, close = self._session_of(ts_ns)
        until = np.minimum(ts_ns + horizon_ns, close - 1)
        at = np.searchsorted(self.ts_ns, until, side="right") - 1
        known = (at >= 0) & (inside >= 0)
        if self.ts_ns.size:
            known &= self.session[np.maximum(at, 0)] == inside
            return np.where(known, self.mid2[np.maximum(at, 0)], 0), known, ts_ns + horizon_ns >= close
        return np.zeros(ts_ns.size, np.int64), np.zeros(ts_ns.size, bool), ts_ns + horizon_ns >= close

    def labels(self, ts_ns: Ints, delay_ns: int) -> npt.NDArray[np.int8]:
        """Sign of the first different mid after ts + delay against the mid as of then, within 60 s and the session; 0: there is none.

        The mid is the one at the end of each millisecond (realism.md section 6).
        """
        base, to, has = self.next_change(ts_ns, delay_ns)
        mid2 = self.mid2
        return np.where(has, np.sign(mid2[to] - mid2[base]), 0).astype(np.int8) if mid2.size else np.zeros(ts_ns.size, np.int8)

    def next_change(self, ts_ns: Ints, delay_ns: int) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """Places in the path: the prices as of ts + delay, those at the next different mid, and whether there is one in time."""
        ms = self.ts_ns // MS
        last = np.flatnonzero(np.append(np.diff(ms) > 0, True)) if ms.size else np.zeros(0, np.int64)
        ms, mid2, session = ms[last], self.mid2[last], self.session[last]
        moved = np.flatnonzero((np.diff(mid2, prepend=mid2[:1]) != 0) & (np.diff(session, prepend=session[:1]) == 0))
        nowhere = np.zeros(ts_ns.size, np.int64)
        if not moved.size:
            return nowhere, nowhere, np.zeros(ts_ns.size, bool)
        inside, _ = self._session_of(ts_ns)
        u = (ts_ns + delay_ns) // MS
        base = np.searchsorted(ms, u, side="right") - 1
        following = np.searchsorted(moved, base, side="right")
        has = (base >= 0) & (following < moved.size) & (inside >= 0)
        to, base = moved[np.minimum(following, moved.size - 1)], np.maximum(base, 0)
        has &= (session[to] == inside) & (session[base] == inside) & (ms[to] - u <= HORIZON_MS)
        return last[base], last[to], has

    def spells(self) -> Ints:
        """Places at which the mid changes, or a session begins."""
        mid2 = self.mid2
        return np.flatnonzero((np.diff(mid2, prepend=-1) != 0) | (np.diff(self.session, prepend=-1) != 0))

    def _session_of(self, ts_ns: Ints) -> tuple[Ints, Ints]:
        """Number of the session that holds each time (-1: none), and its close (the time itself where there is none)."""
        return session_of(self.sessions, ts_ns)


def session_of(sessions: Ints, ts_ns: Ints) -> tuple[Ints, Ints]:
    """Number of the session (rows of open and close) that holds each time, -1 for none; and its close, the time itself for none."""
    at = np.searchsorted(sessions[:, 0], ts_ns, side="right") - 1
    close = sessions[np.maximum(at, 0), 1] if len(sessions) else np.zeros(ts_ns.size, np.int64)
    inside = (at >= 0) & (ts_ns < close)
    return np.where(inside, at, -1).astype(np.int64), np.where(inside, close, ts_ns).astype(np.int64)


@dataclass
class Counts:
    """Ticks of a symbol by what became of them; `volume` in the instrument's fixed point, of regular prints in session."""

    read: int = 0
    quotes: int = 0
    trades: int = 0
    out_of_session: int = 0
    locked: int = 0
    off_exchange: int = 0
    no_fill: int = 0
    volume: int = 0
    first_ask: int = 0
    last_bid: int = 0


@dataclass(frozen=True, eq=False)
class Market:
    """Paths and counts by symbol id."""

    paths: dict[int, Path]
    counts: dict[int, Counts]


@dataclass
class _Collected:
    ts_ns: list[Ints] = field(default_factory=list)
    bid: list[Ints] = field(default_factory=list)
    ask: list[Ints] = field(default_factory=list)
    session: list[Ints] = field(default_factory=list)
    last: tuple[int, int, int] = (0, 0, -1)
    counts: Counts = field(default_factory=Counts)


def survey(stages: Stages, cursor: TapeCursor, moved: Callable[[int], None] = lambda _: None) -> Market:
    """Passes all that the run read through the gates. `moved` is told the ticks so far."""
    chains = {shard: ShardChain(stages, shard) for shard in stages.shards}
    sessions = {s: stages.instruments.session_array(s) for place in stages.places.values() for s in place.symbols}
    found = {s: _Collected() for s in sessions}
    done = 0
    for gated in gated_ranges(chains, cursor, BATCH_TICKS):
        for shard, (range_, _) in gated.items():
            done += range_.read
            if range_.ticks.size:
                for s in stages.places[shard].symbols:
                    _collect(found[s], range_, s, sessions[s])
        moved(done)
    paths = {s: Path(_joined(c.ts_ns), _joined(c.bid), _joined(c.ask), _joined(c.session), sessions[s]) for s, c in found.items()}
    return Market(paths, {s: c.counts for s, c in found.items()})


def _collect(into: _Collected, gated: GatedRange, symbol: int, sessions: Ints) -> None:
    mine = gated.ticks["symbol"] == symbol
    ticks, gate = gated.ticks[mine], gated.gate[mine]
    in_session = gate & IN_SESSION > 0
    quote, trade = ticks["kind"] == QUOTE, ticks["kind"] == TRADE
    c = into.counts
    c.read += int(ticks.size)
    c.quotes += int(quote.sum())
    c.trades += int(trade.sum())
    c.out_of_session += int((~in_session).sum())
    c.locked += int((quote & in_session & (gate & LOCKED > 0)).sum())
    c.off_exchange += int((trade & in_session & (gate & LIT == 0)).sum())
    c.no_fill += int((trade & in_session & (gate & FILLS == 0)).sum())
    c.volume += int(ticks["size"][trade & in_session & (gate & VOLUME > 0)].sum())
    q = ticks[quote & in_session & (ticks["ask"] >= ticks["price"])]
    if not q.size:
        return
    if not c.first_ask:
        c.first_ask = int(q["ask"][0])
    c.last_bid = int(q["price"][-1])
    bid, ask = np.ascontiguousarray(q["price"]), np.ascontiguousarray(q["ask"])
    session, _ = session_of(sessions, q["ts_ns"])
    was_bid, was_ask, was_session = into.last
    new = (np.diff(bid, prepend=was_bid) != 0) | (np.diff(ask, prepend=was_ask) != 0) | (np.diff(session, prepend=was_session) != 0)
    into.ts_ns.append(q["ts_ns"][new])
    into.bid.append(bid[new])
    into.ask.append(ask[new])
    into.session.append(session[new])
    into.last = int(bid[-1]), int(ask[-1]), int(session[-1])


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *parts])
