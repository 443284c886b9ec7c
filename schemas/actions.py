"""Corporate actions: a time from which prices or quantities of a symbol mean something else than before.

A price before an action and one after it are not to be compared, so every session is cut at the actions inside it
(`InstrumentList.session_array`), and whatever starts anew with a session starts anew there: the gate's reference prices, labels, spells,
marks, the venue's market. No account holds a position on purpose over one (operators/book). The ratio and the amount are for what compares
the two sides of an action knowingly, such as the report's buying and holding.
"""

from __future__ import annotations

from fractions import Fraction
from math import gcd
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.tables import MONEY_EXPONENT

FIRST_TIME_NS: Final = -(2**62)
LAST_TIME_NS: Final = 2**61
"""Actions lie strictly between these: no tick is outside, and the venue's clock ends with the second."""


class CorporateAction(BaseModel):
    """One action of one symbol: the first tick at or after `ts_ns`, a whole millisecond, is the first that means the new thing.

    | field | kinds | meaning |
    | --- | --- | --- |
    | numerator, denominator | split | units after for units before, in lowest terms: 4 and 1 for 4:1, 1 and 10 for a reverse split |
    | amount, amount_exponent | dividend | money of the instrument's currency per whole unit held, amount * 10**-amount_exponent |
    | note | all | what the source says it is |
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: str
    ts_ns: int = Field(gt=FIRST_TIME_NS, lt=LAST_TIME_NS, multiple_of=1_000_000)
    kind: Literal["split", "dividend", "other"]
    numerator: int = Field(1, ge=1, le=10**9)
    denominator: int = Field(1, ge=1, le=10**9)
    amount: int = Field(0, ge=0, le=10**18)
    amount_exponent: int = Field(0, ge=0, le=MONEY_EXPONENT)
    note: str = Field("", max_length=200)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> CorporateAction:
        if gcd(self.numerator, self.denominator) != 1:
            msg = f"{self.symbol}: a ratio of {self.numerator}:{self.denominator} is not in lowest terms"
            raise ValueError(msg)
        if (self.kind == "split") == (self.numerator == self.denominator):
            msg = f"{self.symbol}: a split has a ratio other than 1:1, and nothing else has one; this {self.kind} has {self.terms}"
            raise ValueError(msg)
        if (self.kind == "dividend") == (self.amount == 0):
            msg = f"{self.symbol}: a dividend has an amount above 0, and nothing else has one; this {self.kind} has {self.amount}"
            raise ValueError(msg)
        return self

    @property
    def ratio(self) -> Fraction:
        """Units after the action for one unit before."""
        return Fraction(self.numerator, self.denominator)

    @property
    def cash(self) -> Fraction:
        """Money per whole unit held."""
        return Fraction(self.amount, 10**self.amount_exponent)

    @property
    def terms(self) -> str:
        """Its ratio as `4:1`, its amount as `0.47`, or nothing."""
        if self.kind == "dividend":
            whole, part = divmod(self.amount, 10**self.amount_exponent)
            return f"{whole}.{part:0{self.amount_exponent}d}" if self.amount_exponent else str(whole)
        return f"{self.numerator}:{self.denominator}" if self.numerator != self.denominator else ""
