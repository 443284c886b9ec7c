"""`signals` processes split and merged by command while ticks flow into a real broker, and one that loses partitions while it runs:
they say what one undisturbed process says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from flows.live.deployment import asked, instruments_told
from flows.savepoint import restore, save
from operators.sinks.kafka import reading
from operators.sources.tape import Tape
from schemas.errors import FencedError
from schemas.settings import load_settings
from schemas.slice_wire import decode_slice_out
from tests.conftest import ROOT
from tests.servers import Kafka

PATIENCE_S = 120
TICKS = 60_000
MIDDLE = 1_000
"""Ticks after which a process is stopped."""


class Deployment:
    """Commands over a broker, each a process of its own in `folder`; topics begin with `prefix`."""

    def __init__(self, kafka: Kafka, folder: Path, prefix: str, ends: ExitStack) -> None:
        self.folder = folder
        self.prefix = prefix
        self._ends = ends
        self.settings = load_settings(None, [f"kafka.bootstrap_servers={kafka.bootstrap}", f"kafka.topic_prefix={prefix}"], {})
        self._env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SPIKETAPE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
            "SPIKETAPE_KAFKA__TOPIC_PREFIX": prefix,
        }

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "flows", *map(str, arguments)]
        process = subprocess.Popen(command, cwd=self.folder, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._ends.callback(lambda: process.poll() is None and process.kill())
        return process

    def call(self, *arguments: str | Path) -> str:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        return out

    def in_the_middle(self, out: str, process: subprocess.Popen[str], ticks: int = MIDDLE) -> None:
        """Waits until a process has taken so many ticks in and said something of them."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            assert process.poll() is None, process.communicate()[1]
            numbers = self._numbers(out)
            if numbers.get("ticks_total", 0) >= ticks and numbers.get("done_slice", 0) > 0:
                return
            time.sleep(0.05)
        pytest.fail(f"{out} did not get to {ticks} ticks")

    def produce_the_rest(self, producer: subprocess.Popen[str], tape: Tape) -> None:
        """Ends a producer that plays the tape slowly, and produces what is left of it at once."""
        producer.send_signal(signal.SIGTERM)
        producer.wait(timeout=PATIENCE_S)
        self.call("produce", tape.path)

    def _numbers(self, out: str) -> dict[str, float]:
        lines = [line for line in asked(self.folder / out, "metrics")[1].splitlines() if line.startswith("spiketape_")]
        return {line.partition("{")[0].removeprefix("spiketape_"): float(line.rpartition(" ")[2]) for line in lines}


@pytest.fixture
def deployment(kafka: Kafka, tmp_path: Path) -> Iterator[Callable[[str], Deployment]]:
    with ExitStack() as ends:
        yield lambda name: Deployment(kafka, tmp_path, f"{tmp_path.name}.{name}.", ends)


