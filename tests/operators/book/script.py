"""A scripted market: quotes that stand still, a venue without latency, one thing happening at a time."""

from __future__ import annotations

import numpy as np

from operators.book import AccountStage
from schemas.orders import Reason
from schemas.tables import SIGNAL, TABLES, OrderState
from schemas.ticks import QUOTE, TICK_V1, TRADE

W = 100_000_000
NO_LATENCY = ("venue.latency_scale=0", "venue.partial_fill_mean=0.001")


class Script:
    """One symbol of price 20.00 / 20.02; times in seconds from the start."""

    def __init__(self, random_market, *overrides, sessions=None, seconds=60, symbols=1, **instrument):
        self.market = random_market(seed=1, symbols=symbols, seconds=seconds, overrides=(*NO_LATENCY, *overrides), sessions=sessions)
        if instrument:
            changed = self.market.instruments.instruments[0].model_copy(update=instrument)
            rest = self.market.instruments.instruments[1:]
            self.market.instruments = self.market.instruments.model_copy(update={"instruments": (changed, *rest)})
        self.start = self.market.first * W
        self.ticks, self.signals = [], []

    def ns(self, t):
        return self.start + round(t * 1e9)

    def quote(self, t, bid, ask, size=1000, symbol=0):
        self.ticks.append((self.ns(t), 0, len(self.ticks), bid, size, ask, size, symbol, 0, 0, QUOTE, 0, ord("P"), 0))
        return self

    def steady(self, start, end, bid=200_000, ask=200_200, symbol=0):
        for t in np.arange(start, end, 0.5):
            self.quote(t, bid, ask, symbol=symbol)
        return self

    def trade(self, t, price, size, side, symbol=0):
        self.ticks.append((self.ns(t), 0, len(self.ticks), price, size, 0, 0, symbol, 0, 0, TRADE, side, ord("P"), 0))
        return self

    def signal(self, t, action, confidence=900_000, symbol=0):
        ts = self.ns(t)
        self.signals.append((len(self.signals), ts // W, ts, 0, confidence, 7, symbol, action, b"\0" * 3))
        return self

    def run(self, at=()):
        """`at`: (second, what to do then with (stage, state)) between two ranges."""
        m = self.market
        self.ticks.sort(key=lambda r: (r[0] // W, r[0], r[7], r[2]))
        m.ticks = np.array(self.ticks, TICK_V1)
        m.gate = np.full(len(m.ticks), m.gate[0], np.uint8)
        for i, t in enumerate(m.ticks):
            if not any(o <= t["ts_ns"] < c for o, c in m.instruments.session_array(int(t["symbol"]))):
                m.gate[i] = 0
        m.signals = np.array(self.signals, SIGNAL)
        self.stage = AccountStage(m.instruments, m.settings, m.shards)
        self.state, rows = self.stage.start(), []
        acts = {self.ns(t) // W: act for t, act in at}
        for x in m.outs(acts):
            if x[0].lo in acts:
                acts[x[0].lo](self.stage, self.state)
            self.state, made = self.stage.step(self.state, x)
            rows += made
        parts = {t: [r.a for r in rows if r.table == t] for t in TABLES}
        for t, p in parts.items():
            setattr(self, t, np.concatenate(p) if p else np.empty(0, TABLES[t]))
        return self

    def seconds(self, rows):
        return [round((int(r["ts_ns"]) - self.start) / 1e9, 3) for r in rows]

    def ended(self, order_n):
        last = self.orders[self.orders["order_n"] == order_n][-1]
        return OrderState(last["state"]), Reason(last["reason"])

    @property
    def summary(self):
        return self.stage.summary(self.state)


def entered(s):
    """A purchase at 20.00 filled at 3 s, its stop at the venue: ten spreads below."""
    return s.steady(0, 3).signal(1.05, 1).trade(3, 199_900, 5000, -1)
