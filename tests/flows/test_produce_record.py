"""produce and record on a real broker: a tape goes into Kafka and comes back, however often either is killed."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

import flows.produce
import flows.record
from flows.control import close_partition
from flows.produce import Playing, produce
from flows.record import NAME, Options, record
from operators.sinks.recording import POISON
from operators.sources.simulator import simulate
from operators.sources.tape import Tape
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.control import Accepted, audit_line
from schemas.errors import RefusedError, SpiketapeError, TapeError, UsageError
from schemas.messages import ControlMessage
from schemas.poison import Poison
from schemas.settings import Settings, load_settings
from schemas.tick_stream import CONTENT_TYPE
from schemas.wire import CONTENT_PACKED, encode

_NUMBER = itertools.count()
Deployed = Callable[..., Settings]


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    path = tmp_path_factory.mktemp("tapes") / "made"
    simulate(path, 20_000, 3, 8)
    return Tape.open(path)


@pytest.fixture
def deployed(kafka: Any) -> Deployed:
    def settings(*overrides: str, bootstrap: str | None = None) -> Settings:
        server = kafka.bootstrap if bootstrap is None else bootstrap
        given = (f"kafka.bootstrap_servers={server}", f"kafka.topic_prefix=record{next(_NUMBER)}.", *overrides)
        return load_settings(None, given, env={})

    return settings


def started(settings: Settings, *arguments: str | Path) -> subprocess.Popen[str]:
    """A command in a process of its own, on the deployment of the settings."""
    given = [f"--set=kafka.{name}={getattr(settings.kafka, name)}" for name in ("bootstrap_servers", "topic_prefix")]
    return subprocess.Popen(
        [sys.executable, "-m", "flows", *map(str, arguments), *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def messages_in(settings: Settings) -> int:
    """Messages in the topic of ticks; 0 while it is not there."""
    client = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "count", "log_level": 0})
    try:
        at = [TopicPartition(settings.kafka.topic("ticks"), p) for p in range(settings.partitions)]
        return sum(client.get_watermark_offsets(p, timeout=5)[1] for p in at)
    except KafkaException:
        return 0
    finally:
        client.close()


def until_grown(process: subprocess.Popen[str], settings: Settings, by: int) -> None:
    """Waits until the topic has so many messages more than now."""
    there = messages_in(settings)
    while messages_in(settings) < there + by:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def paced(tape: Tape, seconds: float) -> list[str]:
    """The option with which a tape takes so long."""
    return ["--speed", str((tape.manifest.last_ts_ns - tape.manifest.first_ts_ns) / 1e9 / seconds)]  # type: ignore[operator]


def recorded(settings: Settings, out: Path) -> tuple[str, int]:
    """The hash of the tape that is recorded, and how many records of the stream were there more than once."""
    live = Live()
    made = record(settings, Options(out, until_end=True), live=live)
    assert made.manifest is not None
    Tape.open(out).verify()
    assert not out.with_name(f"{out.name}.recording").exists()
    return made.manifest.tape_hash, live.duplicates


@pytest.mark.parametrize(("form", "overrides"), [("packed", ()), ("json", ("partitions=3", "shards=7")), ("arrow", ())])
def test_what_was_produced_is_recorded_to_the_same_hash(
    form: str, overrides: tuple[str, ...], deployed: Deployed, tape: Tape, tmp_path: Path
) -> None:
    settings = deployed(*overrides)
    done = produce(tape, settings, Playing(form=form), Drain())
    assert (done.sent, done.ended) == (tape.manifest.rows, True)
    assert recorded(settings, tmp_path / "tape") == (tape.manifest.tape_hash, 0)
    again = produce(tape, settings, Playing(), Drain())
    assert (again.sent, again.messages, again.finished) == (0, 0, True)


@pytest.mark.parametrize("waits", [True, False])
def test_at_a_pace_a_tick_waits_for_its_message_to_be_full_but_not_for_long(
    waits: bool, deployed: Deployed, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.produce, "MOST_WAIT_S", math.inf if waits else 0.0)
    done = produce(tape, deployed(), Playing(batch_ticks=100, speed=float(paced(tape, 1.0)[1])), Drain())
    assert done.finished
    batches = done.messages - done.heartbeats - len(tape.manifest.partitions)
    full = sum(-(-p.rows // 100) for p in tape.manifest.partitions)
    assert batches == full if waits else batches > full


def test_produce_killed_again_and_again_leaves_no_tick_out_and_none_twice(deployed: Deployed, tape: Tape, tmp_path: Path) -> None:
    settings = deployed()
    for more in (1, 40, 170):
        process = started(settings, "produce", tape.path, *paced(tape, 20), "--batch-ticks", "7")
        until_grown(process, settings, more)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.communicate()
    process = started(settings, "produce", tape.path, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert told["sent"] + told["there_before"] == told["rows"] == tape.manifest.rows
    assert told["there_before"] > 0
    assert recorded(settings, tmp_path / "tape") == (tape.manifest.tape_hash, 0)


def test_produce_is_drained_by_sigterm_and_goes_on(deployed: Deployed, tape: Tape, tmp_path: Path) -> None:
    settings = deployed()
    process = started(settings, "produce", tape.path, *paced(tape, 120))
    until_grown(process, settings, 20)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "drained" in err
    assert produce(tape, settings, Playing(), Drain()).finished
    assert recorded(settings, tmp_path / "tape") == (tape.manifest.tape_hash, 0)


def test_a_broker_that_is_killed_while_a_tape_is_produced_and_recorded(
    own_kafka: Any, deployed: Deployed, tape: Tape, tmp_path: Path
) -> None:
    server = own_kafka()
    settings = deployed("kafka.retry_most_ms=200", bootstrap=server.bootstrap)
    process = started(settings, "produce", tape.path, *paced(tape, 10), "--json")
    until_grown(process, settings, 50)
    server.kill()
    server.start()
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert json.loads(out)["finished"]
    assert recorded(settings, tmp_path / "tape") == (tape.manifest.tape_hash, 0)


def test_other_ticks_in_the_topic_are_refused(deployed: Deployed, tape: Tape, tmp_path: Path) -> None:
    settings = deployed()
    produce(tape, settings, Playing(), Drain())
    other = tmp_path / "other"
    simulate(other, 20_000, 4, 8)
    with pytest.raises(RefusedError, match="another kafka.topic_prefix"):
        produce(Tape.open(other), settings, Playing(), Drain())
    fewer = tmp_path / "fewer"
    simulate(fewer, 20_000, 4, 7)
    with pytest.raises(RefusedError, match="other instruments already"):
        produce(Tape.open(fewer), settings, Playing(), Drain())


def test_where_a_partition_was_left_out_the_others_are_produced_and_what_is_not_sent_is_told(
    deployed: Deployed, tape: Tape, tmp_path: Path
) -> None:
    settings = deployed()
    drain = Drain()
    paced_by = Playing(speed=float(paced(tape, 3.0)[1]))
    part = produce(tape, settings, paced_by, drain, lambda rows: drain.ask(signal.SIGTERM) if rows >= 5000 else None)
    assert (part.finished, part.left_out) == (False, {})
    there = close_partition(settings, tape.instruments, 1).next
    assert 0 < there < tape.rows(1)
    with pytest.raises(RefusedError, match=f"partition 1 was ended after {there} ticks, the tape has more"):
        produce(tape, settings, Playing(), Drain())
    message = ControlMessage(id="x", kind="exclude_partition", arguments={"partition": "1"}, reason="a test", effective_slice=7)
    say(settings, "audit", 0, audit_line(Accepted(7, message)), key=settings.deployment)
    done = produce(tape, settings, paced_by, Drain())
    left_out = tape.rows(1) - there
    assert (done.left_out, done.finished, done.ended) == ({1: left_out}, True, True)
    assert done.sent + done.there_before + left_out == tape.manifest.rows
    say(settings, "ticks", 1, encode(tape.read(1, there, 2), there), headers=[(CONTENT_TYPE, CONTENT_PACKED)])
    made = record(settings, Options(tmp_path / "tape", until_end=True))
    assert made.manifest is not None
    assert made.manifest.rows == tape.manifest.rows - left_out
    (line,) = (tmp_path / "tape" / POISON).read_bytes().splitlines()
    assert Poison.parsed(line).reason == "ended"
    again = produce(tape, settings, Playing(), Drain())
    assert (again.sent, again.left_out, again.finished) == (0, {1: left_out}, True)


def say(settings: Settings, topic: str, partition: int, content: bytes, **more: Any) -> None:
    """Puts a message into a topic."""
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0})
    producer.produce(settings.kafka.topic(topic), content, partition=partition, **more)
    assert producer.flush(20) == 0


@pytest.mark.parametrize(
    ("how", "named"), [({"form": "xml"}, "packed, arrow, json"), ({"batch_ticks": 0}, "--batch-ticks 0"), ({"speed": -1.0}, "--speed -1.0")]
)
def test_wrong_options_are_named(how: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Playing(**how)


def test_without_end_a_recording_ends_when_it_is_asked_to(deployed: Deployed, tape: Tape, tmp_path: Path) -> None:
    settings = deployed()
    produce(tape, settings, Playing(end=False), Drain())
    drain, last = Drain(), tape.manifest.last_ts_ns
    before = sum(tape.seek(p, last or 0) for p in range(tape.partitions))
    made = record(settings, Options(tmp_path / "tape", on_rows=lambda n: drain.ask(signal.SIGTERM) if n >= before else None), drain)
    assert made.manifest is not None
    assert made.manifest.rows == before
    assert made.ended.drained_by == signal.SIGTERM
    Tape.open(tmp_path / "tape").verify()
    drain = Drain()
    whole = Options(tmp_path / "whole", until_end=True, on_rows=lambda n: drain.ask() if n >= before else None)
    made = record(settings, whole, drain)
    assert (made.manifest, made.ended.drained_by, made.ended.summary["ended"]) == (None, signal.SIGTERM, False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tape", "whole.recording"]
    produce(tape, settings, Playing(), Drain())
    live = Live()
    made = record(settings, whole, live=live)
    assert made.manifest is not None
    assert made.manifest.tape_hash == tape.manifest.tape_hash
    assert live.ticks < tape.manifest.rows / 10  # the rest was there


def test_poison_is_kept_beside_the_tape_and_a_hole_makes_none(deployed: Deployed, tape: Tape, tmp_path: Path) -> None:
    settings = deployed()
    produce(tape, settings, Playing(end=False), Drain())
    say(settings, "ticks", 2, b"\x00junk", headers=[(CONTENT_TYPE, CONTENT_PACKED)])
    assert produce(tape, settings, Playing(), Drain()).finished
    made = record(settings, Options(tmp_path / "tape", until_end=True))
    assert made.manifest is not None
    assert made.manifest.tape_hash == tape.manifest.tape_hash
    (line,) = (tmp_path / "tape" / POISON).read_bytes().splitlines()
    poison = Poison.parsed(line)
    assert (poison.partition, poison.reason, poison.content) == (2, "truncated", b"\x00junk")

    holed = deployed()
    produce(tape, holed, Playing(end=False), Drain())
    rows = tape.rows(1)
    say(holed, "ticks", 1, encode(tape.read(1, 0, 10), rows + 5), headers=[(CONTENT_TYPE, CONTENT_PACKED)])
    with pytest.raises(TapeError, match="5 records are missing"):
        record(holed, Options(tmp_path / "holed", until_end=True))
    assert not (tmp_path / "holed").exists()


def test_a_recording_that_is_killed_again_and_again_goes_on_and_makes_the_same_tape(deployed: Deployed, tape: Tape, tmp_path: Path) -> None:
    settings = deployed()
    out = tmp_path / "tape"
    kept = tmp_path / "tape.recording"
    producing = started(settings, "produce", tape.path, *paced(tape, 120), "--batch-ticks", "7")
    until_grown(producing, settings, 1)
    sizes = []
    for _ in range(3):
        recording = started(settings, "run", NAME, "--out", out, "--until-end", "--epoch-s", "0.2")
        while len(ticks_in(kept)) < 4 or sum(ticks_in(kept)) <= sum(sizes[-1:]):
            assert recording.poll() is None, recording.communicate()
            time.sleep(0.02)
        time.sleep(2)  # some epochs, so that the next one resumes
        recording.send_signal(signal.SIGKILL)
        assert recording.wait() == -signal.SIGKILL
        recording.communicate()
        sizes.append(sum(ticks_in(kept)))
        assert not out.exists()
    assert producing.poll() is None, producing.communicate()
    producing.kill()
    producing.communicate()
    assert produce(tape, settings, Playing(), Drain()).finished
    live = Live()
    made = record(settings, Options(out, until_end=True), live=live)
    assert made.manifest is not None
    assert made.manifest.tape_hash == tape.manifest.tape_hash
    assert made.ended.summary["resumed"]
    assert 0 < live.ticks < tape.manifest.rows
    assert (live.duplicates, live.sequence_holes) == (0, 0)
    Tape.open(out).verify()
    assert not kept.exists()


def ticks_in(kept: Path) -> list[int]:
    """Bytes of ticks that a recording keeps, by partition."""
    return [p.stat().st_size for p in kept.glob("ticks/ticks-*")]


def test_a_recording_whose_files_were_cut_short_is_refused_and_starts_over_with_fresh(
    deployed: Deployed, tape: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = deployed()
    produce(tape, settings, Playing(end=False), Drain())
    drain = Drain()
    options = Options(tmp_path / "tape", until_end=True, on_rows=lambda n: drain.ask(signal.SIGTERM) if n > 10_000 else None)
    record(settings, options, drain)
    (cut, *_) = (p for p in (tmp_path / "tape.recording/ticks").iterdir() if p.stat().st_size)
    os.truncate(cut, cut.stat().st_size - 1)
    with pytest.raises(SpiketapeError, match="the recording is damaged; --fresh starts over"):
        record(settings, options)
    produce(tape, settings, Playing(), Drain())
    fresh = Options(tmp_path / "tape", until_end=True, fresh=True)

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if path.exists():
            (path / "identity.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(flows.record.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            record(settings, fresh)
    assert [p.name for p in tmp_path.iterdir()] == ["tape.recording.deleted"]
    live = Live()
    made = record(settings, fresh, live=live)
    assert made.manifest is not None
    assert made.manifest.tape_hash == tape.manifest.tape_hash
    assert live.ticks == tape.manifest.rows
    assert [p.name for p in tmp_path.iterdir()] == ["tape"]


def test_fresh_deletes_no_folder_that_holds_something_else(deployed: Deployed, tmp_path: Path) -> None:
    (tmp_path / "tape.recording").mkdir()
    (tmp_path / "tape.recording" / "letters").write_text("mine")
    with pytest.raises(RefusedError, match="holds no recording"):
        record(deployed(), Options(tmp_path / "tape", fresh=True))
    assert (tmp_path / "tape.recording" / "letters").read_text() == "mine"
