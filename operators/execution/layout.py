"""The venue's state and parameters as record layouts: an order at the venue, the market as one account's orders see it.

`VENUE_ORDER`, one row per order (rows of a symbol stand by arrival, then number: that is their priority):

| field | meaning |
| --- | --- |
| order_n, account, symbol, side, type, time_in_force, flags | as in the request (schemas/orders.py) |
| arrival_ns | when it reaches the venue: sent + order latency |
| cancel_ns | when a cancel of it arrives, never before the order itself; NEVER without one |
| expires_ns | end of a GTD order; of a DAY order from its arrival on; at most the first corporate action after it was sent; else NEVER |
| known_ns | when the book learns of its last report; reports of one order never overtake each other |
| final_visible | book slice that sees its last report; NEVER while it lives |
| trigger_ns | when a stop was triggered |
| leaves, price, stop_price | fixed point of the instrument |
| queue_ahead | size ahead in the queue at its price; UNKNOWN_QUEUE while the touch has not been at its price |
| exec_n | number of its next report |
| phase | PHASE_*: where it stands |
| reason | not 0: found wrong on submission, refused with this reason on arrival |
| queue_venue | letter of the exchange at whose queue it stands, the one shown on its own side; 0 none yet |
| at_touch | 1: the last valid quote of its side was at its price or worse |
| reduces | 1: never fills beyond the position (reduce-only, and every sale of an instrument that cannot be sold short) |

`MARKET`, one per account and symbol with orders: the last quote, what this account has taken of it, the account's position.

| field | meaning |
| --- | --- |
| quote_ns, seq | time and sequence of the last quote row, valid or not |
| session_close | end of the session of the last row used; rows at and after it start a new session |
| bid, ask, bid_size, ask_size | the last valid quote: in session, neither locked nor crossed |
| bid_venue, ask_venue | letter of the exchange that shows each side of it |
| taken_bid, taken_ask | what the account's own orders took of that side since it last changed |
| position | net quantity that the account's orders at this venue have filled |
| known | 1: there was a valid quote in this session |
| valid | 1: the last quote row is valid, so it may be taken |
"""

from __future__ import annotations

from typing import Final

import numpy as np

NEVER: Final = 2**61
"""A time or slice after everything; twice it still fits int64."""
NO_EVENT: Final = -1
UNREPORTED: Final = NEVER
"""In the place of a slice: nothing happens, nothing was reported."""

PHASE_IN_FLIGHT: Final = 0  # sent, not yet at the venue
PHASE_WAITING: Final = 1  # arrived, takes from the first valid quote
PHASE_RESTING: Final = 2  # a limit in the queue
PHASE_STOP: Final = 3  # a stop that has not triggered
PHASE_TRIGGERED: Final = 4  # takes from the first valid quote strictly after the trigger
PHASE_DEAD: Final = 5  # filled, cancelled, expired or rejected; kept while the book may still cancel it

RULE_QUEUE: Final = 0
RULE_TOUCH: Final = 1
RULE_TRADE_THROUGH: Final = 2
FILL_RULES: Final = {"queue": RULE_QUEUE, "touch": RULE_TOUCH, "trade_through": RULE_TRADE_THROUGH}

MAX_LEVELS: Final = 8
"""A market order beyond the shown size comes in at most so many parts; the last one pays the price of the deepest."""

VENUE_ORDER: Final = np.dtype(
    [
        ("order_n", "<i8"),
        ("arrival_ns", "<i8"),
        ("cancel_ns", "<i8"),
        ("expires_ns", "<i8"),
        ("known_ns", "<i8"),
        ("final_visible", "<i8"),
        ("trigger_ns", "<i8"),
        ("leaves", "<i8"),
        ("price", "<i8"),
        ("stop_price", "<i8"),
        ("queue_ahead", "<i8"),
        ("exec_n", "<i8"),
        ("symbol", "<u4"),
        ("side", "i1"),
        ("type", "u1"),
        ("time_in_force", "u1"),
        ("flags", "u1"),
        ("account", "u1"),
        ("phase", "u1"),
        ("reason", "u1"),
        ("queue_venue", "u1"),
        ("at_touch", "u1"),
        ("reduces", "u1"),
        ("pad", "<u2"),
    ]
)
MARKET: Final = np.dtype(
    [
        ("quote_ns", "<i8"),
        ("seq", "<i8"),
        ("session_close", "<i8"),
        ("bid", "<i8"),
        ("ask", "<i8"),
        ("bid_size", "<i8"),
        ("ask_size", "<i8"),
        ("taken_bid", "<i8"),
        ("taken_ask", "<i8"),
        ("position", "<i8"),
        ("symbol", "<u4"),
        ("account", "u1"),
        ("bid_venue", "u1"),
        ("ask_venue", "u1"),
        ("known", "u1"),
        ("valid", "u1"),
        ("pad", "u1", (7,)),
    ]
)
LAST_QUOTE: Final = np.dtype(
    [
        ("ts_ns", "<i8"),
        ("seq", "<i8"),
        ("bid", "<i8"),
        ("ask", "<i8"),
        ("bid_size", "<i8"),
        ("ask_size", "<i8"),
        ("bid_venue", "u1"),
        ("ask_venue", "u1"),
        ("gate", "u1"),
        ("seen", "u1"),
        ("pad", "u1", (4,)),
    ]
)
"""Last quote row of each instrument at the end of the last range, for orders that come later: one record per instrument."""

DESK: Final = np.dtype(
    [
        (name, "<i8")
        for name in (
            "account",
            "symbol",
            "ticks",
            "slices",
            "gate",
            "size",
            "near",
            "rows",
            "done",
            "through",
            "event",
            "active",
            "alive",
            "found",
            "taken",
        )
    ]
)
"""Where one account's orders in one symbol stand during a pass.

| field | meaning |
| --- | --- |
| account, symbol | whose orders |
| ticks, slices, gate, size | addresses of the symbol's ticks in the window (SymbolTicks) and their number; 0 until somebody reads them |
| near | a place among them not after slice `done` |
| rows | orders there are |
| done | the first slice that is not committed: the orders stand at its beginning |
| through, event | scans have gone on to slice `through`, and met `event` in their last slice, or NO_EVENT; equal to `done`: none has |
| active, alive | whether anything can still happen to an order at `done`, after the scans |
| found, taken | reports that the scans found since `done`, and how many of them were handed out |
"""

PARAMETERS: Final = np.dtype(
    [
        ("slice_ns", "<i8"),
        ("seed", "<i8"),
        ("tick_size", "<i8"),
        ("lot_size", "<i8"),
        ("slippage_ticks", "<i8"),
        ("rule", "<i8"),
        ("sized", "<i8"),
        ("price_max", "<i8"),
        ("size_max", "<i8"),
        ("tradeable", "<i8"),
        ("quoted", "<i8"),
        ("shortable", "<i8"),
        ("order_mu", "<f8"),
        ("order_sigma", "<f8"),
        ("cancel_mu", "<f8"),
        ("cancel_sigma", "<f8"),
        ("report_mu", "<f8"),
        ("report_sigma", "<f8"),
        ("scale", "<f8"),
    ]
)
"""What the compiled rules need to know of the settings and the instrument."""
