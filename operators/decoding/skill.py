"""Skill of the network and of the queue imbalance, measured while ticks flow: counts by symbol, 5-minute block, delay and share.

The definition is spec/realism.md section 6. What it leaves open is read so: time counts in whole milliseconds (the mid is the one at
the end of each, so the eligible tick is a millisecond's last quote); the change that labels a prediction lies at most 60 s
after ts + d; a spell counts where its first eligible tick stands, a prediction where its tick stands.

State of a shard (S symbols, Q a power of two): `machines`, one record (skill_kernels.MACHINE) per symbol; `queue` int64 (S, 2, Q),
the waiting predictions by delay, see skill_kernels; `due`: first slice in which a block will close.
| field of a machine | meaning |
| --- | --- |
| mid | bid + ask at the end of the last settled millisecond, 0: none in this session |
| session, opens_ns, closes_ns | row of the session list in which that was, and its bounds |
| row_n | rows written, ever |
| head, tail | by delay: entries taken from and put into the queue, ever |
| taken | by delay: bit predictor * 4 + share is set once the spell has its prediction |
| blocks | open blocks, NONE where free |
| spells | of the open blocks |
| by_share | of the open blocks by delay, predictor, share: predictions, hits2, expired |
| by_level | of the open blocks by delay, predictor, how many shares the size reached: ticks scored, their hits2 |
| pending_*, eligible | the last quote, while a later one of its millisecond may come; pending_ms NONE: none |
| counted | the spell had an eligible tick |

The queue grows by doubling and never beyond 65,536: one eligible tick a millisecond for 60 s and the delay is all that can wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.decoding import skill_kernels
from operators.timeline.stage import ShardPlace, State
from schemas.errors import ModelError
from schemas.ranges import ScoreRange
from schemas.tables import SKILL, Rows

DELAYS_NS: Final = (0, 150_000_000)
SHARES_E2: Final = (10, 20, 50, 100)
FIRST_CAPACITY: Final = 256


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
        if np.any(np.diff(thresholds, axis=-1) > 0):
            raise ModelError("thresholds rise with the share")
        self._place = place
        bounds, self._sessions = session_table(place)
        rules = np.zeros(len(place.symbols), skill_kernels.RULE)
        rules["symbol"] = place.symbols
        rules["first_session"], rules["last_session"] = bounds[:-1], bounds[1:] - 1
        rules["sized"] = [place.instruments.instruments[s].sized for s in place.symbols]
        rules["slice_ns"] = place.settings.slice_ns
        rules["delays_ms"] = np.array(DELAYS_NS, np.int64) // skill_kernels.MS
        rules["shares_e2"] = SHARES_E2
        rules["thresholds"] = thresholds.transpose(0, 2, 1, 3).reshape(len(place.symbols), -1)
        self._rules = rules
        self._out = np.zeros(4 * skill_kernels.ROOM, _SKILL_BYTES)

    def start(self) -> State:
        """The state before the first tick."""
        n = len(self._rules)
        machines = np.zeros(n, skill_kernels.MACHINE)
        machines["session"] = self._rules["first_session"]
        for s in np.flatnonzero(self._rules["first_session"] <= self._rules["last_session"]):
            machines[s]["opens_ns"], machines[s]["closes_ns"] = self._sessions[machines[s]["session"]]
        machines["blocks"] = skill_kernels.NONE
        machines["pending_ms"] = skill_kernels.NONE
        return {"machines": machines, "queue": np.zeros((n, len(DELAYS_NS), FIRST_CAPACITY), np.int64), "due": 2**62}

    def step(self, state: State, x: ScoreRange) -> list[Rows]:
        """Hears a range, changes the state, returns the rows of the blocks that closed in it."""
        ticks = x.gated.ticks
        if not ticks.size and x.gated.hi <= state["due"]:
            return []
        first, written = 0, 0
        while True:
            status, first, written, due = skill_kernels.measure(
                ticks, x.gated.gate, x.score, x.score_now, first, x.gated.hi, self._place.local, self._rules, self._sessions,
                state["machines"], state["queue"], self._out, written,
            )  # fmt: skip
            if status == skill_kernels.REACHED_END:
                state["due"] = int(due)
                return rows_by_symbol("skill", self._out[:written].view(SKILL), self._place)
            if status == skill_kernels.QUEUE_FULL:
                state["queue"] = _doubled(state)
            else:
                self._out = np.concatenate([self._out, np.zeros_like(self._out)])


def _doubled(state: State) -> npt.NDArray[np.int64]:
    """The queues in arrays of twice the length, each waiting entry where its number puts it."""
    old, machines = state["queue"], state["machines"]
    size = old.shape[2]
    new = np.zeros((old.shape[0], old.shape[1], 2 * size), np.int64)
    for s, d in np.ndindex(old.shape[:2]):
        k = np.arange(machines["head"][s, d], machines["tail"][s, d])
        new[s, d, k % (2 * size)] = old[s, d, k % size]
    return new


def opaque(rows: npt.NDArray[Any]) -> npt.NDArray[np.void]:
    """The same rows without their fields: NumPy copies and selects those ten times faster, as it goes through fields one by one."""
    return rows.view(f"V{rows.dtype.itemsize}")


def rows_by_symbol(table: str, rows: npt.NDArray[Any], place: ShardPlace) -> list[Rows]:
    """Copies of the rows of one range by symbol, each symbol's in their order; symbols ascending."""
    if not rows.size:
        return []
    names, symbol = place.instruments.symbols, rows["symbol"]
    return [Rows(table, names[s], opaque(rows)[symbol == s].view(rows.dtype)) for s in np.unique(symbol)]
