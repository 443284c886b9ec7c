"""Fills against the tape: never more than it supports, ordered by rule, and equal to a slow second implementation."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.orders import ReportKind
from schemas.ranges import CROSSED, FILLS, IN_SESSION, LOCKED
from schemas.tables import OrderType, Side
from schemas.ticks import QUOTE, TRADE

W = 100_000_000
SLICES = 60


def ticks_of(f, symbol):
    return [(r, g) for r, g in zip(f.rows, f.gates, strict=True) if r[7] == symbol]


def is_valid(r, g):
    return r[10] == QUOTE and g & IN_SESSION and not g & (LOCKED | CROSSED) and r[5] > r[3]


@pytest.mark.parametrize("rule", ["queue", "touch", "trade_through"])
def test_passive_volume_never_exceeds_what_the_tape_supports(made_up, fills, rule):
    """Of the strictest rule few of these markets have any fill, so all of them together must have some."""
    checked = [checked_volume(made_up(100 + seed, SLICES, fill_rule=rule)) for seed in range(8)]
    assert sum(c > 0 for c in checked) >= (1 if rule == "trade_through" else 8), checked


def checked_volume(f):
    """The volume of a market's passive fills, each instant of it held against what the tape supports then."""
    r = f.run(SLICES)
    maker = r[(r["kind"] == ReportKind.FILL) & (r["liquidity"] == 1)]
    checked = 0
    for account in (0, 1):
        for symbol in range(3):
            own = maker[(maker["account"] == account) & (maker["symbol"] == symbol)]
            rows = ticks_of(f, symbol)
            for ts in np.unique(own["ts_ns"]):
                here = [(x, g) for x, g in rows if x[0] == ts]
                prints = sum(x[4] for x, g in here if x[10] == TRADE and g & FILLS)
                for side, field in ((Side.BUY, 6), (Side.SELL, 4)):
                    quotes = sum(x[field] for x, g in here if is_valid(x, g))
                    filled = int(own[(own["ts_ns"] == ts) & (own["side"] == side)]["quantity"].sum())
                    assert filled <= prints + quotes
                    checked += filled
    return checked


@pytest.mark.parametrize("seed", range(12))
def test_optimistic_fills_no_less_than_ours_and_ours_no_less_than_strict(made_up, fills, seed):
    total = {}
    for rule in ("touch", "queue", "trade_through"):
        f = made_up(200 + seed, SLICES, 1, orders=False, fill_rule=rule, latency_scale=0.0)
        f.send(0, 2, OrderType.LIMIT, Side.BUY if seed % 2 else Side.SELL, 60, 2000 + seed % 5 - 2)
        total[rule] = sum(x[3] for x in fills(f.run(SLICES)))
    assert total["touch"] >= total["queue"] >= total["trade_through"]
    assert total["touch"] > 0


def slow_queue_rule(f, arrival, side, quantity, limit):
    """Fills of one limit by the queue rule, row by row, from the rules' text. Independent of the venue's code."""
    out, left, queue, at_exchange, away = [], quantity, None, None, True
    quote, fresh, taken, arrived = None, False, 0, False
    mine, theirs = (3, 5) if side == Side.BUY else (5, 3)

    def shown_at(r, column):
        """The letter of the exchange that shows a side: the ask's stands in the high byte of the conditions where it differs."""
        return (r[8] >> 24 if column == 5 else 0) or r[12]

    def better(a, b):
        return a > b if side == Side.BUY else a < b

    def fill(ts, price, most):
        nonlocal left
        done = max(min(left, most), 0)
        left -= done
        if done:
            out.append((0, ts, price, done))
        return done

    def look():
        nonlocal queue, at_exchange, away
        touch, size = quote[mine], quote[mine + 1]
        if better(touch, limit):
            away = True
            return
        if better(limit, touch):
            queue, at_exchange = 0, at_exchange or shown_at(quote, mine)
        elif queue is None or at_exchange != shown_at(quote, mine):
            queue, at_exchange = size, shown_at(quote, mine)
        elif away:
            queue = min(queue, size)
        away = False

    def arrive(ts):
        nonlocal arrived, taken
        arrived = True
        if not better(quote[theirs], limit):
            taken += fill(ts, quote[theirs], quote[theirs + 1] - taken)
        look()

    def on_quote(ts, r, g):
        nonlocal quote, fresh, taken
        fresh = bool(is_valid(r, g))
        if not fresh:
            return
        shown = (r[theirs], r[theirs + 1], shown_at(r, theirs))
        if quote is None or shown != (quote[theirs], quote[theirs + 1], shown_at(quote, theirs)):
            taken = 0
        quote = r
        if arrived:
            if better(limit, r[theirs]):
                taken += fill(ts, limit, r[theirs + 1] - taken)
            look()
        elif ts > arrival:
            arrive(ts)

    for r, g in ticks_of(f, 0):
        if r[0] > arrival and not arrived and fresh:
            arrive(arrival)
        if r[10] == QUOTE:
            on_quote(r[0], r, g)
        elif g & FILLS and arrived:
            middle2 = quote[3] + quote[5]
            aggressor = r[11] or int(np.sign(2 * r[3] - middle2))
            if better(limit, r[3]):
                fill(r[0], limit, r[4])
                queue = 0
            elif r[3] == limit and queue is not None and aggressor == -side and r[12] == shown_at(quote, mine):
                fill(r[0], limit, r[4] - queue)
                queue = max(queue - r[4], 0)
    return out


@pytest.mark.parametrize("seed", range(40))
def test_queue_rule_equals_a_slow_second_implementation(made_up, fills, seed):
    f = made_up(300 + seed, SLICES, 1, orders=False, latency_scale=0.0)
    side, limit = Side.BUY if seed % 2 else Side.SELL, 2000 + seed % 7 - 3
    f.send(0, 5, OrderType.LIMIT, side, 200, limit)
    expected = slow_queue_rule(f, 5 * W, side, 200, limit)
    merged = {}
    for n, ts, price, q in expected:
        merged[n, ts, price] = merged.get((n, ts, price), 0) + q
    assert fills(f.run(SLICES)) == [(*k, v) for k, v in merged.items()]
