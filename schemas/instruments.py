"""Instruments: what a symbol is, how its numbers read, and where and when it may be traded.

A tape carries its own list of instruments (ids are positions in that list, sorted by symbol), so a replay needs nothing
else. Sessions are resolved to intervals of UTC nanoseconds when a tape is made (`sessions` in its manifest).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.errors import InstrumentError
from schemas.tables import MONEY_EXPONENT

REGISTRY_VERSION: Final = 1


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
    """A tape's instruments, sorted by symbol: an instrument's id is its place. `sessions`: per calendar, (open, close) in ns UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = REGISTRY_VERSION
    instruments: tuple[Instrument, ...]
    sessions: dict[str, tuple[tuple[int, int], ...]] = Field(
        default_factory=dict, description="continuous sessions by calendar; a calendar that is not here is always open"
    )

    @model_validator(mode="after")
    def _sorted(self) -> InstrumentList:
        symbols = [i.symbol for i in self.instruments]
        if symbols != sorted(set(symbols)):
            msg = f"instruments must be sorted by symbol without repeats, given {symbols}"
            raise ValueError(msg)
        return self

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

    def session_array(self, symbol_id: int) -> npt.NDArray[np.int64]:
        """Continuous sessions of an instrument, int64 (m, 2): open and close (exclusive), ns UTC; always open: one wide interval."""
        intervals = self.sessions.get(self.instruments[symbol_id].calendar)
        if intervals is None:
            return np.array([[-(2**62), 2**62]], np.int64)
        return np.array(intervals, np.int64).reshape(-1, 2)
