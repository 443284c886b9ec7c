"""An account's orders: made, checked, sent, cancelled, and moved on by reports; each transition becomes a row of `orders`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from enum import IntEnum
from operator import attrgetter
from struct import Struct
from typing import Final, NamedTuple

import numpy as np

from operators.orders.filters import VenueFilters
from operators.orders.machine import TERMINAL, IllegalTransition, Order, OrderEvent, advance
from operators.timeline.stage import State
from schemas.orders import Operation, Reason, ReportKind, TimeInForce
from schemas.tables import ORDER, OrderState, Rows

RETENTION_NS: Final = 300_000_000_000
"""A finished order still takes late reports for five minutes of event time; then it is unknown."""

_REQUEST: Final = Struct("<6qI2Bb3B6x")
"""ORDER_REQUEST as a plain structure: packing and unpacking is many times faster than NumPy's records, field by field."""
_REPORT: Final = Struct("<9q2IBb3B3x")
"""EXECUTION_REPORT likewise."""
_ROW: Final = Struct("<8qIBb2B")
"""tables.ORDER likewise."""

_FIELDS: Final = attrgetter(*(f.name for f in fields(Order)))

_EVENTS: Final[Mapping[int, OrderEvent]] = {
    ReportKind.ACK: OrderEvent.ACK,
    ReportKind.FILL: OrderEvent.FILL,
    ReportKind.CANCELLED: OrderEvent.CANCEL,
    ReportKind.CANCEL_REJECTED: OrderEvent.REJECT_CANCEL,
    ReportKind.REJECTED: OrderEvent.REJECT,
    ReportKind.EXPIRED: OrderEvent.EXPIRE,
    ReportKind.TRIGGERED: OrderEvent.TRIGGER,
}


def client_order_id(deployment: str, account: str, order_n: int) -> str:
    """`<deployment>-<account>-<order_n>`: a function of the input alone, the same in every attempt and on every machine."""
    return f"{deployment}-{account}-{order_n}"


class Reported(NamedTuple):
    """The fields of an EXECUTION_REPORT record, as plain integers."""

    ts_ns: int
    known_ts_ns: int
    slice: int
    visible: int
    order_n: int
    quantity: int
    price: int
    leaves: int
    queue_ahead: int
    symbol: int
    exec_n: int
    kind: int
    side: int
    liquidity: int
    reason: int
    account: int

    @classmethod
    def of(cls, record: bytes) -> Reported:
        """The record of these bytes."""
        return cls._make(_REPORT.unpack(record))


class Outcome(IntEnum):
    """What became of a report."""

    APPLIED = 1
    """The order moved on, or its fill was booked."""
    REPEATED = 2
    """Received before: nothing changed."""
    LATE = 3
    """Overtaken by what the order has become since: nothing changed."""
    OVERFILL = 4
    """A fill beyond the order's quantity: refused whole."""
    UNKNOWN = 5
    """No such order, or one finished longer ago than RETENTION_NS."""


class Applied(NamedTuple):
    """A report's effect: `order` is None where it is unknown; `filled`: the quantity that was booked by it."""

    outcome: Outcome
    order: Order | None
    filled: int


# Members looked up once: at each use that costs ten times what a name does (Enum's __getattr__).
_CANCEL: Final = Operation.CANCEL
_NEW: Final = Operation.NEW
_ACK: Final = OrderEvent.ACK
_FILL: Final = OrderEvent.FILL
_REJECT: Final = OrderEvent.REJECT
_REQUEST_CANCEL: Final = OrderEvent.REQUEST_CANCEL
_SEND: Final = OrderEvent.SEND
_VALIDATE: Final = OrderEvent.VALIDATE
_CANCELLED: Final = OrderState.CANCELLED
_APPLIED: Final = Outcome.APPLIED
_LATE: Final = Outcome.LATE
_OVERFILL: Final = Outcome.OVERFILL
_REPEATED: Final = Outcome.REPEATED
_UNKNOWN: Final = Outcome.UNKNOWN
_FILL_AFTER_CANCEL: Final = Reason.FILL_AFTER_CANCEL
_NONE: Final = Reason.NONE
_RISK_APPROVED: Final = Reason.RISK_APPROVED


