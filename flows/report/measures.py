"""What a run's rows say about its trading: mark-outs, break-even fee, queue, holding, inventory, calibration. Money is exact.

mark-out(h)      = side * (mid h after the fill - price) per share, averaged over shares; positive: the fill was a good one
break-even fee   = gross profit / shares traded (or / notional, in basis points): fees above it make the run lose
mean holding     = integral of |position| over time / shares closed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import sqrt
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flows.report.market import Market
from schemas.instruments import Instrument, InstrumentList
from schemas.tables import MONEY_EXPONENT, Liquidity, OrderState, OrderType
from schemas.ticks import Ints

HORIZONS_NS: Final = {"0.1 s": 100_000_000, "1 s": 10**9, "10 s": 10 * 10**9, "60 s": 60 * 10**9}
Table = npt.NDArray[np.void]


def money(e10: int | Fraction) -> Decimal:
    """Money in units of 1e-10 as a decimal; a half of a unit is kept."""
    return (Decimal(int(e10 * 2)) / 2).scaleb(-MONEY_EXPONENT)


@dataclass(frozen=True)
class MarkOut:
    """Mark-outs of one kind of fill at one horizon: fills and shares with a mid, of these with the horizon cut by the session's close,
    the sum in money, and per share in ticks (shares of all symbols weigh alike)."""

    fills: int
    cut: int
    total: Decimal
    ticks_per_share: float | None


def mark_outs(executions: Table, market: Market, instruments: InstrumentList) -> dict[str, dict[str, MarkOut]]:
    """By liquidity ("maker", "taker") and horizon. A fill outside a session or before its first quote counts nowhere."""
    found: dict[str, dict[str, MarkOut]] = {}
    for liquidity in Liquidity:
        mine = executions[executions["liquidity"] == liquidity]
        found[liquidity.name.lower()] = {name: _mark_out(mine, h, market, instruments) for name, h in HORIZONS_NS.items()}
    return found


def _mark_out(rows: Table, horizon_ns: int, market: Market, instruments: InstrumentList) -> MarkOut:
    fills = cut = doubled = 0
    ticks2 = shares = Fraction(0)
    for s in np.unique(rows["symbol"]).tolist():
        mine = rows[rows["symbol"] == s]
        i = instruments.instruments[s]
        mid2, known, short = market.paths[s].as_of(mine["ts_ns"], horizon_ns)
        fills += int(known.sum())
        cut += int((known & short).sum())
        for side, price, quantity, later2 in zip(
            mine["side"][known].tolist(), mine["price"][known].tolist(), mine["quantity"][known].tolist(), mid2[known].tolist(), strict=True
        ):
            gained2 = side * (later2 - 2 * price) * quantity
            doubled += gained2 * i.notional_scale
            ticks2 += Fraction(gained2, i.tick_size * 10**i.size_exponent)
            shares += Fraction(quantity, 10**i.size_exponent)
    return MarkOut(fills, cut, money(Fraction(doubled, 2)), float(ticks2 / 2 / shares) if shares else None)


@dataclass(frozen=True)
class Split:
    """Profit of a symbol, or of all, by part. Money in the account's currency. `rest`: what the mid moved while a position was held,
    beyond the first 10 s after each fill. Per share traded, so a round trip of one share counts two."""

    name: str
    spread: Decimal
    adverse: Decimal
    rest: Decimal
    gross: Decimal
    fees: Decimal
    net: Decimal
    shares: Decimal
    gross_ticks: float | None
    net_ticks: float | None
    volume: Decimal
    fills: int
    maker_fills: int

    @property
    def break_even_per_share(self) -> Decimal | None:
        """The fee per share traded at which the net profit is 0; negative: no fee is low enough."""
        return self.gross / self.shares if self.shares else None

    @property
    def break_even_bps(self) -> Decimal | None:
        """The same in basis points of notional."""
        return self.gross / self.volume * 10_000 if self.volume else None

    @property
    def paid_per_share(self) -> Decimal | None:
        """What was paid per share traded."""
        return self.fees / self.shares if self.shares else None

    @property
    def paid_bps(self) -> Decimal | None:
        """What was paid in basis points of notional."""
        return self.fees / self.volume * 10_000 if self.volume else None


def splits(account: Mapping[str, Any], instruments: InstrumentList) -> list[Split]:
    """One line by symbol that traded, the first for all together. `account` as in run.json."""
    known = {i.symbol: i for i in instruments.instruments}
    by_symbol = [_split(name, s, known[name]) for name, s in account["symbols"].items() if s["fills"]]
    shares = sum((s.shares for s in by_symbol), Decimal(0))
    ticks = [(s.gross_ticks or 0.0, s.net_ticks or 0.0, float(s.shares)) for s in by_symbol]
    pnl = {k: Decimal(v) for k, v in account["pnl"].items()}
    fees = Decimal(account["fees"])
    gross = pnl["net"] + fees
    whole = Split(
        "all",
        pnl["spread_captured"],
        pnl["adverse_selection"],
        gross - pnl["spread_captured"] - pnl["adverse_selection"],
        gross,
        fees,
        pnl["net"],
        shares,
        sum(g * n for g, _, n in ticks) / float(shares) if shares else None,
        sum(t * n for _, t, n in ticks) / float(shares) if shares else None,
        Decimal(account["volume"]),
        int(account["fills"]),
        int(account["maker_fills"]),
    )
    return [whole, *by_symbol]


def _split(name: str, s: Mapping[str, Any], i: Instrument) -> Split:
    pnl = {k: Decimal(v) for k, v in s["pnl"].items()}
    fees, shares, tick = Decimal(s["fees"]), Decimal(s["quantity"]), i.price(i.tick_size)
    gross = pnl["net"] + fees
    return Split(
        name,
        pnl["spread_captured"],
        pnl["adverse_selection"],
        gross - pnl["spread_captured"] - pnl["adverse_selection"],
        gross,
        fees,
        pnl["net"],
        shares,
        float(gross / shares / tick) if shares else None,
        float(pnl["net"] / shares / tick) if shares else None,
        Decimal(s["volume"]),
        int(s["fills"]),
        int(s["maker_fills"]),
    )


@dataclass(frozen=True)
class Orders:
    """Orders of one type: sent, with any fill, fully filled, mean share of an order that was filled, cancelled, rejected or expired;
    seconds
    from sending to the first fill (order latency included), median and 90th percentile."""

    type: str
    sent: int
    touched: int
    filled: int
    quantity_share: float | None
    cancelled: int
    refused: int
    median_s: float | None
    slow_s: float | None


def orders_by_type(orders: Table, executions: Table) -> list[Orders]:
    """What became of the orders. `orders` are all rows of the orders table: the last row of an order says how it ended."""
    firsts: dict[int, int] = {}
    for n, ts in zip(executions["order_n"].tolist(), executions["ts_ns"].tolist(), strict=True):
        firsts[n] = min(ts, firsts.get(n, ts))
    sent_rows = orders[orders["state"] == OrderState.SENT]
    sent_at = dict(zip(sent_rows["order_n"].tolist(), sent_rows["ts_ns"].tolist(), strict=True))
    _, last = np.unique(orders["order_n"][::-1], return_index=True)
    final = orders[::-1][last]
    final = final[np.isin(final["order_n"], sent_rows["order_n"])]
    found = []
    for kind in OrderType:
        mine = final[final["type"] == kind]
        if not mine.size:
            continue
        waits = [(firsts[n] - sent_at[n]) / 1e9 for n in mine["order_n"].tolist() if n in firsts]
        ended = mine["state"].tolist()
        found.append(
            Orders(
                kind.name.lower(),
                len(mine),
                int((mine["filled"] > 0).sum()),
                ended.count(OrderState.FILLED),
                float((mine["filled"] / mine["quantity"]).mean()),
                ended.count(OrderState.CANCELLED),
                ended.count(OrderState.REJECTED) + ended.count(OrderState.EXPIRED),
                float(np.median(waits)) if waits else None,
                float(np.quantile(waits, 0.9)) if waits else None,
            )
        )
    return found


@dataclass(frozen=True)
class Inventory:
    """How a symbol was held. Seconds; `largest` as notional in money at the price of the fill that reached it; `overnight`: positions
    carried over a session's close: how many, and the largest quantity."""

    symbol: str
    trips: int
    mean_s: float | None
    median_trip_s: float | None
    largest_quantity: Decimal
    largest: Decimal
    overnights: int
    overnight_quantity: Decimal


