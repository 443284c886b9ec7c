"""What happens when orders and cancels arrive: taking, refusals, times in force, stops. Slices are 100 ms (W), latency zero."""

from __future__ import annotations

import pytest

from operators.execution import UNKNOWN_EXEC_N
from schemas.errors import InstrumentError
from schemas.orders import POST_ONLY, REDUCE_ONLY, Reason, ReportKind, TimeInForce
from schemas.tables import Liquidity, OrderType, Side

W = 100_000_000


def shown(floor, symbols=None, sessions=None, **settings):
    """Bid 1000 x 100, ask 1002 x 60 from time 10 on."""
    f = floor(symbols, sessions, **settings)
    f.quote(10, 1000, 100, 1002, 60)
    return f


def reason_of(reports, n=0):
    return Reason(int(reports[reports["order_n"] == n][-1]["reason"]))


def test_market_order_takes_what_is_shown_on_arrival(floor, fills):
    f = shown(floor)
    f.quote(W, 1001, 100, 1003, 60)  # a quote at the time of arrival is known
    f.quote(W + 1, 900, 100, 901, 60)  # a later one is not
    f.buy(0, 1, 60)
    r = f.run(3)
    assert fills(r) == [(0, W, 1003, 60)]
    assert set(r[r["kind"] == ReportKind.FILL]["liquidity"]) == {Liquidity.TAKER}


@pytest.mark.parametrize(
    ("slippage", "quantity", "expected"),
    [
        # shown 60 at 1002: the next 60 pay 1003, then 1004
        (1, 150, [(1002, 60), (1003, 60), (1004, 30)]),
        (2, 100, [(1002, 60), (1004, 40)]),
        (0, 150, [(1002, 150)]),
        # 8 parts at most: 7 full levels, then 600 - 420 = 180 at the level of the last share: 599 // 60 = 9
        (1, 600, [(1002 + i, 60) for i in range(7)] + [(1011, 180)]),
    ],
)
def test_market_order_beyond_the_shown_size_pays_further_ticks(floor, fills, slippage, quantity, expected):
    f = shown(floor, slippage_ticks_per_shown=slippage)
    f.buy(0, 1, quantity)
    assert [(p, q) for _, _, p, q in fills(f.run(3))] == expected


def test_second_market_order_on_the_same_quote_pays_on(floor, fills):
    f = shown(floor)
    f.buy(0, 1, 40)
    f.buy(1, 2, 40)  # 20 left at 1002, 20 at 1003
    f.quote(2 * W + 1, 999, 100, 1002, 60)  # the bid changed, the offer is only shown again: still 80 taken
    f.buy(2, 3, 40)  # 80 // 60 = 1: all at 1003
    f.quote(4 * W, 999, 100, 1002, 61)  # a new offer
    f.buy(3, 4, 10)
    assert fills(f.run(6)) == [
        (0, W, 1002, 40),
        (1, 2 * W, 1002, 20),
        (1, 2 * W, 1003, 20),
        (2, 3 * W, 1003, 40),
        (3, 4 * W, 1002, 10),
    ]


def test_what_was_taken_is_remembered_while_nothing_is_read(floor, fills):
    f = shown(floor)
    f.buy(0, 1, 60)  # takes all; then no order is alive for three slices
    f.buy(1, 5, 60)
    for cuts in ((), (2,), (2, 3, 4)):
        assert fills(f.run(6, cuts)) == [(0, W, 1002, 60), (1, 5 * W, 1003, 60)]


@pytest.mark.parametrize("bad", [(1002, 1002), (1003, 1002)])
def test_market_order_waits_for_an_unlocked_uncrossed_quote(floor, fills, bad):
    f = shown(floor)
    f.quote(20, bad[0], 10, bad[1], 10)
    f.buy(0, 1, 10)
    f.quote(2 * W + 7, 1001, 10, 1003, 10)
    assert fills(f.run(4)) == [(0, 2 * W + 7, 1003, 10)]


def test_marketable_limit_takes_the_shown_size_and_rests_alone(floor, fills, story):
    f = shown(floor)
    f.buy(0, 1, 100, 1003)
    f.trade(W + 1, 1003, 15)  # a sale at its price: nobody is ahead at 1003
    r = f.run(3)
    assert fills(r) == [(0, W, 1002, 60), (0, W + 1, 1003, 15)]
    assert story(r) == [("ACK", 100), ("FILL", 40), ("FILL", 25)]


def test_limit_arriving_at_a_locked_market_takes_from_the_first_valid_quote(floor, fills):
    f = shown(floor)
    f.quote(20, 1002, 60, 1002, 60)
    f.buy(0, 1, 10, 1002)
    f.quote(W + 5, 1001, 60, 1002, 60)
    assert fills(f.run(3)) == [(0, W + 5, 1002, 10)]


