"""Resting limits against minimal tapes. Slices are 100 ms (W); orders arrive when sent; numbers by hand in the comments."""

from __future__ import annotations

import pytest

from schemas.orders import UNKNOWN_QUEUE, ReportKind, TimeInForce
from schemas.tables import Liquidity

W = 100_000_000


def joined_at_bid(floor, quantity=50, **settings):
    """Bid 1000 x 100 on N, ask 1002 x 100; a buy of `quantity` at 1000 arrives at the start of slice 1."""
    f = floor(**settings)
    f.quote(10, 1000, 100, 1002, 100)
    f.buy(0, 1, quantity, 1000)
    return f


def test_prints_use_up_the_queue_then_fill(floor, fills):
    # NT: bid 100 shown, join 50; sell 80 -> ahead 20; sell 30 -> fill 30 - 20 = 10; sell 50 -> fill the other 40
    f = joined_at_bid(floor)
    f.trade(W + 1, 1000, 80)
    f.trade(2 * W, 1000, 30)
    f.trade(3 * W, 1000, 50)
    r = f.run(5)
    assert fills(r) == [(0, 2 * W, 1000, 10), (0, 3 * W, 1000, 40)]
    assert r[0]["kind"] == ReportKind.ACK
    assert r[0]["queue_ahead"] == 100
    maker = r[r["kind"] == ReportKind.FILL]
    assert set(maker["liquidity"]) == {Liquidity.MAKER}
    assert set(maker[maker["ts_ns"] == 2 * W]["queue_ahead"]) == {20}
    assert r[-1]["leaves"] == 0


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("off-exchange print", {"lit": False, "at": "D"}),
        ("auction or other irregular print", {"fills": False}),
        ("another exchange than the one shown", {"at": "P"}),
        ("the aggressor bought", {"side": 1}),
        ("above its price", {"price": 1001}),
    ],
)
def test_prints_that_neither_fill_nor_use_up_the_queue(floor, fills, name, change):
    f = joined_at_bid(floor)
    f.trade(W + 1, **{"price": 1000, "size": 10_000, **change})
    f.trade(W + 2, 1000, 99)  # leaves 1 ahead if the first one counted for nothing
    f.trade(W + 3, 1000, 2)  # so 2 - 1 = 1 fills
    assert fills(f.run(3)) == [(0, W + 3, 1000, 1)], name


@pytest.mark.parametrize("bid", [1002, 1003])
def test_a_locked_or_crossed_quote_fills_nothing(floor, fills, bid):
    f = floor()
    f.quote(10, 1000, 100, 1003, 100)
    f.sell(0, 1, 50, 1002)
    f.quote(W + 5, bid, 500, bid, 500)  # locked at its price, and beyond it
    f.quote(W + 6, bid + 1, 500, bid, 500)  # crossed
    assert fills(f.run(3)) == []


def test_change_of_the_shown_exchange_puts_the_order_at_the_back(floor, fills):
    f = joined_at_bid(floor)
    f.trade(W + 1, 1000, 90)  # ahead 10
    f.quote(W + 2, 1000, 70, 1002, 100, at="P")  # ahead 70, on P
    f.trade(W + 3, 1000, 60, at="P")  # ahead 10
    f.trade(W + 4, 1000, 500, at="N")  # not shown any more
    f.trade(W + 5, 1000, 25, at="P")  # 25 - 10 = 15
    assert fills(f.run(3)) == [(0, W + 5, 1000, 15)]


def joined_at_ask(floor):
    """Bid 1000 x 100 on N, ask 1002 x 100 on P; a sale of 50 at 1002 arrives at the start of slice 1."""
    f = floor()
    f.quote(10, 1000, 100, 1002, 100, at="N", ask_at="P")
    f.sell(0, 1, 50, 1002)
    return f


@pytest.mark.parametrize(("at", "filled"), [("P", [(0, W + 2, 1002, 5)]), ("N", [])])
def test_queue_at_the_ask_is_used_up_on_the_exchange_that_shows_the_ask(floor, fills, at, filled):
    f = joined_at_ask(floor)
    f.trade(W + 1, 1002, 90, side=1, at=at)  # on P: ahead 10; on N, the bid's exchange: still 100
    f.trade(W + 2, 1002, 15, side=1, at=at)  # on P: 15 - 10 = 5
    assert fills(f.run(3)) == filled


def test_queue_at_the_bid_is_not_used_up_on_the_exchange_that_shows_the_ask(floor, fills):
    f = floor()
    f.quote(10, 1000, 100, 1002, 100, at="N", ask_at="P")
    f.buy(0, 1, 50, 1000)
    f.trade(W + 1, 1000, 500, at="P")
    f.trade(W + 2, 1000, 105, at="N")  # 105 - 100 = 5
    assert fills(f.run(3)) == [(0, W + 2, 1000, 5)]


