"""Sends control messages: signs one, puts it on the topic `control`, and waits for what the topic `audit` says became of it.

A partition that is left out is also ended in the topic `ticks` itself, which is what its readers go by.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from operators.sources.kafka.client import admin, bounds, check_partitions, consumer, partition_count, waited
from operators.sources.kafka.tail import Tail, tails
from operators.timeline.broker import lacking, made, said
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.control import (
    CONTENT_CONTROL,
    Accepted,
    ControlRefusedError,
    Refusal,
    Refused,
    check_bare,
    judged_in,
    limit_of,
    partition_of,
    sign,
)
from schemas.errors import BrokerError, RefusedError, UsageError
from schemas.messages import ControlMessage
from schemas.settings import Settings
from schemas.tick_stream import CONTENT_END, CONTENT_TYPE, encode_end
from schemas.topics import AUDIT, CONTROL, TICKS

POLL_S = 0.1


def send(settings: Settings, message: ControlMessage, wait_s: float = 0.0) -> Accepted | Refused | None:
    """Signs a message and sends it; returns what was made of it within `wait_s`, None where nobody has said so by then.

    Raises UsageError for arguments that would be refused or a key that is too short, BrokerError where the broker does not take it.
    """
    check(settings, message)
    content = sign(message, settings.control.key, settings.deployment)
    kafka = settings.kafka.model_copy(update={"outage_s": settings.kafka.answer_timeout_s})
    audit = waited(kafka, Live(), Drain(), lambda: _audit(settings)) if wait_s > 0 else None
    try:
        waited(kafka, Live(), Drain(), lambda: _check_topic(settings))
        _produce(settings, CONTROL, 0, message.id.encode(), content, (CONTENT_TYPE, CONTENT_CONTROL))
        return None if audit is None else _answer(audit, message, time.monotonic() + wait_s)
    finally:
        if audit is not None:
            audit.close()


def close_partition(settings: Settings, partition: int) -> int:
    """Ends the stream of a silent partition in the topic `ticks`, after the records that it holds; returns how many these are.

    Every process that reads the partition takes it as ended there, at the same record, whenever it comes to it; so does a recording. Doing
    it again changes nothing. Raises RefusedError where ticks came meanwhile: the partition is not silent.
    """
    drain, live = Drain(), Live()
    kafka = settings.kafka.model_copy(update={"outage_s": settings.kafka.answer_timeout_s})
    before: Tail = waited(kafka, live, drain, lambda: tails(settings))[partition]
    if before.ended:
        return before.next
    _produce(settings, TICKS, partition, None, encode_end(before.next), (CONTENT_TYPE, CONTENT_END))
    after: Tail = waited(kafka, live, drain, lambda: tails(settings))[partition]
    if after.next != before.next:
        msg = f"partition {partition} is not silent: it had {before.next} records and has {after.next} now; it was not left out"
        raise RefusedError(msg)
    return before.next


def check(settings: Settings, message: ControlMessage) -> None:
    """UsageError where a message's arguments would be refused."""
    try:
        if message.kind == "change_limit":
            limit_of(message, settings.risk)
        elif message.kind == "exclude_partition":
            partition_of(message, settings)
        else:
            check_bare(message)
    except ControlRefusedError as e:
        raise UsageError(e.detail) from e


def _audit(settings: Settings) -> Consumer:
    """A reader of what is said on the topic audit from now on."""
    kafka = settings.kafka
    topic = kafka.topic(AUDIT)
    reader = consumer(kafka, f"{settings.deployment}.control")
    try:
        check_partitions(topic, partition_count(reader, topic, kafka.answer_timeout_s), 1)
        reader.assign([TopicPartition(topic, 0, bounds(reader, topic, 0, kafka.answer_timeout_s)[1])])
    except BaseException:
        reader.close()
        raise
    return reader


def _check_topic(settings: Settings) -> None:
    kafka = settings.kafka
    topic = kafka.topic(CONTROL)
    check_partitions(topic, partition_count(admin(kafka, f"{settings.deployment}.control"), topic, kafka.answer_timeout_s, "WRITE"), 1)


def _produce(settings: Settings, name: str, partition: int, key: bytes | None, content: bytes, header: tuple[str, str]) -> None:
    """One message into a topic (its name without prefix), confirmed. BrokerError where the broker does not take it."""
    kafka = settings.kafka
    failures: list[str] = []
    exact: dict[str, Any] = {
        "enable.idempotence": True,
        "client.id": f"{settings.deployment}.control",
        "message.timeout.ms": round(kafka.answer_timeout_s * 1000),
    }
    producer: Producer = made(lambda: Producer({**kafka.client(), **exact}))
    producer.produce(
        kafka.topic(name),
        content,
        key,
        partition,
        headers=[(header[0], header[1].encode())],
        on_delivery=lambda error, _message: (
            failures.append(said(lacking(error, "WRITE", kafka.topic(name)))) if error is not None else None
        ),
    )
    left = producer.flush(kafka.answer_timeout_s)
    if left or failures:
        why = failures[0] if failures else "no answer"
        msg = f"the message for topic {kafka.topic(name)} was not taken by the broker at {kafka.bootstrap_servers}: {why}"
        raise BrokerError(msg)


def _answer(audit: Consumer, message: ControlMessage, until_s: float) -> Accepted | Refused | None:
    """What is said of a message; the refusal of an account that it is not for says nothing."""
    while (left := until_s - time.monotonic()) > 0:
        told = audit.poll(min(POLL_S, left))
        if told is None or told.error() is not None:
            continue
        try:
            judged = judged_in(told.value() or b"")
        except ValueError:
            continue
        if isinstance(judged, Accepted) and judged.message.id == message.id:
            return judged
        if isinstance(judged, Refused) and judged.id == message.id and judged.reason is not Refusal.OTHER_ACCOUNT:
            return judged
    return None
