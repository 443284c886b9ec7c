"""A floor to trade on: tapes written row by row, orders by hand, and what came back, in plain tuples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operators.execution import PaperVenue, VenueInput
from schemas.instruments import Instrument, InstrumentList
from schemas.orders import ORDER_REQUEST, Operation, ReportKind, TimeInForce
from schemas.ranges import CROSSED, FEATURES, FILLS, IN_SESSION, LIT, LOCKED, VOLUME, GatedRange
from schemas.settings import load_settings
from schemas.tables import OrderType, Side
from schemas.ticks import QUOTE, TICK_V1, TRADE

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

    def quote(self, ts: int, bid: int, bid_size: int, ask: int, ask_size: int, at: str = "N", symbol: int = 0, session: bool = True) -> None:
        gate = (IN_SESSION | FEATURES if session else 0) | (LOCKED if bid == ask else 0) | (CROSSED if bid > ask else 0)
        self._row(ts, QUOTE, bid, bid_size, ask, ask_size, 0, at, symbol, gate)

    def trade(
        self, ts: int, price: int, size: int, side: int = -1, at: str = "N", symbol: int = 0, fills: bool = True, lit: bool = True
    ) -> None:
        gate = IN_SESSION | VOLUME | (FILLS if fills and lit else 0) | (LIT if lit else 0)
        self._row(ts, TRADE, price, size, 0, 0, side, at, symbol, gate)

    def _row(self, ts: int, kind: int, p: int, s: int, a: int, z: int, side: int, at: str, symbol: int, gate: int) -> None:
        seq = sum(1 for r in self.rows if r[7] == symbol)
        self.rows.append((ts, 0, seq, p, s, a, z, symbol, 0, 0, kind, side, ord(at), 0))
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
            np.array([(n, slice_ * W, quantity, price, stop, expires, symbol, op, kind, side, tif, flags, account, bytes(6))], ORDER_REQUEST)
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
            out.append(GatedRange(s, lo, hi, ticks[own], slices[own], gate[own], (), int(own.sum()), 0, np.zeros(1, np.int64)))
        return tuple(out)

    def input(self, lo: int, hi: int) -> VenueInput:
        r = self.all_requests()
        return VenueInput(lo, hi, self.gated(lo, hi), r[(r["sent_ts_ns"] >= lo * W) & (r["sent_ts_ns"] < hi * W)])

    def run(self, hi: int, cuts: tuple[int, ...] = ()) -> np.ndarray:
        state, out = self.venue.start(), []
        edges = [0, *cuts, hi]
        for lo, to in zip(edges, edges[1:], strict=False):
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


@pytest.fixture(scope="session")
def floor() -> type[Floor]:
    return Floor


@pytest.fixture(scope="session")
def fills() -> Callable[[np.ndarray], list[tuple[int, int, int, int]]]:
    return fills_of


@pytest.fixture(scope="session")
def story() -> Callable[..., list[tuple[str, int]]]:
    return story_of
