"""Milliseconds from Kafka to an order in Kafka, at 50,000 ticks a second, in `run trading`.

The clock of one order starts when the last message was in the log that its decision needed: the first of each partition, ticks or a
heartbeat, that goes beyond the deciding slice, in the slowest partition. So the wait for the slice to end, a setting, is not in it; the
note tells it. It stops where the order was in the log (`produced`), and where a reader of committed messages had it (`committed`). Times
of messages are the broker's, in whole milliseconds.

The tape is of one session without a night, played at the multiple of real time at which it has 50,000 ticks a second (in sessions and over
all: a tape of several days has all its ticks in few seconds of such a run). The flow has begun before the first tick is produced. Settings
are the defaults, epochs of a second and transactions of 50 ms included, but for the length of a slice, and one shard for each partition.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, TopicPartition

from benchmarks.figure import Figure, figure, rounded, spread_of
from benchmarks.place import simulated, workplace
from benchmarks.run import main
from flows.live.deployment import Deployment
from infra.local import KafkaServer
from infra.topics import apply
from operators.sources.kafka import publish
from operators.sources.tape import Tape
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.settings import load_settings
from schemas.tick_stream import CONTENT_HEARTBEAT, CONTENT_TYPE, decode_heartbeat
from schemas.wire import CONTENT_PACKED, decode

NAME = "order_latency"
GOALS_MS = {"p50": 5.0, "p99": 20.0}
TICKS = 750_000
"""As many as the simulated market has in its first session, nearly."""
TICKS_A_SECOND = 50_000
SLICE_MS = 3000
"""The simulated market has some 220 ticks a second, so it is produced at some 220 times real time; slices of three seconds then last some
14 ms, and hold as many ticks as slices of 14 ms do in a market of 50,000 ticks a second."""
SLICE_NS = SLICE_MS * 1_000_000
PARTITIONS = 4
HEARTBEAT = b"{"
"""How a heartbeat begins, and no packed batch."""
RUNS = 3
WARM_S = 3.0
"""What is produced this long after the first tick meets a process that is still loading compiled kernels, and does not count."""
SETTLED_S = 2.0
"""Between the begin of the flow and that of the ticks."""


@dataclass
class Seen:
    """Messages of a topic as they were read: partition, time in the message, time of reading (both ms UTC), content."""

    messages: list[tuple[int, int, float, bytes]] = field(default_factory=list)


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark: `RUNS` runs of some fifteen seconds, after one that may still compile kernels."""
    tape = simulated(TICKS, say)
    manifest = Tape.open(tape).manifest
    assert manifest.first_ts_ns is not None
    assert manifest.last_ts_ns is not None
    speed = TICKS_A_SECOND / (manifest.rows / ((manifest.last_ts_ns - manifest.first_ts_ns) / 1e9))
    found: dict[str, list[float]] = {f"{what}{part}": [] for what in ("", "committed_") for part in GOALS_MS}
    waits: list[float] = []
    orders = 0
    with workplace(NAME) as folder, KafkaServer(folder / "kafka") as broker:
        for run in range(RUNS + 1):
            say(f"run {run} of {RUNS}, at {speed:,.0f} times real time")
            seen = _run(folder / str(run), tape, broker.bootstrap, f"latency{run}", speed)
            if run:
                orders += len(seen)
                waits += [wait for _, _, wait in seen]
                for i, what in enumerate(("", "committed_")):
                    for part in GOALS_MS:
                        found[f"{what}{part}"].append(float(np.percentile([s[i] for s in seen], float(part[1:]))))
    note = (
        f"{orders:,} orders in {RUNS} runs, {speed:,.0f} times real time; wait for the slice's end before it, p50 "
        f"{statistics.median(waits):.1f} ms"
    )
    out: dict[str, Figure] = {}
    for part, goal in GOALS_MS.items():
        out[f"{NAME}.{part}"] = figure(found[part], "ms", "under", goal, note)
        late = found[f"committed_{part}"]
        value = rounded(statistics.median(late))
        out[f"{NAME}.committed_{part}"] = Figure(value, "ms", None, None, rounded(spread_of(late)), None, None, None, note)
    return out


