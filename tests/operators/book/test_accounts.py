"""Money of whole runs, recomputed from executions and quotes by independent lines, to the unit."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from fractions import Fraction

import numpy as np
import pytest

from operators.book import AccountStage
from operators.portfolio import MoneyOverflowError
from schemas.instruments import FeeSchedule
from schemas.tables import TABLES, Intent, OrderState, OrderType

W = 100_000_000
OPTIONS = [
    {"seed": 21},
    {"seed": 22, "overrides": ["book.entry=market", "book.holding_s=4"], "signals_per_s": 0.6},
    {"seed": 23, "sessions": [(5, 60), (70, 115)], "overrides": ["book.flat_before_close_s=10"]},
    {"seed": 24, "overrides": ["risk.stop_spreads=1", "risk.stop_min_ticks=1"], "signals_per_s": 0.6},
]


def run(market):
    stage = AccountStage(market.instruments, market.settings, market.shards)
    state, rows = stage.start(), []
    for x in market.outs([market.first + 500]):
        state, made = stage.step(state, x)
        rows += made
    parts = {t: [r.a for r in rows if r.table == t] for t in TABLES}
    return stage, state, {t: np.concatenate(p) if p else np.empty(0, TABLES[t]) for t, p in parts.items()}


def money(e10):
    return Decimal(int(e10)).scaleb(-10)


def broker_fee(side, shares, notional):
    """The schedule of conftest in decimals: per share 0.0035, at least 0.35, at most 1%; on sales SEC and TAF."""
    fee = min(max(Decimal("0.35"), Decimal("0.0035") * shares), notional / 100)
    if side < 0:
        fee += notional * Decimal("0.0000174") + shares * Decimal("0.000119")
    return fee.quantize(Decimal("1e-10"), ROUND_HALF_UP)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: str(o["seed"]))
def test_fees_positions_and_equity_follow_from_the_executions(random_market, options):
    market = random_market(**options)
    stage, state, t = run(market)
    executions = t["executions"]
    assert len(executions) > 40

    # fees: by order, cumulatively
    filled, paid = {}, {}
    for x in executions:
        shares, notional = filled.get(x["order_n"], (0, Decimal(0)))
        filled[x["order_n"]] = shares + int(x["quantity"]), notional + int(x["quantity"]) * Decimal(int(x["price"])).scaleb(-4)
        paid[x["order_n"]] = paid.get(x["order_n"], Decimal(0)) + money(x["fee_e10"])
        assert paid[x["order_n"]] == broker_fee(x["side"], *filled[x["order_n"]])

    # positions: weighted average by exact fractions, one row an execution
    average, held, realised = {}, {}, {}
    assert len(t["positions"]) == len(executions)
    for x, p in zip(executions, t["positions"], strict=True):
        s, q, price = int(p["symbol"]), int(x["side"]) * int(x["quantity"]), Fraction(int(x["price"]), 10**4)
        h, a = held.get(s, 0), average.get(s, Fraction(0))
        closing = min(abs(h), abs(q)) if h * q < 0 else 0
        realised[s] = realised.get(s, Fraction(0)) + closing * (price - a) * (1 if h > 0 else -1) - Fraction(int(x["fee_e10"]), 10**10)
        left = h + q
        if h * q >= 0:
            a = (a * abs(h) + price * abs(q)) / abs(left)
        elif abs(q) > abs(h):
            a = price
        held[s], average[s] = left, a if left else Fraction(0)
        assert int(p["quantity"]) == left
        assert abs(Fraction(int(p["average_cost_e10"]), 10**10) - average[s]) <= Fraction(1, 10**10)
        assert abs(Fraction(int(p["realised_e10"]), 10**10) - realised[s]) <= Fraction(len(executions), 10**10)
        assert p["slice"] == x["slice"]

    # equity: cash plus positions at the mid of the last quote in session, at the end of each row's slice
    peak = Decimal(100_000)
    quotes = market.ticks[market.ticks["kind"] == 1]
    sessions = [market.instruments.session_array(s) for s in range(4)]
    inside = np.array([any(o <= q["ts_ns"] < c for o, c in sessions[q["symbol"]]) for q in quotes])
    quotes = quotes[inside] if options.get("sessions") else quotes
    for row in t["equity"]:
        end = (row["slice"] + 1) * W
        assert row["ts_ns"] == end
        known = executions[executions["slice"] <= row["slice"]]
        cash, value, exposure = Decimal(100_000), Decimal(0), Decimal(0)
        for x in known:
            cash -= int(x["side"]) * int(x["quantity"]) * Decimal(int(x["price"])).scaleb(-4) + money(x["fee_e10"])
        for s in range(4):
            quantity = int((known["side"].astype(np.int64) * known["quantity"])[known["symbol"] == s].sum())
            if quantity:
                q = quotes[(quotes["symbol"] == s) & (quotes["ts_ns"] < end)][-1]
                mid = (Decimal(int(q["price"])) + Decimal(int(q["ask"]))).scaleb(-4) / 2
                value += quantity * mid
                exposure += abs(quantity) * mid
        assert money(row["cash_e10"]) == cash
        assert money(row["equity_e10"]) == (cash + value).quantize(Decimal("1e-10"), ROUND_FLOOR)
        assert money(row["exposure_e10"]) == exposure.quantize(Decimal("1e-10"), ROUND_FLOOR)
        peak = max(peak, cash + value)
        drawdown = Decimal(int(row["drawdown_e8"])).scaleb(-8)
        assert drawdown >= ((peak - cash - value) / peak).quantize(Decimal("1e-8"), ROUND_CEILING)
    seconds = (t["equity"]["ts_ns"] - 1) // 10**9
    assert np.all(np.diff(seconds) > 0)

    # the summary says the same
    got = stage.summary(state)
    assert got["fees"] == sum((money(x) for x in executions["fee_e10"]), Decimal(0))
    assert got["fills"] == len(executions)
    assert got["equity"] == got["capital"] + got["pnl"]["net"]
    assert got["pnl"]["net"] == got["pnl"]["realised"] + got["pnl"]["unrealised"]
    assert got["volume"] == sum((int(x["quantity"]) * Decimal(int(x["price"])).scaleb(-4) for x in executions), Decimal(0))
    verdicts = t["verdicts"]
    assert got["intents"] == len(verdicts)
    assert sum(got["refusals"].values()) == np.count_nonzero(verdicts["approved"] == 0)
    assert got["orders"] == np.count_nonzero(t["orders"]["state"] == OrderState.NEW)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: str(o["seed"]))
def test_every_position_has_its_stop_and_no_deal_overshoots(random_market, options):
    _, _, t = run(random_market(**options))
    orders, executions = t["orders"], t["executions"]
    new = orders[orders["state"] == OrderState.NEW]
    stops = {int(o["order_n"]): o for o in new if o["type"] == OrderType.STOP}
    entries = {int(v["symbol"]): None for v in t["verdicts"] if v["intent"] in (Intent.ENTER_LONG, Intent.ENTER_SHORT)}
    assert entries
    protected = {}
    for o in stops.values():
        protected[int(o["symbol"])] = protected.get(int(o["symbol"]), 0) + int(o["quantity"])
    opened, held = {}, {}
    for x in executions:
        s = int(x["symbol"])
        before = held.get(s, 0)
        held[s] = before + int(x["side"]) * int(x["quantity"])
        assert before * held[s] >= 0, "a way out went beyond flat"
        if abs(held[s]) > abs(before):
            opened[s] = opened.get(s, 0) + int(x["quantity"])
    assert protected == opened


def test_spread_captured_and_adverse_selection_by_hand(random_market):
    """Against the tape: mids at slice ends before each fill and 10 s after it."""
    market = random_market(seed=25, seconds=60)
    stage, state, t = run(market)
    captured = adverse = Decimal(0)
    quotes = market.ticks[market.ticks["kind"] == 1]

    def mid(symbol, before_ns):
        q = quotes[(quotes["symbol"] == symbol) & (quotes["ts_ns"] < before_ns)][-1]
        return (Decimal(int(q["price"])) + Decimal(int(q["ask"]))).scaleb(-4) / 2

    end = market.last * W
    for x in t["executions"]:
        before = mid(x["symbol"], x["ts_ns"] // W * W)
        signed = int(x["side"]) * int(x["quantity"])
        captured += signed * (before - Decimal(int(x["price"])).scaleb(-4))
        after = -(-(int(x["ts_ns"]) + 10 * 10**9) // W) * W
        if after <= end:
            adverse += signed * (mid(x["symbol"], after) - before)
    got = stage.summary(state)["pnl"]
    assert got["spread_captured"] == captured != 0
    assert got["adverse_selection"] == adverse != 0


def test_an_equity_beyond_64_bits_is_a_clear_error(random_market):
    big = random_market(
        seed=26, seconds=30, overrides=["account.capital=229000000", "risk.max_position_fraction=1", "risk.max_gross_fraction=10"]
    )
    free = FeeSchedule(name="none", kind="none")
    instruments = tuple(i.model_copy(update={"fees": free}) for i in big.instruments.instruments)
    big.instruments = big.instruments.model_copy(update={"instruments": instruments})
    big.ticks["size"][big.ticks["kind"] == 1] = 10**8
    big.ticks["ask_size"][big.ticks["kind"] == 1] = 10**8
    big.settings = big.settings.model_copy(update={"book": big.settings.book.model_copy(update={"entry": "market"})})
    big.signals["action"] = -1
    with pytest.raises(MoneyOverflowError, match=r"account main: the equity in slice \d+ does not fit 64 bits"):
        run(big)
