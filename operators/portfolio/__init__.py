"""Portfolio: exact positions, fees and which executions were booked already."""

from operators.portfolio.accounting import (
    INT64_MAX,
    Booked,
    CurrencyError,
    MoneyOverflowError,
    Position,
    apply_fill,
    average_cost_e10,
    flat_position,
    open_cost,
    realised,
    round_half_up,
    row_money,
    unrealised2,
)
from operators.portfolio.fees import FeeMeter, FeeTally, no_fees
from operators.portfolio.trades import ConflictingTradeError, Trade, is_new_trade

__all__ = [
    "INT64_MAX",
    "Booked",
    "ConflictingTradeError",
    "CurrencyError",
    "FeeMeter",
    "FeeTally",
    "MoneyOverflowError",
    "Position",
    "Trade",
    "apply_fill",
    "average_cost_e10",
    "flat_position",
    "is_new_trade",
    "no_fees",
    "open_cost",
    "realised",
    "round_half_up",
    "row_money",
    "unrealised2",
]
