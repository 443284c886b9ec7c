"""The Kafka topics of a deployment as one declared list, and how a broker is brought to it.

| topics | partitions | cleanup | kept |
| --- | --- | --- | --- |
| ticks | P | delete | `kafka.tick_retention_h` |
| slices | P | delete | `kafka.turn_retention_h` |
| requests, reports | 1 | delete | `kafka.turn_retention_h` |
| signals, verdicts, orders, executions, positions, equity, dead-letters | P | delete | `kafka.row_retention_h` |
| control, audit | 1 | delete | for ever |
| instruments, tokens | 1 | compact | the last message of each key |

A topic that is there with another number of partitions, another cleanup policy or another replication is refused before anything is
changed: keys would stand in other partitions, or messages would vanish. Its other settings are brought to what is declared: retention, the
largest message, the copies that must have a message, whose time it gets (`message.timestamp.type`), how a compacted topic is compacted.
Messages get the broker's time, so that a client whose clock is wrong can neither be refused nor have its messages deleted as too old.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, Literal, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import AlterConfigOpType as Operation  # type: ignore[attr-defined]
from confluent_kafka.admin import ConfigEntry as Entry  # type: ignore[attr-defined]
from confluent_kafka.admin import ConfigResource as Resource  # type: ignore[attr-defined]
from confluent_kafka.admin import NewTopic as New  # type: ignore[attr-defined]
from confluent_kafka.admin import ResourceType as Kind  # type: ignore[attr-defined]

from operators.timeline.broker import Reports, check_visible, lacking, made
from schemas.errors import BrokerError, RefusedError
from schemas.settings import Settings
from schemas.settings.sections import KafkaSettings
from schemas.topics import (
    AUDIT,
    CONTROL,
    INSTRUMENTS,
    REPORTS,
    REQUESTS,
    SLICES,
    TICKS,
    TOKENS,
    TOPIC_OF_TABLE,
    partitions_of,
)

FOR_EVER: Final = -1
_HOUR_MS: Final = 3_600_000
_COMPACTED: Final = {"segment.bytes": str(8 << 20), "segment.ms": str(10 * 60_000), "min.cleanable.dirty.ratio": "0.1"}
"""Compacted topics are read from their beginning at each start, so what is superseded must not stay for long."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it should be. `name` is the full name; `retention_ms`: FOR_EVER, or how long a message is kept."""

    name: str
    partitions: int
    replication: int
    cleanup: Literal["delete", "compact"]
    retention_ms: int
    max_message_bytes: int

    def configuration(self) -> dict[str, str]:
        """The broker's settings of the topic that are declared here."""
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(self.max_message_bytes),
            "min.insync.replicas": str(max(1, self.replication - 1)),
            **(_COMPACTED if self.cleanup == "compact" else {}),
        }


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done about a topic; `changes`: its settings that were brought to what is declared, as `name: before -> after`."""

    topic: Topic
    done: Literal["created", "changed", "left"]
    changes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What `spiketape topics apply --json` prints of it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it is on the broker: `partitions` 0 where it is missing; `configuration`: the broker's settings of it."""

    topic: Topic
    partitions: int
    replication: int
    configuration: Mapping[str, str]

    @property
    def mismatches(self) -> tuple[str, ...]:
        """What differs so that the topic cannot be used, in words."""
        if self.partitions == 0:
            return ()
        cleanup = self.configuration["cleanup.policy"]
        pairs = (
            ("partitions", self.partitions, self.topic.partitions),
            ("copies", self.replication, self.topic.replication),
            ("cleanup policy", cleanup, self.topic.cleanup),
        )
        return tuple(f"{self.topic.name}: {what} {found}, declared {wanted}" for what, found, wanted in pairs if found != wanted)

    @property
    def changes(self) -> dict[str, tuple[str, str]]:
        """Settings of the broker to be changed: from what, to what."""
        wanted = self.topic.configuration()
        return {name: (self.configuration.get(name, ""), value) for name, value in wanted.items() if self.configuration.get(name) != value}


def declared(settings: Settings) -> tuple[Topic, ...]:
    """All topics of a deployment."""
    kafka = settings.kafka
    kept_h = {
        TICKS: kafka.tick_retention_h,
        SLICES: kafka.turn_retention_h,
        REQUESTS: kafka.turn_retention_h,
        REPORTS: kafka.turn_retention_h,
    }
    kept_h |= dict.fromkeys(TOPIC_OF_TABLE.values(), kafka.row_retention_h) | {CONTROL: 0, AUDIT: 0}
    topics = [_topic(name, settings, "delete", hours * _HOUR_MS or FOR_EVER) for name, hours in kept_h.items()]
    return (*topics, *(_topic(name, settings, "compact", FOR_EVER) for name in (INSTRUMENTS, TOKENS)))


def _topic(name: str, settings: Settings, cleanup: Literal["delete", "compact"], retention_ms: int) -> Topic:
    kafka = settings.kafka
    partitions = partitions_of(name, settings)
    return Topic(kafka.topic(name), partitions, kafka.replication, cleanup, retention_ms, kafka.max_message_bytes)


