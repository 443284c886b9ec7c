"""The order desk: what the book decides becomes orders in the ledger and requests to the venue; reports come back through it."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

import numpy as np

from operators.book.listings import Market
from operators.book.rows import RowBook
from operators.orders import Order, OrderLedger, Outcome, Reported
from operators.timeline.stage import State
from schemas.orders import EXECUTION_REPORT, ORDER_REQUEST, Reason, ReportKind, Reports, Requests, TimeInForce
from schemas.tables import OrderType

ACCOUNT_PLACE: Final = 0
NO_ORDER: Final = -1
_NO_REQUESTS: Final = np.zeros(0, ORDER_REQUEST)

# Members looked up once: at each use that costs ten times what a name does (Enum's __getattr__).
_APPLIED: Final = Outcome.APPLIED
_FILL: Final = ReportKind.FILL
_NONE: Final = Reason.NONE
_DAY: Final = TimeInForce.DAY
_GTC: Final = TimeInForce.GTC


class Report(NamedTuple):
    """An execution report as the book takes it; `mid2_before`: of a fill, bid + ask at the end of the slice before, 0 unknown.

    Stands in states as a plain tuple, ordered as reports are handled (schemas/orders.py, REPORT_ORDER).
    """

    visible: int
    known_ts_ns: int
    order_n: int
    exec_n: int
    kind: int
    mid2_before: int
    record: bytes


Kept = tuple[int, int, int, int, int, int, bytes]
"""A Report as it stands in a state."""


_HEAD: Final = Struct("<8xq8x2q36xIB7x")
"""(known_ts_ns, visible, order_n, exec_n, kind) of an EXECUTION_REPORT record."""


def kept(reports: Reports, before2: Sequence[int]) -> list[Kept]:
    """Reports as they wait in a state; `before2`: of each, bid + ask of its symbol before, of which only those of fills are kept."""
    size = EXECUTION_REPORT.itemsize
    raw = reports.tobytes()
    return [
        (visible, known_ts_ns, order_n, exec_n, kind, mid2 if kind == _FILL else 0, raw[i * size : (i + 1) * size])
        for i, ((known_ts_ns, visible, order_n, exec_n, kind), mid2) in enumerate(zip(_HEAD.iter_unpack(raw), before2, strict=True))
    ]


class Desk:
    """The desk of one account for a step. `begin` opens a decision, `close` gives the ledger's state back."""

    def __init__(self, account: str, markets: Sequence[Market], state: State, rows: RowBook) -> None:
        self.rows = rows
        self.k = 0
        self.now = 0
        self._account = account
        self._markets = markets
        self._ledger = OrderLedger(account, ACCOUNT_PLACE, state or None)
        self._requests: list[bytes] = []

    def begin(self, k: int, now_ns: int) -> None:
        """Slice `k`, decided at its end; what is sent leaves at `now_ns`."""
        self.k = k
        self.now = now_ns
        self._requests = []

    def requests(self) -> Requests:
        """What leaves now, in the order in which it was asked for."""
        if not self._requests:
            return _NO_REQUESTS
        return np.frombuffer(bytearray().join(self._requests), ORDER_REQUEST)

    def close(self, end_ns: int) -> State:
        """The ledger's state at `end_ns`; its rows go to the row book."""
        self.rows.take_over(self._ledger.drain())
        return self._ledger.state(end_ns)

    def live(self, n: int) -> Order | None:
        """The order if something of it can still fill; None too for one over so long that the ledger has forgotten it."""
        try:
            order = self._ledger[n]
        except KeyError:
            return None
        return order if order.open else None

    def order(self, n: int) -> Order:
        """An order that is not over, or not for long."""
        return self._ledger[n]

    def place(
        self,
        symbol: int,
        kind: OrderType,
        side: int,
        quantity: int,
        *,
        price: int = 0,
        stop_price: int = 0,
        flags: int = 0,
        rests: bool = False,
    ) -> int:
        """Sends a new order that has passed risk; it ends with its session unless it `rests`.

        Returns its number; an order that the venue's filters refuse is over at once (`live` is None).
        """
        order = self._ledger.create(
            symbol,
            kind,
            side,
            quantity,
            self.now,
            self.k,
            price=price,
            stop_price=stop_price,
            time_in_force=_GTC if rests else _DAY,
            flags=flags,
        )
        if self._ledger.validate(order, self._markets[symbol].filters, self.now, self.k) is _NONE:
            self._requests.append(self._ledger.send(order, self.now, self.k))
        return order.order_n

    def cancel(self, n: int, reason: Reason) -> bool:
        """Asks for the end of an order, once; whether it was asked for now."""
        order = self.live(n)
        if order is None or not order.cancellable:
            return False
        self._requests.append(self._ledger.cancel(order, self.now, self.k, reason))
        return True

    def receive(self, report: Report) -> tuple[Order | None, Reported]:
        """Moves the report's order on and returns it, None where the report is late, repeated or of an order long over; and its record.

        Its row stands in the slice in which the report became visible: an acknowledgement may be taken in later than that.
        """
        reported = Reported.of(report.record)
        applied = self._ledger.apply(reported, report.known_ts_ns, report.visible)
        return (applied.order if applied.outcome == _APPLIED else None), reported
