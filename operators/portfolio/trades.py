"""Which executions of an order were booked already: the same one twice changes nothing, the same id with other data is an error.

An execution is known by its order and the number of the report within the order (`exec_n`). An order keeps what was booked
for it while it is open.
"""

from __future__ import annotations

from schemas.errors import SpiketapeError

Trade = tuple[int, int, int]
"""(side, price, quantity)."""


class ConflictingTradeError(SpiketapeError):
    """An execution came again with other data; the repeat was not booked."""


def is_new_trade(booked: dict[int, Trade], exec_n: int, trade: Trade) -> bool:
    """True for an execution to be booked, which is then remembered in `booked`; False for a repeat.

    Raises ConflictingTradeError where the number was booked with other data.
    """
    known = booked.get(exec_n)
    if known is None:
        booked[exec_n] = trade
        return True
    if known != trade:
        msg = f"execution {exec_n} was booked as (side, price, quantity) {known} and came again as {trade}; the repeat was dropped"
        raise ConflictingTradeError(msg)
    return False
