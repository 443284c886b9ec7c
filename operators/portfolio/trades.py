"""Which executions were booked already: the same one twice changes nothing, the same id with other data is an error.

Execution ids of an account run up. The last `REMEMBERED` are kept with their data; an older one that comes again is
known to be a repeat by its id alone.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.errors import SpiketapeError

REMEMBERED: Final = 256

Trade = tuple[int, int, int, int]
"""(symbol, side, price, quantity)."""


class ConflictingTradeError(SpiketapeError):
    """An execution id came again with other data; the repeat was not booked."""


def seen_nothing() -> dict[str, Any]:
    """The memory of an account without executions."""
    return {"trades": {}, "forgotten": -1}


def is_new_trade(seen: dict[str, Any], trade_id: int, trade: Trade) -> bool:
    """True for an execution to be booked, which is then remembered; False for a repeat.

    Raises ConflictingTradeError where the id was booked with other data.
    """
    trades: dict[int, Trade] = seen["trades"]
    known = trades.get(trade_id)
    if known is not None:
        if known != trade:
            msg = f"execution {trade_id} was booked as (symbol, side, price, quantity) {known} and came again as {trade}; it was dropped"
            raise ConflictingTradeError(msg)
        return False
    if trade_id <= seen["forgotten"]:
        return False
    trades[trade_id] = trade
    if len(trades) > REMEMBERED:
        oldest = next(iter(trades))
        del trades[oldest]
        seen["forgotten"] = max(seen["forgotten"], oldest)
    return True