@pytest.mark.parametrize(
    ("tif", "price", "quantity", "filled", "reason"),
    [
        (TimeInForce.IOC, 1002, 100, 60, Reason.EXPIRED_IOC_REMAINDER),
        (TimeInForce.IOC, 1001, 100, 0, Reason.EXPIRED_IOC_REMAINDER),
        (TimeInForce.IOC, 0, 100, 60, Reason.EXPIRED_IOC_REMAINDER),
        (TimeInForce.FOK, 1002, 61, 0, Reason.EXPIRED_FOK_UNFILLED),
        (TimeInForce.FOK, 1002, 60, 60, Reason.FILL_TAKER),
        (TimeInForce.FOK, 0, 61, 0, Reason.EXPIRED_FOK_UNFILLED),
        (TimeInForce.GTC, 1002, 100, 60, Reason.FILL_TAKER),
    ],
)
def test_times_in_force_on_arrival(floor, fills, tif, price, quantity, filled, reason):
    f = shown(floor)
    f.buy(0, 1, quantity, price, tif=tif)
    r = f.run(3)
    assert sum(x[3] for x in fills(r)) == filled
    assert reason_of(r) == reason


@pytest.mark.parametrize("tif", [TimeInForce.IOC, TimeInForce.FOK])
def test_immediate_orders_do_not_wait_for_a_valid_quote(floor, story, tif):
    f = shown(floor)
    f.quote(20, 1002, 60, 1002, 60)
    f.buy(0, 1, 10, 1005, tif=tif)
    assert story(f.run(3)) == [("ACK", 10), ("EXPIRED", 0)]


def test_gtd_is_dead_at_its_time(floor, story, fills):
    f = shown(floor)
    f.buy(0, 1, 50, 1001, tif=TimeInForce.GTD, expires=2 * W + 5)
    f.trade(2 * W + 4, 1001, 10)
    f.trade(2 * W + 5, 1001, 10)
    r = f.run(4)
    assert fills(r) == [(0, 2 * W + 4, 1001, 10)]
    assert story(r)[-1] == ("EXPIRED", 0)
    assert (r[-1]["ts_ns"], reason_of(r)) == (2 * W + 5, Reason.EXPIRED_GTD)


def test_day_order_ends_with_its_session(floor, story):
    f = shown(floor, {"A": {"calendar": "day"}}, {"day": ((0, 3 * W), (5 * W, 9 * W))})
    f.buy(0, 1, 50, 1001, tif=TimeInForce.DAY)
    r = f.run(8)
    assert story(r) == [("ACK", 50), ("EXPIRED", 0)]
    assert (r[-1]["ts_ns"], r[-1]["slice"], reason_of(r)) == (3 * W, 3, Reason.EXPIRED_SESSION_END)


@pytest.mark.parametrize(
    ("instrument", "order", "reason"),
    [
        ({"tradeable": False}, {"quantity": 1}, Reason.SYMBOL_NOT_TRADEABLE),
        ({"quoted": False}, {"quantity": 1}, Reason.SYMBOL_NOT_QUOTED),
        ({"lot_size": 10}, {"quantity": 15}, Reason.QUANTITY_OFF_LOT),
        ({}, {"quantity": 0}, Reason.QUANTITY_BELOW_MINIMUM),
        ({"size_max": 99}, {"quantity": 100}, Reason.QUANTITY_ABOVE_MAXIMUM),
        ({"tick_size": 5}, {"quantity": 1, "price": 1003}, Reason.PRICE_OFF_TICK),
        ({"price_max": 2000}, {"quantity": 1, "price": 2001}, Reason.PRICE_ABOVE_MAXIMUM),
        ({}, {"quantity": 1, "kind": OrderType.LIMIT}, Reason.PRICE_MISSING),
        ({}, {"quantity": 1, "kind": OrderType.STOP}, Reason.STOP_PRICE_MISSING),
        ({}, {"quantity": 1, "kind": OrderType.STOP, "stop": 9, "tif": TimeInForce.IOC}, Reason.TIME_IN_FORCE_UNKNOWN),
        ({}, {"quantity": 1, "kind": 9}, Reason.TYPE_UNKNOWN),
        ({}, {"quantity": 1, "price": 1002, "flags": POST_ONLY}, Reason.POST_ONLY_WOULD_TAKE),
        ({}, {"quantity": 1, "flags": REDUCE_ONLY}, Reason.REDUCE_ONLY_NOTHING_TO_REDUCE),
        ({"shortable": False}, {"quantity": 1, "side": Side.SELL}, Reason.SIDE_NOT_SHORTABLE),
        ({}, {"quantity": 1, "price": 999, "tif": TimeInForce.GTD, "expires": W}, Reason.EXPIRY_PAST),
    ],
)
def test_refusals(floor, story, instrument, order, reason):
    f = shown(floor, {"A": instrument})
    default = OrderType.LIMIT if "price" in order else OrderType.MARKET
    f.send(0, 1, order.pop("kind", default), order.pop("side", Side.BUY), order.pop("quantity"), **order)
    r = f.run(3)
    assert story(r) == [("REJECTED", 0)]
    assert (r[0]["ts_ns"], reason_of(r)) == (W, reason)


