"""No order outlives a corporate action at the venue. Slices are 100 ms (W); that of A takes effect at 5 W, inside or between sessions."""

from __future__ import annotations

import pytest

from operators.execution import PaperVenue
from schemas.actions import CorporateAction
from schemas.orders import Reason, ReportKind, TimeInForce
from schemas.tables import Side

W = 100_000_000
AT = 5 * W
OVERNIGHT = {"symbols": {"A": {"calendar": "day"}}, "sessions": {"day": ((0, 3 * W), (AT, 20 * W))}}


@pytest.fixture
def split_floor(floor):
    """`split_floor(**how)`: bid 1000 x 100, ask 1002 x 100, from the action on 250 and 251; another action of B, and one long ago."""

    def make(**how):
        how = {"symbols": {"A": {}, "B": {}}, **how}
        f = floor(**how)
        listed = f.venue.instruments
        times = [("A", AT), ("A", 11 * AT), *((("B", W),) if "B" in listed.symbols else ())]
        acts = [CorporateAction(symbol=s, ts_ns=t, kind="split", numerator=4) for s, t in times]
        f.venue = PaperVenue(listed.with_actions(acts), f.settings)
        f.quote(10, 1000, 100, 1002, 100)
        f.quote(AT, 250, 100, 251, 100)
        return f

    return make


def told(reports, n):
    return [(ReportKind(int(r["kind"])).name, Reason(int(r["reason"])).name, int(r["ts_ns"])) for r in reports[reports["order_n"] == n]]


@pytest.mark.parametrize("how", [{}, OVERNIGHT], ids=["inside a session", "over night"])
def test_what_rests_expires_with_it(split_floor, how):
    f = split_floor(**how)
    f.buy(0, 1, 50, 900)
    f.stop(1, 1, Side.SELL, 50, 600)
    f.buy(2, 1, 50, 900, tif=TimeInForce.DAY)
    f.buy(3, 6, 50, 240)
    f.trade(9 * W, 100, 1000)
    r = f.run(12)
    assert told(r, 0)[1:] == [("EXPIRED", "EXPIRED_CORPORATE_ACTION", AT)]
    assert told(r, 1)[1:] == [("EXPIRED", "EXPIRED_CORPORATE_ACTION", AT)]
    assert told(r, 2)[1:] == [("EXPIRED", "EXPIRED_SESSION_END", 3 * W if how else AT)]
    assert told(r, 3)[1][0] == "FILL"


def test_what_was_sent_before_and_arrives_after_is_refused(split_floor):
    """An order of 20.00 would take all that is offered at 5.02. Latency without spread: one second."""
    f = split_floor(latency_scale=1.0, order_latency_mu=6.9, order_latency_sigma=0.0)
    f.buy(0, 1, 50, 1000)
    f.buy(1, 1, 50)
    f.buy(2, 6, 50, 1000)
    r = f.run(30)
    for n in (0, 1):
        ((kind, reason, ts),) = told(r, n)
        assert (kind, reason) == ("REJECTED", "CORPORATE_ACTION_SINCE")
        assert ts > AT
    assert told(r, 2)[0][0] == "ACK"


def test_the_same_however_the_ranges_are_cut(split_floor):
    f = split_floor()
    f.buy(0, 1, 50, 900)
    f.stop(1, 1, Side.SELL, 50, 600)
    f.buy(3, 6, 50, 240)
    whole = f.run(12)
    assert whole.tobytes() == f.run(12, tuple(range(1, 12))).tobytes() == f.run(12, (5,)).tobytes()
