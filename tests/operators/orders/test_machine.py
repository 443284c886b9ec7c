"""Which transitions are legal, the FIX sequences, and random events that never reach an illegal state."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.orders import LEGAL, TERMINAL, IllegalTransition, Order, OrderEvent, advance, next_state
from schemas.tables import OrderState, OrderType

S, E = OrderState, OrderEvent

# every state and what each event makes of an unfilled stop of 10 in it; a fill is of 4. Not here: illegal.
TABLE = {
    (S.NEW, E.VALIDATE): S.VALIDATED,
    (S.NEW, E.REJECT): S.REJECTED,
    (S.VALIDATED, E.SEND): S.SENT,
    (S.VALIDATED, E.REJECT): S.REJECTED,
    (S.SENT, E.ACK): S.ACKNOWLEDGED,
    (S.SENT, E.FILL): S.PARTIALLY_FILLED,
    (S.SENT, E.REQUEST_CANCEL): S.CANCEL_PENDING,
    (S.SENT, E.CANCEL): S.CANCELLED,
    (S.SENT, E.REJECT): S.REJECTED,
    (S.SENT, E.EXPIRE): S.EXPIRED,
    (S.ACKNOWLEDGED, E.FILL): S.PARTIALLY_FILLED,
    (S.ACKNOWLEDGED, E.REQUEST_CANCEL): S.CANCEL_PENDING,
    (S.ACKNOWLEDGED, E.CANCEL): S.CANCELLED,
    (S.ACKNOWLEDGED, E.REJECT): S.REJECTED,
    (S.ACKNOWLEDGED, E.EXPIRE): S.EXPIRED,
    (S.ACKNOWLEDGED, E.TRIGGER): S.ACKNOWLEDGED,
    (S.PARTIALLY_FILLED, E.ACK): S.PARTIALLY_FILLED,
    (S.PARTIALLY_FILLED, E.FILL): S.PARTIALLY_FILLED,
    (S.PARTIALLY_FILLED, E.REQUEST_CANCEL): S.CANCEL_PENDING,
    (S.PARTIALLY_FILLED, E.CANCEL): S.CANCELLED,
    (S.PARTIALLY_FILLED, E.EXPIRE): S.EXPIRED,
    (S.CANCEL_PENDING, E.ACK): S.CANCEL_PENDING,
    (S.CANCEL_PENDING, E.FILL): S.CANCEL_PENDING,
    (S.CANCEL_PENDING, E.CANCEL): S.CANCELLED,
    (S.CANCEL_PENDING, E.REJECT_CANCEL): S.SENT,
    (S.CANCEL_PENDING, E.REJECT): S.REJECTED,
    (S.CANCEL_PENDING, E.EXPIRE): S.EXPIRED,
    (S.CANCEL_PENDING, E.TRIGGER): S.CANCEL_PENDING,
    (S.CANCELLED, E.FILL): S.CANCELLED,
}


def order_in(state, filled=0, quantity=10, kind=OrderType.STOP, acknowledged=False):
    return Order(0, 0, kind, 1, quantity, 0, 0, 1, 0, 0, state=state, filled=filled, acknowledged=acknowledged)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(S, E)))
def test_every_state_and_event(state, event):
    order = order_in(state)
    expected = TABLE.get((state, event))
    if expected is None:
        with pytest.raises(IllegalTransition, match=f"order 0: {event.name}.* illegal in {state.name}"):
            advance(order, event, 5, 4)
        assert order == order_in(state)
    else:
        assert advance(order, event, 5, 4 if event == E.FILL else 0) == expected


@pytest.mark.parametrize(
    ("name", "order", "event", "quantity"),
    [
        ("fill beyond the quantity", order_in(S.ACKNOWLEDGED, 6), E.FILL, 5),
        ("fill of nothing", order_in(S.ACKNOWLEDGED), E.FILL, 0),
        ("fill of less than nothing", order_in(S.ACKNOWLEDGED), E.FILL, -1),
        ("rejection after a fill", order_in(S.PARTIALLY_FILLED, 4), E.REJECT, 0),
        ("rejection after a fill, cancel pending", order_in(S.CANCEL_PENDING, 4), E.REJECT, 0),
        ("cancel while one is pending", order_in(S.CANCEL_PENDING), E.REQUEST_CANCEL, 0),
        ("trigger of a limit", order_in(S.ACKNOWLEDGED, kind=OrderType.LIMIT), E.TRIGGER, 0),
        ("trigger before the acknowledgement", order_in(S.SENT), E.TRIGGER, 0),
        ("fill after expiry", order_in(S.EXPIRED, 2), E.FILL, 1),
        ("cancel after the last fill", order_in(S.FILLED, 10), E.CANCEL, 0),
    ],
)
def test_figures_that_make_an_event_illegal(name, order, event, quantity):
    with pytest.raises(IllegalTransition):
        next_state(order, event, quantity)


@pytest.mark.parametrize(
    ("filled", "acknowledged", "back"),
    [(0, False, S.SENT), (0, True, S.ACKNOWLEDGED), (4, True, S.PARTIALLY_FILLED)],
)
def test_refused_cancel_goes_back_to_what_the_order_was(filled, acknowledged, back):
    assert advance(order_in(S.CANCEL_PENDING, filled, acknowledged=acknowledged), E.REJECT_CANCEL, 5) == back


def test_fix_d4_part_filled_then_the_cancel_races():
    # FIX 4.2 app. D4, (cumulative, leaves) after each: a fill of 1000 while the cancel is pending keeps PendingCancel
    order = order_in(S.SENT, quantity=10_000, kind=OrderType.LIMIT)
    seen = []
    for event, quantity in ((E.ACK, 0), (E.FILL, 2000), (E.FILL, 3000), (E.REQUEST_CANCEL, 0), (E.FILL, 1000), (E.CANCEL, 0)):
        state = advance(order, event, 1, quantity)
        seen.append((state, order.filled, order.leaves))
    assert seen == [
        (S.ACKNOWLEDGED, 0, 10_000),
        (S.PARTIALLY_FILLED, 2000, 8000),
        (S.PARTIALLY_FILLED, 5000, 5000),
        (S.CANCEL_PENDING, 5000, 5000),
        (S.CANCEL_PENDING, 6000, 4000),
        (S.CANCELLED, 6000, 4000),
    ]
    assert not order.open


def test_fix_b1c_filled_before_the_cancel():
    # FIX 5.0 SP2 app. D B.1.c keeps PendingCancel until the cancel is refused; here the last fill ends the order and the refusal is late
    order = order_in(S.SENT, quantity=10_000, kind=OrderType.LIMIT)
    seen = []
    for event, quantity in ((E.ACK, 0), (E.FILL, 5000), (E.REQUEST_CANCEL, 0), (E.FILL, 5000)):
        seen.append((advance(order, event, 1, quantity), order.filled, order.leaves, order.open))
    assert seen[2:] == [(S.CANCEL_PENDING, 5000, 5000, True), (S.FILLED, 10_000, 0, False)]
    with pytest.raises(IllegalTransition):
        advance(order, E.REJECT_CANCEL, 1)
    assert order.state == S.FILLED


def test_late_fill_after_the_cancel_is_booked_and_opens_nothing():
    order = order_in(S.CANCELLED, 2)
    assert advance(order, E.FILL, 9, 5) == S.CANCELLED
    assert (order.filled, order.leaves, order.open) == (7, 3, False)
    assert advance(order, E.FILL, 9, 3) == S.FILLED


@pytest.mark.parametrize("state", [S.FILLED, S.REJECTED, S.EXPIRED])
def test_final_states_take_nothing(state):
    assert LEGAL[state] == frozenset()


@given(
    st.integers(1, 12),
    st.sampled_from(OrderType),
    st.lists(st.tuples(st.sampled_from(OrderEvent), st.integers(-1, 6)), max_size=40),
)
def test_random_events_never_reach_an_illegal_state(quantity, kind, events):
    order = order_in(S.NEW, quantity=quantity, kind=kind)
    booked = 0
    for event, amount in events:
        before = (order.state, order.filled)
        try:
            after = advance(order, event, 3, amount)
        except IllegalTransition:
            assert (order.state, order.filled) == before
            continue
        assert event in LEGAL[before[0]]
        booked += amount if event == E.FILL else 0
        assert order.filled == booked
        assert order.leaves == quantity - booked >= 0
        assert (after == S.FILLED) == (order.leaves == 0)
        assert after != S.PARTIALLY_FILLED or 0 < booked < quantity
        assert after not in (S.REJECTED, S.ACKNOWLEDGED, S.SENT) or booked == 0
        assert order.open == (after not in TERMINAL)
        assert order.cancellable <= order.open
        assert (order.ended_ns == 3) == (after in TERMINAL)
