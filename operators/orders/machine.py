"""The order state machine: which event is legal in which state, and where it leads.

States (tables.OrderState), and what each event does; an empty cell is illegal and changes nothing:

| state | VALIDATE | SEND | ACK | FILL | REQUEST_CANCEL | CANCEL | REJECT_CANCEL | REJECT | EXPIRE | TRIGGER |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| NEW | VALIDATED | | | | | | | REJECTED | | |
| VALIDATED | | SENT | | | | | | REJECTED | | |
| SENT | | | ACKNOWLEDGED | by leaves | CANCEL_PENDING | CANCELLED | | REJECTED | EXPIRED | |
| ACKNOWLEDGED | | | | by leaves | CANCEL_PENDING | CANCELLED | | REJECTED | EXPIRED | stays |
| PARTIALLY_FILLED | | | stays | by leaves | CANCEL_PENDING | CANCELLED | | | EXPIRED | |
| CANCEL_PENDING | | | stays | stays, or FILLED without leaves | | CANCELLED | back | REJECTED if unfilled | EXPIRED | stays |
| CANCELLED | | | | CANCELLED, or FILLED without leaves | | | | | | |
| FILLED, REJECTED, EXPIRED | | | | | | | | | | |

"by leaves": FILLED when nothing is left, else PARTIALLY_FILLED. "back": to what the order was without the cancel.

Decisions where conventions differ (spec/trading-cases.md 3.2, 3.3):
- A partial fill while a cancel is pending keeps CANCEL_PENDING, as in FIX (PendingCancel outranks PartiallyFilled; case D4). The
  last fill makes it FILLED at once, where FIX waits for the refusal of the cancel (case B.1.c): the order is over, and the late
  refusal changes nothing. So an order is open exactly as long as its state is not terminal.
- A fill reported after CANCELLED is booked, because it happened: the order stays CANCELLED (FIX: Canceled outranks
  PartiallyFilled) unless nothing is left of it, then it is FILLED. It is never open again.
- FILLED, REJECTED and EXPIRED take nothing any more.
- A fill may come before the acknowledgement; the late acknowledgement changes nothing. Stops alone are triggered.
- A fill beyond the quantity is refused whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from schemas.tables import OrderState, OrderType

S = OrderState


class OrderEvent(IntEnum):
    """What can happen to an order."""

    VALIDATE = 1
    SEND = 2
    ACK = 3
    FILL = 4
    REQUEST_CANCEL = 5
    CANCEL = 6
    REJECT_CANCEL = 7
    REJECT = 8
    EXPIRE = 9
    TRIGGER = 10


E = OrderEvent

LEGAL: Final[dict[OrderState, frozenset[OrderEvent]]] = {
    S.NEW: frozenset({E.VALIDATE, E.REJECT}),
    S.VALIDATED: frozenset({E.SEND, E.REJECT}),
    S.SENT: frozenset({E.ACK, E.FILL, E.REQUEST_CANCEL, E.CANCEL, E.REJECT, E.EXPIRE}),
    S.ACKNOWLEDGED: frozenset({E.FILL, E.REQUEST_CANCEL, E.CANCEL, E.REJECT, E.EXPIRE, E.TRIGGER}),
    S.PARTIALLY_FILLED: frozenset({E.ACK, E.FILL, E.REQUEST_CANCEL, E.CANCEL, E.EXPIRE}),
    S.CANCEL_PENDING: frozenset({E.ACK, E.FILL, E.CANCEL, E.REJECT_CANCEL, E.REJECT, E.EXPIRE, E.TRIGGER}),
    S.CANCELLED: frozenset({E.FILL}),
    S.FILLED: frozenset(),
    S.REJECTED: frozenset(),
    S.EXPIRED: frozenset(),
}
"""Events that may be legal in a state; the order's own figures can still make one illegal (`next_state`)."""

TERMINAL: Final = frozenset({S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED})

_CONFIRMS: Final = frozenset({E.ACK, E.FILL, E.TRIGGER})
"""After these the venue is known to have the order."""

_FIXED: Final = {
    E.VALIDATE: S.VALIDATED,
    E.SEND: S.SENT,
    E.REQUEST_CANCEL: S.CANCEL_PENDING,
    E.CANCEL: S.CANCELLED,
    E.EXPIRE: S.EXPIRED,
}
"""Where events lead that look at nothing but the state."""


