"""Messages between a book and a venue: requests that go out, reports that come back, and when the book may use them.

`ORDER_REQUEST`, 64 bytes, one per new order or cancel:

| field | dtype | meaning |
| --- | --- | --- |
| order_n | i8 | number of the order within its account, from 0; a cancel carries the number of the order it cancels |
| sent_ts_ns | i8 | when it left: the end of the deciding slice k, (k + 1) * W |
| quantity | i8 | > 0, fixed point of the instrument (0 for a cancel) |
| price | i8 | limit price, fixed point; 0 for market and stop orders |
| stop_price | i8 | trigger price of a stop, else 0 |
| expires_ts_ns | i8 | for GTD: the order is dead at and after this time, else 0 |
| symbol | u4 | id of the instrument |
| op | u1 | Operation |
| type | u1 | tables.OrderType |
| side | i1 | tables.Side |
| time_in_force | u1 | TimeInForce |
| flags | u1 | POST_ONLY, REDUCE_ONLY |
| account | u1 | place of the account in the deployment's list |
| pad | V6 | zero |

`EXECUTION_REPORT`, 88 bytes, one per thing that happened to an order at the venue:

| field | dtype | meaning |
| --- | --- | --- |
| ts_ns | i8 | when it happened at the venue, never before the order's arrival |
| known_ts_ns | i8 | when the book learns of it: ts_ns + report latency, never decreasing within an order |
| slice | i8 | slice j in which it happened |
| visible | i8 | first slice whose end-of-slice decision may use it (below) |
| order_n | i8 | the order |
| quantity | i8 | of a FILL: filled by this report; else 0 |
| price | i8 | of a FILL: the price of the fill; of TRIGGERED: the price that triggered; else 0 |
| leaves | i8 | still open at the venue after this report |
| queue_ahead | i8 | ACK of a limit that rests: size ahead on joining; maker FILL: size ahead just before the fill; -1 unknown |
| symbol | u4 | id of the instrument |
| exec_n | u4 | number of the report within its order, from 0: (account, order_n, exec_n) identifies a report |
| kind | u1 | ReportKind |
| side | i1 | tables.Side |
| liquidity | u1 | tables.Liquidity of a FILL, else 0 |
| reason | u1 | Reason |
| account | u1 | as in the request |
| pad | u1 x 3 | zero |

**When a report may be used.** A report that happened in slice j and is known at `known_ts_ns` is visible at book slice
`v = max(j + 1, known_ts_ns // W)`: the decision at the end of slice v (event time (v + 1) * W) may use it, none before. So an
execution of slice j never reaches a decision of slice j or earlier, and never one before its report arrived. Reports are
handled by a book in the order of (visible, known_ts_ns, order_n, exec_n).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

ORDER_REQUEST: Final = np.dtype(
    [
        ("order_n", "<i8"),
        ("sent_ts_ns", "<i8"),
        ("quantity", "<i8"),
        ("price", "<i8"),
        ("stop_price", "<i8"),
        ("expires_ts_ns", "<i8"),
        ("symbol", "<u4"),
        ("op", "u1"),
        ("type", "u1"),
        ("side", "i1"),
        ("time_in_force", "u1"),
        ("flags", "u1"),
        ("account", "u1"),
        ("pad", "V6"),
    ]
)
EXECUTION_REPORT: Final = np.dtype(
    [
        ("ts_ns", "<i8"),
        ("known_ts_ns", "<i8"),
        ("slice", "<i8"),
        ("visible", "<i8"),
        ("order_n", "<i8"),
        ("quantity", "<i8"),
        ("price", "<i8"),
        ("leaves", "<i8"),
        ("queue_ahead", "<i8"),
        ("symbol", "<u4"),
        ("exec_n", "<u4"),
        ("kind", "u1"),
        ("side", "i1"),
        ("liquidity", "u1"),
        ("reason", "u1"),
        ("account", "u1"),
        ("pad", "u1", (3,)),
    ]
)

Requests = npt.NDArray[np.void]
"""One-dimensional array of dtype ORDER_REQUEST."""
Reports = npt.NDArray[np.void]
"""One-dimensional array of dtype EXECUTION_REPORT."""

POST_ONLY: Final = 1  # rejected where it would take liquidity on arrival
REDUCE_ONLY: Final = 2  # never fills beyond the position it reduces
UNKNOWN_QUEUE: Final = -1


class Operation(IntEnum):
    NEW = 1
    CANCEL = 2


class TimeInForce(IntEnum):
    """GTC rests over the close (inert outside sessions, its queue place lost); DAY ends with the session it arrived in.

    No order outlives a corporate action of its symbol, whatever its time in force.
    """

    GTC = 1
    DAY = 2
    IOC = 3
    FOK = 4
    GTD = 5


class ReportKind(IntEnum):
    ACK = 1
    FILL = 2
    CANCELLED = 3
    CANCEL_REJECTED = 4
    REJECTED = 5
    EXPIRED = 6
    TRIGGERED = 7


class Reason(IntEnum):
    """Why an order changed state: the `reason` of order rows and reports. CATEGORY_CONDITION; never renumbered."""

    NONE = 0
    # why it was made, or passed on
    BOOK_DECISION = 1
    RISK_APPROVED = 2
    VENUE_ACCEPTED = 3
    STOP_TRIGGERED = 4
    FILL_MAKER = 5
    FILL_TAKER = 6
    FILL_AFTER_CANCEL = 7
    # why it ended without a rejection
    CANCEL_REQUESTED = 20
    CANCEL_TIMEOUT = 21
    CANCEL_SIGNAL = 22
    CANCEL_KILL = 23
    CANCEL_SESSION_END = 24
    CANCEL_SIBLING_FILLED = 25
    CANCEL_TOO_LATE = 26
    CANCEL_UNKNOWN_ORDER = 27
    CANCEL_CORPORATE_ACTION = 28
    EXPIRED_IOC_REMAINDER = 30
    EXPIRED_FOK_UNFILLED = 31
    EXPIRED_GTD = 32
    EXPIRED_SESSION_END = 33
    EXPIRED_NOTHING_TO_REDUCE = 34
    EXPIRED_CORPORATE_ACTION = 35
    # why it was refused, by the filters before sending or by the venue on arrival
    SYMBOL_NOT_TRADEABLE = 51
    SYMBOL_NOT_QUOTED = 52
    SIDE_NOT_SHORTABLE = 53
    SESSION_CLOSED = 54
    QUANTITY_BELOW_MINIMUM = 55
    QUANTITY_ABOVE_MAXIMUM = 56
    QUANTITY_OFF_LOT = 57
    PRICE_BELOW_MINIMUM = 58
    PRICE_ABOVE_MAXIMUM = 59
    PRICE_OFF_TICK = 60
    PRICE_OUTSIDE_PERCENT_BAND = 61
    NOTIONAL_BELOW_MINIMUM = 62
    NOTIONAL_ABOVE_MAXIMUM = 63
    POSITION_ABOVE_MAXIMUM = 64
    STOP_PRICE_MISSING = 65
    PRICE_MISSING = 66
    EXPIRY_PAST = 67
    POST_ONLY_WOULD_TAKE = 68
    REDUCE_ONLY_NOTHING_TO_REDUCE = 69
    TYPE_UNKNOWN = 71
    TIME_IN_FORCE_UNKNOWN = 72
    SIDE_UNKNOWN = 73
    CORPORATE_ACTION_SINCE = 74
