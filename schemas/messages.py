"""Messages that are rarer than ticks, as validated JSON: signal, verdict, order, execution, position, equity, dead letter, control.

A table's integer row (schemas/tables.py) and its message say the same: `message_of` reads a row into its message with exact
decimals, and `row_of` gives the row back. Every message carries the deterministic id of its row. In JSON a decimal is text in plain
notation with all places of its fixed point ("0.0000012300", never an exponent).
"""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints

from schemas.instruments import InstrumentList
from schemas.tables import (
    MONEY_EXPONENT,
    NO_SYMBOL,
    TABLES,
    Action,
    DeadLetterReason,
    Intent,
    Liquidity,
    OrderState,
    OrderType,
    Side,
)

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:/-]{1,64}$")]
Exact = Annotated[Decimal, PlainSerializer(lambda d: f"{d:f}", return_type=str, when_used="json")]

SCALES: Final = {"_e6": 6, "_e8": 8, "_e10": MONEY_EXPONENT}
"""Decimal places of columns by the end of their names."""
PRICES: Final = frozenset(("price", "stop_price"))
SIZES: Final = frozenset(("quantity", "filled", "queue_ahead", "largest_passing"))
"""Columns in the instrument's fixed point."""
CODES: Final = {"action": Action, "side": Side, "type": OrderType, "state": OrderState, "liquidity": Liquidity, "intent": Intent}
"""What the numbers of these columns mean; `reason` of a dead letter is a DeadLetterReason."""


class Message(BaseModel):
    """What every message carries: its row's id, n, slice and event time (ns UTC)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9_.-]+/[a-z_]+/[A-Za-z0-9_.:/#-]+/[0-9]+$")
    n: int = Field(ge=0)
    slice: int
    ts_ns: int


class SignalMessage(Message):
    """A symbol's action changed."""

    symbol: Name
    action: Literal["sell", "hold", "buy"]
    score: Exact
    confidence: Exact = Field(ge=0, le=1)
    model: int = Field(ge=0, lt=2**64)


class VerdictMessage(Message):
    """Risk's answer to an intent: the rule, its number and limit, and the largest quantity that would have passed."""

    account: Name
    symbol: Name | None
    intent: str
    approved: bool
    rule: int = Field(ge=0)
    value: Exact
    limit: Exact
    quantity: Exact
    largest_passing: Exact


class OrderMessage(Message):
    """An order's transition to `state`."""

    account: Name
    symbol: Name
    order_n: int = Field(ge=0)
    type: Literal["market", "limit", "stop"]
    side: Literal["buy", "sell"]
    state: str
    quantity: Exact
    filled: Exact
    price: Exact
    stop_price: Exact
    reason: int = Field(ge=0)


class ExecutionMessage(Message):
    """A fill, or a part of one."""

    account: Name
    symbol: Name
    order_n: int = Field(ge=0)
    side: Literal["buy", "sell"]
    quantity: Exact = Field(gt=0)
    price: Exact = Field(gt=0)
    fee: Exact
    liquidity: Literal["maker", "taker"]
    queue_ahead: Exact


class PositionMessage(Message):
    """A position after a change."""

    account: Name
    symbol: Name
    quantity: Exact
    average_cost: Exact
    realised: Exact
    unrealised: Exact


class EquityMessage(Message):
    """An account's equity at the end of a second of event time in which it changed."""

    account: Name
    equity: Exact
    cash: Exact
    drawdown: Exact = Field(ge=0)
    exposure: Exact


class DeadLetterMessage(Message):
    """A tick that did not pass the gate, whole. `symbol` is None where the list has no such id; `record`: the tick's TICK_V1 in base64."""

    symbol: Name | None
    symbol_id: int = Field(ge=0, lt=2**32)
    reason: str
    sequence: int = Field(ge=0, lt=2**64)
    record: str = Field(pattern=r"^[A-Za-z0-9+/]{96}$")


