"""A deal: one symbol's way from an approved entry to flat again, as the book keeps it. At most one per symbol.

Deal:

| field | unit | meaning |
| --- | --- | --- |
| phase | OPEN, LEAVING | OPEN: entering or holding; LEAVING: nothing but the way out |
| side | +1, -1 | long or short |
| entry | order | the entry order |
| exit | order or -1 | the last exit order |
| at_market | bool | it is a market order |
| working | orders | all orders of the deal that are not over, oldest first |
| triggered | orders | those of them that are stops which have triggered |
| stop_price | fixed point | where every stop of the deal rests |
| unprotected | fixed point | filled by the entry and still without a stop |
| entry_due_ns | ns | a passive entry is cancelled at this time |
| opened_ns | ns, -1 | venue's time of the first fill |
| exit_due_ns | ns | a passive exit is replaced by a market order at this time, one at the market repeated if it failed |
| flat_ns | ns | the deal is left at this time, before the session closes |
| urgent | bool | leave at the market |
| accounts | | by order of the deal: fees charged so far, executions booked |
| due_ns | ns | when it wants to be looked at again if nothing is reported before |
"""

from __future__ import annotations

from typing import Final, TypedDict

from operators.book.listings import FOREVER_NS
from operators.portfolio import FeeTally, Trade, no_fees
from operators.timeline.stage import State

OPEN: Final = 1
LEAVING: Final = 2


class OrderAccount(TypedDict):
    """What was booked for one order."""

    fees: FeeTally
    booked: dict[int, Trade]


class Deal(TypedDict):
    phase: int
    side: int
    entry: int
    exit: int
    at_market: bool
    working: list[int]
    triggered: list[int]
    stop_price: int
    unprotected: int
    entry_due_ns: int
    opened_ns: int
    exit_due_ns: int
    flat_ns: int
    urgent: bool
    accounts: dict[int, OrderAccount]
    due_ns: int


def new_deal(side: int, stop_price: int, entry_due_ns: int, flat_ns: int) -> Deal:
    """A deal whose entry order is about to be sent."""
    return {
        "phase": OPEN,
        "side": side,
        "entry": -1,
        "exit": -1,
        "at_market": False,
        "working": [],
        "triggered": [],
        "stop_price": stop_price,
        "unprotected": 0,
        "entry_due_ns": entry_due_ns,
        "opened_ns": -1,
        "exit_due_ns": FOREVER_NS,
        "flat_ns": flat_ns,
        "urgent": False,
        "accounts": {},
        "due_ns": 0,
    }


def account_of(deal: Deal, n: int) -> OrderAccount:
    """The account of an order of the deal."""
    account = deal["accounts"].get(n)
    if account is None:
        account = deal["accounts"][n] = {"fees": no_fees(), "booked": {}}
    return account


def stray_deal(side: int) -> Deal:
    """A deal for a fill that was reported after its deal was over: to be left at the market."""
    deal = new_deal(side, 0, FOREVER_NS, FOREVER_NS)
    deal["phase"] = LEAVING
    deal["urgent"] = True
    return deal


def held_of(state: State, symbol: int) -> int:
    """Signed quantity held of a symbol."""
    position = state["positions"].get(symbol)
    return 0 if position is None else int(position["quantity"])
