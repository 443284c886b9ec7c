"""What a partition of the topic `ticks` holds already, seen from its end: where a producer that begins again goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from operators.sources.kafka.client import bounds, consumer
from operators.sources.kafka.feed import sequence_of
from operators.sources.kafka.stream import Message, header_of
from operators.timeline.broker import lacking
from schemas.errors import TopicError, WireError
from schemas.settings import Settings
from schemas.tick_stream import CONTENT_END, CONTENT_TYPE, decode_end
from schemas.ticks import Ticks
from schemas.topics import TICKS
from schemas.wire import decode_message

_FIRST_LOOK: Final = 16


@dataclass(frozen=True)
class Tail:
    """The end of a partition: `next` is the sequence of the next record.

    `last`: the records of the last message that has a sequence, the first with `first`; None where there is none. `ended`: the message
    that ends the stream is there.
    """

    next: int = 0
    first: int = 0
    last: Ticks | None = None
    ended: bool = False


def tails(settings: Settings) -> dict[int, Tail]:
    """The tail of each partition. KafkaException where the broker does not answer.

    TopicError where a partition has had messages, and they were all deleted: what comes next is not known then.
    """
    kafka = settings.kafka
    client = consumer(kafka, f"{settings.deployment}.produce.tail")
    try:
        topic = kafka.topic(TICKS)
        return {p: _tail(client, topic, p, kafka.answer_timeout_s) for p in range(settings.partitions)}
    finally:
        client.close()


def _tail(client: Consumer, topic: str, partition: int, timeout_s: float) -> Tail:
    low, high = bounds(client, topic, partition, timeout_s)
    look, until = _FIRST_LOOK, high
    ended: int | None = None
    while until > low:
        begin = max(low, until - look)
        found: Tail | None = None
        for m in _messages(client, topic, partition, begin, until, timeout_s):
            try:
                if header_of(m, CONTENT_TYPE) == CONTENT_END:
                    ended = decode_end(m.value() or b"")
                    continue
                ticks = decode_message(header_of(m, CONTENT_TYPE) or "", m.value() or b"")
                first = sequence_of(m)
            except WireError:
                continue
            if first is not None and (found is None or first + len(ticks) > found.next):
                found = Tail(first + len(ticks), first, ticks)
        if found is not None:
            return Tail(found.next, found.first, found.last, ended == found.next)
        until, look = begin, look * 8
    if low > 0:
        msg = (
            f"topic {topic}, partition {partition}: all messages with a sequence were deleted ({low} in all), so where its stream stands "
            "is not known; delete the topic and produce the tape from its beginning, or raise its retention"
        )
        raise TopicError("stream", msg)
    return Tail(ended=ended == 0)


def _messages(client: Consumer, topic: str, partition: int, begin: int, until: int, timeout_s: float) -> Iterator[Message]:
    """The messages from offset `begin` to before `until`."""
    client.assign([TopicPartition(topic, partition, begin)])
    try:
        while True:
            m: Any = client.poll(timeout_s)
            if m is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic}/{partition} was not read within {timeout_s:g} s"))
            if m.error() is not None:
                if m.error().code() == KafkaError._PARTITION_EOF:
                    return
                raise lacking(m.error(), "READ", topic)
            if m.offset() >= until:
                return
            yield m
    finally:
        client.unassign()
