"""The quality gate of one shard: every tick is judged before anything uses it; what is refused becomes a dead letter.

Checks, in this order; the first that fails is the reason (schemas.tables.DeadLetterReason):
kind, symbol; side, price, size (both sides of a quote; a depth size of 0 removes a level; 0 is a size where the instrument has
none), largest price and size; a time the source refused, negative lateness, a sequence number not above the last (a repeated
tick), time backward within the symbol; crossed book and suspicious mark, by setting; outliers.

Outliers are judged inside the session only, on doubled prices (bid + ask, twice a trade's price), quotes and trades apart:
- by percent: further than `percent_from_last` from the last accepted price;
- by MAD: further than the floor from the last accepted price and |x - median| > max(floor, mad_factor * MAD), with the real
  median and median absolute deviation of the last `mad_window` accepted prices (from 5 on; Hampel 1974); the floor is the larger of
  `mad_floor_ticks` and `mad_floor_bps` of the last price. A price within the floor of the last one is never an outlier, which
  is also what makes the check cheap.
- `outlier_confirmations` consecutive refused prices on one side of the last, each within a quarter of the jump (or the floor) of
  the one before, are the new level: the window starts anew there (a halt, a gap). They stay refused; the next one near them passes.
- the windows start anew with each session and at a corporate action. Prints that feed no features, and crossed quotes let through,
  are judged by percent and never enter a window. Depth is not judged by price.

`len(passed) + len(dead letters) == read`, always. The quality score is the product of three running means (over about 1,000
ticks) from 0 to 1: completeness 1 / (1 + gap), timeliness 1 - late / timely_ms, validity (1 passed, 0 refused). It leaves as a row of the
table `quality` for each ten seconds of event time, by their slices, in which a symbol had a tick, once nothing more can come in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from operators.quality import kernels as k
from operators.timeline.stage import Migration, ShardPlace, State
from schemas.ranges import GatedRange, LeadSeries
from schemas.tables import DEAD_LETTER, QUALITY, QUALITY_NS, Rows
from schemas.ticks import Ints, Ticks, read_only, rows_at

UNKNOWN_KEY: Final = "unknown"
"""Key of dead letters whose symbol is not one of the shard's."""


def _no_quality(symbols: int) -> State:
    """Nothing told of the quality yet, and nothing to tell."""
    return {
        "tally": np.zeros((symbols, k.TALLY), np.int64),
        "period": np.full(1, k.NO_PERIOD, np.int64),
        "quality_n": np.zeros(symbols, np.int64),
    }


def _from_version_1(state: State) -> State:
    """Version 1 kept `gaps`, which nothing read, and told nothing: the first row counts from here on."""
    kept = {name: value for name, value in state.items() if name != "gaps"}
    return {**kept, **_no_quality(len(state["score"]))}


