"""The way in: a signal asks for an entry, risk says yes or no, and what was said is recorded with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from operators.book.deals import new_deal
from operators.book.desk import Desk
from operators.book.listings import FOREVER_NS, SECOND_NS, Market
from operators.book.measures import tally_of
from operators.book.scan_kernels import ASK, BID, DAY2, EXPOSURE2, LAST2, PEAK2
from operators.book.ways import Ways
from operators.risk import Entry, RiskLimits, check_entry, largest_position
from operators.timeline.stage import State
from schemas.orders import POST_ONLY
from schemas.settings import Settings
from schemas.tables import Intent, Liquidity, OrderType

# Members looked up once: at each use that costs ten times what a name does (Enum's __getattr__).
_ENTER_LONG: Final = Intent.ENTER_LONG
_ENTER_SHORT: Final = Intent.ENTER_SHORT
_MAKER: Final = Liquidity.MAKER
_TAKER: Final = Liquidity.TAKER
_LIMIT: Final = OrderType.LIMIT
_MARKET: Final = OrderType.MARKET


class Wish(NamedTuple):
    """The last action of a symbol in the slice: -1 sell, 0 hold, 1 buy, with the signal's calibrated confidence."""

    symbol: int
    action: int
    confidence_e6: int


class Entrance:
    """How entries are sized, priced and checked. Immutable."""

    def __init__(self, markets: Sequence[Market], ways: Ways, settings: Settings) -> None:
        self.markets = markets
        self.ways = ways
        self.risk = settings.risk
        self.strict = settings.profile == "strict"
        book = settings.book
        self.passive = book.entry == "passive"
        self.entry_timeout_ns = int(book.entry_timeout_s * SECOND_NS)
        self.overnight = book.hold_overnight
        self.close_margin_ns = ways.flat_ns

    def enter(self, state: State, desk: Desk, wish: Wish, limits: RiskLimits) -> None:
        """Checks the entry that a signal asks for against `limits`; always a verdict, where it is approved a deal with its entry order."""
        symbol, side = wish.symbol, wish.action
        market = self.markets[symbol]
        listing = market.listing
        opens, closes = market.session(desk.now)
        bid, ask, _, _, quote_ts = state["market"][symbol].tolist()
        quoted = bid > 0 and quote_ts >= opens
        price = stop = quantity = 0
        money = state["money"].tolist()
        equity2 = money[LAST2]
        if quoted:
            price = market.passive(side, bid, ask) if self.passive else (ask if side > 0 else bid)
            distance = max(self.risk.stop_spreads * (ask - bid), self.risk.stop_min_ticks * market.price_tick)
            stop = market.stop_at(side, price, distance)
            quantity = largest_position(limits.position, equity2, price, listing)
        expected = self._expected(market, side, quantity, price, ask - bid, wish.confidence_e6)
        inside = opens <= desk.now
        close = market.last_close(desk.now) if self.overnight else closes
        before_action = closes == market.last_close(desk.now)
        entry = Entry(
            side=side,
            quantity=quantity,
            price=price,
            stop=stop,
            quoted=quoted,
            held=0,
            others2=money[EXPOSURE2] + self._in_flight2(state, desk),
            equity2=equity2,
            peak2=money[PEAK2],
            day2=money[DAY2],
            mode=state["mode"],
            open_orders=sum(len(deal["working"]) for deal in state["deals"].values()),
            session_left_ns=closes - desk.now if inside else 0,
            session_next_ns=0 if inside or opens == FOREVER_NS else opens - desk.now,
            close_margin_ns=self.close_margin_ns if before_action or not self.overnight else 0,
            expected_e10=expected,
            strict=self.strict,
            before_action=before_action,
        )
        verdict = check_entry(limits, listing, entry)
        intent = _ENTER_LONG if side > 0 else _ENTER_SHORT
        desk.rows.verdict(
            desk.k,
            desk.now,
            symbol,
            intent,
            verdict.approved,
            verdict.rule,
            verdict.value_e8,
            verdict.limit_e8,
            quantity,
            verdict.largest_passing,
        )
        tally = tally_of(state, symbol)
        tally["intents"] += 1
        if not verdict.approved:
            tally["refusals"][int(verdict.rule)] = tally["refusals"].get(int(verdict.rule), 0) + 1
            return
        flat = close - self.close_margin_ns if close != FOREVER_NS else FOREVER_NS
        deal = new_deal(side, stop, desk.now + self.entry_timeout_ns, flat)
        state["deals"][symbol] = deal
        kind, flags = (_LIMIT, POST_ONLY) if self.passive else (_MARKET, 0)
        deal["entry"] = self.ways.place(state, desk, symbol, deal, kind, side, quantity, price=price if self.passive else 0, flags=flags)
        state["stance"][symbol] = side

    def _expected(self, market: Market, side: int, quantity: int, price: int, spread: int, confidence_e6: int) -> int:
        """Expected value of a round trip in 1e-10, after costs; deliberately simple.

        The signal's confidence c is the calibrated probability that the next move goes its way; a move is taken to be one spread.
        A passive entry earns half a spread and the exit, taken to be at the market, pays half; a market entry pays half as well.
        Fees: the entry's as maker or taker, the exit's as taker. Adverse selection is not in it.
        """
        if quantity == 0:
            return 0
        unit = quantity * market.listing.scale
        edge = (2 * confidence_e6 - 1_000_000) * spread * unit // 1_000_000
        notional = price * unit
        fees = market.fees.whole(side, quantity, notional, _MAKER if self.passive else _TAKER)
        fees += market.fees.whole(-side, quantity, notional, _TAKER)
        return edge - (0 if self.passive else spread * unit) - fees

    def _in_flight2(self, state: State, desk: Desk) -> int:
        total = 0
        for symbol, deal in state["deals"].items():
            entry = desk.live(deal["entry"])
            if entry is not None:
                price2 = 2 * entry.price or sum(state["market"][symbol, BID : ASK + 1].tolist())
                total += entry.leaves * price2 * self.markets[symbol].listing.scale
        return total
