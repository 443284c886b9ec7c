"""The rules that an intent is checked against, in the order in which they are checked; the first that fails refuses it.

`rules_table()` makes the documentation's table. Numbers are never given out anew: rows keep them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class RiskRule(IntEnum):
    """Rule of a verdict; `RULES` says what its numbers are and when it refuses."""

    REDUCES_RISK = 1
    MODE = 2
    SYMBOL_NOT_TRADEABLE = 3
    OTHER_CURRENCY = 4
    SESSION_CLOSED = 5
    CLOSE_TOO_NEAR = 6
    QUOTE_MISSING = 7
    SIDE_NOT_SHORTABLE = 8
    STOP_MISSING = 9
    DRAWDOWN = 10
    DAILY_LOSS = 11
    OPEN_ORDERS = 12
    QUANTITY_BELOW_LOT = 13
    MAX_POSITION = 14
    MAX_GROSS = 15
    EXPECTED_VALUE = 16
    PARTITION_SILENT = 17
    CORPORATE_ACTION_NEAR = 18
    CORPORATE_ACTION = 19


RULES: Final[dict[RiskRule, tuple[str, str]]] = {
    RiskRule.REDUCES_RISK: ("quantity held", "never: leaving or protecting a position always passes"),
    RiskRule.MODE: ("mode", "the account's mode is not normal (value: the mode, limit: normal)"),
    RiskRule.SYMBOL_NOT_TRADEABLE: ("-", "the instrument is not tradeable or has no quotes"),
    RiskRule.OTHER_CURRENCY: ("-", "the instrument's currency is not the account's and there is no rate"),
    RiskRule.SESSION_CLOSED: ("seconds", "outside the continuous session (value: seconds until the next one, 0 unknown)"),
    RiskRule.CLOSE_TOO_NEAR: ("seconds", "less than `book.flat_before_close_s` of the session is left"),
    RiskRule.CORPORATE_ACTION_NEAR: (
        "seconds",
        "less than `book.flat_before_close_s` is left of the last session before a corporate action, `book.hold_overnight` or not",
    ),
    RiskRule.QUOTE_MISSING: ("-", "no valid quote of this session is known, so there is no price"),
    RiskRule.SIDE_NOT_SHORTABLE: ("-", "the instrument may not be sold short"),
    RiskRule.STOP_MISSING: ("-", "the entry has no stop on the losing side of its price"),
    RiskRule.DRAWDOWN: ("fraction of peak equity", "the drawdown has reached `risk.max_drawdown`; it also trips the kill switch"),
    RiskRule.DAILY_LOSS: ("fraction of the day's first equity", "the day's loss has reached `risk.max_daily_loss_fraction`"),
    RiskRule.OPEN_ORDERS: ("orders", "with this order more than `risk.max_open_orders` orders are open"),
    RiskRule.QUANTITY_BELOW_LOT: ("quantity", "what the position limit leaves is less than one lot"),
    RiskRule.MAX_POSITION: ("fraction of equity", "the position with orders in flight is above `risk.max_position_fraction`"),
    RiskRule.MAX_GROSS: ("fraction of equity", "all positions with orders in flight are above `risk.max_gross_fraction`"),
    RiskRule.EXPECTED_VALUE: ("money", "the expected value after costs is not above 0; refuses in profile strict, is recorded in research"),
    RiskRule.PARTITION_SILENT: ("partition", "never: an operator has a silent partition left out"),
    RiskRule.CORPORATE_ACTION: (
        "quantity held",
        "never where a position is left before a corporate action; one that could not be left is suspended, "
        "valued at the last quote before and never traded again",
    ),
}
"""Of each rule: the unit of value and limit (both times 1e-8 in rows), and when it refuses."""


def rules_table() -> str:
    """The rules as a Markdown table."""
    lines = ["| rule | number | value and limit | refuses when |", "| --- | --- | --- | --- |"]
    lines += [f"| {rule.name} | {int(rule)} | {unit} | {text} |" for rule, (unit, text) in RULES.items()]
    return "\n".join(lines) + "\n"
