"""What the columns of a CSV or Parquet file mean: stated by the user, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.calendars import CALENDARS
from schemas.errors import UsageError

COLUMNS: Final = (
    "ts",
    "symbol",
    "price",
    "size",
    "side",
    "buyer_maker",
    "bid",
    "bid_size",
    "ask",
    "ask_size",
    "conditions",
    "venue",
    "sequence",
)
UNITS: Final = {"s": 9, "ms": 6, "us": 3, "ns": 0, "iso": 0}
"""Unit of numeric times and the power of ten to nanoseconds; `iso` is text of date and time."""


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which column is what. Values of `columns` are header names, or `#3` for the third column of a file without a header.

    Columns: ts; symbol (or `name`, one for the whole file); price, size, side (buy, sell, 1, -1) or buyer_maker (true, false) for
    trades; bid, bid_size, ask, ask_size for quotes; conditions (number), venue (letter); sequence (the venue's number of the trade or the
    quote). A row with a price is a trade, one with bid and ask a quote. Without size columns the instrument is unsized and sizes are 0.

    A row whose sequence number came before, among the trades or among the quotes of its symbol, is refused as a repeat. `sequence_gaps`:
    the numbers run up by one, so that what is missing can be counted. `sequence_restarts`: each file has numbers of its own.

    `unit` of ts: s, ms, us, ns since 1970 UTC (decimals allowed), or iso. `zone`: of ISO times without an offset. `price_exponent`,
    `size_exponent`: decimals kept; None takes those found in the file. `tick_size`, `lot_size`: decimals such as 0.01; None is the last
    decimal kept.
    """

    columns: Mapping[str, str]
    name: str | None = None
    unit: str = "ns"
    zone: str = "UTC"
    delimiter: str = ","
    currency: str = "USD"
    calendar: str = "always"
    price_exponent: int | None = None
    size_exponent: int | None = None
    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    tradeable: bool = field(default=True)
    sequence_gaps: bool = False
    sequence_restarts: bool = False

    def __post_init__(self) -> None:
        has = self.columns.keys()
        if "ts" not in has:
            raise UsageError("--map: state the column of the time, as in ts=timestamp,unit=ms")
        if ("symbol" in has) == (self.name is not None):
            raise UsageError("--map: state either a symbol column (symbol=ticker) or one name for the file (name=AAPL)")
        if "price" not in has and not {"bid", "ask"} <= has:
            raise UsageError("--map: state price for trades, or bid and ask for quotes, or all three")
        if {"bid_size", "ask_size"} & has and not {"bid", "bid_size", "ask", "ask_size"} <= has:
            raise UsageError("--map: bid_size and ask_size come together, with bid and ask")
        if "sequence" not in has and (self.sequence_gaps or self.sequence_restarts):
            raise UsageError("--map: sequence_gaps and sequence_restarts say something of a sequence column (sequence=trade_id)")
        if len(self.delimiter) != 1 or not self.delimiter.isascii():
            raise UsageError(f"--map: delimiter must be one ASCII character, given {self.delimiter!r}")
        _one_of("unit", self.unit, UNITS)
        _one_of("calendar", self.calendar, [c for c in CALENDARS if c != "sim"])
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as e:
            raise UsageError(f"--map: no time zone {self.zone!r}; give one such as UTC or America/New_York") from e

    @property
    def sized(self) -> bool:
        """Whether the file has sizes for what it has prices of."""
        trades, quotes = "price" in self.columns, "bid" in self.columns
        return (not trades or "size" in self.columns) and (not quotes or "bid_size" in self.columns)

    @classmethod
    def parse(cls, text: str) -> ColumnMapping:
        """`ts=time,unit=ms,price=px,size=qty,side=side,name=BTC` to a mapping; UsageError names what is wrong and what is allowed.

        A tabulator or comma as delimiter is written `tab` or `comma`.
        """
        columns: dict[str, str] = {}
        options: dict[str, str] = {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            key, found, value = part.partition("=")
            key, value = key.strip(), value.strip()
            if not found or not value:
                raise UsageError(f"--map: expected key=value, given {part!r}")
            if key in columns or key in options:
                raise UsageError(f"--map: {key} is given twice")
            if key in COLUMNS:
                columns[key] = value
            elif key in _OPTIONS:
                options[key] = value
            else:
                raise UsageError(f"--map: no key {key!r}; columns are {', '.join(COLUMNS)}; options are {', '.join(_OPTIONS)}")
        return cls(
            columns,
            name=options.get("name"),
            unit=options.get("unit", "ns"),
            zone=options.get("zone", "UTC"),
            delimiter={"tab": "\t", "comma": ","}.get(options.get("delimiter", ","), options.get("delimiter", ",")),
            currency=options.get("currency", "USD"),
            calendar=options.get("calendar", "always"),
            price_exponent=_exponent("price_exponent", options),
            size_exponent=_exponent("size_exponent", options),
            tick_size=_amount("tick_size", options),
            lot_size=_amount("lot_size", options),
            tradeable=_one_of("tradeable", options.get("tradeable", "yes"), ("yes", "no")) == "yes",
            sequence_gaps=_one_of("sequence_gaps", options.get("sequence_gaps", "no"), ("yes", "no")) == "yes",
            sequence_restarts=_one_of("sequence_restarts", options.get("sequence_restarts", "no"), ("file", "no")) == "file",
        )


_OPTIONS: Final = (
    "name",
    "unit",
    "zone",
    "delimiter",
    "currency",
    "calendar",
    "price_exponent",
    "size_exponent",
    "tick_size",
    "lot_size",
    "tradeable",
    "sequence_gaps",
    "sequence_restarts",
)


def _one_of(key: str, value: str, allowed: Mapping[str, int] | list[str] | tuple[str, ...]) -> str:
    if value not in allowed:
        raise UsageError(f"--map: {key} must be one of {', '.join(allowed)}, given {value!r}")
    return value


def _exponent(key: str, options: Mapping[str, str]) -> int | None:
    value = options.get(key)
    if value is None:
        return None
    if not value.isdecimal() or int(value) > 10:
        raise UsageError(f"--map: {key} must be a whole number from 0 to 10, given {value!r}")
    return int(value)


def _amount(key: str, options: Mapping[str, str]) -> Decimal | None:
    value = options.get(key)
    if value is None:
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation as e:
        raise UsageError(f"--map: {key} must be a decimal such as 0.01, given {value!r}") from e
    if not amount.is_finite() or amount <= 0:
        raise UsageError(f"--map: {key} must be above 0, given {value!r}")
    return amount
