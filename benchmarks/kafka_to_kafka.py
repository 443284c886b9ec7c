"""Ticks a second of `run signals` between the topics of a real broker: packed batches in, what all shards say out, committed.

The topic is full before the process starts, so this is how fast it catches up. The figure is that of steady running: the ticks that a
long stream has more than a short one, over the time that it takes longer, each measured from the flow's start to its last commit. What
comes once - taking the transactional ids over, loading compiled kernels - is in both and so in neither; the note tells the whole time of
the short one. The peer, beside it on the same broker and measured in the same way, is what Bytewax has for Kafka itself: KafkaSource to
KafkaSink, a message a tick, nothing done to it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, figure
from benchmarks.place import in_fresh_process, simulated, workplace
from benchmarks.run import main
from flows.live.deployment import Deployment
from infra.local import KafkaServer

NAME = "kafka_to_kafka"
GOAL = 1_000_000
SHORT, LONG = 2_000_000, 8_000_000
RUNS = 3
PEER_SHORT, PEER_LONG = 100_000, 400_000
MESSAGE_BYTES = 72
"""As many as a tick has."""
READY_S = 60.0


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark, ours and the peer in turns, after a run that may still compile kernels."""
    tapes = {ticks: simulated(ticks, say) for ticks in (SHORT, LONG)}
    own, cpu, begin, peer = [], [], [], []
    with workplace(NAME) as folder, KafkaServer(folder / "kafka") as broker:
        _caught_up(folder, tapes[SHORT], broker.bootstrap, "first")
        for run in range(RUNS):
            say(f"run {run + 1} of {RUNS}: {SHORT:,} ticks, then {LONG:,}")
            short, long = (_caught_up(folder, tapes[n], broker.bootstrap, f"bench{run}x{n}") for n in (SHORT, LONG))
            ticks = long["ticks"] - short["ticks"]
            own.append(ticks / (long["wall_s"] - short["wall_s"]))
            cpu.append((long["cpu_s"] - short["cpu_s"]) / ticks * 1e9)
            begin.append(short["wall_s"])
            took = [in_fresh_process(stock_copy, broker.bootstrap, run, n) for n in (PEER_SHORT, PEER_LONG)]
            peer.append((PEER_LONG - PEER_SHORT) / (took[1] - took[0]))
    note = (
        f"simulated ticks of 16 symbols in batches of 512 over 4 partitions, one process, broker on the same two cores; "
        f"{statistics.median(cpu):.0f} ns of the process's CPU a tick, all its threads; {SHORT:,} ticks and all that comes once: "
        f"{statistics.median(begin):.1f} s"
    )
    return {
        NAME: figure(own, "ticks/s", "over", GOAL, note, "Bytewax's KafkaSource to KafkaSink, messages a second", statistics.median(peer))
    }


def _caught_up(folder: Path, tape: Path, bootstrap: str, name: str) -> dict[str, Any]:
    """What a signals process says at the end of a stream that was there before it was started."""
    deployment = Deployment(folder / name, tape, bootstrap, None, name=name)
    deployment.call("topics", "apply")
    deployment.call("produce", str(tape))
    deployment.add_signals("0-3", deployment.folder / "signals").start()
    deployment.wait(600)
    return deployment.members["signals 0-3"].answer()


def stock_copy(bootstrap: str, run: int, messages: int) -> float:
    """Seconds that Bytewax's own connectors need from topic to topic. Messages of `MESSAGE_BYTES`, produced before."""
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.run import cli_main
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    names = [f"stock-{way}-{run}x{messages}" for way in ("in", "out")]
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept until all is answered
    for future in admin.create_topics([NewTopic(n, 4, 1) for n in names]).values():
        future.result(READY_S)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": messages})
    for i in range(messages):
        producer.produce(names[0], bytes(MESSAGE_BYTES), partition=i % 4)
        if not i % 10_000:
            producer.poll(0)
    producer.flush(READY_S)
    flow = Dataflow("stock")
    read = op.input("in", flow, KafkaSource([bootstrap], [names[0]], tail=False))
    copied = op.map("copy", read, lambda m: KafkaSinkMessage(None, m.value))
    op.output("out", copied, KafkaSink([bootstrap], names[1]))
    began = time.perf_counter()
    cli_main(flow, epoch_interval=timedelta(seconds=1))
    return time.perf_counter() - began


if __name__ == "__main__":
    main(NAME)
