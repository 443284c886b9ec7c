"""Measures on hand-made executions: each expected number stands with its arithmetic."""

from decimal import Decimal

import numpy as np
import pytest

from flows.report.market import Counts, Market, Path
from flows.report.measures import buy_and_hold, calibration, ceilings, inventories, mark_outs, orders_by_type, splits, wilson
from schemas.actions import CorporateAction
from schemas.instruments import Instrument, InstrumentList
from schemas.tables import EXECUTION, ORDER, SIGNAL, Liquidity, OrderState, OrderType

SECOND = 10**9
CLOSE = 1000 * SECOND
LISTED = InstrumentList(
    instruments=(Instrument(symbol="AAA", price_exponent=2, size_exponent=0, tick_size=1, lot_size=1, calendar="day"),),
    sessions={"day": ((0, CLOSE), (2 * CLOSE, 3 * CLOSE))},
)


def path(*entries: tuple[int, int, int]) -> Path:
    """(second, bid, ask) in the first session."""
    a = np.array(entries, np.int64)
    return Path(a[:, 0] * SECOND, a[:, 1], a[:, 2], np.zeros(len(a), np.int64), LISTED.session_array(0))


def executions(*rows: tuple[float, int, int, int, Liquidity]) -> np.ndarray:
    """(second, side, quantity, price, liquidity), each of an order of its own."""
    a = np.zeros(len(rows), EXECUTION)
    for i, (second, side, quantity, price, liquidity) in enumerate(rows):
        a[i]["n"] = a[i]["order_n"] = i
        a[i]["ts_ns"], a[i]["side"], a[i]["quantity"], a[i]["price"] = int(second * SECOND), side, quantity, price
        a[i]["liquidity"] = liquidity
    return a


# bid/ask 100/102 from 1 s, 104/106 from 10.5 s, 98/100 from 50 s
MARKET = Market({0: path((1, 100, 102), (10, 100, 102), (11, 104, 106), (50, 98, 100))}, {0: Counts(first_ask=102, last_bid=98)})


def test_mark_outs_of_a_maker_who_bought_at_the_bid_and_a_taker_who_bought_at_the_ask() -> None:
    rows = executions((10, 1, 3, 100, Liquidity.MAKER), (10, 1, 1, 102, Liquidity.TAKER))
    found = mark_outs(rows, MARKET, LISTED)
    # maker: mid 101 at 10.1 s: (101 - 100) * 3 = 3 cents; at 11 s and 20 s mid 105: 5 * 3 = 15; at 70 s mid 99: -1 * 3 = -3
    assert [m.total for m in found["maker"].values()] == [Decimal("0.03"), Decimal("0.15"), Decimal("0.15"), Decimal("-0.03")]
    assert [m.ticks_per_share for m in found["maker"].values()] == [1.0, 5.0, 5.0, -1.0]
    # taker: 101 - 102, 105 - 102, 105 - 102, 99 - 102
    assert [m.ticks_per_share for m in found["taker"].values()] == [-1.0, 3.0, 3.0, -3.0]


def test_mark_out_whose_horizon_the_close_cuts_takes_the_last_mid_and_says_so() -> None:
    found = mark_outs(executions((990, -1, 2, 100, Liquidity.MAKER)), MARKET, LISTED)["maker"]
    assert [(m.cut, m.ticks_per_share) for m in found.values()] == [(0, 1.0), (0, 1.0), (1, 1.0), (1, 1.0)]  # sold at 100, mid 99


def test_fills_outside_a_session_or_before_its_first_quote_have_no_mark_out() -> None:
    rows = executions((0.5, 1, 1, 100, Liquidity.MAKER), (1500, 1, 1, 100, Liquidity.MAKER), (2001, 1, 1, 100, Liquidity.MAKER))
    assert [m.fills for m in mark_outs(rows, MARKET, LISTED)["maker"].values()] == [0, 1, 1, 1]  # the first sees a quote from 1 s on


def test_labels_take_the_first_different_mid_after_the_delay_within_a_minute() -> None:
    p = path((1, 100, 102), (2, 99, 103), (10, 101, 103), (200, 100, 102))
    at = np.array([1, 3, 10, 139, 150, 500]) * SECOND
    # 1 s, 3 s: up at 10 s (99/103 leaves the mid at 101); 10 s: down only 190 s later; 139 s: 61 s later; 150 s: 50 s; then nothing
    assert p.labels(at, 150_000_000).tolist() == [1, 1, 0, 0, -1, 0]


def account(gross: str, fees: str, quantity: str, volume: str) -> dict:
    net = str(Decimal(gross) - Decimal(fees))
    pnl = {"realised": net, "unrealised": "0", "net": net, "spread_captured": "1.5", "adverse_selection": "-0.5"}
    one = {"pnl": pnl, "fees": fees, "volume": volume, "fills": 2, "maker_fills": 1, "quantity": quantity}
    return one | {"symbols": {"AAA": one}}


