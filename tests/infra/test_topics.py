"""Topics on a real broker: made once, brought to what is declared, refused where they cannot be used."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from infra.topics import apply, declared, show
from schemas.errors import BrokerError, RefusedError
from schemas.settings import Settings, load_settings
from tests.servers import Kafka


@pytest.fixture
def deployment(kafka: Kafka) -> Callable[..., Settings]:
    """Settings of a deployment of its own on the broker."""

    own = (f"kafka.bootstrap_servers={kafka.bootstrap}", f"kafka.topic_prefix=t{uuid4().hex}-")

    def settings(*overrides: str) -> Settings:
        return load_settings(overrides=[*own, *overrides], env={})

    return settings


def test_topics_are_made_once_and_then_left(deployment: Callable[..., Settings]) -> None:
    settings = deployment("partitions=3")
    assert {a.done for a in apply(settings)} == {"created"}
    assert {a.done for a in apply(settings)} == {"left"}
    assert all(f.partitions == f.topic.partitions and not f.changes and not f.mismatches for f in show(settings))


def test_what_each_topic_holds_says_how_it_is_kept(deployment: Callable[..., Settings]) -> None:
    prefix = deployment().kafka.topic_prefix
    topics = {t.name.removeprefix(prefix): t for t in declared(deployment("partitions=3", "kafka.row_retention_h=2"))}
    assert {n for n, t in topics.items() if t.cleanup == "compact"} == {"instruments", "tokens"}
    assert {n for n, t in topics.items() if t.partitions == 1} == {"instruments", "tokens", "requests", "reports", "control", "audit"}
    assert {t.partitions for t in topics.values()} == {1, 3}
    assert topics["orders"].retention_ms == topics["dead-letters"].retention_ms == 2 * 3_600_000
    assert topics["ticks"].retention_ms == 168 * 3_600_000
    assert topics["audit"].retention_ms == -1


def test_retention_and_largest_message_are_brought_to_what_is_declared(deployment: Callable[..., Settings]) -> None:
    apply(deployment())
    wanted = deployment("kafka.tick_retention_h=5", "kafka.max_message_bytes=2000000")
    done = {a.topic.name.removeprefix(wanted.kafka.topic_prefix): a for a in apply(wanted)}
    assert done["ticks"].changes == ("retention.ms: 604800000 -> 18000000", "max.message.bytes: 8388608 -> 2000000")
    assert {a.done for a in apply(wanted)} == {"left"}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [(["partitions=5"], "partitions 4, declared 5"), (["kafka.replication=2"], "copies 1, declared 2")],
    ids=["partitions", "replication"],
)
def test_a_topic_of_another_form_is_refused_and_nothing_is_changed(
    deployment: Callable[..., Settings], overrides: list[str], told: str
) -> None:
    before = deployment()
    apply(before)
    with pytest.raises(RefusedError, match=told):
        apply(deployment(*overrides, "kafka.tick_retention_h=1"))
    assert not any(f.changes for f in show(before))


def test_another_cleanup_policy_is_refused_before_anything_is_made(deployment: Callable[..., Settings]) -> None:
    settings = deployment()
    client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    for future in client.create_topics([NewTopic(settings.kafka.topic("tokens"), 1, 1)]).values():
        future.result(30)
    while not any(f.partitions for f in show(settings)):
        time.sleep(0.05)
    with pytest.raises(RefusedError, match="tokens: cleanup policy delete, declared compact"):
        apply(settings)
    assert sum(f.partitions > 0 for f in show(settings)) == 1


def test_the_commands_tell_what_is_there(deployment: Callable[..., Settings], cli: Callable[..., Any]) -> None:
    kafka = deployment().kafka
    options = ("--set", f"kafka.bootstrap_servers={kafka.bootstrap_servers}", "--set", f"kafka.topic_prefix={kafka.topic_prefix}", "--json")
    missing = cli("topics", "show", *options)
    assert missing.code == 1
    assert {t["state"] for t in json.loads(missing.out)["topics"]} == {"missing"}
    assert {t["done"] for t in json.loads(cli("topics", "apply", *options).out)["topics"]} == {"created"}
    shown = cli("topics", "show", *options)
    assert shown.code == 0
    assert {t["state"] for t in json.loads(shown.out)["topics"]} == {"ok"}
    cli("topics", "apply", *options, "--set", "partitions=2").told(3, "partitions 4, declared 2", "kafka.topic_prefix")


def test_a_broker_that_does_not_answer_is_told() -> None:
    nowhere = load_settings(overrides=["kafka.bootstrap_servers=127.0.0.1:1", "kafka.answer_timeout_s=1"], env={})
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1 did not list the topics"):
        apply(nowhere)
    wrong = load_settings(overrides=["kafka.librdkafka.sasl.mechanismus=hunter2"], env={})
    with pytest.raises(BrokerError, match="sasl.mechanismus") as caught:
        apply(wrong)
    assert "hunter2" not in str(caught.value)
