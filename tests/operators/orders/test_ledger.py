"""An account's orders: requests that go out, reports that come in late, twice or not at all, and a row for every transition."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from operators.orders import RETENTION_NS, IllegalTransition, OrderLedger, Outcome, Reported, VenueFilters, client_order_id
from schemas.instruments import Instrument
from schemas.orders import EXECUTION_REPORT, ORDER_REQUEST, POST_ONLY, Operation, Reason, ReportKind, TimeInForce
from schemas.tables import OrderState, OrderType, Side

FILTERS = VenueFilters.of(Instrument(symbol="A", price_exponent=2, size_exponent=0, tick_size=1, lot_size=1))
S, K = OrderState, ReportKind


def report(n, exec_n, kind, quantity=0, reason=Reason.NONE):
    r = np.zeros(1, EXECUTION_REPORT)
    r["order_n"], r["exec_n"], r["kind"], r["quantity"], r["reason"] = n, exec_n, kind, quantity, reason
    return Reported.of(r.tobytes())


@pytest.fixture
def ledger():
    return OrderLedger("main", 0)


def sent(ledger, quantity=100, kind=OrderType.LIMIT, **more):
    order = ledger.create(3, kind, Side.BUY, quantity, 1000, 9, price=1000 if kind == OrderType.LIMIT else 0, **more)
    assert ledger.validate(order, FILTERS, 1000, 9) == Reason.NONE
    ledger.send(order, 1000, 9)
    return order


def test_an_order_from_its_making_to_its_last_fill(ledger):
    order = ledger.create(
        3, OrderType.LIMIT, Side.BUY, 100, 1000, 9, price=995, time_in_force=TimeInForce.GTD, flags=POST_ONLY, expires_ts_ns=5
    )
    ledger.validate(order, FILTERS, 1000, 9)
    request = np.frombuffer(ledger.send(order, 1000, 9), ORDER_REQUEST)[0]
    assert {n: request[n].item() for n in request.dtype.names if n != "pad"} == {
        "order_n": 0,
        "sent_ts_ns": 1000,
        "quantity": 100,
        "price": 995,
        "stop_price": 0,
        "expires_ts_ns": 5,
        "symbol": 3,
        "op": Operation.NEW,
        "type": OrderType.LIMIT,
        "side": Side.BUY,
        "time_in_force": TimeInForce.GTD,
        "flags": POST_ONLY,
        "account": 0,
    }
    for r in (
        report(0, 0, K.ACK, reason=Reason.VENUE_ACCEPTED),
        report(0, 1, K.FILL, 30, Reason.FILL_MAKER),
        report(0, 2, K.FILL, 70, Reason.FILL_TAKER),
    ):
        assert ledger.apply(r, 2000, 19).outcome == Outcome.APPLIED
    rows = ledger.drain()
    assert (rows.table, rows.key) == ("orders", "main")
    assert rows.a["n"].tolist() == [0, 1, 2, 3, 4, 5]
    assert [S(s) for s in rows.a["state"]] == [S.NEW, S.VALIDATED, S.SENT, S.ACKNOWLEDGED, S.PARTIALLY_FILLED, S.FILLED]
    assert rows.a["filled"].tolist() == [0, 0, 0, 0, 30, 100]
    assert rows.a["ts_ns"].tolist() == [1000, 1000, 1000, 2000, 2000, 2000]
    assert rows.a["slice"].tolist() == [9, 9, 9, 19, 19, 19]
    assert [Reason(r) for r in rows.a["reason"]][:1] + [Reason(r) for r in rows.a["reason"]][3:] == [
        Reason.BOOK_DECISION,
        Reason.VENUE_ACCEPTED,
        Reason.FILL_MAKER,
        Reason.FILL_TAKER,
    ]
    assert len(ledger.drain().a) == 0


def test_filtered_order_is_never_sent(ledger):
    order = ledger.create(3, OrderType.LIMIT, Side.BUY, 100, 1000, 9)
    assert ledger.validate(order, FILTERS, 1000, 9) == Reason.PRICE_MISSING
    assert order.state == S.REJECTED
    assert ledger.drain().a["reason"].tolist() == [Reason.BOOK_DECISION, Reason.PRICE_MISSING]
    with pytest.raises(IllegalTransition):
        ledger.send(order, 1000, 9)


def test_repeated_report_changes_nothing(ledger):
    order = sent(ledger)
    ledger.apply(report(0, 0, K.ACK), 2000, 19)
    assert ledger.apply(report(0, 1, K.FILL, 30), 2000, 19)[2] == 30
    ledger.drain()
    for again in (report(0, 1, K.FILL, 30), report(0, 1, K.FILL, 70), report(0, 0, K.ACK)):
        assert ledger.apply(again, 2100, 20) == (Outcome.REPEATED, order, 0)
    assert order.filled == 30
    assert len(ledger.drain().a) == 0


def test_reports_out_of_order_are_each_applied_once(ledger):
    order = sent(ledger)
    assert ledger.apply(report(0, 2, K.FILL, 20), 2000, 19).filled == 20
    assert ledger.apply(report(0, 0, K.ACK), 2000, 19).outcome == Outcome.APPLIED
    assert order.state == S.PARTIALLY_FILLED
    assert ledger.apply(report(0, 1, K.FILL, 30), 2000, 19).filled == 30
    assert ledger.apply(report(0, 2, K.FILL, 20), 2000, 19).outcome == Outcome.REPEATED
    assert (order.filled, order.seen_below, order.seen_above) == (50, 3, ())


def test_overfill_is_refused_whole(ledger):
    order = sent(ledger)
    assert ledger.apply(report(0, 0, K.FILL, 110), 2000, 19) == (Outcome.OVERFILL, order, 0)
    assert (order.filled, order.state) == (0, S.SENT)


def test_late_fill_after_the_cancel_is_booked_with_its_reason(ledger):
    order = sent(ledger)
    request = np.frombuffer(ledger.cancel(order, 1500, 14, Reason.CANCEL_TIMEOUT), ORDER_REQUEST)[0]
    assert (request["op"], request["order_n"], request["sent_ts_ns"], request["symbol"]) == (Operation.CANCEL, 0, 1500, 3)
    ledger.apply(report(0, 1, K.CANCELLED, reason=Reason.CANCEL_REQUESTED), 2000, 19)
    assert ledger.apply(report(0, 0, K.FILL, 40, Reason.FILL_MAKER), 2100, 20) == (Outcome.APPLIED, order, 40)
    assert (order.state, order.filled) == (S.CANCELLED, 40)
    assert ledger.drain().a["reason"].tolist()[-1] == Reason.FILL_AFTER_CANCEL


@pytest.mark.parametrize(
    ("first", "late"),
    [
        (K.CANCELLED, K.CANCEL_REJECTED),
        (K.EXPIRED, K.CANCELLED),
        (K.EXPIRED, K.FILL),
        (K.REJECTED, K.ACK),
        (K.CANCELLED, K.EXPIRED),
    ],
)
def test_reports_overtaken_by_the_end_of_the_order_change_nothing(ledger, first, late):
    order = sent(ledger)
    ledger.apply(report(0, 0, first), 2000, 19)
    state, rows = order.state, len(ledger.drain().a)
    assert rows == 4
    assert ledger.apply(report(0, 1, late, 10 if late == K.FILL else 0), 2100, 20).outcome == Outcome.LATE
    assert (order.state, order.filled, len(ledger.drain().a)) == (state, 0, 0)


def test_cancel_that_comes_too_late_leaves_a_filled_order(ledger):
    order = sent(ledger)
    ledger.apply(report(0, 0, K.ACK), 1200, 11)
    ledger.cancel(order, 1500, 14, Reason.CANCEL_SIGNAL)
    assert not order.cancellable
    ledger.apply(report(0, 1, K.FILL, 100), 1600, 15)
    assert (order.state, order.open) == (S.FILLED, False)
    assert ledger.apply(report(0, 2, K.CANCEL_REJECTED, reason=Reason.CANCEL_TOO_LATE), 1700, 16).outcome == Outcome.LATE
    assert order.state == S.FILLED
    with pytest.raises(IllegalTransition):
        ledger.cancel(order, 1800, 17, Reason.CANCEL_SIGNAL)


def test_unknown_and_long_finished_orders(ledger):
    assert ledger.apply(report(5, 0, K.FILL, 1), 2000, 19) == (Outcome.UNKNOWN, None, 0)
    sent(ledger)
    ledger.apply(report(0, 0, K.CANCELLED), 2000, 19)
    assert ledger.apply(report(0, 1, K.FILL, 1), 2000 + RETENTION_NS, 20).outcome == Outcome.APPLIED
    assert ledger.apply(report(0, 2, K.FILL, 1), 2001 + RETENTION_NS, 20).outcome == Outcome.UNKNOWN


def test_state_survives_and_drops_the_long_finished(ledger):
    sent(ledger)
    sent(ledger, kind=OrderType.MARKET)
    stop = sent(ledger, 7, OrderType.MARKET)
    ledger.apply(report(0, 0, K.CANCELLED), 2000, 19)
    ledger.apply(report(1, 3, K.FILL, 10), 2000, 19)
    with pytest.raises(ValueError, match="rows of orders have not been drained"):
        ledger.state(2000)
    ledger.drain()
    thawed = OrderLedger("main", 0, pickle.loads(pickle.dumps(ledger.state(2000))))
    assert list(thawed) == list(ledger)
    assert (thawed.next_order_n, thawed.next_row_n) == (3, 11)
    assert [o.order_n for o in thawed.open_orders()] == [1, 2]
    assert thawed.open_orders(4) == []
    assert thawed[2] == stop
    late = OrderLedger("main", 0, ledger.state(2001 + RETENTION_NS))
    assert [o.order_n for o in late] == [1, 2]
    assert type(late[1].state) is OrderState


def test_client_order_id_is_a_function_of_the_input():
    assert client_order_id("spiketape", "main", 17) == "spiketape-main-17"


def test_a_report_has_the_fields_of_its_record():
    r = np.zeros(1, EXECUTION_REPORT)
    r.view(np.uint8)[:] = np.arange(1, EXECUTION_REPORT.itemsize + 1)
    assert Reported.of(r.tobytes())._asdict() == {name: r[0][name].item() for name in EXECUTION_REPORT.names if name != "pad"}
