"""Milliseconds from handing messages over to their commit in Kafka: 1, 20 and 200 messages of 16 KB, on a broker of this machine.

Ours is what the sink does: the messages and a token in one transaction of the sink's thread. The peer, in turns with it, is a bare
transaction of the client library with the same messages and no token.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence

from confluent_kafka import Producer

from benchmarks.figure import Figure, rounded, spread_of
from benchmarks.place import workplace
from benchmarks.run import PARTS, main
from infra.local import KafkaServer
from infra.topics import apply
from operators.sinks.kafka import Record, Transactions
from operators.timeline.live import Live
from schemas.settings import Settings, load_settings
from schemas.topics import SLICES

NAME = "transaction"
MESSAGE_BYTES = 16_384
COUNTS = (1, 20, 200)
ROUNDS = 5
TRANSACTIONS = 60
WARM_UP = 20


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark: ROUNDS rounds of TRANSACTIONS transactions of each size, ours and the peer's in turns."""
    with workplace(NAME) as folder, KafkaServer(folder / "kafka") as broker:
        settings = load_settings(overrides=[f"kafka.bootstrap_servers={broker.bootstrap}", "kafka.transaction_ms=0"], env={})
        apply(settings)
        ours, bare = _ours(settings), _bare(settings)
        for count in COUNTS:
            _taken_ms(ours, count, WARM_UP)
            _taken_ms(bare, count, WARM_UP)
        figures = {}
        for count in COUNTS:
            say(f"{count} messages")
            rounds = [(_taken_ms(ours, count, TRANSACTIONS), _taken_ms(bare, count, TRANSACTIONS)) for _ in range(ROUNDS)]
            for part, share in (("p50", 50), ("p90", 90)):
                figures[f"{NAME}.{count}_{part}"] = _figure([(_share(a, share), _share(b, share)) for a, b in rounds], count)
    return {name: figures[name] for name in (f"{NAME}.{part}" for part in PARTS[NAME])}


def _figure(rounds: Sequence[tuple[float, float]], count: int) -> Figure:
    runs, peers = [a for a, _ in rounds], [b for _, b in rounds]
    value, peer = statistics.median(runs), statistics.median(peers)
    note = f"{count} messages of 16 KB over 4 partitions and a token, no compression, one broker on this machine, median of {ROUNDS} rounds"
    bare = "confluent-kafka, begin to commit, without token"
    return Figure(rounded(value), "ms", None, None, rounded(spread_of(runs)), bare, rounded(peer), rounded(peer / value), note)


def _taken_ms(one: Callable[[int], None], count: int, times: int) -> list[float]:
    out = []
    for _ in range(times):
        began = time.perf_counter()
        one(count)
        out.append(1000 * (time.perf_counter() - began))
    return out


def _share(taken: Sequence[float], percent: int) -> float:
    return statistics.quantiles(taken, n=100)[percent - 1]


def _messages(settings: Settings) -> list[Record]:
    values = random.Random(1)
    topic = settings.kafka.topic(SLICES)
    return [
        Record(topic, i % settings.partitions, b"s00", values.randbytes(MESSAGE_BYTES), [("content-type", b"bench")], f"{NAME}/{i}")
        for i in range(max(COUNTS))
    ]


def _ours(settings: Settings) -> Callable[[int], None]:
    kafka = settings.kafka.model_copy(update={"compression": "none"})
    settings = settings.model_copy(update={"kafka": kafka})
    transactions = Transactions(settings, f"{NAME}.ours", "", frozenset({SLICES}), Live())
    token = transactions.start()
    messages = _messages(settings)

    def one(count: int) -> None:
        transactions.put(messages[:count], token)
        transactions.flush()

    return one


def _bare(settings: Settings) -> Callable[[int], None]:
    producer = Producer({**settings.kafka.client(), "transactional.id": f"{NAME}.bare", "linger.ms": 1, "log_level": 0})
    producer.init_transactions(30)
    messages = _messages(settings)

    def one(count: int) -> None:
        producer.begin_transaction()
        for m in messages[:count]:
            producer.produce(m.topic, m.value, m.key, m.partition, headers=m.headers)
        producer.commit_transaction(30)

    return one


if __name__ == "__main__":
    main(NAME)
