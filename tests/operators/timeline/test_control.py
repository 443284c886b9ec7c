"""Drain, credit and meters."""

from __future__ import annotations

import os
import signal

import pytest

from operators.timeline.control import Credit, Drain, Meters


def test_sigterm_asks_for_a_drain_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    drain = Drain()
    with drain.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert drain.asked
        assert drain.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    drain = Drain()
    with drain.on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        assert drain.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_credit_holds_a_source_that_leads_and_lets_the_one_behind_go_on() -> None:
    credit = Credit(max_open_slices=10, open_batches=2)
    credit.done(100)
    assert credit.may_send(0, 500)
    credit.sent(0, 500)
    assert credit.may_send(0, 600)
    credit.sent(0, 600)
    assert not credit.may_send(0, 111)
    assert credit.may_send(0, 110)
    assert credit.may_send(1, 105)
    credit.done(501)
    assert credit.may_send(0, 700)


def test_meters_add_up_by_step() -> None:
    meters = Meters()
    for step, n in (("gate", 3), ("book", 1), ("gate", 4)):
        with meters.new(step).measure(n):
            pass
    assert {s: v["items"] for s, v in meters.by_step().items()} == {"gate": 7, "book": 1}