# Members looked up once: at each use that costs ten times what a name does (Enum's __getattr__).
_ACK: Final = E.ACK
_FILL: Final = E.FILL
_REJECT: Final = E.REJECT
_REJECT_CANCEL: Final = E.REJECT_CANCEL
_TRIGGER: Final = E.TRIGGER
_STOP: Final = OrderType.STOP
_ACKNOWLEDGED: Final = S.ACKNOWLEDGED
_CANCELLED: Final = S.CANCELLED
_CANCEL_PENDING: Final = S.CANCEL_PENDING
_FILLED: Final = S.FILLED
_PARTIALLY_FILLED: Final = S.PARTIALLY_FILLED
_REJECTED: Final = S.REJECTED
_SENT: Final = S.SENT


class IllegalTransition(ValueError):
    """An event that the order's state does not allow; the order is unchanged."""


@dataclass(slots=True)
class Order:
    """One order of an account. Prices and quantities in the instrument's fixed point; times in ns.

    `order_n`: number within the account. `quantity` > 0; `filled` 0..quantity. `acknowledged`: the venue has confirmed it.
    `ended_ns`: when it reached a terminal state, -1 before. `seen_below`, `seen_above`: reports received: all numbers below the
    first, and the numbers in the second.
    """

    order_n: int
    symbol: int
    type: int
    side: int
    quantity: int
    price: int
    stop_price: int
    time_in_force: int
    flags: int
    expires_ts_ns: int
    state: OrderState = S.NEW
    filled: int = 0
    acknowledged: bool = False
    ended_ns: int = -1
    seen_below: int = 0
    seen_above: tuple[int, ...] = ()

    @property
    def leaves(self) -> int:
        """What is not filled, whether or not it still can be."""
        return self.quantity - self.filled

    @property
    def open(self) -> bool:
        """Whether something of it can still fill at the venue or on the way there."""
        return self.state not in TERMINAL

    @property
    def cancellable(self) -> bool:
        """Sent, open, and no cancel on its way."""
        return self.open and E.REQUEST_CANCEL in LEGAL[self.state]

    def seen(self, exec_n: int) -> bool:
        """Whether the report of this number came before; notes it if not."""
        if exec_n < self.seen_below or exec_n in self.seen_above:
            return True
        if exec_n == self.seen_below:
            self.seen_below += 1
            while self.seen_below in self.seen_above:
                self.seen_above = tuple(k for k in self.seen_above if k != self.seen_below)
                self.seen_below += 1
        else:
            self.seen_above = (*self.seen_above, exec_n)
        return False


def next_state(order: Order, event: OrderEvent, quantity: int = 0) -> OrderState:
    """The state after an event; `quantity` of a FILL. Raises IllegalTransition, which names order, state and event."""
    state = order.state
    legal = event in LEGAL[state]
    if legal and event in _FIXED:
        return _FIXED[event]
    if event == _FILL:
        legal = legal and 0 < quantity <= order.leaves
    elif event == _TRIGGER:
        legal = legal and order.type == _STOP
    elif event == _REJECT:
        legal = legal and order.filled == 0
    if not legal:
        what = f"{event.name} of {quantity}" if event == _FILL else event.name
        msg = f"order {order.order_n}: {what} is illegal in {state.name} with {order.filled} of {order.quantity} filled"
        raise IllegalTransition(msg)
    if event == _FILL:
        if order.leaves == quantity:
            return _FILLED
        return state if state in (_CANCEL_PENDING, _CANCELLED) else _PARTIALLY_FILLED
    if event == _REJECT_CANCEL:
        if order.filled:
            return _PARTIALLY_FILLED
        return _ACKNOWLEDGED if order.acknowledged else _SENT
    if event == _ACK:
        return _ACKNOWLEDGED if state == _SENT else state
    return _REJECTED if event == _REJECT else state


def advance(order: Order, event: OrderEvent, ts_ns: int, quantity: int = 0) -> OrderState:
    """Applies an event to the order, at `ts_ns`, and returns the new state. Raises IllegalTransition and then changes nothing."""
    order.state = next_state(order, event, quantity)
    if event == _FILL:
        order.filled += quantity
    if event in _CONFIRMS:
        order.acknowledged = True
    if order.state in TERMINAL and order.ended_ns < 0:
        order.ended_ns = ts_ns
    return order.state