def committed(kafka: Kafka, topic: str) -> list[tuple[int, bytes]]:
    """Partition and value of every committed message of a topic, each partition in its order."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": "test", "isolation.level": "read_committed", "enable.partition.eof": True}
    )
    left = set(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, p, 0) for p in left])
    out = []
    while left:
        message = consumer.poll(20)
        assert message is not None, f"{topic} does not end"
        if message.error():
            left.discard(message.partition())
        else:
            out.append((message.partition(), message.value()))
    consumer.close()
    return out


def signals_said(kafka: Kafka, d: Deployment) -> dict[str, tuple[int, bytes]]:
    """Partition and content of each row of `signals` by id; none is there twice."""
    rows = committed(kafka, d.prefix + "signals")
    by_id = {json.loads(value)["id"]: (p, value) for p, value in rows}
    assert len(by_id) == len(rows)
    return by_id


def slices_said(kafka: Kafka, d: Deployment) -> dict[int, dict[str, Any]]:
    """By shard everything it said, put together; each range follows the one before."""
    by_shard: dict[int, list[Any]] = {}
    for _, value in committed(kafka, d.prefix + "slices"):
        out = decode_slice_out(value)
        by_shard.setdefault(out.shard, []).append(out)
    said = {}
    for shard, outs in by_shard.items():
        assert [o.lo for o in outs[1:]] == [o.hi for o in outs[:-1]]
        columns = {f.name: [getattr(o, f.name) for o in outs] for f in fields(outs[0])}
        joined = {name: np.concatenate(v).tobytes() for name, v in columns.items() if isinstance(v[0], np.ndarray)}
        said[shard] = {"lo": outs[0].lo, "hi": outs[-1].hi, **joined}
    return said


def writers(d: Deployment) -> dict[str, list[str]]:
    """By transactional id the parts of processes that wrote its token, by their random names, in turn."""
    names: dict[str, list[str]] = {}
    for message in reading.committed(d.settings, "tokens"):
        name, before = json.loads(message.value())["instance"], names.setdefault(message.key().decode(), [])
        if before[-1:] != [name]:
            before.append(name)
    return names


@dataclass(frozen=True)
class Said:
    """Everything that an undisturbed process of all partitions has said of the tape."""

    signals: dict[str, tuple[int, bytes]]
    slices: dict[int, dict[str, Any]]


@pytest.fixture(scope="module")
def undisturbed(kafka: Kafka, tapes: Callable[..., Tape], tmp_path_factory: pytest.TempPathFactory) -> Said:
    folder = tmp_path_factory.mktemp("undisturbed")
    with ExitStack() as ends:
        d = Deployment(kafka, folder, f"{folder.name}.", ends)
        d.call("produce", tapes(TICKS).path)
        d.call("run", "signals", "--out", "quiet")
        return Said(signals_said(kafka, d), slices_said(kafka, d))


def test_split_and_merged_while_ticks_flow_and_one_of_them_killed(
    kafka: Kafka, deployment: Callable[[str], Deployment], tapes: Callable[..., Tape], tmp_path: Path, undisturbed: Said
) -> None:
    """One process; then two, of which one is killed and put back to a savepoint, and the other drained; then one, which goes on to the end.

    The tape is played slowly until the last of them starts, and then goes on at once.
    """
    tape = tapes(TICKS)
    d = deployment("moved")
    producer = d.start("produce", tape.path, "--speed", "2")
    assert instruments_told(d.settings, PATIENCE_S)
    one = d.start("run", "signals", "--out", "one", "--epoch-s", "0.2")
    d.in_the_middle("one", one)
    one.send_signal(signal.SIGTERM)
    assert one.wait(timeout=PATIENCE_S) == 128 + signal.SIGTERM

    d.call("rescale", "--from", "one", "--to", "a=0-1", "--to", "b=2-3")
    a = d.start("run", "signals", "--partitions", "0-1", "--out", "a", "--epoch-s", "0.2")
    b = d.start("run", "signals", "--partitions", "2-3", "--out", "b", "--epoch-s", "0.2")
    d.in_the_middle("a", a)
    point, _ = save(tmp_path / "a", tmp_path / "points", keep=1)
    d.in_the_middle("b", b)
    a.kill()
    a.wait(timeout=PATIENCE_S)
    assert restore(point, tmp_path / "a") == ("recovery",)
    b.send_signal(signal.SIGTERM)
    assert b.wait(timeout=PATIENCE_S) == 128 + signal.SIGTERM
    assert producer.poll() is None, "the tape ended before the processes were moved: the test shows nothing"
    d.produce_the_rest(producer, tape)

    told = json.loads(d.call("rescale", "--from", "a", "--from", "b", "--to", "two=0-3", "--json"))
    assert told["committed_before"] is False
    end = json.loads(d.call("run", "signals", "--out", "two", "--json"))
    assert end["resumed"] is True
    assert 0 < end["ticks"] < TICKS
    assert signals_said(kafka, d) == undisturbed.signals
    assert slices_said(kafka, d) == undisturbed.slices


def test_a_process_that_runs_and_loses_some_partitions_to_another_one_is_fenced_and_writes_nothing_more(
    kafka: Kafka, deployment: Callable[[str], Deployment], tapes: Callable[..., Tape], undisturbed: Said
) -> None:
    """Nobody has stopped it, and the partitions that it keeps are nobody else's: losing one ends it. A third takes up what it leaves."""
    tape = tapes(TICKS)
    d = deployment("lost")
    producer = d.start("produce", tape.path, "--speed", "2")
    assert instruments_told(d.settings, PATIENCE_S)
    one = d.start("run", "signals", "--out", "one", "--epoch-s", "0.2")
    d.in_the_middle("one", one)
    a = d.start("run", "signals", "--partitions", "0-1", "--out", "a")
    told = one.communicate(timeout=PATIENCE_S)[1]
    assert one.returncode == FencedError.exit_code, told
    assert "FencedError" in told
    assert producer.poll() is None, "the tape ended before that: the test shows nothing"
    b = d.start("run", "signals", "--partitions", "2-3", "--out", "b")
    d.produce_the_rest(producer, tape)
    for process in (a, b):
        told = process.communicate(timeout=PATIENCE_S)[1]
        assert process.returncode == 0, told
    by_id = writers(d)
    assert by_id.keys() == {f"spiketape.signals.{p}" for p in range(4)}
    assert all(len(names) == len(set(names)) == 2 for names in by_id.values()), by_id
    assert signals_said(kafka, d) == undisturbed.signals
    assert slices_said(kafka, d) == undisturbed.slices
