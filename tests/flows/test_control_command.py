"""`spiketape control` on a real broker: what is sent, what an account makes of it, and how the command says so."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

import flows.control
from flows.cli.app import app
from infra.topics import apply
from operators.book import AccountStage
from operators.sources.kafka import publish
from operators.sources.kafka.tail import tails
from operators.sources.simulator import simulate
from operators.sources.tape import Tape
from schemas.control import Accepted, Command, ControlLog, audit_line
from schemas.errors import BrokerError, RefusedError, SpiketapeError, UsageError
from schemas.messages import ControlMessage
from schemas.settings import Settings, load_settings
from schemas.tick_stream import CONTENT_TYPE
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
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    path = tmp_path_factory.mktemp("tapes") / "small"
    simulate(path, 1_000, 3)
    return Tape.open(path)


@pytest.fixture(scope="module")
def stage_of(tape: Tape) -> Callable[[Settings], AccountStage]:
    return lambda settings: AccountStage(tape.instruments, settings, (0,))


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


@contextmanager
def judged_by(settings: Settings, stage: AccountStage) -> Iterator[None]:
    """An account that reads the topic control, judges, and says so on the topic audit, while the block runs."""
    over = threading.Event()

    def judge() -> None:
        state = stage.start()
        reader = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "book"})
        reader.assign([TopicPartition(settings.kafka.topic(CONTROL), 0, 0)])
        writer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0})
        audit, key = settings.kafka.topic(AUDIT), settings.deployment
        while not over.is_set():
            m = reader.poll(0.05)
            if m is not None and m.error() is None:
                state, judged = stage.step(state, Command(m.value()))
                writer.produce(audit, b'{"version":1,"event":"something else"}', key)
                writer.produce(audit, audit_line(judged), key)
                writer.flush(10)
        reader.close()

    thread = threading.Thread(target=judge, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


@pytest.fixture
def judging(deployed: Settings, stage_of: Callable[[Settings], AccountStage]) -> Iterator[None]:
    with judged_by(deployed, stage_of(deployed)):
        yield


@pytest.fixture
def produced(deployed: Settings, tape: Tape) -> Settings:
    """The deployment with its instruments, and three ticks in partition 3."""
    publish(deployed, tape.instruments)
    say_ticks(deployed, tape, 0, 3)
    return deployed


def say_ticks(settings: Settings, tape: Tape, first: int, count: int) -> None:
    """Puts ticks of the tape into partition 3."""
    writer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0})
    content = encode(tape.read(3, first, count), first)
    writer.produce(settings.kafka.topic(TICKS), content, partition=3, headers=[(CONTENT_TYPE, CONTENT_PACKED.encode())])
    assert writer.flush(10) == 0


def messages_in(settings: Settings) -> int:
    """How many messages partition 3 has."""
    reader = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "test"})
    low, high = reader.get_watermark_offsets(TopicPartition(settings.kafka.topic(TICKS), 3), timeout=10)
    reader.close()
    return int(high - low)


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


LEFT_OUT = ("exclude-partition", "3", "--reason", "its venue is down")


@pytest.mark.usefixtures("judging")
def test_a_partition_that_is_left_out_is_ended_in_its_topic_once_however_often_it_is_asked_for(produced: Settings, tape: Tape) -> None:
    done = control(*LEFT_OUT, "--json", "--id", "first")
    assert done.exit_code == 0, done.output
    ended = {"id": "first", "judged": {"accepted": True, "slice": 0}, "partition": 3, "records": 3, "late_records": 0}
    assert json.loads(done.stdout) == ended
    there = tails(produced, tape.instruments)
    assert [(t.next, t.ended) for t in there.values()] == [(0, False)] * 3 + [(3, True)]
    for again in ((), ("--id", "first"), ("--id", "second")):
        assert json.loads(control(*LEFT_OUT, "--json", *again).stdout) == ended
    assert messages_in(produced) == 2
    assert len(content_of(produced, 1)) == 1
    for first in range(3, 203):
        say_ticks(produced, tape, first, 1)
    assert json.loads(control(*LEFT_OUT, "--json").stdout) == {**ended, "late_records": 200}
    assert "partition 3 ends after 3 records" in control(*LEFT_OUT).output
    assert messages_in(produced) == 202
    assert isinstance(control("exclude-partition", "2", "--reason", "x", "--wait-s", "0").exception, UsageError)


def test_a_partition_whose_exclusion_was_answered_too_late_is_ended_by_the_same_command(
    produced: Settings, stage_of: Callable[[Settings], AccountStage]
) -> None:
    """Also by one that goes to the account again, which refuses it, because the account had not looked at the first one yet."""
    late = control(*LEFT_OUT, "--wait-s", "0.5")
    assert isinstance(late.exception, SpiketapeError)
    assert "run the command again then, so that the partition is ended" in str(late.exception)
    with judged_by(produced, stage_of(produced)):
        done = control(*LEFT_OUT, "--json", "--id", "second")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["judged"], told["records"]) == ({"accepted": True, "slice": 0}, 3)
    assert told["id"] == json.loads(content_of(produced, 2)[0])["message"]["id"] != "second"
    assert messages_in(produced) == 2


def test_a_partition_is_ended_where_the_broker_went_away_after_the_account_had_accepted(
    produced: Settings, stage_of: Callable[[Settings], AccountStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = flows.control._produce

    def lost(settings: Settings, topic: str, *what: Any) -> None:
        if topic == TICKS:
            raise BrokerError("away")
        said(settings, topic, *what)

    with judged_by(produced, stage_of(produced)), monkeypatch.context() as patched:
        patched.setattr(flows.control, "_produce", lost)
        assert isinstance(control(*LEFT_OUT).exception, BrokerError)
    assert messages_in(produced) == 1
    done = control(*LEFT_OUT, "--json")  # no account is there any more, and none is needed
    assert json.loads(done.stdout)["records"] == 3


@pytest.mark.usefixtures("judging")
@pytest.mark.parametrize("silent_again", [True, False])
def test_ticks_that_come_before_the_end_are_counted_and_a_partition_that_is_not_silent_is_told(
    silent_again: bool, produced: Settings, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, records = flows.control._produce, 3

    def crowded(settings: Settings, topic: str, *what: Any) -> None:
        nonlocal records
        if topic == TICKS and (records == 3 or not silent_again):
            say_ticks(settings, tape, records, 1)
            records += 1
        said(settings, topic, *what)

    with monkeypatch.context() as patched:
        patched.setattr(flows.control, "_produce", crowded)
        done = control(*LEFT_OUT, "--json")
    if silent_again:
        assert json.loads(done.stdout)["records"] == 4
    else:
        assert isinstance(done.exception, RefusedError)
        assert f"it had {records - 1} records and has {records} now" in str(done.exception)
        assert not tails(produced, tape.instruments)[3].ended
        assert json.loads(control(*LEFT_OUT, "--json").stdout)["records"] == records


@pytest.mark.usefixtures("judging")
def test_an_exclusion_that_is_refused_ends_nothing(produced: Settings) -> None:
    """The id of a message of another kind, which was accepted, is no reason to end a partition."""
    assert control("pause", "--reason", "a test", "--wait-s", "30", "--id", "first").exit_code == 0
    refused = control(*LEFT_OUT, "--id", "first")
    assert isinstance(refused.exception, RefusedError)
    assert "was refused (repeated)" in str(refused.exception)
    assert messages_in(produced) == 1


@pytest.mark.usefixtures("judging")
def test_the_log_of_what_was_accepted_is_written_for_a_replay(deployed: Settings, tmp_path: Path) -> None:
    for i, arguments in enumerate((("pause",), ("pause",), SENT["change_limit"])):
        control(*arguments, "--reason", "a test", "--wait-s", "30", "--id", f"m{min(i, 1)}{arguments[0]}")
    control("resume", "--reason", "forged", "--set", "control.key=another key altogether", "--wait-s", "30")
    writer = Producer({"bootstrap.servers": deployed.kafka.bootstrap_servers, "log_level": 0})
    stranger = ControlMessage(id="theirs", kind="emergency", reason="theirs", effective_slice=7)
    writer.produce(deployed.kafka.topic(AUDIT), audit_line(Accepted(7, stranger)), "another deployment")
    writer.flush(10)
    out = tmp_path / "logs" / "control.log"
    done = control("log", "--out", str(out), "--json")
    assert done.exit_code == 0, done.output
    log = ControlLog.read(out)
    assert [m.id for m in log.messages] == ["m0pause", "m1pause", "m1change-limit"]
    assert json.loads(done.stdout) == {"out": str(out), "messages": 3}
    assert len(out.read_bytes().splitlines()) == 3
    refused = control("log", "--out", str(out))
    assert isinstance(refused.exception, RefusedError)
    assert "--overwrite" in str(refused.exception)
    assert "3 accepted messages in" in control("log", "--out", str(out), "--overwrite").output
    assert sorted(p.name for p in out.parent.iterdir()) == ["control.log"]
    taken = control("log", "--out", str(out / "below"))
    assert isinstance(taken.exception, UsageError)


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
