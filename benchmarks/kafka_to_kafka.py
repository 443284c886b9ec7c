"""Ticks a second of `run signals` between the topics of a real broker: packed batches in, what all shards say out, committed.

The topic is full before the process starts, so this is how fast it catches up; the time is from the flow's start to its last commit. The
peer, beside it on the same broker, is what Bytewax has for Kafka itself: KafkaSource to KafkaSink, a message a tick, nothing done to it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta

from benchmarks.figure import Figure, figure
from benchmarks.place import in_fresh_process, simulated, workplace
from benchmarks.run import main
from flows.live.deployment import Deployment
from infra.local import KafkaServer

NAME = "kafka_to_kafka"
GOAL = 1_000_000
TICKS = 2_000_000
RUNS = 3
PEER_MESSAGES = 300_000
MESSAGE_BYTES = 72
"""As many as a tick has."""
READY_S = 60.0


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark, ours and the peer in turns, after a run that may still compile kernels."""
    tape = simulated(TICKS, say)
    own, cpu, peer = [], [], []
    with workplace(NAME) as folder, KafkaServer(folder / "kafka") as broker:
        for run in range(RUNS + 1):
            say(f"run {run} of {RUNS}, {TICKS:,} ticks")
            deployment = Deployment(folder / str(run), tape, broker.bootstrap, None, name=f"bench{run}")
            deployment.call("topics", "apply")
            deployment.call("produce", str(tape))
            deployment.add_signals("0-3", deployment.folder / "signals").start()
            deployment.wait(600)
            told = deployment.members["signals 0-3"].answer()
            own.append(told["ticks"] / told["wall_s"])
            cpu.append(told["cpu_s"] / told["ticks"] * 1e9)
            peer.append(in_fresh_process(stock_copy, broker.bootstrap, run))
    own, cpu, peer = own[1:], cpu[1:], peer[1:]
    note = (
        f"{TICKS:,} simulated ticks of 16 symbols in batches of 512 over 4 partitions, one process, broker on the same two cores; "
        f"{statistics.median(cpu):.0f} ns of the process's CPU a tick, all its threads"
    )
    return {
        NAME: figure(own, "ticks/s", "over", GOAL, note, "Bytewax's KafkaSource to KafkaSink, messages a second", statistics.median(peer))
    }


def stock_copy(bootstrap: str, run: int) -> float:
    """Messages a second from topic to topic by Bytewax's own connectors. Messages of `MESSAGE_BYTES`, produced before."""
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.run import cli_main
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    names = [f"stock-in-{run}", f"stock-out-{run}"]
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept until all is answered
    for future in admin.create_topics([NewTopic(n, 4, 1) for n in names]).values():
        future.result(READY_S)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": PEER_MESSAGES})
    for i in range(PEER_MESSAGES):
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
    return PEER_MESSAGES / (time.perf_counter() - began)


if __name__ == "__main__":
    main(NAME)