class ControlMessage(BaseModel):
    """A command of an operator: a mode, a limit, a silent partition left out. `effective_slice` is stamped by the book on acceptance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9_.:/-]{1,128}$")
    account: Name | None = None
    kind: Literal["pause", "reduce", "emergency", "resume", "exclude_partition", "change_limit"]
    arguments: dict[str, str] = Field(default_factory=dict)
    reason: str = Field(min_length=1, max_length=500)
    effective_slice: int | None = None


MESSAGES: Final[dict[str, type[Message]]] = {
    "signals": SignalMessage,
    "verdicts": VerdictMessage,
    "orders": OrderMessage,
    "executions": ExecutionMessage,
    "positions": PositionMessage,
    "equity": EquityMessage,
    "dead_letters": DeadLetterMessage,
}


def message_of(table: str, key: str, deployment: str, row: np.void, instruments: InstrumentList) -> Message:
    """The message of a row of `table` that belongs to `key` (a symbol, or an account). KeyError for a table without messages."""
    kind = MESSAGES[table]
    if table == "dead_letters":
        return _dead_letter(f"{deployment}/{table}/{key}/{int(row['n'])}", row, instruments)
    names = row.dtype.names or ()
    symbol = int(row["symbol"]) if "symbol" in names else NO_SYMBOL
    values: dict[str, Any] = {"id": f"{deployment}/{table}/{key}/{int(row['n'])}"}
    if "account" in kind.model_fields:
        values["account"] = key
    if "symbol" in kind.model_fields:
        values["symbol"] = None if symbol == NO_SYMBOL else instruments.instruments[symbol].symbol
    for name in names:
        if name not in ("symbol", "pad"):
            field, value = _shown(name, int(row[name]), symbol, instruments)
            values[field] = value
    return kind(**values)


def row_of(table: str, message: Message, instruments: InstrumentList) -> np.void:
    """The integer row of a message, the inverse of `message_of`."""
    row = np.zeros(1, TABLES[table])
    if isinstance(message, DeadLetterMessage):
        reason = DeadLetterReason[message.reason.upper()]
        record = base64.b64decode(message.record)
        row[0] = (message.n, message.slice, message.ts_ns, message.sequence, message.symbol_id, reason, b"", record)
        return row[0]  # type: ignore[no-any-return]
    symbol_name = getattr(message, "symbol", None)
    symbol = NO_SYMBOL if symbol_name is None else instruments.id_of(symbol_name)
    for name in row.dtype.names or ():
        if name == "symbol":
            row["symbol"] = symbol
        elif name != "pad":
            row[name] = _stored(name, getattr(message, field_of(name)), symbol, instruments)
    stored: np.void = row[0]
    return stored


def _dead_letter(row_id: str, row: np.void, instruments: InstrumentList) -> DeadLetterMessage:
    symbol_id, symbols = int(row["symbol"]), instruments.symbols
    return DeadLetterMessage(
        id=row_id,
        n=int(row["n"]),
        slice=int(row["slice"]),
        ts_ns=int(row["ts_ns"]),
        symbol=symbols[symbol_id] if symbol_id < len(symbols) else None,
        symbol_id=symbol_id,
        reason=DeadLetterReason(int(row["reason"])).name.lower(),
        sequence=int(row["sequence"]),
        record=base64.b64encode(row["record"].tobytes()).decode(),
    )


def field_of(name: str) -> str:
    """The message's name of a row's column: without the letters of its unit."""
    for suffix in SCALES:
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def _exponent(name: str, symbol: int, instruments: InstrumentList) -> int | None:
    """Decimal places of a field, None where it is no decimal. Rows without an instrument show sizes as they are."""
    for suffix, places in SCALES.items():
        if name.endswith(suffix):
            return places
    if name in PRICES | SIZES:
        if symbol == NO_SYMBOL:
            return 0
        i = instruments.instruments[symbol]
        return i.price_exponent if name in PRICES else i.size_exponent
    return None


def _shown(name: str, value: int, symbol: int, instruments: InstrumentList) -> tuple[str, Any]:
    if name in CODES:
        return name, CODES[name](value).name.lower()
    if name == "approved":
        return name, bool(value)
    places = _exponent(name, symbol, instruments)
    return field_of(name), value if places is None else Decimal(value).scaleb(-places)


def _stored(name: str, value: Any, symbol: int, instruments: InstrumentList) -> int:
    if name in CODES:
        return int(CODES[name][value.upper()])
    places = _exponent(name, symbol, instruments)
    return int(value) if places is None else int(value.scaleb(places))
