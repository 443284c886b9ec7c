"""Sends control messages: signs one, puts it on the topic `control`, and waits for what the topic `audit` says became of it."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from operators.sources.kafka.client import admin, bounds, check_partitions, consumer, made, partition_count, said, waited
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
from schemas.errors import BrokerError, UsageError
from schemas.messages import ControlMessage
from schemas.settings import Settings
from schemas.topics import AUDIT, CONTROL

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
        _produce(settings, message.id, content)
        return None if audit is None else _answer(audit, message, time.monotonic() + wait_s)
    finally:
        if audit is not None:
            audit.close()


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
    check_partitions(topic, partition_count(admin(kafka, f"{settings.deployment}.control"), topic, kafka.answer_timeout_s), 1)


def _produce(settings: Settings, name: str, content: bytes) -> None:
    kafka = settings.kafka
    topic = kafka.topic(CONTROL)
    failures: list[str] = []
    exact: dict[str, Any] = {
        "enable.idempotence": True,
        "client.id": f"{settings.deployment}.control",
        "message.timeout.ms": round(kafka.answer_timeout_s * 1000),
    }
    producer: Producer = made(lambda: Producer({**kafka.client(), **exact}))
    producer.produce(
        topic,
        content,
        name.encode(),
        headers=[("content-type", CONTENT_CONTROL.encode())],
        on_delivery=lambda error, _message: failures.append(said(error)) if error is not None else None,
    )
    left = producer.flush(kafka.answer_timeout_s)
    if left or failures:
        msg = f"message {name} was not taken by the broker at {kafka.bootstrap_servers}: {failures[0] if failures else 'no answer'}"
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
