"""Which columns each table has in the lake, and from which field of its integer rows each column comes.

| table | key column | further columns |
| --- | --- | --- |
| signals | shard, symbol | action, score, confidence, model |
| verdicts | account, symbol | intent, approved, rule, value, limit, quantity, largest_passing |
| orders | account, symbol | order_id, order_n, type, side, state, quantity, filled, price, stop_price, reason |
| executions | account, symbol | order_id, order_n, side, quantity, price, fee, liquidity, queue_ahead |
| positions | account, symbol | quantity, average_cost, realised, unrealised |
| equity | account | equity, cash, drawdown, exposure |
| dead_letters | shard, symbol | reason, sequence, record |
| statistics | shard | ticks, dead, late, max_late_ns, input_spikes, hidden_spikes |
| quality | shard, symbol | read, dead, late, missing, completeness, timeliness, validity, score |
| skill | shard, symbol | the counts as they are, predictor |

Every table begins with id, its key columns, n, slice, ts_ns; hashed tables end with `digest`, the first eight bytes of the
chain of digests after the row (ledger.py), by which `verify` names the row that was changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from schemas.tables import Action, DeadLetterReason, Intent, Liquidity, OrderState, OrderType, Predictor, Side

SCALE: Final = 10
"""Decimal places of prices, sizes and money in the lake; an instrument's exponents never add up to more."""

NO_SYMBOL: Final = 0xFFFFFFFF
"""Symbol id of a row that concerns no one instrument; null in the lake."""

Codebook = Mapping[str, Mapping[int, str]]
"""For each kind of code, the name of each code: kinds `rule` and `reason` come from the flow."""


class Kind(Enum):
    """How a field is shown."""

    INTEGER = "integer"
    DECIMAL = "decimal"  # places in `argument`
    PRICE = "price"  # the instrument's price exponent
    SIZE = "size"  # the instrument's size exponent
    CODE = "code"  # names in `argument` of the codebook
    FLAG = "flag"  # 0 or 1
    UNSIGNED = "unsigned"  # uint64, as a decimal without places
    HEX = "hex"  # uint64, 16 hexadecimal digits
    BYTES = "bytes"  # fixed-length record
    ORDER_ID = "order_id"  # made of the key and the number, stored for readers only


class KeyColumn(Enum):
    """Where a table's key stands."""

    ACCOUNT = "account"
    SHARD = "shard"
    SYMBOL = "symbol"  # then `shard` is worked out from it


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name in the lake, the field it comes from, how it is shown."""

    name: str
    field: str
    kind: Kind
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """A table's columns after the head. `by_symbol`: rows have a `symbol` field."""

    key: KeyColumn
    by_symbol: bool
    columns: tuple[Column, ...]


def _integers(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, name, Kind.INTEGER) for name in names)


_ORDER = (Column("order_id", "order_n", Kind.ORDER_ID), Column("order_n", "order_n", Kind.INTEGER))
_QUANTITY = Column("quantity", "quantity", Kind.SIZE)

LAYOUTS: Final[dict[str, Layout]] = {
    "signals": Layout(
        KeyColumn.SYMBOL,
        True,
        (
            Column("action", "action", Kind.CODE, "action"),
            Column("score", "score_e6", Kind.DECIMAL, "6"),
            Column("confidence", "confidence_e6", Kind.DECIMAL, "6"),
            Column("model", "model", Kind.HEX),
        ),
    ),
    "verdicts": Layout(
        KeyColumn.ACCOUNT,
        True,
        (
            Column("intent", "intent", Kind.CODE, "intent"),
            Column("approved", "approved", Kind.FLAG),
            Column("rule", "rule", Kind.CODE, "rule"),
            Column("value", "value_e8", Kind.DECIMAL, "8"),
            Column("limit", "limit_e8", Kind.DECIMAL, "8"),
            _QUANTITY,
            Column("largest_passing", "largest_passing", Kind.SIZE),
        ),
    ),
    "orders": Layout(
        KeyColumn.ACCOUNT,
        True,
        (
            *_ORDER,
            Column("type", "type", Kind.CODE, "type"),
            Column("side", "side", Kind.CODE, "side"),
            Column("state", "state", Kind.CODE, "state"),
            _QUANTITY,
            Column("filled", "filled", Kind.SIZE),
            Column("price", "price", Kind.PRICE),
            Column("stop_price", "stop_price", Kind.PRICE),
            Column("reason", "reason", Kind.CODE, "reason"),
        ),
    ),
    "executions": Layout(
        KeyColumn.ACCOUNT,
        True,
        (
            *_ORDER,
            Column("side", "side", Kind.CODE, "side"),
            _QUANTITY,
            Column("price", "price", Kind.PRICE),
            Column("fee", "fee_e10", Kind.DECIMAL, "10"),
            Column("liquidity", "liquidity", Kind.CODE, "liquidity"),
            Column("queue_ahead", "queue_ahead", Kind.SIZE),
        ),
    ),
    "positions": Layout(
        KeyColumn.ACCOUNT,
        True,
        (
            _QUANTITY,
            Column("average_cost", "average_cost_e10", Kind.DECIMAL, "10"),
            Column("realised", "realised_e10", Kind.DECIMAL, "10"),
            Column("unrealised", "unrealised_e10", Kind.DECIMAL, "10"),
        ),
    ),
    "equity": Layout(
        KeyColumn.ACCOUNT,
        False,
        (
            Column("equity", "equity_e10", Kind.DECIMAL, "10"),
            Column("cash", "cash_e10", Kind.DECIMAL, "10"),
            Column("drawdown", "drawdown_e8", Kind.DECIMAL, "8"),
            Column("exposure", "exposure_e10", Kind.DECIMAL, "10"),
        ),
    ),
    "dead_letters": Layout(
        KeyColumn.SYMBOL,
        True,
        (
            Column("reason", "reason", Kind.CODE, "dead_letter"),
            Column("sequence", "sequence", Kind.UNSIGNED),
            Column("record", "record", Kind.BYTES),
        ),
    ),
    "statistics": Layout(
        KeyColumn.SHARD,
        False,
        _integers("ticks", "dead", "late", "max_late_ns", "input_spikes", "hidden_spikes"),
    ),
    "quality": Layout(
        KeyColumn.SYMBOL,
        True,
        (
            *_integers("read", "dead", "late", "missing"),
            *(Column(name, f"{name}_e6", Kind.DECIMAL, "6") for name in ("completeness", "timeliness", "validity", "score")),
        ),
    ),
    "skill": Layout(
        KeyColumn.SYMBOL,
        True,
        (
            *_integers("block", "delay_ns", "share_e2", "predictions", "hits2", "expired", "spells", "selected"),
            *_integers("tick_predictions", "tick_hits2"),
            Column("predictor", "predictor", Kind.CODE, "predictor"),
        ),
    ),
}


def _small(codes: type[IntEnum]) -> dict[int, str]:
    return {int(c): c.name.lower() for c in codes}


def _capital(codes: type[IntEnum]) -> dict[int, str]:
    return {int(c): c.name for c in codes}


OWN_CODES: Final[Codebook] = {
    "action": _small(Action),
    "side": _small(Side),
    "intent": _small(Intent),
    "type": _small(OrderType),
    "state": _small(OrderState),
    "liquidity": _small(Liquidity),
    "predictor": _small(Predictor),
    "dead_letter": _capital(DeadLetterReason),
}
