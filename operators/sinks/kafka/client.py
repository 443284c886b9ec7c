"""Clients of the broker for writing in transactions, and what their errors mean."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from operators.timeline.live import Live
from schemas.errors import BrokerError, RefusedError
from schemas.settings import Settings
from schemas.settings.sections import KafkaSettings
from schemas.topics import TOKENS, partitions_of

_LOG: Final = logging.getLogger("librdkafka")
_LOG.addHandler(logging.NullHandler())

MISSING_ATTEMPTS: Final = 5
MISSING_PAUSE_S: Final = 0.2

COMPONENT: Final = "kafka-sink"
"""Name of the broker, as this side sees it, in what a process shows about itself."""

WRITE: Final[dict[str, Any]] = {"linger.ms": 1, "reconnect.backoff.max.ms": 2000, "socket.nagle.disable": True}
"""What a writing client is given where the settings say nothing else."""

FENCED: Final = frozenset((KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH))
"""The broker knows a newer producer of the same transactional id - or it gave this one's transaction up because it was open too long."""

_FOR_GOOD: Final = frozenset(
    (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_RECORD,
    )
)
"""What trying again cannot mend."""


def producer_of(settings: Settings, transactional_id: str) -> Producer:
    """A producer for transactions; it is not connected yet. Raises BrokerError where librdkafka refuses a setting."""
    kafka = settings.kafka
    exact = {
        "transactional.id": transactional_id,
        "enable.idempotence": True,
        "transaction.timeout.ms": round(kafka.transaction_timeout_s * 1000),
        "compression.type": kafka.compression,
        "message.max.bytes": kafka.max_message_bytes,
        "delivery.report.only.error": True,
        "client.id": transactional_id,
    }
    producer: Producer = _made(lambda: Producer({**WRITE, **kafka.client(), **exact}, logger=_LOG))
    return producer


def last_value(kafka: KafkaSettings, topic: str, key: bytes, *, settled: bool) -> bytes | None:
    """The value of the last committed message of a key in a topic with one partition.

    `settled`: waits for transactions of other producers that are open in front of it, at most until the broker gives them up; otherwise
    what can be read now is taken. Raises KafkaException where the broker does not answer.
    """
    common = {**kafka.client(), "group.id": "spiketape-tokens", "enable.auto.commit": False, "fetch.wait.max.ms": 20}
    end = _end(common, topic, kafka.answer_timeout_s)
    reader = _made(lambda: Consumer({**common, "isolation.level": "read_committed", "enable.partition.eof": True}, logger=_LOG))
    until = time.monotonic() + kafka.answer_timeout_s + (kafka.transaction_timeout_s if settled else 0)
    value: bytes | None = None
    try:
        # asked first, so that it is connected when it begins to fetch: else it looks for the partition's leader half a second later
        low, _ = reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=kafka.answer_timeout_s, cached=False)
        reader.assign([TopicPartition(topic, 0, low)])
        while True:
            for m in reader.consume(10_000, 0.01):
                error = m.error()
                if error is None:
                    if m.key() == key:
                        value = m.value()
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                elif not settled or m.offset() >= end:
                    return value
            if time.monotonic() > until:
                text = f"topic {topic} could not be read up to offset {end}: another producer's transaction is open in front of it"
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, text))
    finally:
        reader.close()


def _end(common: dict[str, Any], topic: str, timeout_s: float) -> int:
    """The offset after the last message of a topic's only partition, committed or not."""
    client = _made(lambda: Consumer({**common, "isolation.level": "read_uncommitted"}, logger=_LOG))
    try:
        _low, high = client.get_watermark_offsets(TopicPartition(topic, 0), timeout=timeout_s, cached=False)
        return int(high)
    finally:
        client.close()


def check_topics(producer: Producer, settings: Settings, topics: frozenset[str]) -> None:
    """Raises RefusedError where a topic (name without prefix) is missing or has another number of partitions than the settings say.

    A broker that has just started, or just made a topic, may not know it for a moment: a missing one is asked for again.
    """
    for attempt in range(MISSING_ATTEMPTS):
        there = producer.list_topics(timeout=settings.kafka.answer_timeout_s).topics
        found = {t: len(there[name].partitions) if (name := settings.kafka.topic(t)) in there else 0 for t in topics | {TOKENS}}
        if all(found.values()) or attempt == MISSING_ATTEMPTS - 1:
            break
        time.sleep(MISSING_PAUSE_S)
    for topic, partitions in sorted(found.items()):
        wanted = partitions_of(topic, settings)
        if partitions != wanted:
            state = f"has {partitions} partitions, the settings say {wanted}" if partitions else "is not there"
            msg = f"topic {settings.kafka.topic(topic)} {state}; run spiketape topics apply with these settings, then start again"
            raise RefusedError(msg)


def said(error: KafkaException | KafkaError) -> str:
    """An error of librdkafka in words."""
    cause = cause_of(error)
    return str(error) if cause is None else f"{cause.str()} ({cause.name()})"


def cause_of(error: KafkaException | KafkaError) -> KafkaError | None:
    """What stands behind an exception of the client."""
    if isinstance(error, KafkaError):
        return error
    cause = error.args[0] if error.args else None
    return cause if isinstance(cause, KafkaError) else None


def _made(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except KafkaException as e:
        msg = f"the Kafka client refuses its settings: {said(e)}; mend kafka.librdkafka in the settings"
        raise BrokerError(msg) from None


class Outage:
    """How long the broker has been failing, and how long to wait before the next attempt. Shown as a component of the process."""

    def __init__(self, kafka: KafkaSettings, live: Live) -> None:
        self._kafka = kafka
        self._component = live.component(COMPONENT)
        self._began_s: float | None = None
        self._attempts = 0

    def over(self) -> None:
        """The broker did what it was asked."""
        self._began_s, self._attempts = None, 0
        self._component.ok()

    def failed(self, what: str, error: KafkaException | KafkaError) -> float:
        """An attempt failed: the seconds until the next. Raises BrokerError where none can succeed, or after `kafka.outage_s`."""
        now = time.monotonic()
        if self._began_s is None:
            self._began_s = now
        self._component.failing(f"{what}: {said(error)}")
        cause = cause_of(error)
        if cause is not None and cause.code() in _FOR_GOOD:
            self._end(f"{what}: the broker refuses: {said(error)}; mend its permissions or kafka.librdkafka, then start again", error)
        if now - self._began_s >= self._kafka.outage_s:
            self._end(
                f"{what}: no success for {now - self._began_s:.0f} s (kafka.outage_s is {self._kafka.outage_s:g}), at last: {said(error)}. "
                "Nothing is lost: start again when the broker is back",
                error,
            )
        pause_ms = min(self._kafka.retry_first_ms * (1 << min(self._attempts, 20)), self._kafka.retry_most_ms)
        self._attempts += 1
        return pause_ms / 1000

    def _end(self, text: str, error: KafkaException | KafkaError) -> NoReturn:
        raise BrokerError(f"broker {self._kafka.bootstrap_servers}: {text}") from (error if isinstance(error, BaseException) else None)
