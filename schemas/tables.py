"""The tables of a run: record layouts in integers, their codes, and how each field reads as a decimal.

A row of a table belongs to a key (a symbol, or an account), and carries `n`, running from 0 without gaps per table and
key. Its id is `<deployment>/<table>/<key>/<n>`. The layouts hold integers only, because the output hash is made of them.

Units, by the last letters of a field's name or its role:
`_e6`, `_e8`, `_e10`: millionths, 1e-8, 1e-10; money is e10 (MONEY_EXPONENT) in the account's currency;
`price`, `stop_price`, and `quantity`, `filled`, `queue_ahead`, `largest_passing`: the instrument's fixed point.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

MONEY_EXPONENT: Final = 10
"""Money in rows: int64 times 1e-10, so at most 922 million; a larger amount is refused with a clear error."""

_HEAD: Final = [("n", "<i8"), ("slice", "<i8"), ("ts_ns", "<i8")]

SIGNAL: Final = np.dtype(
    [*_HEAD, ("score_e6", "<i8"), ("confidence_e6", "<i8"), ("model", "<u8"), ("symbol", "<u4"), ("action", "i1"), ("pad", "V3")]
)
VERDICT: Final = np.dtype(
    [
        *_HEAD,
        ("value_e8", "<i8"),
        ("limit_e8", "<i8"),
        ("quantity", "<i8"),
        ("largest_passing", "<i8"),
        ("symbol", "<u4"),
        ("intent", "u1"),
        ("approved", "u1"),
        ("rule", "<u2"),
    ]
)
ORDER: Final = np.dtype(
    [
        *_HEAD,
        ("order_n", "<i8"),
        ("quantity", "<i8"),
        ("filled", "<i8"),
        ("price", "<i8"),
        ("stop_price", "<i8"),
        ("symbol", "<u4"),
        ("type", "u1"),
        ("side", "i1"),
        ("state", "u1"),
        ("reason", "u1"),
    ]
)
EXECUTION: Final = np.dtype(
    [
        *_HEAD,
        ("order_n", "<i8"),
        ("quantity", "<i8"),
        ("price", "<i8"),
        ("fee_e10", "<i8"),
        ("queue_ahead", "<i8"),
        ("symbol", "<u4"),
        ("side", "i1"),
        ("liquidity", "u1"),
        ("pad", "V2"),
    ]
)
POSITION: Final = np.dtype(
    [
        *_HEAD,
        ("quantity", "<i8"),
        ("average_cost_e10", "<i8"),
        ("realised_e10", "<i8"),
        ("unrealised_e10", "<i8"),
        ("symbol", "<u4"),
        ("pad", "V4"),
    ]
)
EQUITY: Final = np.dtype([*_HEAD, ("equity_e10", "<i8"), ("cash_e10", "<i8"), ("drawdown_e8", "<i8"), ("exposure_e10", "<i8")])
DEAD_LETTER: Final = np.dtype([*_HEAD, ("sequence", "<u8"), ("symbol", "<u4"), ("reason", "<u2"), ("pad", "V2"), ("record", "V72")])
STATISTICS: Final = np.dtype(
    [
        *_HEAD,
        ("ticks", "<i8"),
        ("dead", "<i8"),
        ("late", "<i8"),
        ("max_late_ns", "<i8"),
        ("input_spikes", "<i8"),
        ("hidden_spikes", "<i8"),
    ]
)
"""Keyed by shard; never hashed. One row per shard and slice that had a tick; ts_ns is the slice's end."""
QUALITY: Final = np.dtype(
    [
        *_HEAD,
        ("read", "<i8"),
        ("dead", "<i8"),
        ("late", "<i8"),
        ("missing", "<i8"),
        ("completeness_e6", "<i8"),
        ("timeliness_e6", "<i8"),
        ("validity_e6", "<i8"),
        ("score_e6", "<i8"),
        ("symbol", "<u4"),
        ("pad", "<u4"),
    ]
)
"""Keyed by symbol; never hashed. One row for each ten seconds of event time in which the symbol had a tick: ticks that came, those refused,
those that were late, venue sequence numbers missing before those that passed; then, as of the last tick, the gate's running means and the
score, their product (operators/quality/stage.py). ts_ns is the end of the ten seconds, `slice` the last one that begins in them."""
QUALITY_NS: Final = 10_000_000_000
SKILL: Final = np.dtype(
    [
        *_HEAD,
        ("block", "<i8"),
        ("delay_ns", "<i8"),
        ("share_e2", "<i8"),
        ("predictions", "<i8"),
        ("hits2", "<i8"),
        ("expired", "<i8"),
        ("spells", "<i8"),
        ("selected", "<i8"),
        ("tick_predictions", "<i8"),
        ("tick_hits2", "<i8"),
        ("symbol", "<u4"),
        ("predictor", "u1"),
        ("pad", "V3"),
    ]
)
"""Counts of realism.md section 6 by 5-minute block (`block` = ts_ns // 300 s); hits are counted in halves. Never hashed.
`n` runs per symbol. A block's rows leave when the block has closed and all of its predictions are resolved."""


