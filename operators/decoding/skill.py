"""Skill of the network and of the queue imbalance, measured while ticks flow: counts by symbol, 5-minute block, delay and share.

The definition is spec/realism.md section 6. What it leaves open is read so: time counts in whole milliseconds (the mid is the one at
the end of each, so the eligible tick is a millisecond's last quote); the change that labels a prediction lies at most 60 s
after ts + d; a spell counts where its first eligible tick stands, a prediction where its tick stands.

State of a shard (S symbols, Q a power of two)
| name | dtype, shape | meaning |
| --- | --- | --- |
| whole | int64 (S, 18) | columns by the names in skill_kernels: MID bid + ask at the end of the last settled millisecond (0: none in |
| | | this session), SESSION row of the session list, COUNTED the spell had an eligible tick, ROW_N rows written, TAKEN by delay: |
| | | bit predictor * 4 + share is set once the spell has its prediction, HEAD and TAIL by delay: entries taken from and put into |
| | | the queue, ever, BLOCK open blocks (NONE where free), SPELLS of each |
| counts | int64 (S, 4, 2, 2, 4, 5) | of the open blocks, by delay, predictor, share |
| pending | PENDING (S,) | the last quote, while a later one of its millisecond may come |
| queue | int64 (S, 2, Q) | waiting predictions by delay, see skill_kernels |
| due | int | first slice in which a block will close |

The queue grows by doubling and never beyond 65,536: one eligible tick a millisecond for 60 s and the delay is all that can wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.decoding import skill_kernels
from operators.timeline.stage import ShardPlace, State
from schemas.ranges import ScoreRange
from schemas.tables import SKILL, Rows

DELAYS_NS: Final = tuple(ms * skill_kernels.MS for ms in skill_kernels.DELAYS_MS)
SHARES_E2: Final = skill_kernels.SHARES_E2
FIRST_CAPACITY: Final = 256
PENDING: Final = np.dtype(
    [("ms", "<i8"), ("mid2", "<i8"), ("imbalance", "<f8"), ("now", "<f4"), ("later", "<f4"), ("eligible", "u1"), ("pad", "u1", (7,))]
)


def compilable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The same layout with opaque fields as bytes, which is what Numba understands."""
    fields: Mapping[str, Any] = dtype.fields or {}
    return np.dtype([(k, "u1", (t.itemsize,)) if t.kind == "V" else (k, t) for k, (t, *_) in fields.items()])


_SKILL_BYTES: Final = compilable(SKILL)
Floats = npt.NDArray[np.float64]


def session_table(place: ShardPlace) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sessions of all symbols of a shard in one int64 (m, 2) array, and int64 (S + 1,) bounds of each symbol's rows."""
    lists = [place.instruments.session_array(s) for s in place.symbols]
    bounds = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(x) for x in lists], out=bounds[1:])
    return bounds, np.concatenate([np.empty((0, 2), np.int64), *lists])


class SkillMeter:
    """The machines of a shard's symbols. `thresholds` float64 (S, 2, 2, 4): size by predictor, delay, share; see TickNetwork."""

    def __init__(self, place: ShardPlace, thresholds: Floats) -> None:
        self._place = place
        bounds, sessions = session_table(place)
        self._symbols = np.array(place.symbols, np.int64)
        self._sized = np.array([place.instruments.instruments[s].sized for s in place.symbols], np.uint8)
        self._bounds = bounds
        self._slice_ns = place.settings.slice_ns
        self._config = (
            self._symbols,
            bounds,
            sessions,
            np.ascontiguousarray(thresholds),
            self._slice_ns,
        )

    def start(self) -> State:
        """The state before the first tick."""
        n, slots = len(self._symbols), skill_kernels.SLOTS
        pending = np.zeros(n, PENDING)
        pending["ms"] = skill_kernels.NONE
        whole = np.zeros((n, skill_kernels.WHOLE), np.int64)
        whole[:, skill_kernels.SESSION] = self._bounds[:-1]
        whole[:, skill_kernels.BLOCK : skill_kernels.BLOCK + slots] = skill_kernels.NONE
        return {
            "whole": whole,
            "counts": np.zeros((n, slots, 2, 2, 4, skill_kernels.COUNTS), np.int64),
            "pending": pending,
            "queue": np.zeros((n, 2, FIRST_CAPACITY), np.int64),
            "due": 2**62,
        }

    def step(self, state: State, x: ScoreRange) -> list[Rows]:
        """Hears a range, changes the state, returns the rows of the blocks that closed in it."""
        ticks = x.gated.ticks
        if not ticks.size and x.gated.hi <= state["due"]:
            return []
        out = np.zeros(self._most_rows(ticks["ts_ns"]), _SKILL_BYTES)
        first, written = 0, 0
        while True:
            arrays = (state["whole"], state["counts"], state["pending"], state["queue"])
            reached, written, due = skill_kernels.measure(
                ticks, x.gated.gate, x.score, x.score_now, first, x.gated.hi, self._place.local, self._sized, self._config, arrays,
                out, written,
            )  # fmt: skip
            if reached == ticks.size:
                state["due"] = int(due)
                return rows_by_symbol("skill", out[:written].view(SKILL), self._place)
            first = ticks.size if reached < 0 else reached
            state["queue"] = _doubled(state)

    def _most_rows(self, ts_ns: npt.NDArray[np.int64]) -> int:
        """How many rows a range can write at most: all its blocks and those open before, 16 rows each."""
        block_ns = skill_kernels.BLOCK_MS * skill_kernels.MS
        blocks = int(ts_ns.max() // block_ns - ts_ns.min() // block_ns) + 1 if ts_ns.size else 0
        symbols = len(self._symbols)
        return 16 * (min(ts_ns.size, blocks * symbols) + (skill_kernels.SLOTS + 1) * symbols)


def _doubled(state: State) -> npt.NDArray[np.int64]:
    """The queues in arrays of twice the length, each waiting entry where its number puts it."""
    old = state["queue"]
    size = old.shape[2]
    new = np.zeros((old.shape[0], old.shape[1], 2 * size), np.int64)
    for s, d in np.ndindex(old.shape[:2]):
        k = np.arange(state["whole"][s, skill_kernels.HEAD + d], state["whole"][s, skill_kernels.TAIL + d])
        new[s, d, k % (2 * size)] = old[s, d, k % size]
    return new


def rows_by_symbol(table: str, rows: npt.NDArray[Any], place: ShardPlace) -> list[Rows]:
    """Rows of one range split by symbol, each symbol's in their order; symbols ascending."""
    names = place.instruments.symbols
    return [Rows(table, names[s], rows[rows["symbol"] == s]) for s in np.unique(rows["symbol"])]
