"""Processes and brokers that are killed: each row is there once, in its order, whatever was under way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operators.sinks.kafka.operator import KafkaPart
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.errors import BrokerError, DrainedError
from schemas.order_wire import decode_book_turn
from schemas.settings import Settings
from tests.conftest import ROOT

WRITER = Path(__file__).with_name("writer.py")
KILLS = 8
ROWS = 1500


def started(settings: Settings, history: Path, back: int, slow: float) -> subprocess.Popen[str]:
    kafka = settings.kafka
    arguments = [kafka.bootstrap_servers, kafka.topic_prefix, str(history), str(ROWS), str(back), str(slow)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(WRITER), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def whole(topics: Any) -> None:
    """Every order is there once and as it was made, and the turns follow each other without a gap."""
    assert topics.ids("orders") == [f"spiketape/orders/main/{n}" for n in range(ROWS)]
    turns = [decode_book_turn(s.value) for s in topics.read("requests")]
    assert [t.lo for t in turns] == [0, *(t.hi for t in turns[:-1])]
    assert turns[-1].hi == ROWS


def test_a_writer_killed_at_random_moments_and_resumed_from_older_snapshots_writes_each_row_once(
    deployment: Callable[..., Settings], topics: Any, tmp_path: Path
) -> None:
    settings, history, chance = deployment(), tmp_path / "history", random.Random(7)
    repeated = 0
    for kill in range(KILLS):
        before = len(history.read_text().splitlines()) if history.exists() else 0
        process = started(settings, history, back=min(before, kill % 3), slow=0.01)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("began"), process.communicate()[1]
        time.sleep(chance.uniform(0.0, 0.6))
        process.kill()
        process.communicate()
        repeated += kill % 3
    assert repeated
    last = started(settings, history, back=2, slow=0.0)
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    whole(topics)
    assert len(topics.read("orders", "read_uncommitted")) > ROWS, "no transaction was open when a process was killed"


def test_the_first_of_two_writers_ends_with_the_code_for_fenced(deployment: Callable[..., Settings], topics: Any, tmp_path: Path) -> None:
    settings = deployment()
    first = started(settings, tmp_path / "first", back=0, slow=0.05)
    assert first.stdout is not None
    assert first.stdout.readline() == "began 0\n"
    assert first.stdout.readline()
    second = started(settings, tmp_path / "second", back=0, slow=0.0)
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 4, errors
    assert "FencedError" in errors
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    whole(topics)


@pytest.fixture
def on_own_broker(own_kafka: Callable[..., Any], deployment: Callable[..., Settings]) -> Callable[..., tuple[Any, Settings]]:
    """A broker that may be killed, with the deployment's topics."""

    def made(*overrides: str, **properties: str) -> tuple[Any, Settings]:
        broker = own_kafka(properties={k.replace("_", "."): v for k, v in properties.items()})
        return broker, deployment(*overrides, bootstrap=broker.bootstrap)

    return made


def test_a_broker_killed_and_started_again_loses_and_doubles_nothing(
    on_own_broker: Callable[..., tuple[Any, Settings]], open_part: Callable[..., KafkaPart], made_rows: Any, topics_of: Callable[..., Any]
) -> None:
    broker, settings = on_own_broker("kafka.transaction_ms=5")
    live = Live()
    part = open_part(settings, live=live)
    seen: list[str] = []
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for n in range(0, 600, 6):
                part.write_batch([made_rows.rows("orders", "main", n, 6)])
                time.sleep(0.02)
                if n % 30 == 0:
                    part.snapshot()
            part.snapshot()
        except BaseException as e:
            failures.append(e)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(2):
        time.sleep(0.4)
        broker.kill()
        while live.component("kafka-sink").status != "failing":
            time.sleep(0.01)
        seen.append(live.component("kafka-sink").why)
        broker.start()
        while live.component("kafka-sink").status == "failing":
            time.sleep(0.01)
    writer.join(120)
    assert failures == []
    assert topics_of(settings).ids("orders") == [f"spiketape/orders/main/{n}" for n in range(600)]
    assert all(seen)


