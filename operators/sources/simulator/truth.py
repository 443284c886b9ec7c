"""The best that can be known on a simulated tape: the filter that knows the model, and the truth itself as a bound above it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from operators.sources.simulator.filter_kernels import filter_symbol
from operators.sources.simulator.generation import TruthChunk, common_row
from operators.sources.simulator.model import MARKET, Market, parameters
from operators.sources.simulator.spells import Floats, Skill, Spells, find_spells, measure, threshold
from schemas.ticks import QUOTE, Ticks

Evidence = tuple[bool, bool, bool, bool, bool]
"""What a filter may use: activity, direction of changes, trade signs, lean of the sizes, memory of anything before the millisecond."""
ALL_EVIDENCE: Final[Evidence] = (True, True, True, True, True)
NO_MEMORY: Final[Evidence] = (False, False, True, False, False)
"""What one millisecond shows by itself: the signs of its trades."""


@dataclass(frozen=True, slots=True)
class SessionOfSymbol:
    """One symbol's rows in one session and what may be said about them.

    `filtered`: by delay in ms, the filter's chance of an up move, float64 (n,), nan where it makes none; `true_up`: the truth's at delay 0.
    """

    symbol: int
    open_ns: int
    close_ns: int
    ticks: Ticks
    true_up: Floats
    regime: npt.NDArray[np.uint8]
    filtered: dict[int, Floats] = field(default_factory=dict)

    def spells(self, delay_ms: int) -> Spells:
        return find_spells(self.ticks, self.open_ns, self.close_ns, delay_ms * 1_000_000)


def leader_changes(ticks: Ticks) -> tuple[Floats, Floats]:
    """Times (ms) and directions of the changes of the mid at the end of each millisecond, from one symbol's rows."""
    q = ticks[ticks["kind"] == QUOTE]
    q = q[np.r_[np.diff(q["ts_ns"]) > 0, True]]
    step = np.diff(q["price"] + q["ask"])
    at = np.flatnonzero(step)
    return q["ts_ns"][at + 1] / 1e6, np.sign(step[at]).astype(np.float64)


def best_achievable(
    ticks: Ticks,
    truth: TruthChunk,
    sessions: tuple[tuple[int, int], ...],
    edge: float = 1.0,
    delays_ms: tuple[int, ...] = (0, 150),
    market: Market = MARKET,
    know_regime: bool = False,
    evidence: Evidence = ALL_EVIDENCE,
) -> list[SessionOfSymbol]:
    """Runs the filter over every symbol and session of a simulated tape whose rows and truth lie in memory, in tape order.

    `know_regime`: a bound from above on what pooling the regime over all symbols could add. `evidence`: which observations the filter may
    use, such as NO_MEMORY.
    """
    symbols = int(ticks["symbol"].max()) + 1
    table = parameters(symbols)
    common = common_row(market, edge)
    by_regime = np.array([market.activity, market.lean, market.flow, market.back], np.float64)
    stay_ms = np.array(market.stay_s) * 1000.0
    out = []
    for open_ns, close_ns in sessions:
        lo, hi = np.searchsorted(ticks["ts_ns"], [open_ns, close_ns])
        if lo == hi:
            continue
        part, hidden = ticks[lo:hi], truth[lo:hi]
        lead_ms, lead_up = leader_changes(part[part["symbol"] == 0])
        for symbol in range(symbols):
            own = part["symbol"] == symbol
            if not own.any():
                continue
            place = SessionOfSymbol(symbol, open_ns, close_ns, part[own], hidden["p_up"][own], hidden["regime"][own])
            known = place.regime.astype(np.int64) if know_regime else np.zeros(0, np.int64)
            for delay in delays_ms:
                p_up = np.full(len(place.ticks), np.nan)
                filter_symbol(
                    place.ticks, table[symbol : symbol + 1], common, by_regime, stay_ms, lead_ms, lead_up, float(delay), known,
                    np.array(evidence), open_ns / 1e6, p_up,
                )  # fmt: skip
                place.filtered[delay] = p_up
            out.append(place)
    return out


def skill_of(places: list[SessionOfSymbol], scores: list[Floats], delay_ms: int, share: float, calibrate_until_ns: int) -> dict[int, Skill]:
    """Skill by symbol of scores given per row of each place (nan counts as no confidence).

    Thresholds are each symbol's quantile over spells before `calibrate_until_ns`; what is measured lies after it.
    """
    before: dict[int, list[tuple[Spells, Floats]]] = {}
    after: dict[int, list[tuple[Spells, Floats]]] = {}
    for place, score in zip(places, scores, strict=True):
        spells = place.spells(delay_ms)
        values = np.nan_to_num(score[spells.row])
        early = spells.ts_ns < calibrate_until_ns
        for part, store in ((early, before), (~early, after)):
            if part.any():
                cut = Spells(spells.row[part], spells.ts_ns[part], spells.spell[part], spells.label[part])
                store.setdefault(place.symbol, []).append((cut, values[part]))
    result = {}
    for symbol, late in sorted(after.items()):
        least = threshold(*_joined(before[symbol]), share) if symbol in before else 0.0
        result[symbol] = measure(*_joined(late), least)
    return result


def pooled(skills: dict[int, Skill]) -> Skill:
    """All symbols' predictions together."""
    parts = list(skills.values())
    return Skill(
        sum(s.n for s in parts),
        sum(s.hits for s in parts),
        float(np.mean([s.selected for s in parts])),
        np.concatenate([s.block for s in parts]),
        np.concatenate([s.hit for s in parts]),
    )


def _joined(parts: list[tuple[Spells, Floats]]) -> tuple[Spells, Floats]:
    offset = 0
    spell = []
    for cut, _ in parts:
        spell.append(cut.spell + offset)
        offset = int(spell[-1].max()) + 1
    joined = Spells(
        np.concatenate([c.row for c, _ in parts]),
        np.concatenate([c.ts_ns for c, _ in parts]),
        np.concatenate(spell),
        np.concatenate([c.label for c, _ in parts]),
    )
    return joined, np.concatenate([s for _, s in parts])
