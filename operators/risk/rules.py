"""The rules that an intent is checked against, in the order in which they are checked; the first that fails refuses it.

`rules_table()` makes the documentation's table from this enum. Numbers are never given out anew: rows keep them.
"""

from __future__ import annotations

from enum import IntEnum


class RiskRule(IntEnum):
    """Rule of a verdict. `unit`: what value and limit (both times 1e-8) are; `text`: when it refuses."""

    unit: str
    text: str

    def __new__(cls, number: int, unit: str, text: str) -> RiskRule:
        rule = int.__new__(cls, number)
        rule._value_ = number
        rule.unit = unit
        rule.text = text
        return rule

    REDUCES_RISK = (1, "quantity held", "never: leaving or protecting a position always passes")
    MODE = (2, "mode", "the account's mode is not normal (value: the mode, limit: normal)")
    SYMBOL_NOT_TRADEABLE = (3, "-", "the instrument is not tradeable or has no quotes")
    OTHER_CURRENCY = (4, "-", "the instrument's currency is not the account's and there is no rate")
    SESSION_CLOSED = (5, "seconds", "outside the continuous session (value: seconds until the next one, 0 unknown)")
    CLOSE_TOO_NEAR = (6, "seconds", "less than `book.flat_before_close_s` of the session is left")
    QUOTE_MISSING = (7, "-", "no valid quote of this session is known, so there is no price")
    SIDE_NOT_SHORTABLE = (8, "-", "the instrument may not be sold short")
    STOP_MISSING = (9, "-", "the entry has no stop on the losing side of its price")
    DRAWDOWN = (10, "fraction of peak equity", "the drawdown has reached `risk.max_drawdown`; it also trips the kill switch")
    DAILY_LOSS = (11, "fraction of the day's first equity", "the day's loss has reached `risk.max_daily_loss_fraction`")
    OPEN_ORDERS = (12, "orders", "with this order more than `risk.max_open_orders` orders are open")
    QUANTITY_BELOW_LOT = (13, "quantity", "what the position limit leaves is less than one lot")
    MAX_POSITION = (14, "fraction of equity", "the position with orders in flight is above `risk.max_position_fraction`")
    MAX_GROSS = (15, "fraction of equity", "all positions with orders in flight are above `risk.max_gross_fraction`")
    EXPECTED_VALUE = (16, "money", "the expected value after costs is not above 0; refuses in profile strict, is recorded in research")


def rules_table() -> str:
    """The rules as a Markdown table."""
    lines = ["| rule | number | value and limit | refuses when |", "| --- | --- | --- | --- |"]
    lines += [f"| {r.name} | {int(r)} | {r.unit} | {r.text} |" for r in RiskRule]
    return "\n".join(lines) + "\n"
