"""Orders: the state machine, an account's ledger of orders, and the filters before sending. The public face of the pure part."""

from operators.orders.filters import PercentBand, VenueFilters
from operators.orders.history import SUCCESSORS, Illegal, illegal_rows
from operators.orders.ledger import RETENTION_NS, Applied, OrderLedger, Outcome, Reported, client_order_id
from operators.orders.machine import LEGAL, TERMINAL, IllegalTransition, Order, OrderEvent, advance, next_state

__all__ = [
    "LEGAL",
    "SUCCESSORS",
    "RETENTION_NS",
    "TERMINAL",
    "Applied",
    "Illegal",
    "IllegalTransition",
    "Order",
    "OrderEvent",
    "OrderLedger",
    "Outcome",
    "PercentBand",
    "Reported",
    "VenueFilters",
    "advance",
    "client_order_id",
    "illegal_rows",
    "next_state",
]
