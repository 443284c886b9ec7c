"""What a run's report needs to know of an account, counted exactly as it happens.

Spread captured and adverse selection, from the book's marks (twice the mid at slice ends, last valid quote in session):

    spread captured    = sum over fills of side * (mid before the fill - price) * quantity
    adverse selection  = sum over fills of side * (mid 10 s after the fill - mid before the fill) * quantity

"Before the fill": the mark at the end of the slice before the fill's. "10 s after": the mark at the end of the first slice that
ends 10 s or more after the fill. A positive adverse selection is a move in the account's favour. Net profit is spread captured,
plus what the mid moved while a position was held, less fees.

Tally, one per symbol: counts; `volume`, `fees`, in 1e-10; `spread2`, `adverse2` doubled 1e-10; `quantity` fixed point.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypedDict

import numpy as np

from operators.book.scan_kernels import ASK, BASE2, BID, LAST2, SUSPENDED, WORST2, WORST_PEAK2
from operators.portfolio import flat_position, realised, unrealised2
from operators.risk import Mode, RiskRule, share_e8
from operators.timeline.stage import State
from schemas.tables import MONEY_EXPONENT

if TYPE_CHECKING:
    from operators.book.book import Book

ADVERSE_NS: Final = 10_000_000_000

_COUNTS: Final = ("intents", "orders", "cancels", "fills", "maker_fills", "trips", "won")
_PARTS: Final = ("realised", "unrealised", "net", "spread_captured", "adverse_selection")


class Tally(TypedDict):
    intents: int
    refusals: dict[int, int]
    orders: int
    cancels: int
    fills: int
    maker_fills: int
    quantity: int
    volume: int
    fees: int
    spread2: int
    adverse2: int
    trips: int
    won: int


def new_tally() -> Tally:
    """Nothing happened yet."""
    return Tally(
        intents=0,
        refusals={},
        orders=0,
        cancels=0,
        fills=0,
        maker_fills=0,
        quantity=0,
        volume=0,
        fees=0,
        spread2=0,
        adverse2=0,
        trips=0,
        won=0,
    )


def tally_of(state: State, symbol: int) -> Tally:
    """The tally of a symbol, made when it is first needed."""
    tallies: dict[int, Tally] = state["tallies"]
    if symbol not in tallies:
        tallies[symbol] = new_tally()
    return tallies[symbol]


def summary_of(book: Book, state: State) -> dict[str, Any]:
    """What happened so far, for the report: counts, and amounts as decimals of the account's currency.

    `intents, refusals {RULE: n}, orders, cancels, fills, maker_fills, volume, fees, trips, won, pnl {realised, unrealised, net,
    spread_captured, adverse_selection}`, the same by symbol under `symbols` (with `quantity` traded and `position`), and for the
    account `equity, cash, capital, max_drawdown, mode, suspended` (symbols held over a corporate action, suspension.py). Net is after fees.
    """
    symbols = {}
    for symbol in sorted(state["tallies"]):
        symbols[book.markets[symbol].name] = _summary_of_symbol(book, state, symbol)
    whole: dict[str, Any] = {name: sum((s[name] for s in symbols.values()), 0) for name in _COUNTS}
    whole.update({name: sum((s[name] for s in symbols.values()), Decimal(0)) for name in ("volume", "fees")})
    refusals: dict[str, int] = {}
    for s in symbols.values():
        for rule, n in s["refusals"].items():
            refusals[rule] = refusals.get(rule, 0) + n
    whole["refusals"] = dict(sorted(refusals.items()))
    whole["pnl"] = {name: sum((s["pnl"][name] for s in symbols.values()), Decimal(0)) for name in _PARTS}
    money = state["money"]
    whole["capital"] = Decimal(book.capital).scaleb(-MONEY_EXPONENT)
    whole["equity"] = _money2(int(money[LAST2]))
    whole["cash"] = _money2(int(money[BASE2]))
    whole["max_drawdown"] = Decimal(share_e8(int(money[WORST2]), int(money[WORST_PEAK2]))).scaleb(-8)
    whole["mode"] = Mode(state["mode"]).name.lower()
    whole["suspended"] = [book.markets[s].name for s in np.flatnonzero(state["stance"] == SUSPENDED).tolist()]
    whole["symbols"] = symbols
    return whole


def _summary_of_symbol(book: Book, state: State, symbol: int) -> dict[str, Any]:
    tally: Tally = state["tallies"][symbol]
    position = state["positions"].get(symbol) or flat_position()
    market = book.markets[symbol]
    bid, ask = state["market"][symbol, BID : ASK + 1].tolist()
    open2 = unrealised2(position, bid + ask, market.listing.scale)
    counts: dict[str, Any] = {name: int(tally[name]) for name in _COUNTS}  # type: ignore[literal-required]
    counts["refusals"] = {RiskRule(rule).name: n for rule, n in sorted(tally["refusals"].items())}
    counts["volume"] = Decimal(tally["volume"]).scaleb(-MONEY_EXPONENT)
    counts["fees"] = Decimal(tally["fees"]).scaleb(-MONEY_EXPONENT)
    counts["quantity"] = Decimal(tally["quantity"]).scaleb(-market.listing.size_exponent)
    counts["position"] = Decimal(position["quantity"]).scaleb(-market.listing.size_exponent)
    counts["pnl"] = {
        "realised": _money2(2 * realised(position)),
        "unrealised": _money2(open2),
        "net": _money2(2 * realised(position) + open2),
        "spread_captured": _money2(tally["spread2"]),
        "adverse_selection": _money2(tally["adverse2"]),
    }
    return counts


def _money2(doubled: int) -> Decimal:
    """Twice 1e-10 as a decimal, exactly."""
    return (Decimal(doubled) / 2).scaleb(-MONEY_EXPONENT)
