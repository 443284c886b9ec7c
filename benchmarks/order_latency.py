"""Milliseconds from Kafka to an order in Kafka, at 50,000 ticks a second, in `run trading`.

The clock of one order starts when the last message was in the log that its decision needed: the first of each partition that goes beyond
the deciding slice, in the slowest partition. So the wait for the slice to end, a setting, is not in it; the note tells it. It stops
where the order was in the log (`produced`), and where a reader of committed messages had it (`committed`). Times of messages are the
broker's, in whole milliseconds.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, TopicPartition

from benchmarks.figure import Figure, figure, rounded
from benchmarks.place import simulated, workplace
from benchmarks.run import main
from flows.live.deployment import Deployment
from infra.local import KafkaServer
from operators.sources.tape import Tape
from schemas.wire import CONTENT_PACKED, decode

NAME = "order_latency"
GOALS_MS = {"p50": 5.0, "p99": 20.0}
TICKS = 2_000_000
TICKS_A_SECOND = 50_000
SLICE_MS = 60_000
"""The simulated market has some 220 ticks a second, so it is produced at thousands of times real time; slices of a minute then last some
14 ms, and hold as many ticks as slices of 14 ms do in a market of 50,000 ticks a second."""
SLICE_NS = SLICE_MS * 1_000_000
PARTITIONS = 4
WARM_S = 3.0
"""What is produced this long after the first tick may meet a process that is still starting, and does not count."""


@dataclass
class Seen:
    """Messages of a topic as they were read: partition, time in the message, time of reading (both ms UTC), content."""

    messages: list[tuple[int, int, float, bytes]] = field(default_factory=list)


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark: one run over 2 M ticks, some forty seconds, after the process has started."""
    tape = simulated(TICKS, say)
    manifest = Tape.open(tape).manifest
    assert manifest.first_ts_ns is not None
    assert manifest.last_ts_ns is not None
    speed = TICKS_A_SECOND / (manifest.rows / ((manifest.last_ts_ns - manifest.first_ts_ns) / 1e9))
    with workplace(NAME) as folder, KafkaServer(folder / "kafka") as broker:
        deployment = Deployment(folder / "run", tape, broker.bootstrap, None, name="latency", settings=("kafka.transaction_ms=5",))
        deployment.env["SPIKETAPE_SLICE_MS"] = str(SLICE_MS)
        deployment.call("topics", "apply")
        producer = deployment.add_producer(speed)
        producer.start()
        trading = deployment.add("trading", *deployment.flow("trading", "trading"))
        orders = Seen()
        over = threading.Event()
        reader = threading.Thread(target=_follow, args=(broker.bootstrap, "latency.orders", orders, over), daemon=True)
        reader.start()
        time.sleep(2)
        trading.start()
        say(f"producing at {speed:,.0f} times real time")
        deployment.wait(600)
        time.sleep(1)
        over.set()
        reader.join()
        ticks = Seen()
        _read(broker.bootstrap, "latency.ticks", ticks)
    needed = _needed(ticks)
    first_ms = min(m[1] for m in ticks.messages)
    produced, committed, waits = [], [], []
    for _, at_ms, read_ms, content in orders.messages:
        order = json.loads(content)
        k = int(order["slice"])
        if order["state"] != "new" or k not in needed or needed[k][0] < first_ms + 1000 * WARM_S:
            continue
        produced.append(at_ms - needed[k][0])
        committed.append(read_ms - needed[k][0])
        waits.append(needed[k][0] - needed[k][1])
    note = (
        f"{len(produced):,} orders, {speed:,.0f} times real time; wait for the slice's end before it, p50 {statistics.median(waits):.1f} ms"
    )
    out: dict[str, Figure] = {}
    for part, share in (("p50", 50), ("p99", 99)):
        value = float(np.percentile(produced, share))
        out[f"{NAME}.{part}"] = figure([value], "ms", "under", GOALS_MS[part], note)
        late = float(np.percentile(committed, share))
        out[f"{NAME}.committed_{part}"] = Figure(rounded(late), "ms", None, None, 0.0, None, None, None, note)
    return out


def _needed(ticks: Seen) -> dict[int, tuple[float, float]]:
    """By slice: when the last message that its end needs was in the log, and when its first tick was, ms UTC."""
    ends: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
    first: dict[int, float] = {}
    for p in range(PARTITIONS):
        running, reached, times = -1, [], []
        for _, at_ms, _, content in sorted((m for m in ticks.messages if m[0] == p), key=lambda m: m[1]):
            slices = decode(content)["ts_ns"] // SLICE_NS
            for k in np.unique(slices).tolist():
                first.setdefault(k, at_ms)
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
            elif dict(m.headers() or []).get("content-type") == CONTENT_PACKED.encode():
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
