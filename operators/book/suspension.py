"""What a corporate action does to what is still held when it takes effect: it is suspended.

After the action a unit is not what was bought, so it is neither marked with a later price nor sold for one: it stays in the account at the
last quote before the action and the symbol is left alone from then on. Deals are left well before (ways.py), so this is for what found no
buyer, or no seller. Pure steps on the book's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from operators.book.deals import LEAVING, Deal, held_of
from operators.book.desk import Desk
from operators.book.listings import FOREVER_NS, Market
from operators.book.measures import tally_of
from operators.book.scan_kernels import ASK, BID, SUSPENDED, revalue
from operators.risk import E8, RiskRule
from operators.timeline.stage import State
from schemas.tables import Intent

NO_SLICE: Final = 2**62
_RULE: Final = RiskRule.CORPORATE_ACTION


class Suspension:
    """The corporate actions of all symbols, in slices. Immutable; False where there are none, which is nearly always."""

    def __init__(self, markets: Sequence[Market], slice_ns: int, delay_ns: int) -> None:
        self._markets = markets
        self._slice_ns = slice_ns
        self._last = {m.symbol: tuple(_last_slice(a, slice_ns, delay_ns) for a in m.actions) for m in markets if m.actions}

    def __bool__(self) -> bool:
        return bool(self._last)

    def next_slice(self, symbol: int, k: int) -> int:
        """The first slice after k that is the last one before an action of the symbol, NO_SLICE without one."""
        return min((s for s in self._last.get(symbol, ()) if s > k), default=NO_SLICE)

    def take_effect(self, state: State, desk: Desk, k: int) -> None:
        """At the end of slice k: suspends what is held of symbols for which it is the last before an action."""
        for symbol in sorted(state["deals"]):
            if k in self._last.get(symbol, ()):
                self._suspend(state, desk, symbol, state["deals"][symbol])

    def filled(self, state: State, desk: Desk, symbol: int, deal: Deal, ts_ns: int, price: int) -> None:
        """A fill was booked. One from before an action opened what is worth what was paid: no quote from before is known any more."""
        if self._markets[symbol].acted(ts_ns, desk.now) and held_of(state, symbol) and state["stance"][symbol] != SUSPENDED:
            state["market"][symbol, BID : ASK + 1] = price
            revalue(state["market"], state["weight"], state["money"])
            self._suspend(state, desk, symbol, deal)

    def marked_by(self, symbol: int, ts_ns: int, due: int) -> int:
        """The slice, at most `due`, at whose end the mark of a fill at `ts_ns` still means what it meant then."""
        return min(due, self.next_slice(symbol, ts_ns // self._slice_ns - 1))

    def _suspend(self, state: State, desk: Desk, symbol: int, deal: Deal) -> None:
        """The intent to be flat by now is refused; what of the deal is still at the venue ends there by itself."""
        size = abs(held_of(state, symbol))
        if not size or state["stance"][symbol] == SUSPENDED:
            return
        deal["phase"] = LEAVING
        deal["due_ns"] = FOREVER_NS
        deal["unprotected"] = 0
        state["stance"][symbol] = SUSPENDED
        value = size * E8 // 10 ** self._markets[symbol].listing.size_exponent
        desk.rows.verdict(desk.k, desk.now, symbol, Intent.FLATTEN, False, _RULE, value, 0, size, 0)
        tally = tally_of(state, symbol)
        tally["intents"] += 1
        tally["refusals"][int(_RULE)] = tally["refusals"].get(int(_RULE), 0) + 1


def _last_slice(action_ns: int, slice_ns: int, delay_ns: int) -> int:
    """The last slice of which no quote comes after an action, or the first whose decisions leave after it where that is earlier."""
    return min(action_ns // slice_ns - 1, -(-(action_ns - delay_ns) // slice_ns) - 1)
