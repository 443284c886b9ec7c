"""The check of order rows: silent on what the ledger writes, and it finds each kind of damage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.orders import IllegalTransition, Order, OrderEvent, OrderLedger, Reported, VenueFilters, advance, illegal_rows
from operators.orders.history import SUCCESSORS
from schemas.orders import EXECUTION_REPORT, Reason, ReportKind
from schemas.tables import OrderState, OrderType, Side

S = OrderState


def test_successors_are_what_the_machine_can_do():
    reached = {state: set() for state in S}
    for state, event, kind in itertools.product(S, OrderEvent, (OrderType.LIMIT, OrderType.STOP)):
        for filled, amount, acknowledged in itertools.product((0, 3, 10), (0, 4, 7, 10), (False, True)):
            order = Order(0, 0, kind, 1, 10, 0, 0, 1, 0, 0, state=state, filled=filled, acknowledged=acknowledged)
            if (state == S.FILLED) == (filled == 10):
                try:
                    advance(order, event, 1, amount)
                except IllegalTransition:
                    continue
                reached[state].add(order.state)
    assert {k: set(v) for k, v in SUCCESSORS.items()} == reached


@given(st.lists(st.tuples(st.sampled_from(ReportKind), st.integers(0, 6), st.booleans()), max_size=25))
def test_whatever_is_reported_the_ledger_tells_a_legal_story(reports):
    ledger = OrderLedger("main", 0)
    order = ledger.create(0, OrderType.STOP, Side.SELL, 10, 1, 1, stop_price=5)
    ledger.validate(order, VenueFilters(), 1, 1)
    ledger.send(order, 1, 1)
    for exec_n, (kind, quantity, cancels) in enumerate(reports):
        if cancels and order.cancellable:
            ledger.cancel(order, 2, 2, Reason.CANCEL_SIGNAL)
        r = np.zeros(1, EXECUTION_REPORT)
        r["exec_n"], r["kind"], r["quantity"] = exec_n, kind, quantity
        ledger.apply(Reported.of(r.tobytes()), 3, 3)
    assert illegal_rows(ledger.drain().a) == []


def story():
    ledger = OrderLedger("main", 0)
    order = ledger.create(0, OrderType.LIMIT, Side.BUY, 10, 1, 1, price=5)
    ledger.validate(order, VenueFilters(), 1, 1)
    ledger.send(order, 1, 1)
    for exec_n, quantity in enumerate((0, 4, 6)):
        r = np.zeros(1, EXECUTION_REPORT)
        r["exec_n"], r["kind"], r["quantity"] = exec_n, ReportKind.FILL if quantity else ReportKind.ACK, quantity
        ledger.apply(Reported.of(r.tobytes()), 3, 3)
    return ledger.drain().a


@pytest.mark.parametrize(
    ("row", "field", "value", "what"),
    [
        (0, "state", S.SENT, "begins as SENT with 0 filled"),
        (2, "state", S.ACKNOWLEDGED, "ACKNOWLEDGED after VALIDATED"),
        (3, "state", S.FILLED, "FILLED with 0 of 10 filled"),
        (3, "filled", 2, "2 filled in ACKNOWLEDGED after 0"),
        (4, "filled", 11, "11 of 10 filled"),
        (5, "state", S.CANCELLED, "CANCELLED with 10 of 10 filled"),
        (5, "price", 6, "is of another symbol, type, side, quantity or price than before"),
    ],
)
def test_damage_is_found(row, field, value, what):
    rows = story()
    assert illegal_rows(rows) == []
    rows[field][row] = value
    found = illegal_rows(rows)
    assert (row, 0, what) in found
