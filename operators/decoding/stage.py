"""Scores to decisions: the stage whose output is all that a shard says to the book and to the lake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from operators.decoding import kernels
from operators.decoding.skill import SHARES_E2, SkillMeter, compilable, opaque, rows_by_symbol, session_table
from operators.timeline.stage import Migration, ShardPlace, State
from schemas.ranges import SLICE_QUOTE, ScoreRange, SliceOut
from schemas.tables import SIGNAL, STATISTICS, Rows
from schemas.ticks import shard_key

LONG_AGO = -(2**62)


class DecisionRules(Protocol):
    """What this room needs of a model (operators/spiking has it): frozen calibration and thresholds, by symbol."""

    @property
    def calibration(self) -> npt.NDArray[np.float64]:
        """Confidence by size of score, (rows, 2, points)."""
        ...

    @property
    def thresholds(self) -> npt.NDArray[np.float64]:
        """Sizes of score past which a share of spells is selected, (rows, predictors, delays, shares)."""
        ...

    @property
    def id(self) -> int:
        """The model's name in rows, a uint64."""
        ...

    def row_of(self, symbol: str) -> int:
        """The row of both arrays that holds for a symbol."""
        ...


class DecodingStage:
    """Turns scores into actions, and sums up each slice.

    A symbol's action (buy, sell, hold) changes when the score passes the frozen threshold of `signal.enter_share` on another side,
    and falls back to hold when it passes that of `signal.leave_share` on the opposite side, at most once in
    `signal.min_interval_ms`, only at ticks that drive the network in session at or after the decision start, while the
    symbol's last quote is neither locked nor crossed. A new session starts from hold.

    State: action int8 (S,), changed_ns int64 (S,), quote_ok uint8 (S,), session int64 (S,), signal_n int64 (S,), statistics_n
    int64 (1,), and `skill` (operators/decoding/skill.py).
    """

    version = 1
    migrations: Mapping[int, Migration] = {}

    def __init__(self, place: ShardPlace, model: DecisionRules) -> None:
        self._place = place
        self._model = np.uint64(model.id)
        settings = place.settings.signal
        known = place.instruments
        rows = [model.row_of(known.symbols[s]) for s in place.symbols]
        thresholds = model.thresholds[rows]
        later = thresholds[:, 0, -1]
        self._enter = np.ascontiguousarray(later[:, _share_index(settings.enter_share)])
        self._leave = np.ascontiguousarray(later[:, _share_index(settings.leave_share)])
        self._curves = np.ascontiguousarray(model.calibration[rows])
        self._tradeable = np.array([known.instruments[s].tradeable for s in place.symbols], np.uint8)
        self._bounds, self._sessions = session_table(place)
        self._min_interval_ns = settings.min_interval_ms * 1_000_000
        self._skill = SkillMeter(place, thresholds)
        self._places = np.full(len(place.symbols), -1, np.int64)
        self._touched = np.zeros(len(place.symbols), np.int64)
        self._room(0)

    def start(self) -> State:
        n = len(self._place.symbols)
        return {
            "action": np.zeros(n, np.int8),
            "changed_ns": np.full(n, LONG_AGO, np.int64),
            "quote_ok": np.zeros(n, np.uint8),
            "session": self._bounds[:-1].copy(),
            "signal_n": np.zeros(n, np.int64),
            "statistics_n": np.zeros(1, np.int64),
            "skill": self._skill.start(),
        }

    def step(self, state: State, x: ScoreRange) -> tuple[State, SliceOut]:
        gated = x.gated
        letters = [r.a["slice"] for r in gated.rows if r.table == "dead_letters"]
        dead = np.sort(np.concatenate(letters)) if letters else _NO_SLICES
        rows = list(gated.rows)
        most = gated.ticks.size + dead.size
        if most > self._statistics.size:
            self._room(most)
        n_signals = n_quotes = 0
        if most:
            n_signals, n_quotes, n_stats = kernels.decode(
                gated.ticks, gated.slices, gated.gate, x.use, x.score, x.input_spikes, x.hidden_spikes, self._place.local,
                self._tradeable, self._enter, self._leave, self._curves, self._bounds, self._sessions, self._min_interval_ns,
                self._model, dead, self._place.settings.slice_ns, state["action"], state["changed_ns"], state["quote_ok"],
                state["session"], state["signal_n"], state["statistics_n"], self._signals, self._quotes, self._statistics,
                self._places, self._touched,
            )  # fmt: skip
            rows += rows_by_symbol("signals", self._signals[:n_signals].view(SIGNAL), self._place)
            rows.append(Rows("statistics", shard_key(gated.shard), opaque(self._statistics[:n_stats]).copy().view(STATISTICS)))
        rows += self._skill.step(state["skill"], x)
        signals = opaque(self._signals[:n_signals]).copy().view(SIGNAL)
        quotes = opaque(self._quotes[:n_quotes]).copy().view(SLICE_QUOTE)
        return state, SliceOut(gated.shard, gated.lo, gated.hi, signals, quotes, tuple(rows), gated)

    def _room(self, most: int) -> None:
        """Arrays into which a range of so many ticks and dead letters is decoded. They are kept: fresh pages would cost more than the
        decoding. The kernel writes every field of a row but the padding.
        """
        most = 1 << (most - 1).bit_length() if most else 0
        self._signals, self._quotes = np.zeros(most, _SIGNAL_BYTES), np.zeros(most, SLICE_QUOTE)
        self._statistics = np.zeros(most, STATISTICS)


_SIGNAL_BYTES = compilable(SIGNAL)
_NO_SLICES = np.empty(0, np.int64)


def _share_index(share: str) -> int:
    return SHARES_E2.index(round(float(share) * 100))