class Action(IntEnum):
    SELL = -1
    HOLD = 0
    BUY = 1


class Side(IntEnum):
    SELL = -1
    BUY = 1


class Intent(IntEnum):
    ENTER_LONG = 1
    ENTER_SHORT = 2
    EXIT = 3
    STOP = 4
    FLATTEN = 5
    REPRICE = 6
    CHANGE_MODE = 7
    CHANGE_LIMIT = 8
    EXCLUDE_PARTITION = 9


NO_SYMBOL: Final = 2**32 - 1
"""Symbol id of a verdict that concerns the whole account (a change of mode or limit)."""


class OrderType(IntEnum):
    MARKET = 1
    LIMIT = 2
    STOP = 3


class OrderState(IntEnum):
    NEW = 1
    VALIDATED = 2
    SENT = 3
    ACKNOWLEDGED = 4
    PARTIALLY_FILLED = 5
    FILLED = 6
    CANCEL_PENDING = 7
    CANCELLED = 8
    REJECTED = 9
    EXPIRED = 10


class Liquidity(IntEnum):
    MAKER = 1
    TAKER = 2


class Predictor(IntEnum):
    NETWORK = 1
    IMBALANCE = 2


class DeadLetterReason(IntEnum):
    """Why a tick did not pass the gate. The documentation's table is generated from this."""

    UNKNOWN_KIND = 1
    UNKNOWN_SYMBOL = 2
    PRICE_NOT_POSITIVE = 3
    SIZE_NOT_POSITIVE = 4
    BOOK_CROSSED = 5
    SEQUENCE_DUPLICATE = 6
    TIME_BACKWARD = 7
    TIME_JUMP = 8
    OUTLIER_MAD = 9
    OUTLIER_PERCENT = 10
    SUSPICIOUS = 11
    SIDE_INVALID = 12
    LATENESS_NEGATIVE = 13
    PRICE_TOO_LARGE = 14
    SIZE_TOO_LARGE = 15


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of one table and one key: `a["n"]` runs up by one. `a` has the table's dtype."""

    table: str
    key: str
    a: npt.NDArray[np.void]


TABLES: Final[dict[str, np.dtype[np.void]]] = {
    "signals": SIGNAL,
    "verdicts": VERDICT,
    "orders": ORDER,
    "executions": EXECUTION,
    "positions": POSITION,
    "equity": EQUITY,
    "dead_letters": DEAD_LETTER,
    "statistics": STATISTICS,
    "quality": QUALITY,
    "skill": SKILL,
}
HASHED_TABLES: Final = ("signals", "verdicts", "orders", "executions", "positions", "equity", "dead_letters")
