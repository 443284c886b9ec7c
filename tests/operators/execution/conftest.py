"""A floor to trade on: tapes written row by row, orders by hand, and what came back, in plain tuples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from operators.execution import PaperVenue, VenueInput
from schemas.instruments import Instrument, InstrumentList
from schemas.orders import ORDER_REQUEST, Operation, ReportKind, TimeInForce
from schemas.ranges import CROSSED, FEATURES, FILLS, IN_SESSION, LIT, LOCKED, VOLUME, GatedRange
from schemas.settings import load_settings
from schemas.tables import OrderType, Side
from schemas.ticks import ASK_VENUE_SHIFT, QUOTE, TICK_V1, TRADE

W = 100_000_000
PLAIN = {"price_exponent": 2, "size_exponent": 0, "tick_size": 1, "lot_size": 1}


class Floor:
    """One venue and one tape. Times are in ns; orders are sent at slice starts. Latency is zero unless set."""

    def __init__(self, symbols: dict[str, dict[str, Any]] | None = None, sessions: dict[str, Any] | None = None, **venue: Any) -> None:
        instruments = tuple(Instrument(symbol=s, **{**PLAIN, **more}) for s, more in sorted((symbols or {"A": {}}).items()))
        self.settings = load_settings(env={}, base={"venue": {"latency_scale": 0.0, **venue}})
        self.venue = PaperVenue(InstrumentList(instruments=instruments, sessions=sessions or {}), self.settings)
        self.rows: list[tuple[Any, ...]] = []
        self.gates: list[int] = []
        self.requests: list[np.ndarray] = []

    def quote(
        self,
        ts: int,
        bid: int,
        bid_size: int,
        ask: int,
        ask_size: int,
        at: str = "N",
        symbol: int = 0,
        session: bool = True,
        ask_at: str | None = None,
    ) -> None:
        gate = (IN_SESSION | FEATURES if session else 0) | (LOCKED if bid == ask else 0) | (CROSSED if bid > ask else 0)
        self._row(ts, QUOTE, bid, bid_size, ask, ask_size, 0, at, symbol, gate, ord(ask_at) << ASK_VENUE_SHIFT if ask_at else 0)

    def trade(
        self, ts: int, price: int, size: int, side: int = -1, at: str = "N", symbol: int = 0, fills: bool = True, lit: bool = True
    ) -> None:
        gate = IN_SESSION | VOLUME | (FILLS if fills and lit else 0) | (LIT if lit else 0)
        self._row(ts, TRADE, price, size, 0, 0, side, at, symbol, gate)

    def _row(
        self, ts: int, kind: int, p: int, s: int, a: int, z: int, side: int, at: str, symbol: int, gate: int, conditions: int = 0
    ) -> None:
        seq = sum(1 for r in self.rows if r[7] == symbol)
        self.rows.append((ts, 0, seq, p, s, a, z, symbol, conditions, 0, kind, side, ord(at), 0))
        self.gates.append(gate)

    def send(
        self,
        n: int,
        slice_: int,
        kind: OrderType,
        side: Side,
        quantity: int,
        price: int = 0,
        stop: int = 0,
        tif: TimeInForce = TimeInForce.GTC,
        flags: int = 0,
        expires: int = 0,
        symbol: int = 0,
        account: int = 0,
        op: Operation = Operation.NEW,
    ) -> None:
        self.requests.append(
            np.array(
                [(n, slice_ * W, quantity, price, stop, expires, symbol, op, kind, side, tif, flags, account, bytes(6))], ORDER_REQUEST
            )
        )

    def buy(self, n: int, slice_: int, quantity: int, price: int = 0, **more: Any) -> None:
        self.send(n, slice_, OrderType.LIMIT if price else OrderType.MARKET, Side.BUY, quantity, price, **more)

    def sell(self, n: int, slice_: int, quantity: int, price: int = 0, **more: Any) -> None:
        self.send(n, slice_, OrderType.LIMIT if price else OrderType.MARKET, Side.SELL, quantity, price, **more)

    def stop(self, n: int, slice_: int, side: Side, quantity: int, stop: int, **more: Any) -> None:
        self.send(n, slice_, OrderType.STOP, side, quantity, 0, stop, **more)

    def cancel(self, n: int, slice_: int, **more: Any) -> None:
        self.send(n, slice_, OrderType.LIMIT, Side.BUY, 0, op=Operation.CANCEL, **more)

    def all_requests(self) -> np.ndarray:
        if not self.requests:
            return np.zeros(0, ORDER_REQUEST)
        r = np.concatenate(self.requests)
        return r[np.lexsort((r["order_n"], r["op"], r["sent_ts_ns"]))]

    def gated(self, lo: int, hi: int) -> tuple[GatedRange, ...]:
        """The tape's rows of slices [lo, hi), by shard, in tape order."""
        ticks = np.array(self.rows, TICK_V1)
        order = np.lexsort((ticks["seq"], ticks["symbol"], ticks["ts_ns"]))
        ticks, gate = ticks[order], np.array(self.gates, np.uint8)[order]
        slices = ticks["ts_ns"] // W
        shard = np.array(self.venue.shard_of_symbol)[ticks["symbol"]] if len(ticks) else np.zeros(0, np.int64)
        out = []
        for s in sorted(set(self.venue.shard_of_symbol)):
            own = (shard == s) & (slices >= lo) & (slices < hi)
            out.append(GatedRange(s, lo, hi, ticks[own], slices[own], gate[own], (), int(own.sum()), 0))
        return tuple(out)

    def input(self, lo: int, hi: int) -> VenueInput:
        r = self.all_requests()
        return VenueInput(lo, hi, self.gated(lo, hi), r[(r["sent_ts_ns"] >= lo * W) & (r["sent_ts_ns"] < hi * W)])

    def run(self, hi: int, cuts: tuple[int, ...] = ()) -> np.ndarray:
        state, out = self.venue.start(), []
        edges = [0, *cuts, hi]
        for lo, to in pairwise(edges):
            state, reports = self.venue.step(state, self.input(lo, to))
            out.append(reports)
        self.state = state
        return np.concatenate(out)


