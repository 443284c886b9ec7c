"""What the clients of a Kafka broker have in common, whether they read or write: how they are made, what their errors say, outages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from confluent_kafka import KafkaError, KafkaException, Producer

from operators.timeline.live import Live
from schemas.errors import BrokerError
from schemas.settings.sections import KafkaSettings

_REPORTS: Final = 50
"""Events of a client that could not connect which are looked through for the reason: it tells lines of its log in the same way."""
_WITHIN_S: Final = 0.5
"""So long the first of them is waited for: it may come after the answer that nobody was reached."""


def made(make: Callable[[], Any]) -> Any:
    """What `make` makes. BrokerError where librdkafka refuses a setting; its words name the setting, never its value."""
    try:
        return make()
    except KafkaException as e:
        msg = f"the Kafka client refuses its settings: {said(e)}; mend [kafka] and kafka.librdkafka in the settings"
        raise BrokerError(msg) from None


def cause_of(error: KafkaException | KafkaError) -> KafkaError | None:
    """What stands behind an exception of the client."""
    if isinstance(error, KafkaError):
        return error
    cause = error.args[0] if error.args else None
    return cause if isinstance(cause, KafkaError) else None


def said(error: KafkaException | KafkaError) -> str:
    """An error of librdkafka in words."""
    cause = cause_of(error)
    return str(error) if cause is None else f"{cause.str()} ({cause.name()})"


_RIGHTS: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the right {right} on the topic {topics} is missing",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the right DESCRIBE on the deployment's consumer groups is missing",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the right WRITE on the sink's transactional ids is missing",
}
"""What the broker means by forbidding something."""


def lacking(error: KafkaException | KafkaError, right: str, *topics: str) -> KafkaException:
    """An error of the client as an exception which, where the broker forbids what was asked, names the right that is missing.

    `right`: READ, WRITE, ...; `topics`: full names of those it was asked of, of which one is at fault. infra/rights.py lists all rights.
    """
    cause = cause_of(error)
    named = None if cause is None else _RIGHTS.get(cause.code())
    if cause is None or named is None:
        return error if isinstance(error, KafkaException) else KafkaException(error)
    text = named.format(right=right, topics=" or ".join(topics))
    return KafkaException(KafkaError(cause.code(), text, cause.fatal(), cause.retriable(), cause.txn_requires_abort()))


@contextmanager
def rights_named(right: str, topic: str) -> Iterator[None]:
    """An error of the client within names the right that is missing (`lacking`)."""
    try:
        yield
    except KafkaException as e:
        raise lacking(e, right, topic) from e


def check_visible(client: Any, topic: str, right: str, timeout_s: float) -> None:
    """KafkaException, which names the right, where the broker forbids to see a topic (its full name).

    For a topic that does not stand in a list of all: it may be missing, or left out of that list because one may not see it.
    """
    about = client.list_topics(topic, timeout=timeout_s).topics.get(topic)
    if about is not None and about.error is not None and about.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        raise lacking(about.error, right, topic)


class Reports:
    """What a client told by itself while it could not connect. The answer to a question is then a mere "transport failure".

    Give it to the client as `error_cb`; librdkafka calls it within `consume` and `poll`.
    """

    def __init__(self) -> None:
        self._told: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if self._told is None or error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._told = error

    def reason(self, client: Any, error: KafkaException) -> KafkaException:
        """Why `client` ended with `error`: what it reported, such as a certificate or password that is refused.

        `error` itself where it reported nothing, and where `error` is the broker's own answer (its codes are positive).
        """
        cause = cause_of(error)
        if cause is not None and cause.code() > 0:
            return error
        until_s = time.monotonic() + _WITHIN_S
        while self._told is None and time.monotonic() < until_s:
            client.poll(0.01)
        for _ in range(_REPORTS):
            client.poll(0.001)
        return error if self._told is None else KafkaException(self._told)


@contextmanager
def explained(reports: Reports, client: Any) -> Iterator[None]:
    """A KafkaException of `client` in the block, with the reason that the client reported beside it."""
    try:
        yield
    except KafkaException as e:
        raise reports.reason(client, e) from e


def put(
    kafka: KafkaSettings,
    who: str,
    topic: str,
    partition: int,
    key: bytes | None,
    value: bytes,
    headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Puts one message into a topic (its full name) and returns when the broker has confirmed it. `who`: for the broker's logs.

    Raises KafkaException, with its reason, where it is not confirmed within `kafka.answer_timeout_s`: it may be there all the same.
    BrokerError where librdkafka refuses a setting.
    """
    failures: list[KafkaError] = []
    reports = Reports()
    exact: dict[str, Any] = {
        "enable.idempotence": True,
        "client.id": who,
        "message.timeout.ms": round(kafka.answer_timeout_s * 1000),
        "message.max.bytes": kafka.max_message_bytes,
        "error_cb": reports,
    }
    producer: Producer = made(lambda: Producer(kafka.client(exact, {"log_level": 0})))
    producer.produce(topic, value, key, partition, lambda e, _: None if e is None else failures.append(e), headers=list(headers))
    left = producer.flush(kafka.answer_timeout_s)
    if left or failures:
        failure = failures[0] if failures else KafkaError(KafkaError._MSG_TIMED_OUT, f"no answer within {kafka.answer_timeout_s:g} s")
        raise lacking(reports.reason(producer, KafkaException(failure)), "WRITE", topic)


class Outage:
    """How long the broker has been away, and when it is worth while to try again. Shown as a component of the process.

    `hopeless`: whether trying again cannot mend an error.
    """

    def __init__(self, kafka: KafkaSettings, live: Live, component: str, hopeless: Callable[[KafkaError], bool]) -> None:
        self._kafka = kafka
        self._component = live.component(component)
        self._hopeless = hopeless
        self._began_s: float | None = None
        self._attempts = 0

    @property
    def away(self) -> bool:
        return self._began_s is not None

    def over(self) -> None:
        """The broker did what it was asked."""
        self._began_s, self._attempts = None, 0
        self._component.ok(self)

    def failed(self, what: str, error: KafkaException | KafkaError) -> float:
        """An attempt at `what` failed: the seconds until the next. BrokerError where none can succeed, or after `kafka.outage_s`."""
        now = time.monotonic()
        if self._began_s is None:
            self._began_s = now
        self._component.failing(f"broker {self._kafka.bootstrap_servers}: {what}: {said(error)}", self)
        cause = cause_of(error)
        if cause is not None and self._hopeless(cause):
            self._end(
                f"{what}: the broker refuses: {said(error)}; mend its rights (docs/reference.md) or kafka.librdkafka, then start again",
                error,
            )
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