def test_a_transaction_that_the_broker_gave_up_is_sent_again_by_the_same_process(
    on_own_broker: Callable[..., tuple[Any, Settings]], open_part: Callable[..., KafkaPart], made_rows: Any, topics_of: Callable[..., Any]
) -> None:
    _broker, settings = on_own_broker(
        "kafka.transaction_ms=60000",
        "kafka.transaction_timeout_s=1",
        transaction_abort_timed_out_transaction_cleanup_interval_ms="200",
    )
    part = open_part(settings)
    part.write_batch([made_rows.rows("orders", "main", 0, 10)])
    part.snapshot()
    part.write_batch([made_rows.rows("orders", "main", 10, 10)])
    while len(topics_of(settings).read("orders", "read_uncommitted")) < 20:
        time.sleep(0.05)
    time.sleep(3)
    part.snapshot()
    part.write_batch([made_rows.rows("orders", "main", 20, 3)])
    part.snapshot()
    assert topics_of(settings).ids("orders") == [f"spiketape/orders/main/{n}" for n in range(23)]
    assert len(topics_of(settings).read("orders", "read_uncommitted")) == 33


def test_a_broker_that_stays_away_ends_the_process_and_loses_nothing(
    on_own_broker: Callable[..., tuple[Any, Settings]], open_part: Callable[..., KafkaPart], made_rows: Any, topics_of: Callable[..., Any]
) -> None:
    broker, settings = on_own_broker("kafka.outage_s=1")
    part = open_part(settings)
    part.write_batch([made_rows.rows("orders", "main", 0, 10)])
    state = part.snapshot()
    broker.kill()
    part.write_batch([made_rows.rows("orders", "main", 10, 10)])
    with pytest.raises(BrokerError, match=r"no success for .*kafka.outage_s is 1.* Nothing is lost"):
        part.snapshot()
    with pytest.raises(BrokerError):
        part.write_batch([made_rows.rows("orders", "main", 20, 1)])
    with pytest.raises(BrokerError, match="taking over"):
        open_part(settings, resume=state)
    broker.start()
    patient = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"outage_s": 300.0})})
    again = open_part(patient, resume=state)
    again.write_batch([made_rows.rows("orders", "main", 10, 15)])
    again.snapshot()
    assert topics_of(settings).ids("orders") == [f"spiketape/orders/main/{n}" for n in range(25)]


def test_a_broker_that_freezes_is_waited_for(
    on_own_broker: Callable[..., tuple[Any, Settings]], open_part: Callable[..., KafkaPart], made_rows: Any, topics_of: Callable[..., Any]
) -> None:
    broker, settings = on_own_broker()
    live = Live()
    part = open_part(settings, live=live)
    broker.pause()
    part.write_batch([made_rows.rows("orders", "main", 0, 10)])
    while live.component("kafka-sink").status != "failing":
        time.sleep(0.01)
    broker.resume()
    part.snapshot()
    assert live.component("kafka-sink").status == "ok"
    assert topics_of(settings).ids("orders") == [f"spiketape/orders/main/{n}" for n in range(10)]


def test_asked_to_end_while_the_broker_is_away_a_part_waits_no_longer_and_loses_nothing(
    on_own_broker: Callable[..., tuple[Any, Settings]], open_part: Callable[..., KafkaPart], made_rows: Any, topics_of: Callable[..., Any]
) -> None:
    """A drain by itself is no reason to give up: with a broker that answers, everything is committed first."""
    broker, settings = on_own_broker("kafka.outage_s=600", "kafka.transaction_ms=60000")
    drain = Drain()
    part = open_part(settings, drain=drain)
    drain.ask(signal.SIGINT)
    part.write_batch([made_rows.rows("orders", "main", 0, 10)])
    state = part.snapshot()
    assert len(topics_of(settings).ids("orders")) == 10
    broker.kill()
    part.write_batch([made_rows.rows("orders", "main", 10, 10)])
    with pytest.raises(DrainedError, match=r"rows\.main: asked to end while the broker is away") as told:
        part.snapshot()
    assert told.value.exit_code == 128 + signal.SIGINT
    part.end()
    asked_later = Drain()
    threading.Timer(1.0, asked_later.ask).start()
    with pytest.raises(DrainedError, match=r"rows\.main: asked to end"):
        open_part(settings, resume=state, drain=asked_later)
    broker.start()
    again = open_part(settings, resume=state)
    again.write_batch([made_rows.rows("orders", "main", 10, 15)])
    again.snapshot()
    assert topics_of(settings).ids("orders") == [f"spiketape/orders/main/{n}" for n in range(25)]