def test_another_exchange_at_the_bid_leaves_the_queue_at_the_ask(floor, fills):
    f = joined_at_ask(floor)
    f.trade(W + 1, 1002, 90, side=1, at="P")  # ahead 10
    f.quote(W + 2, 1000, 70, 1002, 70, at="Q", ask_at="P")  # the bid moved from N to Q, the ask stayed on P
    f.trade(W + 3, 1002, 15, side=1, at="P")  # 15 - 10 = 5
    assert fills(f.run(3)) == [(0, W + 3, 1002, 5)]


def test_another_exchange_at_the_ask_puts_a_sale_at_the_back(floor, fills):
    f = joined_at_ask(floor)
    f.trade(W + 1, 1002, 90, side=1, at="P")  # ahead 10
    f.quote(W + 2, 1000, 100, 1002, 70, at="N")  # no letter of its own: the ask is on N now, 70 ahead
    f.trade(W + 3, 1002, 500, side=1, at="P")  # not shown any more
    f.trade(W + 4, 1002, 75, side=1, at="N")  # 75 - 70 = 5
    assert fills(f.run(3)) == [(0, W + 4, 1002, 5)]


@pytest.mark.parametrize(
    ("quote", "second"),
    [
        ({"at": "Q", "ask_at": "P"}, []),  # the bid's exchange changed: the ask is only shown again
        ({"at": "N", "ask_at": "Q"}, [(1, 2 * W, 1002, 60)]),  # the ask's own did: it is another exchange's size
    ],
)
@pytest.mark.parametrize("cuts", [(), (2,)])
def test_what_was_taken_of_the_ask_hangs_on_the_exchange_that_shows_the_ask(floor, fills, quote, second, cuts):
    f = floor()
    f.quote(10, 1000, 100, 1002, 60, at="N", ask_at="P")
    f.buy(0, 1, 60, 1002, tif=TimeInForce.IOC)
    f.quote(W + 5, 1000, 100, 1002, 60, **quote)
    f.buy(1, 2, 60, 1002, tif=TimeInForce.IOC)
    assert fills(f.run(4, cuts)) == [(0, W, 1002, 60), *second]


def test_updates_of_the_same_exchange_do_not_move_the_queue(floor, fills):
    f = joined_at_bid(floor)
    f.quote(W + 1, 1000, 30, 1002, 100)
    f.trade(W + 2, 1000, 90)  # ahead 100 - 90 = 10, though 30 were shown
    assert fills(f.run(3)) == []
    f.trade(W + 3, 1000, 11)
    assert fills(f.run(3)) == [(0, W + 3, 1000, 1)]


def test_touch_returning_from_a_better_price_caps_the_queue_at_what_it_shows(floor, fills):
    f = joined_at_bid(floor)
    f.quote(W + 1, 1001, 10, 1002, 100)
    f.quote(W + 2, 1000, 40, 1002, 100)  # at most 40 can be ahead
    f.trade(W + 3, 1000, 45)
    assert fills(f.run(3)) == [(0, W + 3, 1000, 5)]


def test_touch_falling_below_leaves_nobody_ahead(floor, fills):
    f = joined_at_bid(floor)
    f.quote(W + 1, 999, 10, 1002, 100)
    f.quote(W + 2, 1000, 400, 1002, 100)  # they queue behind
    f.trade(W + 3, 1000, 5)
    assert fills(f.run(3)) == [(0, W + 3, 1000, 5)]


def test_better_than_the_touch_is_alone(floor, fills):
    f = floor()
    f.quote(10, 1000, 100, 1004, 100)
    f.buy(0, 1, 50, 1002)
    f.trade(W + 1, 1002, 20)
    r = f.run(3)
    assert r[0]["queue_ahead"] == 0
    assert fills(r) == [(0, W + 1, 1002, 20)]


def test_deeper_than_the_touch_waits_for_the_touch_to_learn_its_queue(floor, fills):
    f = floor()
    f.quote(10, 1000, 100, 1004, 100)
    f.buy(0, 1, 50, 999)
    f.trade(W + 1, 999, 1000)  # a sweep while the queue is unknown
    f.quote(W + 2, 999, 30, 1001, 10)  # now 30 are ahead
    f.trade(W + 3, 999, 35)
    r = f.run(3)
    assert r[0]["queue_ahead"] == UNKNOWN_QUEUE
    assert fills(r) == [(0, W + 3, 999, 5)]