def apply(settings: Settings) -> tuple[Applied, ...]:
    """Makes the topics that are missing and brings the others to what is declared: all of `Topic.configuration` but the cleanup policy.

    Doing it again changes nothing. Raises RefusedError, before anything is made or changed, where a topic is there in a form that cannot be
    used (one that somebody makes at the same moment may be seen after others were made). Raises BrokerError where the broker does not
    answer or forbids it.
    """
    broker = _Broker(settings.kafka)
    found = broker.found(declared(settings))
    _refuse_mismatches(found)
    broker.create([f.topic for f in found if f.partitions == 0])
    _refuse_mismatches(broker.seen(tuple(f.topic for f in found if f.partitions == 0)))
    broker.change({f.topic.name: f.changes for f in found if f.partitions and f.changes})
    return tuple(_applied(f) for f in found)


def _refuse_mismatches(found: tuple[Found, ...]) -> None:
    wrong = [text for f in found for text in f.mismatches]
    if wrong:
        msg = (
            "topics are there in another form:\n  " + "\n  ".join(wrong) + "\nState the same in the settings "
            "(partitions, kafka.replication), choose another kafka.topic_prefix, or delete these topics and what is in them"
        )
        raise RefusedError(msg)


def show(settings: Settings) -> tuple[Found, ...]:
    """The declared topics as they are on the broker. Raises BrokerError where it does not answer."""
    return _Broker(settings.kafka).found(declared(settings))


def _applied(found: Found) -> Applied:
    if found.partitions == 0:
        return Applied(found.topic, "created")
    changes = tuple(f"{name}: {before} -> {after}" for name, (before, after) in found.changes.items())
    return Applied(found.topic, "changed" if changes else "left", changes)


class _Broker:
    """Questions and orders to a broker about topics; each has `answer_timeout_s`."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._timeout_s = kafka.answer_timeout_s
        self._reports = Reports()
        config = kafka.client({"client.id": "spiketape-topics", "error_cb": self._reports}, {"log_level": 0})
        self._admin: Any = made(lambda: AdminClient(config))

    def found(self, topics: tuple[Topic, ...]) -> tuple[Found, ...]:
        """Each topic as it is."""
        there = self._asked("list the topics", lambda: self._admin.list_topics(timeout=self._timeout_s).topics)
        for name in (t.name for t in topics if t.name not in there):
            self._asked(f"list topic {name}", partial(check_visible, self._admin, name, "DESCRIBE", self._timeout_s), "DESCRIBE", name)
        known = [t for t in topics if t.name in there]
        resources = [Resource(Kind.TOPIC, t.name) for t in known]
        configured: dict[str, dict[str, str]] = {}
        if resources:
            futures = self._admin.describe_configs(resources, request_timeout=self._timeout_s)
            for resource, future in futures.items():
                entries = self._asked(
                    f"describe topic {resource.name}", partial(future.result, self._timeout_s + 5), "DESCRIBE_CONFIGS", resource.name
                )
                configured[resource.name] = {e.name: str(e.value) for e in entries.values()}
        return tuple(
            Found(t, len(there[t.name].partitions), len(there[t.name].partitions[0].replicas), configured[t.name])
            if t.name in there
            else Found(t, 0, 0, {})
            for t in topics
        )

    def seen(self, topics: tuple[Topic, ...]) -> tuple[Found, ...]:
        """Topics that were just made, by whomever, as soon as the broker tells clients of all of them."""
        until = time.monotonic() + self._timeout_s
        while True:
            found = self.found(topics)
            if all(f.partitions for f in found):
                return found
            if time.monotonic() > until:
                msg = f"the broker at {self._kafka.bootstrap_servers} made topics, but does not show them within {self._timeout_s:g} s"
                raise BrokerError(msg)
            time.sleep(0.05)

    def create(self, topics: list[Topic]) -> None:
        """Makes topics. One that somebody else makes meanwhile is no error here."""
        if not topics:
            return
        new = [New(t.name, t.partitions, t.replication, config=t.configuration()) for t in topics]
        for name, future in self._admin.create_topics(new, operation_timeout=self._timeout_s, request_timeout=self._timeout_s).items():
            self._asked(f"create topic {name}", partial(_created, future, 2 * self._timeout_s), "CREATE", name)

    def change(self, changes: Mapping[str, Mapping[str, tuple[str, str]]]) -> None:
        """Alters settings of topics."""
        for name, wanted in changes.items():
            entries = [Entry(k, v, incremental_operation=Operation.SET) for k, (_, v) in wanted.items()]
            resource = Resource(Kind.TOPIC, name, incremental_configs=entries)
            (future,) = self._admin.incremental_alter_configs([resource], request_timeout=self._timeout_s).values()
            self._asked(f"change topic {name}", partial(future.result, self._timeout_s + 5), "ALTER_CONFIGS", name)

    def _asked(self, what: str, question: Callable[[], T], right: str = "DESCRIBE", topic: str = "") -> T:
        """The answer to a question. BrokerError where there is none, which names the `right` on the topic where that is missing."""
        try:
            return question()
        except (KafkaException, TimeoutError) as e:
            reason = lacking(self._reports.reason(self._admin, e), right, topic) if isinstance(e, KafkaException) else e
            error = reason.args[0] if reason.args else None
            why = error.str() if isinstance(error, KafkaError) else f"no answer in {self._timeout_s:g} s"
            msg = f"the broker at {self._kafka.bootstrap_servers} did not {what}: {why}"
            raise BrokerError(msg) from e


def _created(future: Future[None], timeout_s: float) -> None:
    try:
        future.result(timeout_s)
    except KafkaException as e:
        if e.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