def inventories(executions: Table, instruments: InstrumentList, last_ts_ns: int) -> list[Inventory]:
    """By symbol, from the executions in the order in which they were booked."""
    found = []
    for s in np.unique(executions["symbol"]).tolist():
        mine = executions[executions["symbol"] == s]
        mine = mine[np.argsort(mine["ts_ns"], kind="stable")]
        found.append(_inventory(mine, instruments.instruments[s], instruments.session_array(s), last_ts_ns))
    return found


def _inventory(rows: Table, i: Instrument, sessions: Ints, last_ts_ns: int) -> Inventory:
    times = rows["ts_ns"].tolist()
    held, began, area, closed, largest, largest_value = 0, 0, 0, 0, 0, 0
    trips: list[float] = []
    after: list[int] = []
    for ts, side, quantity, price, until in zip(
        times,
        rows["side"].tolist(),
        rows["quantity"].tolist(),
        rows["price"].tolist(),
        [*times[1:], max(last_ts_ns, times[-1])],
        strict=True,
    ):
        before = held
        held += side * quantity
        closed += max(0, min(quantity, -side * before))
        if before != 0 and before * held <= 0:
            trips.append((ts - began) / 1e9)
        if before == 0 or before * held < 0:
            began = ts
        area += abs(held) * (until - ts)
        if abs(held) > largest:
            largest = abs(held)
        largest_value = max(largest_value, abs(held) * price)
        after.append(held)
    carried = [after[at] for at in (np.searchsorted(rows["ts_ns"], sessions[:, 1], side="right") - 1).tolist() if at >= 0 and after[at]]
    return Inventory(
        i.symbol,
        len(trips),
        area / closed / 1e9 if closed else None,
        float(np.median(trips)) if trips else None,
        i.size(largest),
        money(largest_value * i.notional_scale),
        len(carried),
        i.size(max((abs(q) for q in carried), default=0)),
    )


