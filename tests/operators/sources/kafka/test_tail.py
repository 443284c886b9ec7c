"""What a producer or an operator finds at the end of a partition is what a flow makes of it, whatever stands there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from infra.topics import apply
from operators.sources.kafka.client import waited
from operators.sources.kafka.tail import Tail, tails
from operators.sources.tape import Tape
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.settings import Settings
from schemas.tick_stream import CONTENT_END, CONTENT_HEARTBEAT, CONTENT_TYPE, encode_end, encode_heartbeat
from schemas.wire import CONTENT_PACKED, encode

Deployed = Callable[..., Settings]
Said = tuple[str, bytes]
P = 1


@pytest.fixture
def settings(deployed: Deployed) -> Settings:
    settings = deployed()
    apply(settings)
    return settings


@pytest.fixture
def say(settings: Settings) -> Callable[..., None]:
    def say(*messages: Said) -> None:
        producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0})
        for kind, value in messages:
            producer.produce(settings.kafka.topic("ticks"), value, partition=P, headers=[(CONTENT_TYPE, kind)])
        assert producer.flush(20) == 0

    return say


def ticks(tape: Tape, first: int, count: int, partition: int = P) -> Said:
    return CONTENT_PACKED, encode(tape.read(partition, first, count), first)


def end(records: int) -> Said:
    return CONTENT_END, encode_end(records)


BEAT: Said = (CONTENT_HEARTBEAT, encode_heartbeat(1))


def facts(tail: Tail) -> tuple[int, bool, int]:
    return tail.next, tail.ended, tail.late


def asked(settings: Settings, tape: Tape, since_ms: dict[int, int] | None = None) -> dict[int, Tail]:
    """The tails; a broker that has just made the topic may not be ready to tell."""
    found: dict[int, Tail] = waited(settings.kafka, Live(), Drain(), lambda: tails(settings, tape.instruments, since_ms))
    return found


CASES: dict[str, tuple[Callable[[Tape], list[Said]], tuple[int, bool, int]]] = {
    "nothing": (lambda _: [], (0, False, 0)),
    "only heartbeats": (lambda _: [BEAT, BEAT], (0, False, 0)),
    "an end of nothing": (lambda _: [end(0)], (0, True, 0)),
    "ticks": (lambda t: [ticks(t, 0, 5), ticks(t, 5, 5)], (10, False, 0)),
    "many heartbeats behind them": (lambda t: [ticks(t, 0, 5), *[BEAT] * 300], (5, False, 0)),
    "an end": (lambda t: [ticks(t, 0, 5), end(5), BEAT], (5, True, 0)),
    "an end that does not fit": (lambda t: [ticks(t, 0, 5), end(4), end(6)], (5, False, 0)),
    "an end that fits later": (lambda t: [ticks(t, 0, 5), end(7), ticks(t, 5, 2), end(7)], (7, True, 0)),
    "ticks said again behind the end": (lambda t: [ticks(t, 0, 5), end(5), ticks(t, 2, 3)], (5, True, 0)),
    "ticks behind the end, and another": (lambda t: [ticks(t, 0, 5), end(5), ticks(t, 3, 4), ticks(t, 7, 1), end(8)], (5, True, 5)),
    "a symbol of another partition": (lambda t: [ticks(t, 0, 5), ticks(t, 5, 4, partition=0), end(5)], (5, True, 0)),
    "a sequence far ahead": (lambda t: [ticks(t, 0, 5), (CONTENT_PACKED, encode(t.read(P, 5, 2), 1 << 40)), end(5)], (5, True, 0)),
    "no message": (lambda t: [ticks(t, 0, 5), ("text/plain", b"no"), (CONTENT_PACKED, b"\0"), end(5)], (5, True, 0)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_tail_is_what_a_flow_takes_it_for(case: str, settings: Settings, tape: Tape, say: Any, reading: Any) -> None:
    messages, expected = CASES[case]
    say(*messages(tape))
    found = asked(settings, tape)
    assert facts(found[P]) == expected
    assert [facts(found[p]) for p in (0, 2, 3)] == [(0, False, 0)] * 3
    driven = reading(settings, tape, partitions=[P])
    until = time.monotonic() + 30
    while driven.live.messages < len(messages(tape)) and time.monotonic() < until and driven.step():
        pass
    feed = driven.source.stream._at[P][0].feed
    assert (feed.sequence or 0, feed.ended) == expected[:2]
    driven.part.close()


def test_an_end_that_others_have_buried_is_found_from_the_time_on_that_it_was_written(settings: Settings, tape: Tape, say: Any) -> None:
    say(*(ticks(tape, i, 1) for i in range(40)), end(40))
    say(*(ticks(tape, 40 + i, 1) for i in range(200)))
    reader = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "test"})
    reader.assign([TopicPartition(settings.kafka.topic("ticks"), P, 40)])
    (message,) = reader.consume(1, 30)
    reader.close()
    at_ms = message.timestamp()[1]
    for since_ms in (at_ms, 0):
        assert facts(asked(settings, tape, {P: since_ms})[P]) == (40, True, 200)
    assert facts(asked(settings, tape, {P: at_ms + 3_600_000})[P]) == (240, False, 0)
