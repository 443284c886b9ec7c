"""Sends control messages: signs one, puts it on the topic `control`, and waits for what the topic `audit` says became of it.

A partition that is left out is also ended in the topic `ticks` itself, which is what its readers go by. `write_log` gets what was accepted
out of the topics again, for a replay.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from operators.sources.kafka import published
from operators.sources.kafka.audit import Exclusion, audit_lines, exclusions
from operators.sources.kafka.client import admin, bounds, check_partitions, consumer, partition_count, waited
from operators.sources.kafka.tail import Tail, tails
from operators.timeline.broker import Reports, explained, put, said
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.control import (
    CONTENT_CONTROL,
    Accepted,
    ControlLog,
    ControlRefusedError,
    Refusal,
    Refused,
    audit_line,
    check_bare,
    judged_in,
    limit_of,
    partition_of,
    sign,
)
from schemas.durable import write_whole
from schemas.errors import BrokerError, RefusedError, SpiketapeError, UsageError
from schemas.instruments import InstrumentList
from schemas.messages import ControlMessage
from schemas.settings import Settings
from schemas.tick_stream import CONTENT_END, CONTENT_TYPE, encode_end
from schemas.topics import AUDIT, CONTROL, TICKS

POLL_S: Final = 0.1
ATTEMPTS: Final = 3
"""How often the end of a partition is written where ticks come before it."""
CLOCKS_APART_MS: Final = 60_000
"""By how much the clocks of two machines of the broker may differ."""


def send(settings: Settings, message: ControlMessage, wait_s: float = 0.0) -> Accepted | Refused | None:
    """Signs a message and sends it; returns what was made of it within `wait_s`, None where nobody has said so by then.

    Raises UsageError for arguments that would be refused or a key that is too short, BrokerError where the broker does not take it.
    """
    check(settings, message)
    content = sign(message, settings.control.key, settings.deployment)
    kafka = _patient(settings).kafka
    audit = waited(kafka, Live(), Drain(), lambda: _audit(settings)) if wait_s > 0 else None
    try:
        waited(kafka, Live(), Drain(), lambda: _check_topic(settings))
        _produce(settings, CONTROL, 0, message.id.encode(), content, (CONTENT_TYPE, CONTENT_CONTROL))
        return None if audit is None else _answer(audit, message, time.monotonic() + wait_s)
    finally:
        if audit is not None:
            audit.close()


def exclude(settings: Settings, message: ControlMessage, wait_s: float) -> tuple[Accepted, Tail]:
    """Leaves a partition out: the account accepts that, then the partition's stream is ended in the topic `ticks`.

    Cut short anywhere, it is done again with the same arguments: what the account has accepted before is not asked for again. Returns what
    was accepted, and the partition as it has ended.

    Raises UsageError as `send`, SpiketapeError where nobody answers, RefusedError where the account refuses or the partition is not silent,
    TopicError where the deployment has no instruments, BrokerError where the broker does not answer.
    """
    check(settings, message)
    partition = partition_of(message, settings)
    instruments = published(_patient(settings))
    before = _exclusion(settings, partition)
    if before is None:
        judged = send(settings, message, wait_s)
        before = _exclusion(settings, partition)  # also where this message was refused because an earlier one was accepted meanwhile
        if before is None:
            raise refused(message, judged) if isinstance(judged, Refused) else unanswered(message, wait_s)
    return before.accepted, close_partition(settings, instruments, partition, before.at_ms)


def close_partition(settings: Settings, instruments: InstrumentList, partition: int, since_ms: int | None = None) -> Tail:
    """Ends the stream of a silent partition in the topic `ticks`, after the records that it holds; returns it as it has ended.

    Every process that reads the partition takes it as ended there, at the same record, whenever it comes to it; so does a recording. Doing
    it again changes nothing. `since_ms`: a time before which it had not ended (see `tails`). Raises RefusedError where ticks came before
    each end that was written: the partition is not silent.
    """
    since = {} if since_ms is None else {partition: since_ms - CLOCKS_APART_MS}
    for _ in range(ATTEMPTS):
        tail = _tail(settings, instruments, since, partition)
        if tail.ended:
            return tail
        _produce(settings, TICKS, partition, None, encode_end(tail.next), (CONTENT_TYPE, CONTENT_END))
    after = _tail(settings, instruments, since, partition)
    if after.ended:
        return after
    msg = (
        f"partition {partition} is not silent: it had {tail.next} records and has {after.next} now, so its stream was not ended. Stop "
        "whoever produces into it, then run the same command again"
    )
    raise RefusedError(msg)


def write_log(settings: Settings, out: Path, overwrite: bool = False) -> int:
    """Writes what the account has accepted, as `audit` tells it, to a file for `replay --control`; returns how many messages.

    Raises RefusedError where the file is there, TopicError where the topic is not, BrokerError where the broker does not answer.
    """
    if out.exists() and not overwrite:
        msg = f"{out} is there already; --overwrite replaces it"
        raise RefusedError(msg)
    kafka = _patient(settings).kafka
    lines: list[bytes] = waited(kafka, Live(), Drain(), lambda: audit_lines(settings))
    log = ControlLog.of_lines(lines, f"topic {kafka.topic(AUDIT)}")
    content = b"".join(audit_line(Accepted(m.effective_slice or 0, m)) + b"\n" for m in log.messages)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, content)
    except OSError as e:
        msg = f"--out {out}: cannot be written: {e.strerror}"
        raise UsageError(msg) from e
    return len(log.messages)


def unanswered(message: ControlMessage, wait_s: float) -> SpiketapeError:
    """The error for a message that nobody has judged in time."""
    again = "; run the command again then, so that the partition is ended" if message.kind == "exclude_partition" else ""
    msg = f"message {message.id} was sent, but nobody answered within {wait_s:g} s; a book that starts later will still judge it{again}"
    return SpiketapeError(msg)


def refused(message: ControlMessage, judged: Refused) -> RefusedError:
    """The error for a message that the account has refused."""
    msg = f"message {message.id} was refused ({judged.reason}): {judged.detail}"
    return RefusedError(msg)


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


def _patient(settings: Settings) -> Settings:
    """Settings with which a broker that is away is waited for no longer than for an answer."""
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"outage_s": settings.kafka.answer_timeout_s})})


def _exclusion(settings: Settings, partition: int) -> Exclusion | None:
    """What the account has accepted about a partition before."""
    found: dict[int, Exclusion] = waited(_patient(settings).kafka, Live(), Drain(), lambda: exclusions(settings))
    return found.get(partition)


def _tail(settings: Settings, instruments: InstrumentList, since_ms: Mapping[int, int], partition: int) -> Tail:
    kafka = _patient(settings).kafka
    found: dict[int, Tail] = waited(kafka, Live(), Drain(), lambda: tails(settings, instruments, since_ms, (partition,)))
    return found[partition]


def _audit(settings: Settings) -> Consumer:
    """A reader of what is said on the topic audit from now on."""
    kafka = settings.kafka
    topic = kafka.topic(AUDIT)
    reports = Reports()
    reader = consumer(kafka, f"{settings.deployment}.control", reports)
    try:
        with explained(reports, reader):
            check_partitions(topic, partition_count(reader, topic, kafka.answer_timeout_s), 1)
            reader.assign([TopicPartition(topic, 0, bounds(reader, topic, 0, kafka.answer_timeout_s)[1])])
    except BaseException:
        reader.close()
        raise
    return reader


def _check_topic(settings: Settings) -> None:
    kafka = settings.kafka
    topic = kafka.topic(CONTROL)
    reports = Reports()
    client = admin(kafka, f"{settings.deployment}.control", reports)
    with explained(reports, client):
        check_partitions(topic, partition_count(client, topic, kafka.answer_timeout_s, "WRITE"), 1)


def _produce(settings: Settings, name: str, partition: int, key: bytes | None, content: bytes, header: tuple[str, str]) -> None:
    """One message into a topic (its name without prefix), confirmed. BrokerError where the broker does not take it."""
    kafka = settings.kafka
    topic = kafka.topic(name)
    try:
        put(kafka, f"{settings.deployment}.control", topic, partition, key, content, [(header[0], header[1].encode())])
    except KafkaException as e:
        msg = f"the message for topic {topic} was not taken by the broker at {kafka.bootstrap_servers}: {said(e)}"
        raise BrokerError(msg) from e


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
