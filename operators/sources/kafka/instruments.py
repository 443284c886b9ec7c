"""The topic `instruments`: which instruments a deployment has, and how its symbols are dealt to shards and partitions.

One compacted partition; key: the deployment, value: the JSON below. Whoever produces ticks says it once, every flow reads it at its start:
the ids in ticks are places in this list, so two lists under one deployment would mix symbols up.
"""

from __future__ import annotations

from typing import Literal

from confluent_kafka import KafkaException
from pydantic import BaseModel, ConfigDict, ValidationError

from operators.sources.kafka.client import own_messages, waited
from operators.timeline.broker import put, said
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.errors import BrokerError, RefusedError, TopicError
from schemas.instruments import InstrumentList
from schemas.settings import Settings
from schemas.topics import INSTRUMENTS


class DeploymentList(BaseModel):
    """What the topic says of a deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    shards: int
    partitions: int
    slice_ms: int
    instruments: InstrumentList


def publish(settings: Settings, instruments: InstrumentList, drain: Drain | None = None, live: Live | None = None) -> bool:
    """Says a deployment's instruments; returns whether they were new. RefusedError where another list is there already.

    Waits for a broker that is away (BrokerError after `kafka.outage_s`); a drain ends that with False.
    """
    mine = DeploymentList(shards=settings.shards, partitions=settings.partitions, slice_ms=settings.slice_ms, instruments=instruments)
    drain, live = drain or Drain(), live or Live()
    there = waited(settings.kafka, live, drain, lambda: (_read(settings),))
    if there is None:
        return False
    if there[0] is not None:
        _check_same(settings, there[0], mine)
        return False
    _write(settings, mine.model_dump_json(exclude_defaults=True).encode())
    return True


def published(settings: Settings, drain: Drain | None = None, live: Live | None = None) -> InstrumentList:
    """The instruments of this deployment.

    TopicError where none were said yet, or where they were dealt to other shards or partitions, or cut into other slices, than these
    settings say. Waits for a broker that is away; BrokerError after `kafka.outage_s`, DrainedError where an end was asked meanwhile.
    """
    drain = drain or Drain()
    there = waited(settings.kafka, live or Live(), drain, lambda: (_read(settings),))
    if there is None:
        msg = f"asked to end before the broker at {settings.kafka.bootstrap_servers} told the instruments of {settings.deployment}"
        raise drain.left(msg)
    found: DeploymentList | None = there[0]
    if found is None:
        msg = (
            f"topic {settings.kafka.topic(INSTRUMENTS)} has no instruments of the deployment {settings.deployment!r}; produce its ticks "
            "first (spiketape produce TAPE), or set `deployment` to the one that is produced"
        )
        raise TopicError("instruments", msg)
    for name in ("shards", "partitions", "slice_ms"):
        if getattr(found, name) != getattr(settings, name):
            msg = (
                f"the ticks of {settings.deployment!r} were produced with {name} = {getattr(found, name)}, these settings say "
                f"{getattr(settings, name)}; set {name} to {getattr(found, name)}"
            )
            raise TopicError("instruments", msg)
    return found.instruments


def _check_same(settings: Settings, there: DeploymentList, mine: DeploymentList) -> None:
    if there == mine:
        return
    differ = [name for name in DeploymentList.model_fields if getattr(there, name) != getattr(mine, name)]
    msg = (
        f"the deployment {settings.deployment!r} has other instruments already: {', '.join(differ)} differ. A stream of ticks has one "
        "list; use another deployment name and topic prefix, or delete its topics first"
    )
    raise RefusedError(msg)


def _read(settings: Settings) -> DeploymentList | None:
    """The last message of the deployment. KafkaException where the broker does not answer."""
    topic, value = settings.kafka.topic(INSTRUMENTS), None
    for m in own_messages(settings, INSTRUMENTS, min(2.0, settings.kafka.answer_timeout_s)):
        value = m.value()
    if value is None:
        return None
    try:
        return DeploymentList.model_validate_json(value)
    except ValidationError as e:
        msg = f"topic {topic}: what it says of {settings.deployment!r} is not a list of instruments of version 1 ({e.error_count()} faults)"
        raise TopicError("instruments", msg) from e


def _write(settings: Settings, value: bytes) -> None:
    topic = settings.kafka.topic(INSTRUMENTS)
    try:
        put(settings.kafka, f"{settings.deployment}.{INSTRUMENTS}", topic, 0, settings.deployment.encode(), value)
    except KafkaException as e:
        msg = f"the instruments of {settings.deployment!r} were not written to {topic}: {said(e)}; run the same command again"
        raise BrokerError(msg) from e
