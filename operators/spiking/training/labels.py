"""What there is to predict on a tape: eligible ticks, their spells and labels (spec/realism.md section 6), over whole arrays.

The same reading of the definition as operators/decoding/skill.py, which measures while ticks flow; here all of a tape is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.spiking.model import DELAYS_NS
from operators.spiking.training.prepare import Prepared
from schemas.ranges import DECIDES, IN_SESSION
from schemas.ticks import QUOTE, Ints

MS = 1_000_000
HORIZON_MS = 60_000
MARGIN_NS = 60_000_000_000
BLOCK_NS = 300_000_000_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Targets:
    """Eligible ticks of a tape, m of them, by symbol and time.

    `row` int64: place in Prepared; `symbol` int64; `ts_ns` int64; `spell` int64: number of the spell, ascending, over all symbols;
    `label` int8 (m, 2): by delay +1, -1, or 0 where no change follows in time; `imbalance` float64: signed, of the tick's quote;
    `moved` int8: direction of the last change of the mid in the session, 0 if none.
    """

    row: Ints
    symbol: Ints
    ts_ns: Ints
    spell: Ints
    label: npt.NDArray[np.int8]
    imbalance: Floats
    moved: npt.NDArray[np.int8]

    @property
    def block(self) -> Ints:
        """The 5-minute block of each tick."""
        return self.ts_ns // BLOCK_NS

    def part(self, mask: npt.NDArray[np.bool_]) -> Targets:
        """Those where `mask` is true."""
        return Targets(*(getattr(self, k)[mask] for k in ("row", "symbol", "ts_ns", "spell", "label", "imbalance", "moved")))


def find_targets(data: Prepared) -> Targets:
    """All eligible ticks of a tape with their labels."""
    parts: list[Targets] = []
    spells = 0
    is_quote = (data.ticks["kind"] == QUOTE) & (data.gate & IN_SESSION > 0)
    for s in data.place.symbols:
        rows = np.flatnonzero(is_quote & (data.ticks["symbol"] == s))
        ms = data.ticks["ts_ns"][rows] // MS
        rows = rows[np.r_[np.diff(ms) > 0, np.ones(min(rows.size, 1), bool)]] if rows.size else rows
        sized = data.place.instruments.instruments[s].sized
        for opened, closed in data.place.instruments.session_array(s).tolist():
            inside = (data.ticks["ts_ns"][rows] >= opened) & (data.ticks["ts_ns"][rows] < closed)
            part, spells = _in_session(data, rows[inside], sized, s, opened, closed, spells)
            parts.append(part)
    return Targets(*(np.concatenate([getattr(p, k) for p in parts]) for k in Targets.__dataclass_fields__))


def _in_session(data: Prepared, rows: Ints, sized: bool, symbol: int, opened: int, closed: int, first_spell: int) -> tuple[Targets, int]:
    ticks = data.ticks[rows]
    ms = ticks["ts_ns"] // MS
    mid2 = ticks["price"] + ticks["ask"]
    step = np.diff(mid2, prepend=mid2[:1])
    change = np.flatnonzero(step)
    spell = first_spell + np.cumsum(step != 0)
    moved = np.zeros(rows.size, np.int8)
    if change.size:
        moved[change[0] :] = np.sign(step[change])[np.searchsorted(change, np.arange(change[0], rows.size), side="right") - 1]
    label = np.zeros((rows.size, len(DELAYS_NS)), np.int8)
    for d, delay_ns in enumerate(DELAYS_NS):
        u = ms + delay_ns // MS
        base = np.searchsorted(ms, u, side="right") - 1
        following = np.searchsorted(change, base, side="right")
        has = following < change.size
        to = change[np.minimum(following, change.size - 1)] if change.size else np.zeros(rows.size, np.int64)
        has &= ms[to] - u <= HORIZON_MS
        label[:, d] = np.where(has, np.sign(mid2[to] - mid2[base]), 0)
    bid_size, ask_size = ticks["size"], ticks["ask_size"]
    both = (bid_size > 0) & (ask_size > 0)
    now = ms * MS
    eligible = (ticks["ask"] > ticks["price"]) & (both | (not sized)) & (data.gate[rows] & DECIDES > 0)
    eligible &= (now >= opened + MARGIN_NS) & (now < closed - MARGIN_NS)
    imbalance = np.where(both, (bid_size - ask_size) / np.maximum(bid_size + ask_size, 1), 0.0)
    e = np.flatnonzero(eligible)
    found = Targets(rows[e], np.full(e.size, symbol), now[e], spell[e], label[e], imbalance[e], moved[e])
    return found, int(spell[-1]) + 1 if rows.size else first_spell
