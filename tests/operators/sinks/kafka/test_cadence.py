"""When a part commits, and when it begins again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from operators.sinks.kafka.cadence import EARLY, SETTLING_S, Cadence
from operators.sinks.kafka.operator import KafkaPart
from schemas.settings import Settings


def test_what_comes_first_is_committed_with_it_at_once() -> None:
    cadence = Cadence(0.05)
    assert cadence.begins_in(100.0) <= 0
    assert cadence.due_with_messages(100.0)


def test_commits_are_as_far_apart_as_asked_and_three_quarters_of_it_where_messages_come() -> None:
    cadence = Cadence(0.5)
    cadence.committed(100.0)
    assert EARLY == 0.75
    assert not cadence.due_with_messages(100.25)
    assert cadence.due_in(100.25) == 0.25
    assert cadence.due_with_messages(100.375)
    assert cadence.due_in(100.375) == 0.125
    assert cadence.due_in(100.5) == 0
    assert cadence.due_with_messages(103.0), "after a pause the first messages do not wait"


def test_with_no_time_between_them_each_write_is_committed() -> None:
    cadence = Cadence(0.0)
    cadence.committed(100.0)
    assert cadence.due_with_messages(100.0)


def test_a_transaction_begins_only_when_the_broker_has_settled_the_last_one() -> None:
    cadence = Cadence(0.0)
    cadence.committed(100.0)
    assert 0 < cadence.begins_in(100.0) <= SETTLING_S + 1e-9
    assert cadence.begins_in(100.0 + 2 * SETTLING_S) <= 0


def test_messages_after_a_pause_are_committed_without_a_snapshot_those_after_them_wait(
    deployment: Callable[..., Settings], open_part: Callable[..., KafkaPart], made_rows: Any, topics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = open_part(deployment("kafka.transaction_ms=60000"))
    monkeypatch.setattr(Cadence, "due_in", lambda _self, _now_s: 60.0)
    part._transactions._cadence = Cadence(60.0)  # as a minute after the last commit
    part.write_batch([made_rows.rows("orders", "main", 0, 4)])
    until_s = time.monotonic() + 40
    while len(topics.ids("orders")) < 4 and time.monotonic() < until_s:
        time.sleep(0.02)
    assert len(topics.ids("orders")) == 4
    part.write_batch([made_rows.rows("orders", "main", 4, 2)])
    while len(topics.read("orders", "read_uncommitted")) < 6:
        time.sleep(0.02)
    assert len(topics.ids("orders")) == 4
    part.snapshot()
    assert len(topics.ids("orders")) == 6


def test_nothing_is_sent_before_the_last_transaction_has_settled(
    deployment: Callable[..., Settings], open_part: Callable[..., KafkaPart], made_rows: Any, topics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = open_part(deployment())
    settled, asked = threading.Event(), threading.Semaphore(0)

    def begins_in(_self: Cadence, _now_s: float) -> float:
        asked.release()
        return 0.0 if settled.is_set() else 0.01

    monkeypatch.setattr(Cadence, "begins_in", begins_in)
    part.write_batch([made_rows.rows("orders", "main", 0, 4)])
    for _ in range(20):
        assert asked.acquire(timeout=60)
    assert topics.read("orders", "read_uncommitted") == []
    settled.set()
    part.snapshot()
    assert len(topics.ids("orders")) == 4