def _run(folder: Path, tape: Path, bootstrap: str, name: str, speed: float) -> list[tuple[float, float, float]]:
    """By order: milliseconds to its being produced, to its being read committed, and of waiting for the slice's end before them."""
    deployment = Deployment(folder, tape, bootstrap, None, name=name)
    deployment.env |= {"SPIKETAPE_SLICE_MS": str(SLICE_MS), "SPIKETAPE_SHARDS": str(PARTITIONS)}
    settings = load_settings(None, (), env=deployment.env)
    apply(settings)
    publish(settings, Tape.open(tape).instruments, Drain(), Live())
    trading = deployment.add("trading", *deployment.flow("trading", "trading"))
    trading.start()
    trading.await_begin()
    orders = Seen()
    over = threading.Event()
    reader = threading.Thread(target=_follow, args=(bootstrap, settings.kafka.topic("orders"), orders, over), daemon=True)
    reader.start()
    time.sleep(SETTLED_S)
    deployment.add_producer(speed).start()
    deployment.wait(600)
    time.sleep(1)
    over.set()
    reader.join()
    ticks = Seen()
    _read(bootstrap, settings.kafka.topic("ticks"), ticks)
    needed = _needed(ticks)
    first_ms = min(m[1] for m in ticks.messages)
    out = []
    for _, at_ms, read_ms, content in orders.messages:
        order = json.loads(content)
        k = int(order["slice"])
        if order["state"] == "new" and k in needed and needed[k][0] >= first_ms + 1000 * WARM_S:
            out.append((at_ms - needed[k][0], read_ms - needed[k][0], needed[k][0] - needed[k][1]))
    return out


def _needed(ticks: Seen) -> dict[int, tuple[float, float]]:
    """By slice: when the last message that its end needs was in the log, and when its first tick was, ms UTC."""
    ends: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
    first: dict[int, float] = {}
    for p in range(PARTITIONS):
        running, reached, times = -1, [], []
        for _, at_ms, _, content in sorted((m for m in ticks.messages if m[0] == p), key=lambda m: m[1]):
            if content.startswith(HEARTBEAT):
                running = max(running, decode_heartbeat(content) // SLICE_NS)
            else:
                slices = decode(content)["ts_ns"] // SLICE_NS
                for k in np.unique(slices).tolist():
                    first[k] = min(first.get(k, np.inf), at_ms)
                running = max(running, int(slices.max()))
            reached.append(running)
            times.append(float(at_ms))
        ends.append((np.array(reached, np.int64), np.array(times)))
    out = {}
    for k, began in first.items():
        at = []
        for reached_, times_ in ends:
            i = int(np.searchsorted(reached_, k + 1))
            at.append(times_[i] if i < times_.size else np.inf)
        if np.isfinite(max(at)):
            out[k] = (max(at), began)
    return out


def _follow(bootstrap: str, topic: str, seen: Seen, over: threading.Event) -> None:
    consumer = _consumer(bootstrap, topic)
    while not over.is_set():
        for m in consumer.consume(1000, 0.005):
            _keep(seen, m)
    consumer.close()


def _read(bootstrap: str, topic: str, seen: Seen) -> None:
    consumer = _consumer(bootstrap, topic)
    left = set(range(PARTITIONS))
    while left:
        for m in consumer.consume(1000, 1.0):
            if m.error() is not None and m.error().code() == KafkaError._PARTITION_EOF:
                left.discard(m.partition())
            elif dict(m.headers() or []).get(CONTENT_TYPE) in (CONTENT_PACKED.encode(), CONTENT_HEARTBEAT.encode()):
                _keep(seen, m)
    consumer.close()


def _keep(seen: Seen, m: Any) -> None:
    if m.error() is None:
        seen.messages.append((m.partition(), m.timestamp()[1], time.time() * 1000, m.value()))


def _consumer(bootstrap: str, topic: str) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": NAME,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    return consumer


if __name__ == "__main__":
    main(NAME)
