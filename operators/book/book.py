"""An account's decisions: what is done at the end of a slice with its signals, marks and reports. Plain Python, exact integers.

`Book.decide` is the whole of it, for one slice k (end of slice, event time (k + 1) * W; orders leave then, or `feed_delay_ms`
later):

1. executions and other reports visible at k are booked: position, fee, cash;
2. the account is evaluated; a drawdown at the limit trips the kill switch (mode emergency);
3. signals: one that finds no deal asks risk for an entry; one that is not the deal's own side (the other, or hold) leaves it.
   A reversal leaves first: the other side is entered by a later signal;
4. every deal in hand is looked at: a stop for what was filled, timeouts, holding time, the close, the way out.

A slice in which nothing is due leaves the state as it is, so the driver may skip it or not.

Orders of a deal: the entry (post-only limit at the own touch, or market); a reduce-only stop at the venue for what each decision
learns was filled, all at one price; the way out, a reduce-only limit at the own touch and, after `exit_timeout_s` or where it is
urgent, a reduce-only market order. The stops rest until the position is flat; being reduce-only, none of these can overshoot.

Corporate actions: nothing is held over one on purpose, overnight or not. Deals are left `flat_before_close_s` before the last close before
it, and entries refused from then on; no order outlives it at the venue. What could not be left by the end of the last slice before it is
suspended (suspension.py): valued at the last quote before, never traded again, and told.
"""

from __future__ import annotations

from bisect import insort
from typing import Final

import numpy as np

from operators.book.columns import NOTHING_SAID
from operators.book.control import LIMIT_RULES, MODES, ControlDesk, changed_limits, next_control, take_due, values_e8
from operators.book.deals import LEAVING, OPEN, Deal, account_of, held_of, stray_deal
from operators.book.desk import Desk, Report
from operators.book.entrance import Entrance, Wish
from operators.book.listings import FOREVER_NS, Market
from operators.book.measures import ADVERSE_NS, tally_of
from operators.book.rows import RowBook
from operators.book.scan_kernels import (
    ASK,
    BASE2,
    BID,
    BUSY,
    DAY,
    DAY2,
    DAY_NS,
    LAST2,
    LAST_BASE2,
    MONEY,
    OVERFLOW,
    PEAK2,
    SUSPENDED,
    WORST_PEAK2,
    evaluate,
    revalue,
)
from operators.book.suspension import Suspension
from operators.book.ways import Ways
from operators.orders import Order, Reported
from operators.portfolio import (
    CurrencyError,
    MoneyOverflowError,
    apply_fill,
    flat_position,
    is_new_trade,
)
from operators.risk import (
    E8,
    MAY_FOLLOW,
    Mode,
    RiskLimits,
    RiskRule,
    reached,
    risk_limits,
    share_e8,
)
from operators.timeline.stage import State
from schemas.control import NO_LOG, Accepted, Command, ControlLog, Refused, limit_of
from schemas.errors import UsageError
from schemas.instruments import InstrumentList
from schemas.messages import ControlMessage
from schemas.orders import Reason, ReportKind, Requests
from schemas.settings import Settings
from schemas.tables import MONEY_EXPONENT, NO_SYMBOL, Intent, Liquidity, OrderType

# Members looked up once: at each use that costs ten times what a name does (Enum's __getattr__).
_MAKER: Final = Liquidity.MAKER
_EMERGENCY: Final = Mode.EMERGENCY
_REDUCED: Final = Mode.REDUCED
_STOP: Final = OrderType.STOP
_ACK: Final = ReportKind.ACK
_EXPIRED: Final = ReportKind.EXPIRED
_FILL: Final = ReportKind.FILL
_REJECTED: Final = ReportKind.REJECTED
_TRIGGERED: Final = ReportKind.TRIGGERED


NEVER_KILLS: Final = 2.0
ALMOST: Final = 1.0 - 1e-9
"""The scan compares the drawdown in floating point and stops this much early; the book compares exactly."""


def almost(limits: RiskLimits) -> float:
    """The limit of the drawdown as the scan compares it."""
    return limits.drawdown.numerator / limits.drawdown.denominator * ALMOST


def too_large(account: str, k: int) -> str:
    """What to say of an equity that the state cannot hold."""
    return f"account {account}: the equity in slice {k} does not fit 64 bits of 1e-10; reduce the capital or the position limits"


