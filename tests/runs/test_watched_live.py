"""Real processes under watch: one with nothing to read, or without its broker, waits and says so, and is not ended as stalled; a book and
a venue that miss each other are ended, and say what they waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from flows.live.deployment import Deployment, Member, asked
from flows.live.watchdog import STALL_EXIT
from operators.sources.kafka.audit import audit_lines
from operators.sources.tape import Tape
from schemas.settings import load_settings
from schemas.tick_stream import CONTENT_HEARTBEAT, CONTENT_TYPE, encode_heartbeat
from schemas.ticks import Ticks, shard_of
from schemas.wire import CONTENT_PACKED, encode
from tests.conftest import ROOT

PATIENCE_S = 120
STALL_S = 6


P = 2
"""The partition that gets what cannot be used."""


def unusable(tape: Tape) -> Ticks:
    """A tick that the gate sets aside, to follow the tape's in partition P."""
    tick = tape.read(P, tape.rows(P) - 1, 1).copy()
    tick["kind"] = 99
    return tick


class Watched:
    """A `signals` process that reads everything there is and then has nothing to do."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        options = ["--out", "run", "--epoch-s", "0.5", "--set", f"health.stall_s={STALL_S}"]
        command = [sys.executable, "-m", "flows", "run", "signals", *options]
        self.process = subprocess.Popen(command, cwd=folder, env=env, stderr=(folder / "log").open("w"))

    def ready(self) -> tuple[int, dict[str, Any]]:
        """What /ready says; 0 before it listens."""
        status, told = asked(self.folder / "run", "ready")
        return status, json.loads(told or "{}")

    def until(self, there: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits until /ready says so."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            status, told = self.ready()
            if there(status, told):
                return told
            time.sleep(0.1)
        pytest.fail(f"/ready says {self.ready()}")

    def waits(self) -> None:
        """Looks on for longer than a stall takes."""
        until = time.monotonic() + 2 * STALL_S
        while time.monotonic() < until:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.2)


@pytest.fixture
def broker(own_kafka: Callable[..., Any]) -> Any:
    return own_kafka()


@pytest.fixture
def watched(broker: Any, tapes: Callable[..., Tape], tmp_path: Path) -> Iterator[Watched]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SPIKETAPE_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap}
    tape = tapes(20_000)
    produce = [sys.executable, "-m", "flows", "produce", str(tape.path), "--no-end"]
    subprocess.run(produce, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=PATIENCE_S)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for content in (b"junk", encode(unusable(tape), tape.rows(P))):
        producer.produce("ticks", content, partition=P, headers=[(CONTENT_TYPE, CONTENT_PACKED)])
    for p in range(4):  # so that its slice is done
        beat = encode_heartbeat((tape.manifest.last_ts_ns or 0) + 10**9)
        producer.produce("ticks", beat, partition=p, headers=[(CONTENT_TYPE, CONTENT_HEARTBEAT)])
    assert producer.flush(30) == 0
    watched = Watched(tmp_path, env)
    yield watched
    watched.process.kill()
    watched.process.wait()


def test_with_nothing_to_read_and_without_its_broker_it_waits_and_is_ready_again_when_it_is_back(
    watched: Watched, broker: Any, tapes: Callable[..., Tape]
) -> None:
    """Its log tells what could not be used, and the outage once; its lines and those of the topic `audit` name the same start."""
    told = watched.until(lambda status, told: status == 200 and told["done_slice"] is not None and len(told["waiting_for"]) == 4)
    assert told["standing"] == "waiting"
    watched.waits()

    broker.kill()
    told = watched.until(lambda status, told: status == 503 and told["standing"] == "waiting")
    assert any(reason.startswith("kafka") for reason in told["reasons"])
    watched.waits()

    broker.start()
    watched.until(lambda status, _: status == 200)
    watched.waits()
    watched.process.send_signal(signal.SIGTERM)
    assert watched.process.wait(timeout=PATIENCE_S) == 128 + signal.SIGTERM
    assert not (watched.folder / "run" / "health.json").exists()
    told = [json.loads(line) for line in (watched.folder / "log").read_text().splitlines() if line.startswith("{")]
    events = [line["event"] for line in told]
    assert events[-1] == "drained"
    assert "stalled" not in events

    settings = load_settings(overrides=[f"kafka.bootstrap_servers={broker.bootstrap}"], env={})
    tape = tapes(20_000)
    last = tape.read(P, tape.rows(P) - 1, 1)
    (poison,) = (line for line in told if line["event"] == "poison")
    assert (poison["topic"], poison["partition"], poison["reason"], poison["count"]) == ("ticks", P, "truncated", 1)
    (letters,) = (line for line in told if line["event"] == "dead letters")
    assert (letters["shard"], letters["slice"]) == (shard_of(letters["symbol"], 64), int(last["ts_ns"][0]) // settings.slice_ns)
    changes = {name: [line["event"] for line in told if line.get("component") == name] for name in ("kafka", "kafka-sink")}
    assert changes["kafka"] == ["failing", "recovered"]
    assert changes["kafka-sink"] in ([], ["failing", "recovered"])
    (run,) = {line["run"] for line in told}
    audit = [json.loads(line) for line in audit_lines(settings)]
    parts = [f"spiketape.signals.{p}" for p in range(4)]
    assert sorted((line["event"], line["id"]) for line in audit) == [(event, part) for event in ("drained", "started") for part in parts]
    assert {line["run"] for line in audit} == {run}


def stalled(member: Member) -> list[str]:
    """Why a process said that it is stalled; it must have ended with that code."""
    assert member.ended() == STALL_EXIT, member.last_words()
    events = [json.loads(line) for line in (member.folder / f"{member.name}.log").read_text().splitlines() if line.startswith("{")]
    return next(e["why"] for e in reversed(events) if e["event"] == "stalled")


def test_a_book_without_its_venue_and_a_venue_without_its_book_end_with_the_code_of_no_progress_and_say_what_they_wait_for(
    deployed: Callable[..., Deployment], tapes: Callable[..., Tape], run_once: Callable[..., Any]
) -> None:
    tape = tapes(60_000, 11)
    d = deployed(tape.path, epoch_s=0.5, settings=(f"health.stall_s={STALL_S}",))
    d.call("produce", str(tape.path))
    d.add_flows()
    signals, venue, book = (d.members[name] for name in ("signals 0-3", "venue", "book"))
    signals.start()
    book.start()
    why = stalled(book)
    assert "waits for the venue, whose reports (topic reports) reach to slice" in why[1]
    venue.start()
    book.start()
    book.await_begin()
    venue.await_begin()
    assert book.process is not None
    book.process.send_signal(signal.SIGSTOP)
    why = stalled(venue)
    assert "waits for the book, whose decisions (topic requests) reach to slice" in why[1]
    book.process.send_signal(signal.SIGCONT)
    d.start()
    d.wait(PATIENCE_S)
    assert d.call("verify", "--kafka")["output_hash"] == run_once(tape).run["output_hash"]
