"""A whole run's rows through Kafka: read back they make the hash of the replay, and whatever is done to one message is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from flows.offline import booked, shard_outs
from flows.replay import cursor_of
from flows.trading import Stages
from infra.topics import apply
from operators.sinks.kafka.operator import KafkaSink
from operators.sinks.kafka.reading import committed, verify_topics
from operators.sources.kafka.instruments import publish
from operators.spiking import load_model
from schemas.settings import Settings, load_settings
from schemas.topics import TOPIC_OF_TABLE
from tests.servers import Kafka

NEW_PART_AFTER = 7
"""Ranges after which the sink is opened anew, and what came before is said again from the run's beginning."""


def settings_of(kafka: Kafka, *overrides: str) -> Settings:
    own = (f"kafka.bootstrap_servers={kafka.bootstrap}", f"kafka.topic_prefix=t{uuid4().hex}-")
    settings = load_settings(overrides=[*own, *overrides], env={})
    apply(settings)
    return settings


@pytest.fixture(scope="module")
def written(kafka: Kafka, tapes: Callable[..., Any]) -> Settings:
    """The deployment into which the run's rows were written, with a process that began anew in the middle."""
    tape = tapes()
    settings = settings_of(kafka)
    stages = Stages(settings, tape.instruments, load_model())
    said = [rows for _, rows in booked(stages.account("main"), shard_outs(stages, cursor_of(tape, stages), 9_000))]
    sink = KafkaSink(settings, tape.instruments, "rows")
    first = sink.build_part("sink", "main", None)
    for rows in said[:NEW_PART_AFTER]:
        first.write_batch([rows])
    first.snapshot()
    first.end()
    second = sink.build_part("sink", "main", None)
    for rows in said:
        second.write_batch([rows])
    second.snapshot()
    second.end()
    return settings


def test_the_topics_make_the_hash_of_the_replay(
    written: Settings, tapes: Callable[..., Any], run_once: Callable[..., Any], cli: Callable[..., Any]
) -> None:
    run = run_once(tapes())
    report = verify_topics(written, tapes().instruments, run.run)
    assert report.problems == []
    assert report.output_hash == run.run["output_hash"]
    assert report.rows["signals"] == run.run["signals"]
    assert report.ok
    publish(written, tapes().instruments)
    options = [f"kafka.{k}={getattr(written.kafka, k)}" for k in ("bootstrap_servers", "topic_prefix")]
    told = cli("verify", run.folder.path, "--kafka", "--json", *(word for o in options for word in ("--set", o)))
    assert (told.code, json.loads(told.out)["output_hash"]) == (0, run.run["output_hash"]), told.err


def copied(written: Settings, kafka: Kafka, change: Callable[[str, int, Any], list[dict[str, Any]]]) -> Settings:
    """The same messages in topics of another prefix, each as `change(topic, count so far, message)` says."""
    settings = settings_of(kafka)
    producer = Producer(settings.kafka.client())
    for topic in TOPIC_OF_TABLE.values():
        for i, m in enumerate(committed(written, topic)):
            for new in change(topic, i, m):
                producer.produce(settings.kafka.topic(topic), partition=m.partition(), **{"key": m.key(), "value": m.value(), **new})
                producer.poll(0)
    assert producer.flush(60) == 0
    return settings


CHANGES = {
    "removed": (lambda topic, i, m: [] if (topic, i) == ("orders", 30) else [{}], "missing"),
    "doubled": (lambda topic, i, m: [{}, {}] if (topic, i) == ("orders", 30) else [{}], "doubled"),
    "another value": (
        lambda topic, i, m: [{"value": m.value().replace(b'"price":"', b'"price":"1')}] if (topic, i) == ("orders", 30) else [{}],
        "changed",
    ),
    "a number not as it is written": (
        lambda topic, i, m: [{"value": m.value().replace(b'"price":"', b'"price":"0')}] if (topic, i) == ("orders", 30) else [{}],
        "changed",
    ),
    "another key": (lambda topic, i, m: [{"key": b"other"}] if (topic, i) == ("orders", 30) else [{}], "changed"),
    "no JSON": (lambda topic, i, m: [{"value": b"{"}] if (topic, i) == ("orders", 30) else [{}], "unreadable"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_message_that_was_tampered_with_is_found(
    what: str, written: Settings, kafka: Kafka, tapes: Callable[..., Any], run_once: Callable[..., Any]
) -> None:
    change, kind = CHANGES[what]
    report = verify_topics(copied(written, kafka, change), tapes().instruments, run_once(tapes()).run)
    assert not report.ok
    assert kind in {p.kind for p in report.problems if p.table == "orders"}
    assert {p.table for p in report.problems} == {"orders"}


def test_rows_of_another_deployment_are_not_this_ones(written: Settings, tapes: Callable[..., Any]) -> None:
    report = verify_topics(written.model_copy(update={"deployment": "another"}), tapes().instruments)
    assert report.ok
    assert sum(report.rows.values()) == 0