def test_break_even_fee_is_gross_profit_by_share_and_by_notional() -> None:
    whole, one = splits(account("2.00", "5.00", "400", "20000"), LISTED)
    assert whole.break_even_per_share == one.break_even_per_share == Decimal("0.005")  # 2 / 400
    assert whole.break_even_bps == Decimal(1)  # 2 / 20000
    assert whole.paid_per_share == Decimal("0.0125")  # 5 / 400
    assert (one.gross_ticks, one.net_ticks) == (0.5, -0.75)  # ticks of 0.01: 0.005 and (2 - 5) / 400
    assert one.spread + one.adverse + one.rest == one.gross
    assert one.gross - one.fees == one.net
    assert one.rest == Decimal("1.0")  # 2 - 1.5 + 0.5


def test_an_account_without_fills_has_no_break_even_fee() -> None:
    (whole,) = splits(account("0", "0", "0", "0") | {"symbols": {}, "fills": 0}, LISTED)
    assert whole.break_even_per_share is None
    assert whole.break_even_bps is None


def test_holding_trips_and_overnight_inventory() -> None:
    rows = executions(
        (10, 1, 2, 100, Liquidity.MAKER),
        (20, -1, 2, 101, Liquidity.TAKER),  # 2 shares for 10 s
        (30, -1, 1, 100, Liquidity.MAKER),
        (40, 1, 4, 100, Liquidity.TAKER),  # 1 share short for 10 s, then 3 long over the close at 1000 s
        (2040, -1, 3, 100, Liquidity.TAKER),  # for 2000 s
    )
    (held,) = inventories(rows, LISTED, 3000 * SECOND)
    assert held.trips == 3
    assert held.median_trip_s == 10.0  # of 10, 10, 2000
    assert held.mean_s == pytest.approx((2 * 10 + 1 * 10 + 3 * 2000) / 6)
    assert (held.largest_quantity, held.largest) == (3, Decimal("3.00"))
    assert (held.overnights, held.overnight_quantity) == (1, 3)


def test_fate_of_orders_is_their_last_row() -> None:
    states = [
        (0, OrderState.SENT, 0, 1), (1, OrderState.SENT, 0, 2), (0, OrderState.PARTIALLY_FILLED, 1, 3), (0, OrderState.CANCELLED, 1, 4),
        (1, OrderState.FILLED, 4, 5),
    ]  # fmt: skip
    rows = np.zeros(len(states), ORDER)
    for row, (n, state, filled, second) in zip(rows, states, strict=True):
        row["order_n"], row["state"], row["filled"], row["ts_ns"] = n, state, filled, second * SECOND
        row["quantity"], row["type"] = 4, OrderType.LIMIT
    fills = executions((2.5, 1, 1, 100, Liquidity.MAKER), (4, 1, 4, 100, Liquidity.MAKER))
    (found,) = orders_by_type(rows, fills)
    assert (found.sent, found.touched, found.filled, found.cancelled) == (2, 2, 1, 1)
    assert found.quantity_share == (0.25 + 1) / 2
    assert found.median_s == 1.75  # 1.5 and 2


def test_oracle_as_taker_pays_the_spread() -> None:
    (c,) = ceilings(MARKET, LISTED, 150_000_000)
    # from 1 s (session's start): up at 11 s, mid to mid 4, buys at 102, sells at 104; from 11 s: down at 50 s, 6, sells at 104, buys at 100
    assert (c.changes, c.mid, c.taker, c.chosen, c.chosen_share) == (2, 5.0, 3.0, 3.0, 1.0)


def test_calibration_counts_only_signals_with_a_side_and_a_label() -> None:
    signals = np.zeros(50, SIGNAL)
    signals["action"] = 1
    signals["action"][:5] = 0
    signals["confidence_e6"] = 700_000
    labels = np.ones(50, np.int8)
    labels[5:10] = 0
    labels[10:20] = -1
    bins = calibration(signals, labels)
    assert sum(b.n for b in bins) == 40
    assert sum(b.n * b.hits for b in bins) == 30
    assert all(b.confidence == pytest.approx(0.7) for b in bins)


def test_wilson_interval_of_the_textbook() -> None:
    low, high = wilson(0.8, 10)  # Brown, Cai and DasGupta 2001: 8 of 10 gives 0.490 to 0.943
    assert (round(low, 3), round(high, 3)) == (0.49, 0.943)


def test_buy_and_hold_buys_the_ask_and_sells_the_bid() -> None:
    (held,) = buy_and_hold(MARKET, LISTED)
    assert held.share == pytest.approx(98 / 102 - 1)


def test_buy_and_hold_counts_splits_and_dividends_and_gives_nothing_over_any_other_action() -> None:
    """Bought at 102 cents at 1 s; two shares for one at 20 s, 10 cents a share at 30 s, sold at 98 at 50 s; others lie outside."""
    split = CorporateAction(symbol="AAA", ts_ns=20 * SECOND, kind="split", numerator=2)
    paid = CorporateAction(symbol="AAA", ts_ns=30 * SECOND, kind="dividend", amount=1, amount_exponent=1)
    outside = [CorporateAction(symbol="AAA", ts_ns=t * SECOND, kind="split", numerator=7) for t in (1, 51)]
    (held,) = buy_and_hold(MARKET, LISTED.with_actions([split, paid, *outside]))
    assert held.share == pytest.approx((2 * 98 + 2 * 10) / 102 - 1)
    assert buy_and_hold(MARKET, LISTED.with_actions([CorporateAction(symbol="AAA", ts_ns=20 * SECOND, kind="other")])) == []
