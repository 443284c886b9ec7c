"""Instruments: what a symbol is, how its numbers read, and where and when it may be traded.

A tape carries its own list of instruments (ids are positions in that list, sorted by symbol), so a replay needs nothing
else. Sessions are resolved to intervals of UTC nanoseconds when a tape is made (`sessions` in its manifest). Corporate actions
(schemas/actions.py) are part of the list: a tape with other actions is another tape.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.actions import CorporateAction
from schemas.errors import InstrumentError
from schemas.tables import MONEY_EXPONENT

REGISTRY_VERSION: Final = 1
REGISTRY_VERSION_ACTIONS: Final = 2
"""Version of a list with corporate actions; one without is as it always was, to the byte."""


class FeeSchedule(BaseModel):
    """What a fill costs. Per share: rate, minimum per order, maximum as a share of value, regulatory parts on sales.

    Basis points: maker and taker rates on notional. All amounts are in the instrument's currency. A fee is rounded half
    up to 1e-10 per order, cumulatively, so that splitting a fill changes nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["per_share", "basis_points", "none"]
    per_share: Decimal = Decimal(0)
    minimum_per_order: Decimal = Decimal(0)
    maximum_fraction: Decimal = Decimal(1)
    sec_fee_rate: Decimal = Decimal(0)
    taf_per_share: Decimal = Decimal(0)
    maker_bps: Decimal = Decimal(0)
    taker_bps: Decimal = Decimal(0)


