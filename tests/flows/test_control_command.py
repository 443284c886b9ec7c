"""`spiketape control` on a real broker: what is sent, what an account makes of it, and how the command says so."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from flows.cli.app import app
from flows.control import close_partition
from infra.topics import apply
from operators.book import AccountStage
from operators.sources.kafka.tail import tails
from operators.sources.simulator import simulate
from operators.sources.tape import Tape
from schemas.control import Command, audit_line
from schemas.errors import BrokerError, RefusedError, SpiketapeError, UsageError
from schemas.settings import Settings, load_settings
from schemas.tick_stream import CONTENT_TYPE
from schemas.ticks import TICK_V1
from schemas.topics import AUDIT, CONTROL, TICKS
from schemas.wire import CONTENT_PACKED, encode

KEY = "a key for tests only"
_NUMBER = itertools.count()


@pytest.fixture
def deployed(kafka: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Topics of a deployment of its own; its settings are in the environment, as an operator has them."""
    given = {"kafka.bootstrap_servers": kafka.bootstrap, "kafka.topic_prefix": f"control{next(_NUMBER)}.", "control.key": KEY}
    for name, value in given.items():
        monkeypatch.setenv("SPIKETAPE_" + name.replace(".", "__").upper(), value)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    apply(settings)
    return settings


@pytest.fixture(scope="module")
def stage_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Settings], AccountStage]:
    path = tmp_path_factory.mktemp("tapes") / "small"
    simulate(path, 1_000, 3)
    instruments = Tape.open(path).instruments
    return lambda settings: AccountStage(instruments, settings, (0,))


def content_of(settings: Settings, count: int) -> list[bytes]:
    """The first messages on the topic control."""
    reader = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "test"})
    reader.assign([TopicPartition(settings.kafka.topic(CONTROL), 0, 0)])
    found: list[bytes] = []
    ends = time.monotonic() + 30
    while len(found) < count and time.monotonic() < ends:
        m = reader.poll(0.2)
        if m is not None and m.error() is None:
            found.append(m.value())
    reader.close()
    return found


@pytest.fixture
def judging(deployed: Settings, stage_of: Callable[[Settings], AccountStage]) -> Iterator[None]:
    """An account that reads the topic control, judges, and says so on the topic audit, until the test is over."""
    over = threading.Event()

    def judge() -> None:
        stage = stage_of(deployed)
        state = stage.start()
        reader = Consumer({"bootstrap.servers": deployed.kafka.bootstrap_servers, "group.id": "book"})
        reader.assign([TopicPartition(deployed.kafka.topic(CONTROL), 0, 0)])
        writer = Producer({"bootstrap.servers": deployed.kafka.bootstrap_servers})
        while not over.is_set():
            m = reader.poll(0.05)
            if m is not None and m.error() is None:
                state, judged = stage.step(state, Command(m.value()))
                writer.produce(deployed.kafka.topic(AUDIT), b'{"version":1,"event":"something else"}')
                writer.produce(deployed.kafka.topic(AUDIT), audit_line(judged))
                writer.flush(10)
        reader.close()

    thread = threading.Thread(target=judge, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join(10)


def control(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["control", *arguments])


SENT = {
    "pause": ("pause",),
    "reduce": ("reduce",),
    "resume": ("resume",),
    "emergency": ("emergency",),
    "change_limit": ("change-limit", "max_drawdown", "0.1"),
}


def test_every_other_kind_is_sent_signed_and_is_accepted(deployed: Settings, stage_of: Callable[[Settings], AccountStage]) -> None:
    for arguments in SENT.values():
        done = control(*arguments, "--reason", "a test", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["judged"] is None
    stage = stage_of(deployed)
    found = content_of(deployed, len(SENT))
    assert [json.loads(c)["message"]["kind"] for c in found] == list(SENT)
    state = stage.start()
    judged = [stage.step(state, Command(c))[1] for c in found]
    assert [j.message.kind for j in judged] == list(SENT)
    assert len({j.message.id for j in judged}) == len(SENT)


@pytest.mark.usefixtures("judging")
def test_the_command_waits_for_what_becomes_of_it() -> None:
    done = control("pause", "--reason", "a test", "--wait-s", "30", "--id", "first", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"id": "first", "judged": {"accepted": True, "slice": 0}}
    again = control("pause", "--reason", "a test", "--wait-s", "30", "--id", "first")
    assert isinstance(again.exception, RefusedError)
    assert "was refused (repeated): message first is effective from slice 0" in str(again.exception)


@pytest.mark.usefixtures("judging")
def test_a_partition_that_is_left_out_is_ended_in_its_topic_once(deployed: Settings) -> None:
    ticks = np.zeros(3, TICK_V1)
    writer = Producer({"bootstrap.servers": deployed.kafka.bootstrap_servers})
    topic = deployed.kafka.topic(TICKS)
    writer.produce(topic, encode(ticks, 0), partition=3, headers=[(CONTENT_TYPE, CONTENT_PACKED.encode())])
    writer.flush(10)
    done = control("exclude-partition", "3", "--reason", "its venue is down", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["judged"] == {"accepted": True, "slice": 0}
    there = tails(deployed)
    assert (there[3].next, there[3].ended) == (3, True)
    assert not any(there[p].ended for p in range(3))
    assert close_partition(deployed, 3) == 3
    again = control("exclude-partition", "3", "--reason", "again")
    assert isinstance(again.exception, RefusedError)
    low, high = Consumer({"bootstrap.servers": deployed.kafka.bootstrap_servers, "group.id": "test"}).get_watermark_offsets(
        TopicPartition(topic, 3), timeout=10
    )
    assert (low, high) == (0, 2)
    assert isinstance(control("exclude-partition", "2", "--reason", "x", "--wait-s", "0").exception, UsageError)


def test_nobody_answers(deployed: Settings) -> None:
    done = control("pause", "--reason", "a test", "--wait-s", "1")
    assert isinstance(done.exception, SpiketapeError)
    assert "nobody answered within 1 s" in str(done.exception)
    assert len(content_of(deployed, 1)) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("change-limit", "max_drawdown", "2"), "max_drawdown of 2"),
        (("change-limit", "capital", "2"), "may be changed"),
        (("exclude-partition", "9"), "there are 0 to 3"),
        (("pause", "--wait-s", "-1"), "must be from 0 to 3600"),
        (("pause", "--account", "no such\nname"), "--account"),
        (("pause", "--set", "control.key=short"), "at least 16 bytes, given 5"),
    ],
)
def test_what_would_be_refused_is_not_sent(deployed: Settings, arguments: tuple[str, ...], text: str) -> None:
    done = control(*arguments, "--reason", "a test")
    assert isinstance(done.exception, UsageError), done.output
    assert text in str(done.exception)


def test_a_broker_that_is_away_is_told(deployed: Settings) -> None:
    away = ("--set", "kafka.bootstrap_servers=127.0.0.1:9", "--set", "kafka.answer_timeout_s=1")
    for more in ((), ("--wait-s", "5")):
        done = control("pause", "--reason", "a test", *away, *more)
        assert isinstance(done.exception, BrokerError), done.output
        assert KEY not in str(done.exception)