class QualityStage:
    """Gate of one shard. `decide_from_ns`: ticks before it are warm-up and lack the gate's DECIDES bit.

    State, by symbol of the shard (L): `next_seq` uint64 (L,) smallest sequence number still new; `last_ts` int64 (L,) ns; `session`
    int64 (L,) session that has not ended; `track` int64 (L, 2, 5) and `window` int64 (L, 2, mad_window) accepted prices, doubled;
    `score` int64 (L, 3) 1e-9; `tally` int64 (L, 4) what came in the ten seconds under way, which are number `period` int64 (1,);
    `quality_n` int64 (L,) rows of `quality` so far; `dead` int64 (L + 1,) dead letters so far, unknown symbols last; `lead` int64 (L,)
    last doubled price told to followers.
    """

    version = 2
    migrations: Mapping[int, Migration] = {1: _from_version_1}

    def __init__(self, place: ShardPlace, decide_from_ns: int = -(2**62)) -> None:
        gate = place.settings.gate
        mine = [place.instruments.instruments[s] for s in place.symbols]
        chosen = place.settings.replay.symbols
        followed = {i.leader for i in place.instruments.instruments if i.leader is not None}
        self._place = place
        self._names = (*(i.symbol for i in mine), UNKNOWN_KEY)
        self._leading = tuple(s for s, i in zip(place.symbols, mine, strict=True) if i.symbol in followed)
        self._limits = np.zeros((len(mine), k.LIMITS), np.int64)
        self._off_exchange = np.zeros((len(mine), 256), np.uint8)
        for n, i in enumerate(mine):
            table = i.conditions
            self._limits[n] = (
                2 * gate.mad_floor_ticks * i.tick_size,
                i.price_max,
                i.size_max,
                1 if i.sized else 0,
                i.quoted,
                table.no_fill,
                table.no_volume,
                table.no_features,
                i.symbol in followed,
                not chosen or i.symbol in chosen,
            )
            self._off_exchange[n, np.frombuffer(table.off_exchange.encode("ascii"), np.uint8)] = 1
        self._rules = np.zeros(k.RULES, np.int64)
        self._rules[k.FLAG_CROSSED] = gate.crossed == "flag"
        self._rules[k.PASS_SUSPICIOUS] = gate.suspicious == "pass"
        self._rules[k.MAD_FACTOR] = gate.mad_factor
        self._rules[k.FLOOR_BPS] = gate.mad_floor_bps
        self._rules[k.PERCENT] = gate.percent_from_last
        self._rules[k.CONFIRMATIONS] = gate.outlier_confirmations
        self._rules[k.TIMELY_NS] = gate.timely_ms * 1_000_000
        self._rules[k.DECIDE_FROM] = decide_from_ns
        self._rules[k.SLICE_NS] = place.settings.slice_ns
        intervals = [place.instruments.session_array(s) for s in place.symbols]
        self._session_end = np.cumsum([len(a) for a in intervals], dtype=np.int64)
        self._sessions = np.concatenate(intervals) if intervals else np.empty((0, 2), np.int64)
        self._symbols = np.array(place.symbols, np.int64)
        self._scratch = np.empty(gate.mad_window, np.int64)

    def start(self) -> State:
        count = len(self._place.symbols)
        return {
            "next_seq": np.zeros(count, np.uint64),
            "last_ts": np.full(count, -(2**63), np.int64),
            "session": np.concatenate([np.zeros(1, np.int64), self._session_end[:-1]])[:count],
            "track": np.zeros((count, 2, k.TRACK), np.int64),
            "window": np.zeros((count, 2, self._place.settings.gate.mad_window), np.int64),
            "score": np.full((count, k.SCORE), k.ONE_E9, np.int64),
            **_no_quality(count),
            "dead": np.zeros(count + 1, np.int64),
            "lead": np.zeros(count, np.int64),
        }

    def step(self, state: State, x: tuple[int, int, Ticks, Ints]) -> tuple[State, tuple[GatedRange, tuple[LeadSeries, ...]]]:
        """Judges the ticks of slices [lo, hi). Ticks in the tape's order; where none is refused they are handed on as they are."""
        lo, hi, ticks, slices = x
        count = len(ticks)
        reason = np.empty(count, np.uint8)
        gate = np.empty(count, np.uint8)
        leads = np.empty((3, count if self._leading else 0), np.int64)
        refused = late = led = told = 0
        quality = np.zeros(self._most_told(slices), QUALITY)
        if count:
            refused, late, led, told = k.pass_range(
                read_only(ticks),
                read_only(slices),
                self._place.local,
                self._limits,
                self._off_exchange,
                self._rules,
                self._sessions,
                self._session_end,
                state["session"],
                state["next_seq"],
                state["last_ts"],
                state["track"],
                state["window"],
                state["score"],
                state["tally"],
                state["period"],
                self._symbols,
                state["quality_n"],
                quality,
                state["lead"],
                self._scratch,
                reason,
                gate,
                leads[0],
                leads[1],
                leads[2],
            )
        slice_ns = self._place.settings.slice_ns
        period = state["period"].item(0)
        if period < min(hi * slice_ns // QUALITY_NS, k.NO_PERIOD):
            told = k.tell_quality(state["tally"], state["score"], period, slice_ns, self._symbols, state["quality_n"], quality, told)
        rows: tuple[Rows, ...] = ()
        passed, passed_slices = ticks, slices
        if refused:
            keep = reason == 0
            rows = self._dead_letters(state["dead"], ticks[~keep], slices[~keep], reason[~keep])
            passed, passed_slices, gate = rows_at(ticks, keep), slices[keep], gate[keep]
            passed.flags.writeable = passed_slices.flags.writeable = False
        series = tuple(_lead_series(symbol, lo, hi, ticks, slices, leads[:, :led]) for symbol in self._leading)
        if told:
            rows += self._by_symbol(quality[:told])
        return state, (GatedRange(self._place.shard, lo, hi, passed, passed_slices, gate, rows, count, late), series)

    def _most_told(self, slices: Ints) -> int:
        """The most rows of `quality` that ticks of these slices can end: for each symbol one of each ten seconds, and those before them."""
        slice_ns, symbols, count = self._place.settings.slice_ns, len(self._place.symbols), len(slices)
        if not count:
            return symbols
        spanned = (slices.item(-1) - slices.item(0)) * slice_ns // QUALITY_NS + 2
        return symbols + min(spanned * symbols, count)

    def _by_symbol(self, told: npt.NDArray[np.void]) -> tuple[Rows, ...]:
        """Rows of `quality`, each symbol's apart."""
        if len(self._place.symbols) == 1:
            return (Rows("quality", self._names[0], told),)
        of = self._place.local[told["symbol"]]
        return tuple(Rows("quality", self._names[n], rows_at(told, of == n)) for n in np.unique(of).tolist())

    def _dead_letters(self, so_far: Ints, ticks: Ticks, slices: Ints, reason: npt.NDArray[np.uint8]) -> tuple[Rows, ...]:
        """Rows of refused ticks by symbol, in the tape's order; moves the counters."""
        local = self._place.local
        symbol = ticks["symbol"].astype(np.int64)
        place = np.where(symbol < len(local), local[np.minimum(symbol, len(local) - 1)], -1)
        place[place < 0] = len(self._names) - 1
        rows = []
        for n in np.unique(place):
            mine = place == n
            a = np.zeros(int(np.count_nonzero(mine)), DEAD_LETTER)
            a["n"] = so_far[n] + np.arange(len(a))
            a["slice"] = slices[mine]
            a["ts_ns"] = ticks["ts_ns"][mine]
            a["sequence"] = ticks["seq"][mine]
            a["symbol"] = symbol[mine]
            a["reason"] = reason[mine]
            a["record"] = np.ascontiguousarray(ticks[mine]).view("V72")
            so_far[n] += len(a)
            rows.append(Rows("dead_letters", self._names[n], a))
        return tuple(rows)


def _lead_series(symbol: int, lo: int, hi: int, ticks: Ticks, slices: Ints, leads: Ints) -> LeadSeries:
    """The entries of one symbol out of the changes (row, time known, doubled price; int64 (3, m)) of all leading symbols."""
    if leads.shape[1] == 0:
        return LeadSeries(symbol, lo, hi, leads[1].copy(), leads[2].copy(), leads[0].copy())
    mine = leads[:, ticks["symbol"][leads[0]] == symbol]
    return LeadSeries(symbol, lo, hi, mine[1], mine[2], slices[mine[0]])
