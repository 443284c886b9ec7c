"""Clients of the broker for reading: their settings, how one is reached, and what its errors mean."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from operators.timeline.broker import Outage, Reports, explained, lacking, made, rights_named
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.errors import TopicError
from schemas.settings import Settings
from schemas.settings.sections import KafkaSettings

COMPONENT: Final = "kafka"
"""Name of the broker in what a process shows about itself."""

_LOG = logging.getLogger("librdkafka")
_LOG.addHandler(logging.NullHandler())

READ: Final[dict[str, Any]] = {
    "fetch.wait.max.ms": 20,
    "fetch.queue.backoff.ms": 5,
    "queued.max.messages.kbytes": 16_384,
    "reconnect.backoff.max.ms": 2000,
    "socket.nagle.disable": True,
    "check.crcs": True,
}
"""What a reading client is given where the settings say nothing else: batches at once when they are there, memory bounded."""

EXACT: Final[dict[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
}
"""What exactness rests on: no offset but our own, nothing that was aborted, never a silent jump to where the log happens to begin."""

_FOR_GOOD: Final = frozenset(
    (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
    )
)


def consumer(kafka: KafkaSettings, name: str, on_error: Callable[[KafkaError], None] | None = None) -> Consumer:
    """A consumer that reads committed messages and never moves an offset by itself. `name`: who it is, for the broker's logs.

    Raises BrokerError where librdkafka refuses a setting; it is not connected yet.
    """
    own: dict[str, Any] = {**EXACT, "group.id": name, "client.id": name}
    if on_error is not None:
        own["error_cb"] = on_error
    client: Consumer = made(lambda: Consumer(kafka.client(own, READ), logger=_LOG))
    return client


def admin(kafka: KafkaSettings, name: str, on_error: Callable[[KafkaError], None] | None = None) -> AdminClient:
    """A client for metadata. Raises BrokerError where librdkafka refuses a setting."""
    own: dict[str, Any] = {"client.id": name} if on_error is None else {"client.id": name, "error_cb": on_error}
    client: AdminClient = made(lambda: AdminClient(kafka.client(own), logger=_LOG))
    return client


def partition_count(client: Consumer | AdminClient, topic: str, timeout_s: float, right: str = "READ") -> int:
    """Partitions of a topic, 0 where there is none of the name. KafkaException where the broker does not answer.

    `right`: what the client is going to do, for the words of an error where it may not.
    """
    about: Any = client.list_topics(topic, timeout=timeout_s).topics.get(topic)
    if about is None:
        return 0
    if about.error is not None:
        if about.error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return 0
        raise lacking(about.error, right, topic)
    return len(about.partitions)


def check_partitions(topic: str, have: int, wanted: int) -> None:
    """TopicError where a topic is missing or has another number of partitions than `wanted`."""
    if have == 0:
        msg = f"topic {topic} is not there; make the topics with `spiketape topics apply`, then start again"
        raise TopicError("missing", msg)
    if have != wanted:
        msg = (
            f"topic {topic} has {have} partitions, expected {wanted}: a symbol's ticks would be read from the wrong one. Set "
            f"`partitions` (and the recovery directory anew) to {have}, or make the topic again with {wanted}; nothing more was read"
        )
        raise TopicError("partitions", msg)


def bounds(client: Consumer, topic: str, partition: int, timeout_s: float) -> tuple[int, int]:
    """Offset of the first message of a partition, and the offset after its last. KafkaException where the broker does not answer."""
    with rights_named("READ", topic):
        low, high = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=timeout_s, cached=False)
    return int(low), int(high)


def check_offset(topic: str, partition: int, offset: int, low: int, high: int) -> None:
    """TopicError where the message at `offset`, which is to be read next, is deleted already or can never come."""
    if offset < low:
        msg = (
            f"topic {topic}, partition {partition}: the next message to read is at offset {offset}, but the log begins at {low} now; "
            f"up to {low - offset} messages were deleted before this flow had read them. Going on would leave a hole, so nothing was "
            "read. Raise the topic's retention; then start over with --fresh, which begins at the earliest message"
        )
        raise TopicError("gap", msg)
    if offset > high:
        msg = (
            f"topic {topic}, partition {partition}: the next message to read is at offset {offset}, but the log ends at {high}: it was "
            "truncated, or the topic was made again, since this flow last read it. Restore the topic, or start over with --fresh"
        )
        raise TopicError("truncated", msg)


def to_the_end(client: Consumer, topic: str, partition: int, timeout_s: float) -> Iterator[Any]:
    """Every committed message of a partition, from the first to what is its end now. KafkaException where the broker does not answer."""
    low, high = bounds(client, topic, partition, timeout_s)
    if low >= high:
        return
    client.assign([TopicPartition(topic, partition, low)])
    while True:
        m: Any = client.poll(timeout_s)
        if m is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"topic {topic} was not read within {timeout_s:g} s"))
        if m.error() is None:
            yield m
        elif m.error().code() == KafkaError._PARTITION_EOF:
            return
        else:
            raise lacking(m.error(), "READ", topic)


def own_messages(settings: Settings, name: str, count_timeout_s: float | None = None) -> Iterator[Any]:
    """The deployment's own messages (its name is their key) in a topic with one partition, from the first to what is its end now.

    Another deployment may write to the same topic. `name`: without prefix; `count_timeout_s`: how long the broker has to say how many
    partitions there are, by default `kafka.answer_timeout_s`. TopicError where the topic is missing or has more, KafkaException, with its
    reason, where the broker does not answer.
    """
    kafka = settings.kafka
    topic = kafka.topic(name)
    own = settings.deployment.encode()
    reports = Reports()
    client = consumer(kafka, f"{settings.deployment}.{name}", reports)
    try:
        with explained(reports, client):
            check_partitions(topic, partition_count(client, topic, count_timeout_s or kafka.answer_timeout_s), 1)
            yield from (m for m in to_the_end(client, topic, 0, kafka.answer_timeout_s) if m.key() == own)
    finally:
        client.close()


def outage_of(kafka: KafkaSettings, live: Live) -> Outage:
    """The outages of whoever reads, shown as the component `kafka`."""
    return Outage(kafka, live, COMPONENT, lambda error: error.code() in _FOR_GOOD or error.fatal())


def waited(kafka: KafkaSettings, live: Live, drain: Drain, attempt: Callable[[], Any]) -> Any:
    """What `attempt` returns, tried again with growing pauses while the broker is away; None where a drain was asked meanwhile.

    For what runs before a flow or outside of one: it sleeps. Raises BrokerError after `kafka.outage_s`.
    """
    outage = outage_of(kafka, live)
    while not drain.asked:
        try:
            result = attempt()
        except KafkaException as e:
            ends_s = time.monotonic() + outage.failed("asking", e)
            while not drain.asked and time.monotonic() < ends_s:
                time.sleep(0.05)
        else:
            outage.over()
            return result
    return None


class Watch(threading.Thread):
    """Asks the broker every few seconds, beside the flow, how many partitions a topic has. Only plain attributes are read from it.

    `asked`: how often it has asked and heard how that ended; `partitions`: the last answer; `missing`: how many answers in a row said that
    there is no such topic (a broker that has just started may say so for a moment); `error`: why it was not answered, None where it was.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, name: str) -> None:
        super().__init__(name=f"watch {topic}", daemon=True)
        self._kafka = kafka
        self._topic = topic
        self._client = admin(kafka, name)
        self._ended = threading.Event()
        self.asked = 0
        self.partitions = 0
        self.missing = 0
        self.error: KafkaException | None = None

    def run(self) -> None:
        every_s = self._kafka.retry_most_ms / 1000
        while not self._ended.wait(every_s if self.error is None else every_s / 5):
            try:
                have = partition_count(self._client, self._topic, min(5.0, self._kafka.answer_timeout_s))
            except KafkaException as e:
                self.error = e
            else:
                self.missing = self.missing + 1 if have == 0 else 0
                self.partitions, self.error = have, None
            self.asked += 1

    def end(self) -> None:
        """Asks the thread to end; it does when its question is answered."""
        self._ended.set()
