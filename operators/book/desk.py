"""The order desk: what the book decides becomes orders in the ledger and requests to the venue; reports come back through it."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

import numpy as np

from operators.book.listings import Market
from operators.book.rows import RowBook
from operators.orders import Order, OrderLedger, Outcome
from operators.timeline.stage import State
from schemas.orders import EXECUTION_REPORT, ORDER_REQUEST, Reason, Reports, Requests, TimeInForce
from schemas.tables import OrderType

ACCOUNT_PLACE: Final = 0
NO_ORDER: Final = -1

_RECORD: Final = Struct("<9q2IBb3B3x")
"""EXECUTION_REPORT as a plain structure: unpacking it is several times faster than reading a NumPy record field by field."""
_NAMES: Final = tuple(name for name in EXECUTION_REPORT.names or () if name != "pad")


class Report(NamedTuple):
    """An execution report as the book takes it; `mid2_before`: bid + ask at the end of the slice before the event's, 0 unknown.

    Stands in states as a plain tuple, ordered as reports are handled (schemas/orders.py, REPORT_ORDER).
    """

    visible: int
    known_ts_ns: int
    order_n: int
    exec_n: int
    kind: int
    mid2_before: int
    record: bytes

    def fields(self) -> dict[str, int]:
        """The fields of the EXECUTION_REPORT record."""
        return dict(zip(_NAMES, _RECORD.unpack(self.record), strict=True))


Kept = tuple[int, int, int, int, int, int, bytes]
"""A Report as it stands in a state."""


def kept(reports: Reports, mid2: Sequence[int]) -> list[Kept]:
    """Reports as they wait in a state; `mid2`: by symbol, bid + ask before."""
    size = _RECORD.size
    raw = reports.tobytes()
    return [
        (visible, known, n, exec_n, kind, mid2[symbol], raw[i * size : (i + 1) * size])
        for i, (_, known, _, visible, n, *_, symbol, exec_n, kind, _, _, _, _) in enumerate(_RECORD.iter_unpack(raw))
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
        self._requests: list[np.void] = []

    def begin(self, k: int, now_ns: int) -> None:
        """Slice `k`, decided at its end; what is sent leaves at `now_ns`."""
        self.k = k
        self.now = now_ns
        self._requests = []

    def requests(self) -> Requests:
        """What leaves now, in the order in which it was asked for."""
        out = np.zeros(len(self._requests), ORDER_REQUEST)
        for place, request in enumerate(self._requests):
            out[place] = request
        return out

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
            time_in_force=TimeInForce.GTC if rests else TimeInForce.DAY,
            flags=flags,
        )
        if self._ledger.validate(order, self._markets[symbol].filters, self.now, self.k) is Reason.NONE:
            self._requests.append(self._ledger.send(order, self.now, self.k))
        return order.order_n

    def cancel(self, n: int, reason: Reason) -> bool:
        """Asks for the end of an order, once; whether it was asked for now."""
        order = self.live(n)
        if order is None or not order.cancellable:
            return False
        self._requests.append(self._ledger.cancel(order, self.now, self.k, reason))
        return True

    def receive(self, report: Report) -> Order | None:
        """Moves the report's order on and returns it; None where the report is late, repeated or of an order long over.

        Its row stands in the slice in which the report became visible: an acknowledgement may be taken in later than that.
        """
        applied = self._ledger.apply(report.fields(), report.known_ts_ns, report.visible)
        return applied.order if applied.outcome == Outcome.APPLIED else None