def test_trade_through_fills_whatever_the_queue_up_to_the_print(floor, fills):
    f = joined_at_bid(floor)
    f.trade(W + 1, 999, 20, at="P")  # lit, worse than 1000: 20 of 50
    f.trade(W + 2, 1000, 7)  # nobody is ahead any more: 7
    assert fills(f.run(3)) == [(0, W + 1, 1000, 20), (0, W + 2, 1000, 7)]


def test_quote_through_fills_up_to_what_is_shown_once(floor, fills):
    f = joined_at_bid(floor)
    f.quote(W + 1, 997, 100, 999, 30)  # offered at 999 < 1000: 30 of 50, at its own price
    f.quote(W + 2, 996, 100, 999, 30)  # the same offer shown again
    f.quote(W + 3, 996, 100, 999, 35)  # a new one: the other 20
    assert fills(f.run(3)) == [(0, W + 1, 1000, 30), (0, W + 3, 1000, 20)]


def test_sides_mirror(floor, fills):
    f = floor()
    f.quote(10, 1000, 100, 1002, 60)
    f.sell(0, 1, 50, 1002)
    f.trade(W + 1, 1002, 65, side=1)  # 65 - 60 = 5
    f.trade(W + 2, 1003, 20, side=1)  # through: 20
    f.quote(W + 3, 1004, 10, 1005, 10)  # bid beyond: 10
    f.trade(W + 4, 1002, 10, side=-1)  # wrong aggressor
    assert fills(f.run(3)) == [(0, W + 1, 1002, 5), (0, W + 2, 1002, 20), (0, W + 3, 1002, 10)]


@pytest.mark.parametrize(("price", "filled"), [(1000, 5), (1001, 0), (1002, 0)])
def test_print_without_aggressor_is_read_against_the_middle(floor, fills, price, filled):
    # bid 1000, ask 1002: a sale below 1001, unknown at 1001; the order at 1000 has 100 ahead
    f = joined_at_bid(floor)
    f.trade(W + 1, price, 105, side=0)
    assert sum(x[3] for x in fills(f.run(3))) == filled


def test_own_orders_share_one_print(floor, fills):
    f = joined_at_bid(floor, quantity=10)
    f.buy(1, 1, 10, 1000)
    f.trade(W + 1, 1000, 115)  # 15 beyond the queue: 10 to the first, 5 to the second
    assert fills(f.run(3)) == [(0, W + 1, 1000, 10), (1, W + 1, 1000, 5)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # prints of 30 at the price with 100 ahead; an offer at the price; a print of 5 below it
        ("touch", [(0, W + 1, 1000, 30), (0, W + 2, 1000, 12), (0, W + 3, 1000, 5)]),
        ("queue", [(0, W + 3, 1000, 5)]),
        ("trade_through", [(0, W + 3, 1000, 5)]),
    ],
)
def test_fill_rules(floor, fills, rule, expected):
    f = joined_at_bid(floor, fill_rule=rule)
    f.trade(W + 1, 1000, 30, at="P")
    f.quote(W + 2, 999, 100, 1000, 12)
    f.quote(W + 2 + 1, 1000, 100, 1002, 12)
    f.trade(W + 3, 999, 5)
    assert fills(f.run(3)) == expected


def test_strict_rule_is_not_filled_by_quotes(floor, fills):
    f = joined_at_bid(floor, fill_rule="trade_through")
    f.quote(W + 1, 990, 100, 995, 500)
    assert fills(f.run(3)) == []


def test_ticks_before_the_arrival_fill_nothing(floor, fills):
    f = floor()
    f.quote(10, 1000, 0 + 100, 1002, 100)
    f.buy(0, 1, 50, 1000)
    f.trade(W - 1, 999, 1000)
    f.trade(W, 999, 1000)  # at the time of arrival: before it on the tape
    assert fills(f.run(3)) == []


def test_gtc_rests_over_the_close_and_starts_at_the_back(floor, fills):
    f = floor({"A": {"calendar": "day"}}, {"day": ((0, 2 * W), (4 * W, 8 * W))})
    f.quote(10, 1000, 100, 1002, 100)
    f.buy(0, 1, 50, 1000)
    f.trade(W + 1, 1000, 99)  # 1 ahead
    f.trade(3 * W, 900, 1000, fills=False)  # outside the session
    f.quote(3 * W + 1, 990, 10, 995, 10, session=False)
    f.quote(4 * W, 1000, 60, 1002, 100)  # new session: 60 ahead
    f.trade(4 * W + 1, 1000, 61)
    assert fills(f.run(8)) == [(0, 4 * W + 1, 1000, 1)]
