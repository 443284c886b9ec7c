"""The way of a deal: from its entry order to flat again (book.py says by which rules). Pure steps on the book's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from operators.book.deals import LEAVING, OPEN, Deal, held_of
from operators.book.desk import NO_ORDER, Desk
from operators.book.listings import FOREVER_NS, SECOND_NS, Market
from operators.book.measures import tally_of
from operators.book.scan_kernels import ASK, BID, BUSY, IDLE, SUSPENDED
from operators.risk import E8, RiskRule
from operators.timeline.stage import State
from schemas.orders import REDUCE_ONLY, Reason
from schemas.settings.sections import BookSettings
from schemas.tables import Intent, OrderType

WHY_CANCELLED: Final = {
    Intent.EXIT: Reason.CANCEL_SIGNAL,
    Intent.FLATTEN: Reason.CANCEL_SESSION_END,
    Intent.STOP: Reason.CANCEL_SIBLING_FILLED,
}
"""Why an entry that is still working is cancelled when its deal is left."""


# Members looked up once: at each use that costs ten times what a name does (Enum's __getattr__).
_EXIT: Final = Intent.EXIT
_FLATTEN: Final = Intent.FLATTEN
_LIMIT: Final = OrderType.LIMIT
_MARKET: Final = OrderType.MARKET
_STOP: Final = OrderType.STOP
_CANCEL_SIBLING_FILLED: Final = Reason.CANCEL_SIBLING_FILLED
_CANCEL_TIMEOUT: Final = Reason.CANCEL_TIMEOUT
_CANCEL_CORPORATE_ACTION: Final = Reason.CANCEL_CORPORATE_ACTION
_REDUCES_RISK: Final = RiskRule.REDUCES_RISK
_CORPORATE_ACTION: Final = RiskRule.CORPORATE_ACTION


class Ways:
    """What may become of a deal. Immutable."""

    def __init__(self, markets: Sequence[Market], settings: BookSettings) -> None:
        self.markets = markets
        self.holding_ns = int(settings.holding_s * SECOND_NS)
        self.exit_timeout_ns = int(settings.exit_timeout_s * SECOND_NS)
        self.flat_ns = int(settings.flat_before_close_s * SECOND_NS)

    def place(self, state: State, desk: Desk, symbol: int, deal: Deal, kind: OrderType, side: int, quantity: int, **terms: int) -> int:
        """Sends an order of the deal; stops rest over the close. Returns its number."""
        n = desk.place(symbol, kind, side, quantity, rests=kind == _STOP, **terms)
        if desk.live(n) is not None:
            deal["working"].append(n)
        tally_of(state, symbol)["orders"] += 1
        return n

    def cancel(self, state: State, desk: Desk, symbol: int, n: int, reason: Reason) -> None:
        """Asks for the end of an order, if it is live and was not asked before."""
        if desk.cancel(n, reason):
            tally_of(state, symbol)["cancels"] += 1

    def leave(self, state: State, desk: Desk, symbol: int, deal: Deal, intent: Intent, *, urgent: bool) -> None:
        """Turns a deal to the way out. Always allowed; with a position it is an intent with a verdict. A suspended one stays what it is."""
        if state["stance"][symbol] == SUSPENDED:
            return
        deal["phase"] = LEAVING
        deal["urgent"] = deal["urgent"] or urgent
        deal["due_ns"] = 0
        state["stance"][symbol] = BUSY
        for_action = intent is _FLATTEN and self._ends_with_action(symbol, deal, desk.now)
        self.cancel(state, desk, symbol, deal["entry"], _CANCEL_CORPORATE_ACTION if for_action else WHY_CANCELLED[intent])
        held = held_of(state, symbol)
        if held:
            size = abs(held)
            value = size * E8 // 10 ** self.markets[symbol].listing.size_exponent
            rule = _CORPORATE_ACTION if for_action else _REDUCES_RISK
            desk.rows.verdict(desk.k, desk.now, symbol, intent, True, rule, value, 0, size, size)
            tally_of(state, symbol)["intents"] += 1

    def _ends_with_action(self, symbol: int, deal: Deal, now_ns: int) -> bool:
        """Whether a deal is left because no session follows the close that it was to be flat before until a corporate action."""
        close = deal["flat_ns"] + self.flat_ns
        return now_ns >= deal["flat_ns"] and self.markets[symbol].last_close(close - 1) == close

    def advance(self, state: State, desk: Desk, symbol: int, deal: Deal) -> None:
        """Looks at a deal: what is due is done, and `due_ns` says when to look again."""
        held = held_of(state, symbol)
        if held and state["stance"][symbol] == SUSPENDED:
            deal["due_ns"] = FOREVER_NS
            return
        if deal["unprotected"]:
            size, deal["unprotected"] = deal["unprotected"], 0
            self.place(state, desk, symbol, deal, _STOP, -deal["side"], size, stop_price=deal["stop_price"], flags=REDUCE_ONLY)
        if deal["phase"] == OPEN:
            entering = desk.live(deal["entry"]) is not None
            if desk.now >= deal["flat_ns"]:
                self.leave(state, desk, symbol, deal, _FLATTEN, urgent=False)
            elif held and desk.now >= deal["opened_ns"] + self.holding_ns:
                self.leave(state, desk, symbol, deal, _EXIT, urgent=False)
            elif not held and not entering:
                deal["phase"] = LEAVING
            else:
                due = deal["flat_ns"]
                if held:
                    due = min(due, deal["opened_ns"] + self.holding_ns)
                if entering and desk.now >= deal["entry_due_ns"]:
                    self.cancel(state, desk, symbol, deal["entry"], _CANCEL_TIMEOUT)
                elif entering:
                    due = min(due, deal["entry_due_ns"])
                deal["due_ns"] = due
                return
        self._way_out(state, desk, symbol, deal, held)

    def _way_out(self, state: State, desk: Desk, symbol: int, deal: Deal, held: int) -> None:
        """What is due on the way out. A market order that ended with something still held is not sent again before its time is over."""
        deal["due_ns"] = FOREVER_NS
        if not held:
            for n in deal["working"]:
                self.cancel(state, desk, symbol, n, _CANCEL_SIBLING_FILLED)
            if not deal["working"]:
                del state["deals"][symbol]
                state["stance"][symbol] = IDLE
            return
        opens, _ = self.markets[symbol].session(desk.now)
        if opens > desk.now:
            deal["due_ns"] = opens
            return
        left = desk.live(deal["exit"])
        if left is not None and deal["at_market"]:
            return
        if left is None and deal["at_market"] and desk.now < deal["exit_due_ns"]:
            deal["due_ns"] = deal["exit_due_ns"]
            return
        if sum(desk.order(n).leaves for n in deal["triggered"]) >= abs(held):
            return
        side = -1 if held > 0 else 1
        if deal["exit"] == NO_ORDER and not deal["urgent"]:
            bid, ask = state["market"][symbol, BID : ASK + 1].tolist()
            price = self.markets[symbol].passive(side, bid, ask)
            deal["exit"] = self.place(state, desk, symbol, deal, _LIMIT, side, abs(held), price=price, flags=REDUCE_ONLY)
            deal["exit_due_ns"] = deal["due_ns"] = desk.now + self.exit_timeout_ns
        elif left is not None and not deal["urgent"] and desk.now < deal["exit_due_ns"]:
            deal["due_ns"] = deal["exit_due_ns"]
        else:
            self.cancel(state, desk, symbol, deal["exit"], _CANCEL_TIMEOUT)
            deal["exit"] = self.place(state, desk, symbol, deal, _MARKET, side, abs(held), flags=REDUCE_ONLY)
            deal["exit_due_ns"] = desk.now + self.exit_timeout_ns
            deal["at_market"] = True
