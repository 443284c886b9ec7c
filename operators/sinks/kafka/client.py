"""Clients of the broker for writing in transactions, and what their errors mean."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from operators.timeline.broker import Outage, check_visible, lacking, made, rights_named
from operators.timeline.live import Live
from schemas.errors import RefusedError
from schemas.settings import Settings
from schemas.settings.sections import KafkaSettings
from schemas.topics import TOKENS, partitions_of

_LOG: Final = logging.getLogger("librdkafka")
_LOG.addHandler(logging.NullHandler())

MISSING_ATTEMPTS: Final = 5
MISSING_PAUSE_S: Final = 0.2

COMPONENT: Final = "kafka-sink"
"""Name of the broker, as this side sees it, in what a process shows about itself."""

WRITE: Final[dict[str, Any]] = {"linger.ms": 0, "reconnect.backoff.max.ms": 2000, "socket.nagle.disable": True}
"""What a writing client is given where the settings say nothing else. It waits for nothing: while it sends, what follows gathers anyway."""

SOON: Final[dict[str, Any]] = {"fetch.wait.max.ms": 20}
"""What a reader of tokens is given where the settings say nothing else."""

FENCED: Final = frozenset((KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH))
"""The broker knows a newer producer of the same transactional id - or it gave this one's transaction up because it was open too long."""

_FOR_GOOD: Final = frozenset(
    (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
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
    producer: Producer = made(lambda: Producer(kafka.client(exact, WRITE), logger=_LOG))
    return producer


def last_value(kafka: KafkaSettings, name: str, topic: str, key: bytes, *, settled: bool) -> bytes | None:
    """The value of the last committed message of a key in a topic with one partition. `name`: who reads, for the broker.

    `settled`: waits for transactions of other producers that are open in front of it; otherwise what can be read now is taken. Raises
    KafkaException where the broker does not answer or such a transaction stays open for longer than an answer may take: ask again.
    """
    who = {"group.id": name, "client.id": name, "enable.auto.commit": False}
    end = _end(kafka, who, topic)
    own = {**who, "isolation.level": "read_committed", "enable.partition.eof": True}
    reader = made(lambda: Consumer(kafka.client(own, SOON), logger=_LOG))
    until = time.monotonic() + kafka.answer_timeout_s
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
                    raise lacking(error, "READ", topic)
                elif not settled or m.offset() >= end:
                    return value
            if time.monotonic() > until:
                text = f"topic {topic} could not be read up to offset {end}: another producer's transaction is open in front of it"
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, text))
    finally:
        reader.close()


def _end(kafka: KafkaSettings, who: dict[str, Any], topic: str) -> int:
    """The offset after the last message of a topic's only partition, committed or not."""
    client = made(lambda: Consumer(kafka.client({**who, "isolation.level": "read_uncommitted"}, SOON), logger=_LOG))
    try:
        with rights_named("READ", topic):
            _low, high = client.get_watermark_offsets(TopicPartition(topic, 0), timeout=kafka.answer_timeout_s, cached=False)
        return int(high)
    finally:
        client.close()


def check_topics(producer: Producer, settings: Settings, topics: frozenset[str]) -> None:
    """Raises RefusedError where a topic (name without prefix) is missing or has another number of partitions than the settings say.

    A broker that has just started, or just made a topic, may not know it for a moment: a missing one is asked for again.
    """
    for attempt in range(MISSING_ATTEMPTS):
        there = producer.list_topics(timeout=settings.kafka.answer_timeout_s).topics
        names = {t: settings.kafka.topic(t) for t in topics | {TOKENS}}
        found = {t: len(there[name].partitions) if name in there else 0 for t, name in names.items()}
        for name in (names[t] for t, partitions in found.items() if not partitions):
            check_visible(producer, name, "WRITE", settings.kafka.answer_timeout_s)
        if all(found.values()) or attempt == MISSING_ATTEMPTS - 1:
            break
        time.sleep(MISSING_PAUSE_S)
    for topic, partitions in sorted(found.items()):
        wanted = partitions_of(topic, settings)
        if partitions != wanted:
            state = f"has {partitions} partitions, the settings say {wanted}" if partitions else "is not there"
            msg = f"topic {settings.kafka.topic(topic)} {state}; run spiketape topics apply with these settings, then start again"
            raise RefusedError(msg)


def outage_of(kafka: KafkaSettings, live: Live) -> Outage:
    """The outages of whoever writes, shown as the component `kafka-sink`."""
    return Outage(kafka, live, COMPONENT, lambda error: error.code() in _FOR_GOOD)