def fills_of(reports: np.ndarray) -> list[tuple[int, int, int, int]]:
    """(order, time, price, quantity) of the fills, the pieces of one fill added up."""
    out: dict[tuple[int, int, int], int] = {}
    for r in reports[reports["kind"] == ReportKind.FILL]:
        key = (int(r["order_n"]), int(r["ts_ns"]), int(r["price"]))
        out[key] = out.get(key, 0) + int(r["quantity"])
    return [(*k, v) for k, v in out.items()]


def story_of(reports: np.ndarray, n: int = 0) -> list[tuple[str, int]]:
    """(kind, leaves) of an order's reports, the pieces of one fill as one."""
    out: list[tuple[str, int]] = []
    own = reports[reports["order_n"] == n]
    for i, r in enumerate(own):
        follows = own[i + 1] if i + 1 < len(own) else None
        piece = r["kind"] == ReportKind.FILL and follows is not None and follows["kind"] == ReportKind.FILL
        if not (piece and follows["ts_ns"] == r["ts_ns"] and follows["price"] == r["price"]):
            out.append((ReportKind(int(r["kind"])).name, int(r["leaves"])))
    return out


def random_floor(seed: int, slices: int = 60, symbols: int = 3, orders: bool = True, **venue: Any) -> Floor:
    """A made-up tape with everything on it - locked, crossed, off-exchange, auction, another session - and random orders and cancels."""
    rng, letters = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    names = {f"S{i}": {"calendar": "day" if i % 2 else "always", "shortable": i != 2, "lot_size": 1 + 4 * (i == 1)} for i in range(symbols)}
    third = slices * W // 3
    f = Floor(names, {"day": ((0, third), (third + 7 * W, 3 * third - 2 * W))}, **{"latency_scale": 1.0, **venue})
    for symbol in range(symbols):
        mid, gaps = 2000, rng.exponential(slices * W / 400, 400).astype(np.int64) * (rng.random(400) > 0.2)
        for ts in np.cumsum(gaps):
            session = symbol % 2 == 0 or ts < third or third + 7 * W <= ts < 3 * third - 2 * W
            at = "NPQ"[int(rng.choice(3, p=[0.7, 0.2, 0.1]))]
            if ts >= slices * W:
                break
            if rng.random() < 0.6:
                mid += int(rng.integers(-1, 2))
                spread = int(rng.choice([-1, 0, 1, 2, 3], p=[0.02, 0.05, 0.4, 0.33, 0.2]))
                bid_size, ask_size = rng.integers(1, 30, 2)
                ask_at = "NPQ"[int(letters.choice(3, p=[0.2, 0.7, 0.1]))] if letters.random() < 0.7 else None
                bid = mid - spread // 2
                f.quote(int(ts), bid, int(bid_size), bid + spread, int(ask_size), at, symbol, session, ask_at)
            else:
                price, side = mid + int(rng.integers(-2, 4)), int(rng.integers(-1, 2))
                irregular = rng.random() < 0.1 or not session
                f.trade(int(ts), price, int(rng.integers(1, 40)), side, at, symbol, fills=not irregular, lit=bool(rng.random() < 0.8))
    if not orders:
        return f
    for number, k in enumerate(sorted(rng.integers(1, slices - 5, 40))):
        symbol, side = int(rng.integers(symbols)), Side(int(rng.choice([-1, 1])))
        kind = OrderType(int(rng.choice([1, 2, 2, 2, 3])))
        tif = TimeInForce(int(rng.integers(1, 6)))
        if kind == OrderType.STOP and tif in (TimeInForce.IOC, TimeInForce.FOK):
            tif = TimeInForce.GTC
        price, stop = 2000 + int(rng.integers(-6, 7)), 2000 + int(rng.integers(-6, 7))
        f.send(
            number,
            int(k),
            kind,
            side,
            5 * int(rng.integers(1, 12)),
            price if kind == OrderType.LIMIT else 0,
            stop if kind == OrderType.STOP else 0,
            tif,
            int(rng.choice([0, 0, 1, 2])),
            int(k * W + rng.integers(0, 20 * W)),
            symbol,
            int(rng.integers(2)),
        )
        if rng.random() < 0.5:
            r = f.requests[-1][0]
            late = min(int(k) + int(rng.integers(1, 12)), slices - 1)
            f.cancel(number, late, symbol=symbol, account=int(r["account"]))
    return f


@pytest.fixture(scope="session")
def made_up() -> Callable[..., Floor]:
    return random_floor


@pytest.fixture(scope="session")
def floor() -> type[Floor]:
    return Floor


@pytest.fixture(scope="session")
def fills() -> Callable[[np.ndarray], list[tuple[int, int, int, int]]]:
    return fills_of


@pytest.fixture(scope="session")
def story() -> Callable[..., list[tuple[str, int]]]:
    return story_of