def test_post_only_rests_behind_the_touch(floor, story):
    f = shown(floor)
    f.buy(0, 1, 10, 1000, flags=POST_ONLY)
    r = f.run(2)
    assert story(r) == [("ACK", 10)]
    assert r[0]["queue_ahead"] == 100


@pytest.mark.parametrize(("sent", "accepted"), [(0, False), (1, True), (2, True), (3, False), (5, True)])
def test_orders_arriving_outside_the_session_are_refused(floor, sent, accepted):
    f = floor({"A": {"calendar": "day"}}, {"day": ((W, 3 * W), (5 * W, 6 * W))})
    f.quote(W, 1000, 10, 1001, 10)
    f.buy(0, sent, 10)
    r = f.run(8)
    assert (reason_of(r[:1]) == Reason.VENUE_ACCEPTED) == accepted
    if not accepted:
        assert reason_of(r) == Reason.SESSION_CLOSED


def test_a_quote_of_the_last_session_is_not_taken(floor, fills):
    f = floor({"A": {"calendar": "day"}}, {"day": ((0, W), (2 * W, 9 * W))})
    f.quote(10, 1000, 10, 1001, 10)
    f.buy(0, 2, 5)
    f.quote(2 * W + 50, 1100, 10, 1101, 10)
    assert fills(f.run(4)) == [(0, 2 * W + 50, 1101, 5)]


def test_stop_triggers_and_fills_at_the_next_quote(floor, fills, story):
    f = shown(floor)
    f.stop(0, 1, Side.SELL, 30, 995)
    f.quote(W + 1, 996, 100, 998, 60)
    f.quote(W + 2, 995, 100, 997, 60)  # at the stop price: triggers
    f.quote(W + 2, 994, 100, 996, 60)  # the same time: not strictly later
    f.quote(W + 9, 980, 25, 990, 60)  # 25 at 980, 5 one tick below
    r = f.run(3)
    assert story(r) == [("ACK", 30), ("TRIGGERED", 30), ("FILL", 5), ("FILL", 0)]
    assert fills(r) == [(0, W + 9, 980, 25), (0, W + 9, 979, 5)]
    assert [(int(x["ts_ns"]), int(x["price"])) for x in r[r["kind"] == ReportKind.TRIGGERED]] == [(W + 2, 995)]


@pytest.mark.parametrize(
    ("side", "stop", "price", "change", "triggers"),
    [
        (Side.SELL, 995, 995, {}, True),
        (Side.SELL, 995, 996, {}, False),
        (Side.SELL, 995, 990, {"lit": False, "at": "D"}, False),
        (Side.SELL, 995, 990, {"fills": False}, False),
        (Side.BUY, 1010, 1010, {"side": 1}, True),
        (Side.BUY, 1010, 1009, {"side": 1}, False),
    ],
)
def test_only_lit_regular_prints_trigger_stops(floor, story, side, stop, price, change, triggers):
    f = shown(floor)
    f.stop(0, 1, side, 30, stop)
    f.trade(W + 1, price, 1, **change)
    assert (("TRIGGERED", 30) in story(f.run(3))) == triggers


def test_stop_already_through_on_arrival_triggers_then_and_fills_at_the_next_quote(floor, story, fills):
    f = shown(floor)
    f.stop(0, 1, Side.BUY, 10, 1002)
    f.quote(2 * W, 1005, 10, 1007, 10)
    r = f.run(4)
    assert story(r) == [("ACK", 10), ("TRIGGERED", 10), ("FILL", 0)]
    assert fills(r) == [(0, 2 * W, 1007, 10)]


def test_a_locked_quote_does_not_trigger(floor, story):
    f = shown(floor)
    f.stop(0, 1, Side.SELL, 10, 995)
    f.quote(W + 1, 990, 10, 990, 10)
    assert story(f.run(3)) == [("ACK", 10)]


