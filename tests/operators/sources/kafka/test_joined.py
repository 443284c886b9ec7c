"""Several topics read by one part: all items under the names of their sources, exact positions of each, one end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main
from confluent_kafka import Producer

from infra.topics import apply
from operators.sources.kafka import MessageStream
from operators.sources.kafka.joined import JoinedSource, from_source
from operators.sources.kafka.operator import KafkaSource
from operators.timeline.control import Credit, Drain, Meters
from operators.timeline.live import Live
from operators.timeline.registry import opened
from schemas.errors import StateMismatchError
from schemas.settings import Settings
from schemas.topics import CONTROL, REQUESTS


def sent(settings: Settings, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "enable.idempotence": True, "log_level": 0})
    for value in values:
        producer.produce(settings.kafka.topic(topic), value, partition=0)
    assert producer.flush(20) == 0


def source(settings: Settings, topic: str, last: bytes, drain: Drain | None = None) -> KafkaSource:
    """Messages of a topic as `("k", content)`; the stream ends with the message `last`."""
    over: list[bool] = []

    def decoded(_partition: int, message: Any) -> list[tuple[str, Any]]:
        if message.value() == last:
            over.append(True)
        return [("k", message.value())]

    stream = MessageStream(topic, (0,), decoded, lambda: bool(over))
    return KafkaSource(topic, settings, f"test.{topic}", stream, drain or Drain(), Credit(10**9), Meters(), Live())


def joined(settings: Settings, last: bytes = b"end", drain: Drain | None = None) -> JoinedSource:
    return JoinedSource({topic: source(settings, topic, last, drain) for topic in (CONTROL, REQUESTS)})


def read(part: Any) -> list[Any]:
    out = []
    while True:
        try:
            out += part.next_batch()
        except StopIteration:
            part.close()
            return out


@pytest.fixture
def settings(deployed: Callable[..., Settings]) -> Settings:
    settings = deployed()
    apply(settings)
    return settings


def test_one_source_may_end_before_the_other_and_nothing_of_either_is_missing(settings: Settings) -> None:
    sent(settings, CONTROL, b"end")
    sent(settings, REQUESTS, *(b"%d" % i for i in range(2000)), b"end")
    out = read(joined(settings).build_part("topics", "kafka", None))
    assert [v for name, (_, v) in out if name == CONTROL] == [b"end"]
    assert [v for name, (_, v) in out if name == REQUESTS] == [*(b"%d" % i for i in range(2000)), b"end"]


def test_resumed_from_a_snapshot_each_goes_on_where_it_was(settings: Settings) -> None:
    sent(settings, CONTROL, b"c1", b"c2")
    sent(settings, REQUESTS, b"r1")
    part = joined(settings).build_part("topics", "kafka", None)
    found: list[Any] = []
    while len(found) < 3:
        found += part.next_batch()
    snapshot = part.snapshot()
    part.close()
    sent(settings, CONTROL, b"end")
    sent(settings, REQUESTS, b"r2", b"end")
    out = read(joined(settings).build_part("topics", "kafka", snapshot))
    assert sorted((name, v) for name, (_, v) in out) == [(CONTROL, b"end"), (REQUESTS, b"end"), (REQUESTS, b"r2")]


def test_a_snapshot_of_other_sources_is_refused(settings: Settings) -> None:
    snapshot = JoinedSource({CONTROL: source(settings, CONTROL, b"")}).build_part("topics", "kafka", None).snapshot()
    with pytest.raises(StateMismatchError, match=r"holds positions of \['control'\].*this flow reads \['control', 'requests'\]"):
        joined(settings).build_part("topics", "kafka", snapshot)


def test_a_flow_takes_the_sources_apart_again_and_goes_on_where_it_was_drained(settings: Settings, tmp_path: Path) -> None:
    sent(settings, CONTROL, b"c1")
    sent(settings, REQUESTS, b"r1", b"r2")
    got: dict[str, list[Any]] = {CONTROL: [], REQUESTS: []}
    passed: list[Any] = []

    def run() -> None:
        drain = Drain()
        flow = Dataflow("joined")
        sources = op.input("topics", flow, joined(settings, drain=drain))
        for name, values in got.items():

            def seen(item: Any) -> Any:
                passed.append(item)
                if len(passed) >= 3:
                    drain.ask()
                return item

            op.output(f"out_{name}", op.map(f"seen_{name}", from_source(f"of_{name}", sources, name), seen), TestingSink(values))
        recovery, _ = opened(tmp_path, {"joined.topics": JoinedSource.version})
        run_main(flow, epoch_interval=timedelta(seconds=0.05), recovery_config=recovery)

    run()
    sent(settings, CONTROL, b"end")
    sent(settings, REQUESTS, b"end")
    run()
    while sum(map(len, got.values())) < 5:  # drained after the first of the two
        run()
    assert {name: [v for _, v in values] for name, values in got.items()} == {CONTROL: [b"c1", b"end"], REQUESTS: [b"r1", b"r2", b"end"]}