class ConditionTable(BaseModel):
    """Which prints may fill orders, count as volume and feed features, by the venue's condition flags.

    A print with any bit of `no_fill` fills no order, and so on; prints of `off_exchange` venues never fill an order, never
    use up a queue and never set trade sign.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    no_fill: int = 0
    no_volume: int = 0
    no_features: int = 0
    off_exchange: str = ""


class Instrument(BaseModel):
    """One tradeable or observed symbol. Exponents: value = integer * 10**-exponent; `tick_size`, `lot_size` in those units.

    Raises InstrumentError where the exponents add up to more than money has, or where `price_max` times `size_max` does not fit
    into 64 bits: such an instrument is refused, so compiled code may multiply a price by a size. Sums of such products, and products
    scaled to money (`notional_scale`), need not fit: those are Python integers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: str = Field(pattern=r"^[A-Za-z0-9_.:/-]{1,32}$")
    price_exponent: int = Field(ge=0, le=12)
    size_exponent: int = Field(ge=0, le=12)
    tick_size: int = Field(gt=0)
    lot_size: int = Field(gt=0)
    currency: str = "USD"
    venue: str = ""
    calendar: str = "always"
    conditions: ConditionTable = ConditionTable(name="none")
    fees: FeeSchedule = FeeSchedule(name="none", kind="none")
    shortable: bool = True
    quoted: bool = True
    tradeable: bool = True
    sized: bool = Field(True, description="False where the source has no sizes (forex): a size of 0 is then valid")
    leader: str | None = Field(None, description="symbol whose moves may lead this one; feeds the lead feature")
    price_max: int = Field(10**10, gt=0, le=2**53, description="largest price in fixed point; a larger one is a dead letter")
    size_max: int = Field((2**63 - 1) // 10**10, gt=0, le=2**53, description="largest size in fixed point; a larger one is a dead letter")

    @model_validator(mode="after")
    def _exact_money(self) -> Instrument:
        if self.price_exponent + self.size_exponent > MONEY_EXPONENT:
            msg = (
                f"{self.symbol}: price exponent {self.price_exponent} and size exponent {self.size_exponent} add up to more than "
                f"{MONEY_EXPONENT}, so that price times size is no exact amount of money; use coarser fixed point"
            )
            raise InstrumentError(msg)
        if self.price_max * self.size_max >= 2**63:
            msg = (
                f"{self.symbol}: a price of {self.price_max} times a size of {self.size_max} overflows 64 bits; use coarser fixed point "
                "or state a smaller price_max or size_max"
            )
            raise InstrumentError(msg)
        return self

    def price(self, value: int) -> Decimal:
        """A fixed-point price as a decimal."""
        return Decimal(value).scaleb(-self.price_exponent)

    def size(self, value: int) -> Decimal:
        """A fixed-point size as a decimal."""
        return Decimal(value).scaleb(-self.size_exponent)

    @property
    def notional_scale(self) -> int:
        """price * quantity (both fixed point) times this is money in units of 1e-10. Exact; Python integers only."""
        return int(10 ** (MONEY_EXPONENT - self.price_exponent - self.size_exponent))


class InstrumentList(BaseModel):
    """A tape's instruments, sorted by symbol: an instrument's id is its place. `sessions`: per calendar, (open, close) in ns UTC.

    `actions` are sorted by symbol and time; two of one symbol never have the same time, so that their order is stated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1, 2] = REGISTRY_VERSION
    instruments: tuple[Instrument, ...]
    sessions: dict[str, tuple[tuple[int, int], ...]] = Field(
        default_factory=dict, description="continuous sessions by calendar; a calendar that is not here is always open"
    )
    actions: tuple[CorporateAction, ...] = Field(default=(), exclude_if=lambda given: not given)

    @model_validator(mode="after")
    def _sorted(self) -> InstrumentList:
        symbols = [i.symbol for i in self.instruments]
        if symbols != sorted(set(symbols)):
            msg = f"instruments must be sorted by symbol without repeats, given {symbols}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _actions_fit(self) -> InstrumentList:
        if (self.version == REGISTRY_VERSION_ACTIONS) != bool(self.actions):
            msg = f"a list has version {REGISTRY_VERSION_ACTIONS} exactly where it has corporate actions; this one says {self.version}"
            raise ValueError(msg)
        for action in self.actions:
            if action.symbol not in self.symbols:
                msg = f"a corporate action of {action.symbol!r}, which is not among the instruments {', '.join(self.symbols)}"
                raise ValueError(msg)
        for a, b in pairwise(self.actions):
            if (a.symbol, a.ts_ns) >= (b.symbol, b.ts_ns):
                msg = f"corporate actions must be sorted by symbol and time, no two of a symbol at one: {b.symbol} at {b.ts_ns}"
                raise ValueError(msg)
        return self

    def with_actions(self, actions: Iterable[CorporateAction]) -> InstrumentList:
        """The same list with these corporate actions in place of its own, in any order. ValueError where they do not fit it."""
        ordered = tuple(sorted(actions, key=lambda a: (a.symbol, a.ts_ns)))
        version: Literal[1, 2] = REGISTRY_VERSION_ACTIONS if ordered else REGISTRY_VERSION
        return InstrumentList(version=version, instruments=self.instruments, sessions=self.sessions, actions=ordered)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(i.symbol for i in self.instruments)

    def id_of(self, symbol: str) -> int:
        """The id of a symbol; InstrumentError names what there is."""
        try:
            return self.symbols.index(symbol)
        except ValueError as e:
            msg = f"no instrument {symbol!r}; there are {', '.join(self.symbols)}"
            raise InstrumentError(msg) from e

    def actions_of(self, symbol_id: int) -> tuple[CorporateAction, ...]:
        """Corporate actions of an instrument, by time."""
        symbol = self.instruments[symbol_id].symbol
        return tuple(a for a in self.actions if a.symbol == symbol)

    def session_array(self, symbol_id: int) -> npt.NDArray[np.int64]:
        """Continuous sessions of an instrument, int64 (m, 2): open and close (exclusive), ns UTC; always open: one wide interval.

        A session with a corporate action inside it ends there and begins again: what starts anew with a session starts anew then.
        """
        intervals = self.sessions.get(self.instruments[symbol_id].calendar, ((-(2**62), 2**62),))
        times = [a.ts_ns for a in self.actions_of(symbol_id)]
        if times:
            edges = [(opens, *(t for t in times if opens < t < closes), closes) for opens, closes in intervals]
            intervals = tuple(part for cut in edges for part in pairwise(cut))
        return np.array(intervals, np.int64).reshape(-1, 2)
