"""The Kafka source alone, between a real broker and nothing: how fast it catches up, and how soon it hands on what has just been sent.

    python -m benchmarks.kafka_source

prints one line of JSON. `kafka_to_kafka` and `order_latency` have this in them.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benchmarks.place import simulated, workplace
from flows.produce import Playing, produce
from infra.local import KafkaServer
from infra.topics import apply
from operators.sources.kafka import TickStream
from operators.sources.kafka.operator import KafkaSource
from operators.sources.tape import Tape
from operators.timeline.control import Credit, Drain, Meters
from operators.timeline.stage import shard_places
from schemas.settings import Settings, load_settings
from schemas.tick_stream import CONTENT_TYPE
from schemas.topics import TICKS
from schemas.wire import CONTENT_PACKED, encode

TICKS_IN_ALL = 2_000_000
RUNS = 5
PROBES = 1000
PROBE_EVERY_S = 0.004
_UNBOUNDED = 10**9


def source_of(settings: Settings, tape: Tape) -> KafkaSource:
    """A source of all partitions that nothing holds back."""
    shards = tuple(shard_places(tape.instruments, settings))
    stream = TickStream(settings, tape.instruments, shards, range(settings.partitions))
    return KafkaSource("ticks", settings, "bench", stream, Drain(), Credit(_UNBOUNDED, _UNBOUNDED), Meters())


def catching_up(settings: Settings, tape: Tape) -> tuple[float, float]:
    """Ticks a second, and CPU nanoseconds of the flow's thread a tick, from the first batch to the end of the stream."""
    source = source_of(settings, tape)
    part: Any = source.build_part("ticks", "kafka", None)
    while not source.ticks_this_attempt:
        part.next_batch()
    before, wall, cpu = source.ticks_this_attempt, time.perf_counter(), time.thread_time_ns()
    try:
        while True:
            part.next_batch()
    except StopIteration:
        ticks = source.ticks_this_attempt - before
        return ticks / (time.perf_counter() - wall), (time.thread_time_ns() - cpu) / ticks
    finally:
        part.close()


def latencies_ms(settings: Settings, tape: Tape) -> list[float]:
    """Milliseconds from a batch's sending to its being handed on, one batch at a time, ascending. The first few are left out."""
    source = source_of(settings, tape)
    part: Any = source.build_part("ticks", "kafka", None)
    producer = Producer({**settings.kafka.client(), "linger.ms": 0, "enable.idempotence": True, "log_level": 0})
    took = []
    for i in range(PROBES):
        seen, began = source.ticks_this_attempt, time.perf_counter()
        batch = encode(tape.read(0, 4 * i, 4), 4 * i)
        producer.produce(settings.kafka.topic(TICKS), batch, partition=0, headers=[(CONTENT_TYPE, CONTENT_PACKED)])
        while source.ticks_this_attempt == seen:
            part.next_batch()
            producer.poll(0)
            time.sleep(0.0005)
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(PROBE_EVERY_S)
    part.close()
    return sorted(took[PROBES // 10 :])


def measured() -> dict[str, Any]:
    """All figures, medians of the runs."""
    tape = Tape.open(simulated(TICKS_IN_ALL, lambda text: print(text, file=sys.stderr)))
    with workplace("kafka_source") as folder, KafkaServer(Path(folder) / "kafka") as broker:
        given = (f"kafka.bootstrap_servers={broker.bootstrap}", "kafka.topic_prefix=")
        settings = load_settings(None, given, env={})
        produced = produce(tape, settings, Playing(), Drain())
        runs = [catching_up(settings, tape) for _ in range(RUNS + 1)][1:]
        probed = load_settings(None, (given[0], "kafka.topic_prefix=probe."), env={})
        apply(probed)
        waits = latencies_ms(probed, tape)
    return {
        "produced_ticks_per_s": round(produced.ticks_per_s),
        "ticks_per_s": round(statistics.median(r[0] for r in runs)),
        "cpu_ns_per_tick": round(statistics.median(r[1] for r in runs)),
        "latency_ms": {"p50": round(waits[len(waits) // 2], 2), "p99": round(waits[len(waits) * 99 // 100], 2)},
    }


if __name__ == "__main__":
    print(json.dumps(measured()))
