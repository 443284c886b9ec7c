"""Flows between a real broker and a real InfluxDB: the same output as a replay, in one process and in several, killed or not."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from benchmarks.live_crash import live_crash_trial
from benchmarks.outages import outage_trial
from benchmarks.points import points_of
from flows.live.deployment import Deployment
from operators.sources.tape import Tape
from schemas.wire import CONTENT_ARROW, CONTENT_JSON, CONTENT_PACKED
from tests.servers import Influx, Kafka

TICKS = 60_000
FUZZED = 10_000
WITHIN_S = 300.0


@pytest.fixture
def tape(tapes: Callable[..., Tape]) -> Path:
    return tapes(TICKS, 11).path


@pytest.fixture
def output_hash(tapes: Callable[..., Tape], run_once: Callable[..., Any]) -> str:
    run = run_once(tapes(TICKS, 11)).run
    assert run is not None
    return str(run["output_hash"])


def test_one_process_between_topics_says_what_the_replay_says(
    deployed: Callable[..., Deployment], tape: Path, influx: Influx, output_hash: str, tmp_path: Path
) -> None:
    d = deployed(tape, influx)
    d.call("produce", str(tape))
    d.add("trading", *d.flow("trading", "trading"), "--sink", "kafka,influx,lake").start()
    d.wait(WITHIN_S)
    told = d.members["trading"].answer()
    assert told["output_hash"] == output_hash
    assert told["ticks"] == TICKS
    assert d.call("verify", str(d.folder / "trading"))["output_hash"] == output_hash
    topics = d.call("verify", "--kafka")
    assert topics["output_hash"] == output_hash
    assert topics["problems"] == []
    whole = d.call("replay", str(tape), "--out", str(tmp_path / "whole"), "--sink", "influx", "--no-report")
    name = d.env["SPIKETAPE_DEPLOYMENT"]
    live, replayed = (points_of(influx.url, influx.token, influx.org, b) for b in (name, whole["influx"]["bucket"]))
    assert len(live) > TICKS // 10
    assert live == replayed
    assert d.call("run", "trading", "--out", str(d.folder / "trading"), "--sink", "kafka,influx,lake")["output_hash"] == output_hash


def test_processes_of_a_deployment_say_what_the_replay_says(deployed: Callable[..., Deployment], tape: Path, output_hash: str) -> None:
    d = deployed(tape, settings=("kafka.transaction_ms=60000",))  # turns do not wait for it, or this would take an hour
    d.call("produce", str(tape))
    d.add_flows(("0-1", "2-3"))
    d.start()
    d.wait(WITHIN_S)
    topics = d.call("verify", "--kafka")
    assert topics["output_hash"] == output_hash
    assert topics["problems"] == []
    assert d.members["book"].answer()["output_hash"] == output_hash
    assert all(m.process is not None and m.process.returncode == 0 for m in d.members.values())


def test_killed_processes_and_servers_lose_and_double_nothing(tapes: Callable[..., Tape], tmp_path: Path) -> None:
    """The command for the full count: python -m benchmarks.live_crash TAPE --kills 100."""
    report = live_crash_trial(tapes(TICKS, 11).path, tmp_path / "trial", kills=6, moves=1, seed=4, speed=4.0)
    assert report.ok, report
    assert sum(report.killed.values()) == 6
    assert report.moves == 1


def test_what_cannot_be_decoded_is_a_dead_letter_and_changes_nothing(
    deployed: Callable[..., Deployment], tape: Path, kafka: Kafka, output_hash: str
) -> None:
    d = deployed(tape)
    rng = random.Random(7)
    producing = d.add("produce", "produce", str(tape), "--speed", "15")
    producing.start()
    fuzz = Producer({"bootstrap.servers": kafka.bootstrap})
    kinds = (CONTENT_PACKED, CONTENT_ARROW, CONTENT_JSON, "text/plain", "application/vnd.spiketape.heartbeat")
    for sent in range(1, FUZZED + 1):
        fuzz.produce(
            f"{d.env['SPIKETAPE_DEPLOYMENT']}.ticks",
            rng.randbytes(rng.randrange(0, 400)),
            partition=rng.randrange(4),
            headers=[("content-type", rng.choice(kinds).encode())],
        )
        if sent % 500 == 0:
            fuzz.flush()
            time.sleep(0.1)
    fuzz.flush()
    assert producing.running  # so that none of them stands behind the end of its partition
    assert producing.ended() == 0
    d.add("trading", *d.flow("trading", "trading")).start()
    d.wait(WITHIN_S)
    told = d.members["trading"].answer()
    assert told["output_hash"] == output_hash
    topics = d.call("verify", "--kafka")
    assert topics["output_hash"] == output_hash
    assert topics["poison"] == FUZZED


def test_a_newer_instance_fences_the_older_which_says_so_and_writes_nothing_more(
    deployed: Callable[..., Deployment], tape: Path, output_hash: str
) -> None:
    d = deployed(tape, epoch_s=0.2)
    producing = d.add_producer(2.0)
    producing.start()
    d.await_instruments(WITHIN_S)
    older = d.add("older", *d.flow("trading", "older"))
    older.start()
    older.await_begin()
    time.sleep(1)
    newer = d.add("newer", *d.flow("trading", "newer"))
    newer.start()
    assert older.ended() == 4
    assert "FencedError" in older.last_words()
    producing.end(signal.SIGKILL)
    rest = d.add_producer(None)
    rest.start()
    assert rest.ended() == 0
    assert newer.ended() == 0
    assert d.call("verify", "--kafka")["output_hash"] == output_hash


def test_a_drained_process_goes_on_where_it_was(deployed: Callable[..., Deployment], tape: Path, output_hash: str) -> None:
    d = deployed(tape, epoch_s=0.2)
    producing = d.add_producer(15.0)
    producing.start()
    d.await_instruments(WITHIN_S)
    trading = d.add("trading", *d.flow("trading", "trading"))
    for how in (signal.SIGTERM, signal.SIGINT):
        trading.start()
        trading.await_begin()
        time.sleep(1.5)
        assert trading.end(how) == 128 + how
    trading.start()
    producing.ended()
    assert trading.ended() == 0
    told = trading.answer()
    assert told["resumed"]
    assert told["output_hash"] == output_hash


def test_a_broker_and_an_influxdb_that_are_away_and_then_a_full_disk_are_told_and_waited_for(
    tapes: Callable[..., Tape], tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    """The run folder, spool and recovery store, lies on a small disk, of which the spool leaves 48 MiB alone. While InfluxDB answers 429
    others fill it but for these: the flow waits, does not end, and goes on by itself.

    The command for long outages: python -m benchmarks.outages TAPE --broker-s 60 --spool-mb 16 --full-mb 32.
    """
    disk = small_disk("80m")

    def fill() -> None:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "of others").write_bytes(bytes(free - (48 << 20) - 200_000))

    room = ("influx.spool_spare_mb=48", "influx.retry_most_ms=1000")
    trial = outage_trial(tapes(TICKS, 11).path, tmp_path / "trial", 5.0, 0.1, 2.0, room, disk / "trading", fill)
    assert trial.ok, asdict(trial)
    assert trial.broker_away_s >= 5.0
    assert trial.spool_mb >= 0.1
    assert "influx.spool_spare_mb" in trial.full_said
    assert trial.refused >= 1
