"""What is said of a machine's clock that is wrong, or was set."""

from __future__ import annotations

import pytest

from flows.live.clock import Clock
from operators.timeline.live import Live

NOON_S = 1_700_000_000.0
YEAR_S = 365 * 86_400.0


@pytest.mark.parametrize(
    ("set_s", "event_s", "said"),
    [
        (0.0, None, ""),
        (0.0, NOON_S, ""),
        (0.0, NOON_S + 59, ""),
        (0.0, NOON_S - 86_000, ""),
        (0.9, NOON_S, ""),
        (0.0, NOON_S + 61, "the data are 0:01:01 ahead of this machine's clock: one of them is wrong"),
        (0.0, NOON_S - YEAR_S, "the data are 365 days, 0:00:00 behind this machine's clock: a tape is played, or one of them is wrong"),
        (-YEAR_S, None, "this machine's clock was set 365 days, 0:00:00 back since the process began"),
        (2.0, NOON_S, "this machine's clock was set 0:00:02 ahead since the process began"),
    ],
)
def test_a_clock_that_cannot_be_right_is_told(set_s: float, event_s: float | None, said: str) -> None:
    now = {"monotonic": 5.0, "wall": NOON_S - 30}
    live = Live(lambda: now["monotonic"])
    clock = Clock(live, lambda: now["wall"])
    if event_s is not None:
        live.arrived(0, 1, event_ns=int(event_s * 1e9))
    now = {"monotonic": 35.0, "wall": NOON_S + set_s}
    look = clock.look()
    assert look.status == ("differs" if said else "ok")
    assert look.why == said