class OrderLedger:
    """The orders of one account. `ts_ns` and `slice_` of each call are when the book does or learns it, and go into the rows.

    State: `next_order_n`, `next_row_n` and `orders`, a tuple of the fields of Order for each order still known, by number.
    """

    def __init__(self, account: str, account_index: int, state: State | None = None) -> None:
        self.account = account
        self.account_index = account_index
        self.next_order_n = 0
        self.next_row_n = 0
        self._orders: dict[int, Order] = {}
        self._rows: list[bytes] = []
        if state is not None:
            self.next_order_n, self.next_row_n = int(state["next_order_n"]), int(state["next_row_n"])
            for values in state["orders"]:
                order = Order(*values)
                order.state = OrderState(order.state)
                self._orders[order.order_n] = order

    def state(self, ts_ns: int) -> State:
        """All of it as plain values at event time `ts_ns`; rows must have been drained. Orders finished long ago are left out."""
        if self._rows:
            msg = f"{len(self._rows)} rows of orders have not been drained"
            raise ValueError(msg)
        self._orders = {n: o for n, o in self._orders.items() if not self._forgotten(o, ts_ns)}
        orders = tuple(tuple(int(x) if isinstance(x, int) else x for x in _FIELDS(o)) for o in self._orders.values())
        return {"next_order_n": self.next_order_n, "next_row_n": self.next_row_n, "orders": orders}

    def __iter__(self) -> Iterator[Order]:
        """Orders still known, by number."""
        return iter(self._orders.values())

    def __getitem__(self, order_n: int) -> Order:
        return self._orders[order_n]

    def open_orders(self, symbol: int | None = None) -> list[Order]:
        """Orders of which something can still fill, by number; of one symbol, or all."""
        return [o for o in self._orders.values() if o.open and (symbol is None or o.symbol == symbol)]

    def create(
        self,
        symbol: int,
        kind: int,
        side: int,
        quantity: int,
        ts_ns: int,
        slice_: int,
        *,
        price: int = 0,
        stop_price: int = 0,
        time_in_force: int = TimeInForce.DAY,
        flags: int = 0,
        expires_ts_ns: int = 0,
        reason: Reason = Reason.BOOK_DECISION,
    ) -> Order:
        """A new order with the account's next number, in state NEW."""
        order = Order(self.next_order_n, symbol, kind, side, quantity, price, stop_price, time_in_force, flags, expires_ts_ns)
        self._orders[order.order_n] = order
        self.next_order_n += 1
        self._note(order, ts_ns, slice_, reason)
        return order

    def validate(self, order: Order, filters: VenueFilters, ts_ns: int, slice_: int, *, reference_price: int = 0, held: int = 0) -> Reason:
        """NEW to VALIDATED, or to REJECTED with the filter that it fails; `Reason.NONE` where it passes."""
        reason = filters.check(order.type, order.side, order.quantity, order.price, order.stop_price, reference_price, held)
        if reason is _NONE:
            self._advance(order, _VALIDATE, ts_ns, slice_, _RISK_APPROVED)
        else:
            self._advance(order, _REJECT, ts_ns, slice_, reason)
        return reason

    def send(self, order: Order, ts_ns: int, slice_: int) -> bytes:
        """VALIDATED to SENT; the ORDER_REQUEST record for the venue, sent at `ts_ns`."""
        self._advance(order, _SEND, ts_ns, slice_, _RISK_APPROVED)
        return self._request(order, _NEW, ts_ns)

    def cancel(self, order: Order, ts_ns: int, slice_: int, reason: Reason) -> bytes:
        """To CANCEL_PENDING; the ORDER_REQUEST record of the cancel. Raises IllegalTransition unless `order.cancellable`."""
        self._advance(order, _REQUEST_CANCEL, ts_ns, slice_, reason)
        return self._request(order, _CANCEL, ts_ns)

    def apply(self, report: Reported, ts_ns: int, slice_: int) -> Applied:
        """Moves an order on by a report. Late, repeated, impossible and unknown reports change nothing."""
        order = self._orders.get(report.order_n)
        if order is None or self._forgotten(order, ts_ns):
            return Applied(_UNKNOWN, None, 0)
        if order.seen(report.exec_n):
            return Applied(_REPEATED, order, 0)
        event, quantity, reason = _EVENTS[report.kind], report.quantity, report.reason
        before = order.state
        if event == _FILL and before == _CANCELLED:
            reason = _FILL_AFTER_CANCEL
        try:
            advance(order, event, ts_ns, quantity)
        except IllegalTransition:
            over = event == _FILL and quantity > order.leaves
            return Applied(_OVERFILL if over else _LATE, order, 0)
        if event != _ACK or order.state != before:
            self._note(order, ts_ns, slice_, reason)
        return Applied(_APPLIED, order, quantity if event == _FILL else 0)

    def drain(self) -> Rows:
        """The rows (tables.ORDER) since the last drain, in the order of the transitions; `n` runs on without gaps."""
        rows, self._rows = self._rows, []
        return Rows("orders", self.account, np.frombuffer(bytearray().join(rows), ORDER))

    def _advance(self, order: Order, event: OrderEvent, ts_ns: int, slice_: int, reason: Reason) -> None:
        advance(order, event, ts_ns)
        self._note(order, ts_ns, slice_, reason)

    def _note(self, o: Order, ts_ns: int, slice_: int, reason: int) -> None:
        n = self.next_row_n
        self.next_row_n = n + 1
        row = _ROW.pack(n, slice_, ts_ns, o.order_n, o.quantity, o.filled, o.price, o.stop_price, o.symbol, o.type, o.side, o.state, reason)
        self._rows.append(row)

    def _request(self, o: Order, operation: Operation, ts_ns: int) -> bytes:
        if operation == _CANCEL:
            return _REQUEST.pack(o.order_n, ts_ns, 0, 0, 0, 0, o.symbol, operation, o.type, o.side, 0, 0, self.account_index)
        return _REQUEST.pack(
            o.order_n,
            ts_ns,
            o.quantity,
            o.price,
            o.stop_price,
            o.expires_ts_ns,
            o.symbol,
            operation,
            o.type,
            o.side,
            o.time_in_force,
            o.flags,
            self.account_index,
        )

    def _forgotten(self, order: Order, ts_ns: int) -> bool:
        return order.state in TERMINAL and ts_ns - order.ended_ns > RETENTION_NS