class Book:
    """The decisions of one account. Immutable; everything that changes is in the state."""

    def __init__(self, instruments: InstrumentList, settings: Settings, log: ControlLog = NO_LOG, not_before: int = 0) -> None:
        self.instruments = instruments
        self.key = settings.account.id
        self.slice_ns = settings.slice_ns
        self.delay_ns = settings.book.feed_delay_ms * 1_000_000
        self.markets = [Market(instruments, i, settings.account.currency) for i in range(len(instruments.instruments))]
        self.control = ControlDesk(settings, log, not_before)
        self.risk = settings.risk
        self.limits = risk_limits(settings.risk)
        self.ways = Ways(self.markets, settings.book)
        self.entrance = Entrance(self.markets, self.ways, settings)
        self._kill_share = almost(self.limits)
        self._never = self._slice_of(FOREVER_NS)
        self._suspension = Suspension(self.markets, self.slice_ns, self.delay_ns)
        capital = settings.account.capital.scaleb(MONEY_EXPONENT)
        if capital != int(capital) or not 0 < capital < 2**61:
            given = settings.account.capital
            msg = f"account.capital must be above 0, a multiple of 1e-{MONEY_EXPONENT} and below 230 million, given {given}"
            raise UsageError(msg)
        self.capital = int(capital)

    def start(self) -> State:
        """An account with its capital and nothing else."""
        n = len(self.markets)
        money = np.zeros(MONEY, np.int64)
        for field in (BASE2, PEAK2, DAY2, LAST2, LAST_BASE2, WORST_PEAK2):
            money[field] = 2 * self.capital
        money[DAY] = -(2**62)
        return {
            "mode": int(Mode.NORMAL),
            "next_due": self._never,
            "money": money,
            "market": np.zeros((n, 5), np.int64),
            "weight": np.zeros(n, np.int64),
            "stance": np.zeros(n, np.int8),
            "positions": {},
            "deals": {},
            "orders": {},
            "n": {"verdicts": 0, "executions": 0, "positions": 0, "equity": 0},
            "tallies": {},
            "marking": [],
            "control": self.control.start(),
            "limits": {},
        }

    def accept(self, state: State, command: Command, at: int) -> Accepted | Refused:
        """Judges a control message; `at`: the first slice not yet decided, -1 before the first range."""
        judged = self.control.accept(state, command, at)
        self._note_control(state)
        return judged

    def join_log(self, state: State, at: int) -> None:
        """Takes over the log's messages that the account does not know; `at` as for `accept`."""
        self.control.join_log(state, at)
        self._note_control(state)

    def begin(self, state: State, first: int) -> None:
        """A range is about to be walked through; `first`: the first slice in it in which a shard says anything, or NOTHING_SAID."""
        if state["control"]["first"] == NOTHING_SAID != first:
            state["control"]["first"] = first
            self._note_control(state)

    def limits_of(self, state: State) -> RiskLimits:
        """The limits that hold now: the settings', with what was changed."""
        changes: dict[str, str] = state["limits"]
        return changed_limits(self.risk, tuple(changes.items())) if changes else self.limits

    def kill_share(self, state: State) -> float:
        """The share of the peak that the equity may fall before the scan has to stop, as near as floating point tells."""
        if state["mode"] == _EMERGENCY:
            return NEVER_KILLS
        return almost(self.limits_of(state)) if state["limits"] else self._kill_share

    def _note_control(self, state: State) -> None:
        due = next_control(state)
        if due is not None:
            state["next_due"] = min(state["next_due"], due)

    def _next_due(self, state: State, k: int) -> int:
        """The first slice after k that must be looked at if nothing is reported or signalled before."""
        deals = state["deals"]
        due = self._slice_of(min([deal["due_ns"] for deal in deals.values()])) if deals else self._never
        if state["marking"]:
            due = min(due, state["marking"][0][0])
        if self._suspension:
            due = min([due, *(self._suspension.next_slice(symbol, k) for symbol in deals)])
        control = next_control(state)
        return due if control is None else min(due, control)

    def desk(self, state: State, rows: RowBook) -> Desk:
        """The order desk for a step; `state["orders"] = desk.close(...)` ends it."""
        return Desk(self.key, self.markets, state["orders"], rows)

    def decide(self, state: State, desk: Desk, k: int, wishes: list[Wish], reports: list[Report]) -> Requests:
        """Decides at the end of slice k; `state["market"]` holds the marks of that end. Returns the requests that leave."""
        desk.begin(k, (k + 1) * self.slice_ns + self.delay_ns)
        filled = False
        for report in reports:
            filled |= self._report(state, desk, report)
        if self._suspension:
            self._suspension.take_effect(state, desk, k)
        if filled or self._day_of(k) != state["money"].item(DAY):
            self._evaluate(state, k)
        self._modes(state, desk)
        for wish in wishes:
            self._wish(state, desk, wish)
        deals = state["deals"]
        now = desk.now
        due = [s for s, deal in deals.items() if now >= deal["due_ns"]]
        for symbol in sorted(due) if len(due) > 1 else due:
            self.ways.advance(state, desk, symbol, deals[symbol])
        if state["mode"] == _REDUCED:
            self._reduce(state, desk)
        if state["marking"]:
            self._mark_out(state, k)
        state["next_due"] = self._next_due(state, k)
        return desk.requests()

    def _slice_of(self, t_ns: int) -> int:
        return -(-(t_ns - self.delay_ns) // self.slice_ns) - 1

    def _day_of(self, k: int) -> int:
        """The day (UTC) in which slice k ends; where it is the account's, only fills can have changed what the scan has evaluated."""
        return ((k + 1) * self.slice_ns - 1) // DAY_NS

    def _evaluate(self, state: State, k: int) -> None:
        money = state["money"]
        evaluate(money, k, self.slice_ns)
        if money[OVERFLOW]:
            raise MoneyOverflowError(too_large(self.key, k))

    # reports

    def _report(self, state: State, desk: Desk, report: Report) -> bool:
        """Books a report; whether it was a fill, which moves money."""
        order, r = desk.receive(report)
        if order is None or report.kind == _ACK:
            return False
        symbol, n = order.symbol, order.order_n
        deal: Deal | None = state["deals"].get(symbol)
        kind = report.kind
        if deal is None:
            if kind != _FILL:
                return False
            deal = state["deals"][symbol] = stray_deal(order.side)
        filled = False
        if kind == _FILL:
            trade = (order.side, r.price, r.quantity)
            if is_new_trade(account_of(deal, n)["booked"], report.exec_n, trade):
                self._fill(state, desk, deal, order, report, r)
                filled = True
        elif kind == _TRIGGERED:
            deal["triggered"].append(n)
            if deal["phase"] == OPEN:
                self.ways.leave(state, desk, symbol, deal, Intent.STOP, urgent=True)
            deal["urgent"] = True
        elif kind in (_REJECTED, _EXPIRED) and order.type == _STOP and deal["phase"] == OPEN:
            self.ways.leave(state, desk, symbol, deal, Intent.STOP, urgent=True)
        if not order.open:
            for orders in (deal["working"], deal["triggered"]):
                if n in orders:
                    orders.remove(n)
        if state["stance"][symbol] != SUSPENDED or not held_of(state, symbol):
            state["stance"][symbol] = deal["side"] if deal["phase"] == OPEN else BUSY
        deal["due_ns"] = 0
        if filled and self._suspension:
            self._suspension.filled(state, desk, symbol, deal, r.ts_ns, r.price)
        return filled

    def _fill(self, state: State, desk: Desk, deal: Deal, order: Order, report: Report, r: Reported) -> None:
        symbol, side = order.symbol, order.side
        market = self.markets[symbol]
        if not market.listing.same_currency:
            msg = (
                f"account {self.key}: a fill of {market.name} is in {market.currency}, for which the account has no rate; "
                "make the instrument not tradeable or keep its own account"
            )
            raise CurrencyError(msg)
        ts_ns, price, quantity, liquidity = r.ts_ns, r.price, r.quantity, r.liquidity
        scale = market.listing.scale
        notional = price * quantity * scale
        fee = market.fees.charge(account_of(deal, order.order_n)["fees"], side, quantity, notional, liquidity)
        position = state["positions"].setdefault(symbol, flat_position())
        booked = apply_fill(position, side, notional, quantity, fee)
        state["money"][BASE2] -= 2 * (side * notional + fee)
        state["weight"][symbol] = position["quantity"] * scale
        revalue(state["market"], state["weight"], state["money"])
        desk.rows.execution(desk.k, ts_ns, order.order_n, quantity, price, fee, r.queue_ahead, symbol, side, liquidity)
        bid, ask = state["market"][symbol, BID : ASK + 1].tolist()
        desk.rows.position(desk.k, desk.now, symbol, position, bid + ask, scale, market.listing.size_exponent)
        tally = tally_of(state, symbol)
        tally["fills"] += 1
        tally["maker_fills"] += liquidity == _MAKER
        tally["quantity"] += quantity
        tally["volume"] += notional
        tally["fees"] += fee
        if booked.closed_trip is not None:
            tally["trips"] += 1
            tally["won"] += booked.closed_trip > 0
        if report.mid2_before:
            tally["spread2"] += side * (report.mid2_before * quantity * scale - 2 * notional)
            due = self._suspension.marked_by(symbol, ts_ns, -(-(ts_ns + ADVERSE_NS) // self.slice_ns) - 1)
            if not market.acted(ts_ns, desk.now):
                insort(state["marking"], (max(due, desk.k), symbol, side * quantity * scale, report.mid2_before))
        if order.order_n == deal["entry"]:
            if deal["opened_ns"] < 0:
                deal["opened_ns"] = ts_ns
            deal["unprotected"] += quantity

    # modes

    def _modes(self, state: State, desk: Desk) -> None:
        self._kill_switch(state, desk)
        if state["control"]["due"]:
            for message in take_due(state, desk.k):
                self._obey(state, desk, message)
            self._kill_switch(state, desk)

    def _kill_switch(self, state: State, desk: Desk) -> None:
        money = state["money"]
        peak = money.item(PEAK2)
        fallen = peak - money.item(LAST2)
        limit = self.limits_of(state).drawdown
        if state["mode"] != _EMERGENCY and reached(fallen, peak, limit):
            self._change_mode(state, desk, _EMERGENCY, RiskRule.DRAWDOWN, share_e8(fallen, peak), limit.e8)

    def _obey(self, state: State, desk: Desk, message: ControlMessage) -> None:
        """An accepted control message takes hold: always a verdict, refused where the mode has meanwhile become one that forbids it."""
        if message.kind in MODES:
            mode, wanted = Mode(state["mode"]), MODES[message.kind]
            if wanted not in MAY_FOLLOW[mode] or wanted == mode:
                _note(desk, Intent.CHANGE_MODE, wanted == mode, RiskRule.MODE, wanted * E8, mode * E8)
            else:
                self._change_mode(state, desk, wanted, RiskRule.MODE, wanted * E8, mode * E8)
        elif message.kind == "change_limit":
            name, value = limit_of(message, self.risk)
            before = values_e8(self.limits_of(state))[name]
            state["limits"][name] = str(value)
            _note(desk, Intent.CHANGE_LIMIT, True, LIMIT_RULES[name], values_e8(self.limits_of(state))[name], before)
        else:
            partition = int(message.arguments["partition"])
            _note(desk, Intent.EXCLUDE_PARTITION, True, RiskRule.PARTITION_SILENT, partition * E8, 0)

    def _change_mode(self, state: State, desk: Desk, mode: Mode, rule: RiskRule, value_e8: int, limit_e8: int) -> None:
        state["mode"] = int(mode)
        _note(desk, Intent.CHANGE_MODE, True, rule, value_e8, limit_e8)
        if mode == _EMERGENCY:
            for symbol in sorted(state["deals"]):
                deal = state["deals"][symbol]
                for n in deal["working"]:
                    self.ways.cancel(state, desk, symbol, n, Reason.CANCEL_KILL)
                self.ways.leave(state, desk, symbol, deal, Intent.FLATTEN, urgent=True)

    def _reduce(self, state: State, desk: Desk) -> None:
        """Mode reduced: positions are left one after the other."""
        deals = state["deals"]
        traded = [symbol for symbol in sorted(deals) if state["stance"][symbol] != SUSPENDED]
        if any(deals[symbol]["phase"] == LEAVING for symbol in traded):
            return
        for symbol in traded:
            self.ways.cancel(state, desk, symbol, deals[symbol]["entry"], Reason.BOOK_DECISION)
            self.ways.leave(state, desk, symbol, deals[symbol], Intent.FLATTEN, urgent=False)
            self.ways.advance(state, desk, symbol, deals[symbol])
            return

    # signals and entries

    def _wish(self, state: State, desk: Desk, wish: Wish) -> None:
        deal = state["deals"].get(wish.symbol)
        if deal is None:
            if wish.action:
                self.entrance.enter(state, desk, wish, self.limits_of(state))
        elif deal["phase"] == OPEN and wish.action != deal["side"]:
            self.ways.leave(state, desk, wish.symbol, deal, Intent.EXIT, urgent=False)

    def _mark_out(self, state: State, k: int) -> None:
        marking = state["marking"]
        while marking and marking[0][0] <= k:
            _, symbol, weight, before2 = marking.pop(0)
            bid, ask = state["market"][symbol, BID : ASK + 1].tolist()
            state["tallies"][symbol]["adverse2"] += weight * (bid + ask - before2)


def _note(desk: Desk, intent: Intent, approved: bool, rule: RiskRule, value_e8: int, limit_e8: int) -> None:
    """A verdict on what concerns the whole account."""
    desk.rows.verdict(desk.k, desk.now, NO_SYMBOL, intent, approved, rule, value_e8, limit_e8, 0, 0)
