"""What a partition of the topic `ticks` holds already, seen from its end: where a producer that begins again goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from operators.sources.kafka.client import bounds, consumer
from operators.sources.kafka.feed import LARGEST_HOLE, sequence_of
from operators.sources.kafka.kernels import first_stray
from operators.sources.kafka.stream import Message, kind_of
from operators.sources.kafka.ticks import carried_by
from operators.timeline.broker import Reports, explained, lacking
from schemas.errors import TopicError, WireError
from schemas.instruments import InstrumentList
from schemas.settings import Settings
from schemas.tick_stream import CONTENT_END, CONTENT_HEARTBEAT, decode_end
from schemas.ticks import Ticks
from schemas.topics import TICKS
from schemas.wire import decode_message

_FIRST_LOOK: Final = 16
_WIDER: Final = 8

Carried = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tail:
    """The end of a partition, as whoever reads it takes it: `next` is the sequence of the next record.

    `last`: the records of the last message that has a sequence, the first with `first`; None where there is none. `ended`: the message
    that ends the stream is there; `late`: records that came after it, which nobody takes.
    """

    next: int = 0
    first: int = 0
    last: Ticks | None = None
    ended: bool = False
    late: int = 0


def tails(
    settings: Settings,
    instruments: InstrumentList,
    since_ms: Mapping[int, int] | None = None,
    partitions: Iterable[int] | None = None,
) -> dict[int, Tail]:
    """The tail of each partition, by default of all. KafkaException where the broker does not answer.

    `since_ms`: by partition a time before which its stream had surely not ended, ms UTC by the broker's clock. Without it an end is found
    near the end of the log only, which is where it stands unless somebody went on producing behind it.

    TopicError where a partition has had messages, and they were all deleted: what comes next is not known then.
    """
    kafka = settings.kafka
    reports = Reports()
    client = consumer(kafka, f"{settings.deployment}.produce.tail", reports)
    out = {}
    try:
        with explained(reports, client):
            for p in range(settings.partitions) if partitions is None else partitions:
                carried = carried_by(instruments, settings, p)
                out[p] = _tail(client, kafka.topic(TICKS), p, carried, (since_ms or {}).get(p), kafka.answer_timeout_s)
    finally:
        client.close()
    return out


def _tail(client: Consumer, topic: str, partition: int, carried: Carried, since_ms: int | None, timeout_s: float) -> Tail:
    low, high = bounds(client, topic, partition, timeout_s)
    since = None if since_ms is None else _offset_at(client, topic, partition, since_ms, timeout_s)
    begin, look = high if since is None else min(since, high), _FIRST_LOOK
    whole = low == high
    while not whole:
        begin = max(low, begin - look)
        whole = begin == low
        found = _read(_messages(client, topic, partition, begin, high, timeout_s), carried, whole=whole)
        if found is not None:
            return found
        look *= _WIDER
    if low > 0:
        msg = (
            f"topic {topic}, partition {partition}: all messages with a sequence were deleted ({low} in all), so where its stream stands "
            "is not known; delete the topic and produce the tape from its beginning, or raise its retention"
        )
        raise TopicError("stream", msg)
    return Tail()


def _read(messages: Iterable[Message], carried: Carried, *, whole: bool) -> Tail | None:
    """The tail in the last messages of a log, read in their order; None where what comes before them must be known for that.

    `whole`: nothing is there before them. Messages that a reader takes for poison are passed over.
    """
    next_: int | None = None
    first, last, ended, late = 0, None, False, 0
    for m in messages:
        kind = kind_of(m)
        try:
            if kind == CONTENT_HEARTBEAT:
                continue
            if kind == CONTENT_END:
                records = decode_end(m.value() or b"")
                if next_ is None:
                    if not whole:
                        return None
                    next_ = records
                ended = ended or records == next_
                continue
            ticks = decode_message(kind, m.value() or b"")
            begins = sequence_of(m)
        except WireError:
            continue
        if begins is None or first_stray(ticks["symbol"], carried) >= 0 or begins + len(ticks) <= (next_ or 0):
            continue
        if ended:
            late += len(ticks)
        elif next_ is None or begins <= next_ + LARGEST_HOLE:
            next_, first, last = begins + len(ticks), begins, ticks
    return None if next_ is None else Tail(next_, first, last, ended, late)


def _offset_at(client: Consumer, topic: str, partition: int, ms: int, timeout_s: float) -> int | None:
    """The offset of the first message of a time or later; None where there is none."""
    (found,) = client.offsets_for_times([TopicPartition(topic, partition, ms)], timeout=timeout_s)
    return found.offset if found.offset >= 0 else None


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
