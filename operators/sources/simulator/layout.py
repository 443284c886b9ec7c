"""Layouts of the simulator's compiled part: the state of a symbol, the numbers common to all, a row of the truth."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Record = Any
"""One row of a structured array inside compiled code; changing its fields changes the array."""
Rows = npt.NDArray[np.void]
Array = npt.NDArray[Any]

STATE: Final = np.dtype(
    [
        ("t", "f8"),
        ("h", "f8"),
        ("next_flip", "f8"),
        ("lead", "f8"),
        ("lead_t", "f8"),
        ("back", "f8"),
        ("back_t", "f8"),
        ("last_ms", "i8"),
        ("drawn", "i8"),
        ("flips", "i8"),
        ("seq", "i8"),
        ("bid", "i8"),
        ("spread", "i8"),
        ("bid_lots", "i8"),
        ("ask_lots", "i8"),
        ("lead_next", "i8"),
        ("regime_at", "i8"),
        ("level", "i8"),
        ("venue", "i8"),
    ]
)
"""State of one symbol. t, next_flip, lead_t, back_t: market ms; h: 1/ms; bid, spread: ticks; drawn, flips: counters of random
numbers; lead_next: the leader's next change not yet taken; regime_at: index in the switch list; level: M; venue: ASCII."""

COMMON: Final = np.dtype(
    [
        ("tau_lead_ms", "f8"),
        ("tau_back_ms", "f8"),
        ("pre_market_spread", "f8"),
        ("off_exchange", "f8"),
        ("shown_share", "f8"),
        ("late_share", "f8"),
        ("late_mean_ms", "f8"),
        ("gap_share", "f8"),
        ("special_share", "f8"),
        ("edge", "f8"),
    ]
)
"""Numbers common to all symbols, see model.Market."""

TRUTH: Final = np.dtype(
    [("ts_ns", "<i8"), ("seq", "<u8"), ("p_up", "<f8"), ("lead", "<f8"), ("symbol", "<u4"), ("regime", "u1"), ("pressure", "i1")]
)
"""What nobody can see, after the event of each tick: `p_up`: chance that the next change of the mid is up; `lead`: L."""

ROWS_PER_EVENT: Final = 32
FLIP_STREAM: Final = 1 << 24
REGIME_STREAM: Final = 1 << 25
