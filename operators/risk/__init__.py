"""Risk: what is checked before an entry, the account's modes, and the kill switch's rule."""

from operators.risk.checks import (
    E8,
    Decision,
    Entry,
    Fraction8,
    Listing,
    RiskLimits,
    check_entry,
    fraction8,
    largest_position,
    reached,
    risk_limits,
    share_e8,
)
from operators.risk.modes import MAY_FOLLOW, Mode, next_mode
from operators.risk.rules import RULES, RiskRule, rules_table

__all__ = [
    "E8",
    "MAY_FOLLOW",
    "RULES",
    "Decision",
    "Entry",
    "Fraction8",
    "Listing",
    "Mode",
    "RiskLimits",
    "RiskRule",
    "check_entry",
    "fraction8",
    "largest_position",
    "next_mode",
    "reached",
    "risk_limits",
    "rules_table",
    "share_e8",
]