@dataclass(frozen=True)
class Bin:
    """Signals of about one confidence: how many, their mean confidence, the share that was right with a 95% Wilson interval."""

    n: int
    confidence: float
    hits: float
    low: float
    high: float


def calibration(signals: Table, labels: npt.NDArray[np.int8], bins: int = 8) -> list[Bin]:
    """Signals that took a side and have a label, in bins of about equal number by confidence."""
    use = (signals["action"] != 0) & (labels != 0)
    confidence = signals["confidence_e6"][use] / 1e6
    hit = signals["action"][use] == labels[use]
    order = np.argsort(confidence, kind="stable")
    found = []
    for part in np.array_split(order, max(1, min(bins, order.size // 20))):
        if part.size:
            share = float(hit[part].mean())
            low, high = wilson(share, part.size)
            found.append(Bin(int(part.size), float(confidence[part].mean()), share, low, high))
    return found


def wilson(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95% interval of a share of n independent trials (E. B. Wilson 1927)."""
    middle = share + z * z / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


@dataclass(frozen=True)
class Ceiling:
    """What an oracle of the next change would make per share and change, in ticks, before fees: it decides at each change of the mid, acts
    150 ms later and leaves at the next change. `mid`: the move itself, mid to mid; `taker`: buying at the ask and selling at the bid;
    `chosen`: the same for those changes only that pay, `chosen_share` of all."""

    symbol: str
    changes: int
    mid: float
    taker: float
    chosen: float | None
    chosen_share: float


def ceilings(market: Market, instruments: InstrumentList, delay_ns: int) -> list[Ceiling]:
    """By tradeable symbol with changes."""
    found = []
    for s, path in market.paths.items():
        i = instruments.instruments[s]
        base, to, has = path.next_change(path.ts_ns[path.spells()], delay_ns)
        base, to = base[has], to[has]
        if not i.tradeable or not base.size:
            continue
        mid2 = path.mid2
        side = np.sign(mid2[to] - mid2[base])
        taker = np.where(side > 0, path.bid[to] - path.ask[base], path.bid[base] - path.ask[to]) / i.tick_size
        pays = taker > 0
        found.append(
            Ceiling(
                i.symbol,
                int(base.size),
                float(np.abs(mid2[to] - mid2[base]).mean() / 2 / i.tick_size),
                float(taker.mean()),
                float(taker[pays].mean()) if pays.any() else None,
                float(pays.mean()),
            )
        )
    return found


@dataclass(frozen=True)
class Hold:
    """Buying a symbol at its first ask and selling at its last bid, fees left out: profit as a share of what was paid.

    Corporate actions in between count as its holder sees them: a split changes the units, a dividend is paid and lies as cash.
    """

    symbol: str
    share: float


def buy_and_hold(market: Market, instruments: InstrumentList) -> list[Hold]:
    """By tradeable symbol that had quotes, but for those whose prices cannot be compared because of an action of kind `other`."""
    found = []
    for s, c in market.counts.items():
        i, path = instruments.instruments[s], market.paths[s]
        if not c.first_ask or not i.tradeable:
            continue
        actions = [a for a in instruments.actions_of(s) if path.ts_ns[0] < a.ts_ns <= path.ts_ns[-1]]
        if any(a.kind == "other" for a in actions):
            continue
        units, cash = Fraction(1), Fraction(0)
        for a in actions:
            cash += units * a.cash * 10**i.price_exponent
            units *= a.ratio
        found.append(Hold(i.symbol, float((units * c.last_bid + cash) / c.first_ask - 1)))
    return found


def days_of(market: Market) -> int:
    """Days of event time with a session in which the market was seen: whole sessions, or calendar days (UTC) where always open."""
    days: set[int] = set()
    for path in market.paths.values():
        if path.ts_ns.size:
            days |= set(np.unique(path.ts_ns // (86_400 * 10**9)).tolist())
    return len(days)