def test_cancel_in_time_after_the_fill_and_of_nothing(floor, story):
    f = shown(floor)
    f.buy(0, 1, 10, 1000)
    f.buy(1, 1, 10)
    f.cancel(0, 2)
    f.cancel(1, 2)
    f.cancel(7, 2)
    r = f.run(4)
    assert story(r, 0) == [("ACK", 10), ("CANCELLED", 0)]
    assert story(r, 1) == [("ACK", 10), ("FILL", 0), ("CANCEL_REJECTED", 0)]
    assert reason_of(r, 1) == Reason.CANCEL_TOO_LATE
    assert [reason_of(r, 7), r[r["order_n"] == 7][0]["exec_n"]] == [Reason.CANCEL_UNKNOWN_ORDER, UNKNOWN_EXEC_N]


def test_cancel_never_overtakes_its_order(floor, story):
    f = floor(order_latency_mu=7.0, order_latency_sigma=0.0, cancel_latency_mu=0.0, cancel_latency_sigma=0.0, latency_scale=1.0)
    f.quote(10, 1000, 100, 1002, 60)
    f.buy(0, 1, 10, 1000)  # arrives exp(7) = 1097 ms later
    f.cancel(0, 2)  # would arrive 1 ms after it was sent
    r = f.run(20)
    assert story(r) == [("ACK", 10), ("CANCELLED", 0)]
    assert r[0]["ts_ns"] == r[1]["ts_ns"] > 11 * W


def test_order_finished_long_ago_is_unknown_however_the_range_is_cut(floor):
    f = shown(floor)
    f.buy(0, 1, 10)
    f.cancel(0, 8)
    for cuts in ((), (3,), (2, 5, 7), (8,)):
        assert reason_of(f.run(10, cuts)) == Reason.CANCEL_UNKNOWN_ORDER


def test_repeated_order_number_is_ignored(floor, fills):
    f = shown(floor)
    f.buy(0, 1, 10)
    f.buy(0, 2, 10)
    assert fills(f.run(4)) == [(0, W, 1002, 10)]


def test_reduce_only_stops_at_flat(floor, fills, story):
    f = shown(floor)
    f.buy(0, 1, 30)
    f.sell(1, 2, 50, flags=REDUCE_ONLY)
    r = f.run(4)
    assert fills(r) == [(0, W, 1002, 30), (1, 2 * W, 1000, 30)]
    assert story(r, 1)[-1] == ("EXPIRED", 0)
    assert reason_of(r, 1) == Reason.EXPIRED_NOTHING_TO_REDUCE


def test_sale_of_what_cannot_be_shorted_is_bounded_by_the_position(floor, fills, story):
    f = shown(floor, {"A": {"shortable": False}})
    f.buy(0, 1, 30)
    f.sell(1, 2, 31)
    f.sell(2, 3, 30)
    f.sell(3, 4, 1)
    r = f.run(6)
    assert fills(r) == [(0, W, 1002, 30), (2, 3 * W, 1000, 30)]
    assert story(r, 1) == story(r, 3) == [("REJECTED", 0)]


def test_accounts_do_not_share_orders_or_positions(floor, story):
    f = shown(floor)
    f.buy(0, 1, 30)
    f.sell(0, 2, 30, flags=REDUCE_ONLY, account=1)
    r = f.run(4)
    assert story(r[r["account"] == 1]) == [("REJECTED", 0)]


def test_unsized_instrument_fills_all_at_the_touch(floor, fills):
    f = floor({"A": {"sized": False}})
    f.quote(10, 1000, 0, 1002, 0)
    f.buy(0, 1, 10_000)
    f.sell(1, 1, 10_000, 1010)
    f.quote(2 * W, 1011, 0, 1012, 0)
    assert fills(f.run(4)) == [(0, W, 1002, 10_000), (1, 2 * W, 1010, 10_000)]


def test_fills_come_in_whole_lots(floor, fills):
    f = floor({"A": {"lot_size": 10}})
    f.quote(10, 1000, 0 + 5, 1002, 60)
    f.buy(0, 1, 100, 1000)
    f.trade(W + 1, 1000, 38)  # 38 - 5 = 33: three lots
    r = f.run(3)
    assert fills(r) == [(0, W + 1, 1000, 30)]
    assert not (r["quantity"] % 10).any()


def test_requests_of_another_slice_or_symbol_are_refused(floor):
    f = shown(floor)
    work = f.venue.open(f.venue.start(), f.venue.window(0, 5, f.gated(0, 5)))
    f.buy(0, 1, 10)
    with pytest.raises(ValueError, match="sent in slice 1, but the venue stands at slice 0"):
        work.submit(f.all_requests())
    assert len(work.run_until_event(1)) == 0
    f.requests[0]["symbol"] = 9
    with pytest.raises(InstrumentError, match="no instrument has the id 9"):
        work.submit(f.all_requests())
