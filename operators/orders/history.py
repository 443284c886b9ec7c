"""Whether the rows of `orders` tell only legal stories: a check of a finished run, independent of who wrote the rows."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.tables import OrderState

S = OrderState
_ENDS: Final = frozenset({S.CANCELLED, S.EXPIRED, S.FILLED})
_WORKING: Final = frozenset({S.PARTIALLY_FILLED, S.CANCEL_PENDING})

SUCCESSORS: Final[dict[OrderState, frozenset[OrderState]]] = {
    S.NEW: frozenset({S.VALIDATED, S.REJECTED}),
    S.VALIDATED: frozenset({S.SENT, S.REJECTED}),
    S.SENT: _ENDS | _WORKING | {S.ACKNOWLEDGED, S.REJECTED},
    S.ACKNOWLEDGED: _ENDS | _WORKING | {S.ACKNOWLEDGED, S.REJECTED},
    S.PARTIALLY_FILLED: _ENDS | _WORKING,
    S.CANCEL_PENDING: _ENDS | _WORKING | {S.SENT, S.ACKNOWLEDGED, S.REJECTED},
    S.CANCELLED: frozenset({S.CANCELLED, S.FILLED}),
    S.FILLED: frozenset(),
    S.REJECTED: frozenset(),
    S.EXPIRED: frozenset(),
}
"""States that may follow a state in the next row of the same order (what machine.LEGAL allows, seen from outside)."""


class Illegal(NamedTuple):
    """A row that cannot follow the order's row before it, or cannot be at all."""

    n: int
    order_n: int
    what: str


def illegal_rows(rows: npt.NDArray[np.void]) -> list[Illegal]:
    """Rows (tables.ORDER, one account, ordered by n) that break the rules of the state machine; empty where all is legal.

    Checked: an order begins NEW; each state may follow the one before; what it is of never changes; `filled` only grows, never
    beyond the quantity, and only a fill makes it grow; FILLED exactly where nothing is left; nothing rejected has a fill.
    """
    found: list[Illegal] = []
    last: dict[int, np.void] = {}
    for row in rows:
        order_n, state = int(row["order_n"]), OrderState(int(row["state"]))
        before = last.get(order_n)
        last[order_n] = row
        wrong = _wrong(row, state, before)
        if wrong:
            found.append(Illegal(int(row["n"]), order_n, wrong))
    return found


def _wrong(row: np.void, state: OrderState, before: np.void | None) -> str:
    filled, quantity = int(row["filled"]), int(row["quantity"])
    if not 0 <= filled <= quantity:
        return f"{filled} of {quantity} filled"
    if (state == S.FILLED) != (filled == quantity):
        return f"{state.name} with {filled} of {quantity} filled"
    if before is None:
        return "" if state == S.NEW and filled == 0 else f"begins as {state.name} with {filled} filled"
    was, had = OrderState(int(before["state"])), int(before["filled"])
    if state not in SUCCESSORS[was]:
        return f"{state.name} after {was.name}"
    if any(row[name] != before[name] for name in ("symbol", "type", "side", "quantity", "price", "stop_price")):
        return "is of another symbol, type, side, quantity or price than before"
    if filled < had or (filled > had and state not in (S.PARTIALLY_FILLED, S.FILLED, S.CANCEL_PENDING, S.CANCELLED)):
        return f"{filled} filled in {state.name} after {had}"
    if filled > 0 and state in (S.REJECTED, S.ACKNOWLEDGED, S.SENT):
        return f"{state.name} with {filled} filled"
    return ""
