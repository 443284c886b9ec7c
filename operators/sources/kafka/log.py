"""Reading a topic's log from given offsets: messages by partition in order, bounded memory, outages waited out, holes refused.

    connect     checks the topic (is it there, how many partitions, is what is to be read next still there), then assigns
    read        takes what has arrived, without waiting, into a queue per partition; a partition whose queue is full is paused
    take        hands messages of one partition over; `position` is the offset after them

A message that was deleted before it was read, a log that ends before the offset to read, a topic that is gone or has another number
of partitions raise TopicError, at the start and while reading. A broker that is away raises nothing until `kafka.outage_s`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from operators.sources.kafka.client import Watch, bounds, check_offset, check_partitions, consumer, outage_of, partition_count
from operators.sources.kafka.stream import Message
from operators.timeline.broker import Reports, lacking
from operators.timeline.live import Live
from schemas.settings.sections import KafkaSettings

MESSAGES_AT_ONCE: Final = 1000
ROOM_BYTES: Final = 16 << 20
"""Messages of a partition that may wait here to be taken, in bytes; librdkafka holds about as much before them."""
GONE_AFTER: Final = 3
"""Answers in a row that a topic is not there before it is believed."""
_SHOWN_EVERY_S: Final = 1.0
_MESSAGE_BYTES: Final = 100
"""What a message takes beside its value, about."""

_OUT_OF_RANGE: Final = frozenset((KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION))
_WATCHED: Final = frozenset((KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART))


Offsets = Callable[[Any, float], Mapping[int, int]]
"""Given a consumer and the seconds in which the broker must answer, the next offset of each partition."""


class TopicLog:
    """The log of some partitions of a topic. `name`: who reads, for the broker; `count`: partitions that the topic must have.

    `shown`: how a partition is named in `live`; by default its number.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        name: str,
        topic: str,
        partitions: Sequence[int],
        count: int,
        live: Live,
        shown: Mapping[int, str] | None = None,
    ) -> None:
        self.topic = kafka.topic(topic)
        self.partitions = tuple(partitions)
        self._kafka = kafka
        self._name = name
        self._count = count
        self._live = live
        self._shown = {p: str(p) for p in self.partitions} if shown is None else dict(shown)
        self._outage = outage_of(kafka, live)
        self._consumer: Consumer | None = None
        self._watch: Watch | None = None
        self._asked = 0
        self._reports = Reports()
        self._try_at_s = 0.0
        self._show_at_s = 0.0
        self._queues: dict[int, deque[Message]] = {p: deque() for p in self.partitions}
        self._queued_bytes = dict.fromkeys(self.partitions, 0)
        self._next: dict[int, int] = {}
        self._read_to: dict[int, int] = {}
        self._paused: set[int] = set()
        self._over: set[int] = set()

    @property
    def connected(self) -> bool:
        return self._consumer is not None

    def connect(self, offsets: Offsets) -> bool:
        """One attempt to reach the broker and to go to `offsets(consumer, timeout)`, the next offset of each partition.

        Returns whether that is done; False while the broker is away: call it again, it pauses by itself without sleeping. Raises
        TopicError where the log does not hold what is to be read, BrokerError where the broker cannot be reached at all.
        """
        if time.monotonic() < self._try_at_s:
            return False
        timeout_s = min(2.0, self._kafka.answer_timeout_s)
        self._reports = Reports()
        client = consumer(self._kafka, self._name, self._on_error)
        try:
            check_partitions(self.topic, partition_count(client, self.topic, timeout_s), self._count)
            at = dict(offsets(client, self._kafka.answer_timeout_s))
            for p in self.partitions:
                check_offset(self.topic, p, at[p], *bounds(client, self.topic, p, timeout_s))
            client.assign([TopicPartition(self.topic, p, at[p]) for p in self.partitions])
        except KafkaException as e:
            reason = self._reports.reason(client, e)
            client.close()
            self._try_at_s = time.monotonic() + self._outage.failed(f"reading {self.topic}", reason)
            return False
        except BaseException:
            client.close()
            raise
        self._consumer = client
        self._next = at
        self._read_to = dict(at)
        self._outage.over()
        self._watch = Watch(self._kafka, self.topic, f"{self._name}.watch")
        self._watch.start()
        return True

    def read(self) -> None:
        """Takes what has arrived into the queues. Never waits."""
        client = self._consumer
        assert client is not None
        self._look_at_watch()
        if not self._all_full():
            arrived: list[Any] = client.consume(MESSAGES_AT_ONCE, 0.0)
            for m in arrived:
                if m.error() is not None:
                    self._on_event(m)
                    continue
                self._put(m)
                if self._outage.away:
                    self._outage.over()
        self._hold_back(client)
        if time.monotonic() >= self._show_at_s:
            self._show()

    def waiting(self, partition: int) -> bool:
        """Whether messages of a partition can be taken."""
        return bool(self._queues[partition])

    def take(self, partition: int, most_bytes: int) -> list[Message]:
        """The next messages of a partition: at least one where there are any, then as many as fit into `most_bytes`."""
        queue = self._queues[partition]
        out: list[Message] = []
        size = 0
        while queue and (not out or size + len(queue[0]) <= most_bytes):
            m = queue.popleft()
            size += len(m) + _MESSAGE_BYTES
            out.append(m)
        self._queued_bytes[partition] -= size
        if out:
            self._next[partition] = out[-1].offset() + 1
        return out

    def position(self, partition: int) -> int:
        """The offset after the messages that were taken, and after what readers never see behind them (ends of transactions)."""
        if not self._queues[partition]:
            self._next[partition] = max(self._next[partition], self._read_to[partition])
        return self._next[partition]

    def over(self, partition: int) -> None:
        """The stream of a partition has ended. It is read on, for what comes too late; that nothing comes is no waiting."""
        self._over.add(partition)
        self._live.lag(self._shown[partition], 0)

    def end(self, partition: int) -> int:
        """The offset after the last message of a partition, as far as the broker has told with what was read."""
        return max(self._high(partition), self._read_to[partition])

    def close(self) -> None:
        """Lets go of the broker."""
        if self._watch is not None:
            self._watch.end()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _put(self, m: Message) -> None:
        p = m.partition()
        if m.offset() < self._read_to[p]:
            return
        self._queues[p].append(m)
        self._queued_bytes[p] += len(m) + _MESSAGE_BYTES
        self._read_to[p] = m.offset() + 1

    def _all_full(self) -> bool:
        return all(size >= ROOM_BYTES for size in self._queued_bytes.values())

    def _hold_back(self, client: Consumer) -> None:
        """Pauses the partitions whose queues are full, so that the others go on, and resumes those that have room again."""
        for p, size in self._queued_bytes.items():
            if size >= ROOM_BYTES and p not in self._paused:
                self._pause(client, p)
            elif size < ROOM_BYTES // 2 and p in self._paused:
                client.resume([TopicPartition(self.topic, p)])
                self._paused.discard(p)

    def _pause(self, client: Consumer, partition: int) -> None:
        client.pause([TopicPartition(self.topic, partition)])
        self._paused.add(partition)

    def _on_event(self, m: Any) -> None:
        error, p = m.error(), m.partition()
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self._read_to[p] = max(self._read_to[p], m.offset())
            if not self._queues[p] and p not in self._over:
                self._live.waiting(self._shown[p])
            return
        if code in _OUT_OF_RANGE:
            self._explain(p)
        elif code not in _WATCHED:
            self._outage.failed(f"reading {self.topic}", lacking(error, "READ", self.topic))

    def _explain(self, p: int) -> None:
        """The broker has not the offset that was to be fetched: says why, or goes there again where it has it after all."""
        client = self._consumer
        assert client is not None
        try:
            low, high = bounds(client, self.topic, p, self._kafka.answer_timeout_s)
        except KafkaException as e:
            self._outage.failed(f"reading {self.topic}", e)
        else:
            check_offset(self.topic, p, self._read_to[p], low, high)
        client.seek(TopicPartition(self.topic, p, self._read_to[p]))

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka's own report: it goes on connecting by itself. Called within `consume` and `poll`."""
        if self._consumer is None:
            self._reports(error)
        elif error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION) or error.fatal():
            self._outage.failed(f"reading {self.topic}", error)

    def _look_at_watch(self) -> None:
        watch = self._watch
        assert watch is not None
        if watch.asked == self._asked:
            return
        self._asked = watch.asked
        if watch.error is not None:
            self._outage.failed(f"reading {self.topic}", watch.error)
            return
        if self._outage.away:
            self._outage.over()
        if watch.partitions or watch.missing >= GONE_AFTER:
            check_partitions(self.topic, watch.partitions, self._count)

    def _show(self) -> None:
        self._show_at_s = time.monotonic() + _SHOWN_EVERY_S
        for p, name in self._shown.items():
            high = self._high(p)
            if high < 0:
                continue
            behind = high - self.position(p)
            if behind > 0 or p in self._over:
                self._live.lag(name, max(behind, 0))
            else:
                self._live.waiting(name)

    def _high(self, p: int) -> int:
        """The offset after a partition's last message as the client last heard it; negative before it has."""
        assert self._consumer is not None
        return int(self._consumer.get_watermark_offsets(TopicPartition(self.topic, p), cached=True)[1])
