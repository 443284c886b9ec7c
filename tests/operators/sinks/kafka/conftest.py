"""A deployment of its own on a real broker, rows with valid codes, and what stands in topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from infra.topics import apply
from operators.sinks.kafka.operator import KafkaPart, KafkaSink
from schemas.instruments import InstrumentList
from schemas.ranges import SLICE_QUOTE, SliceOut
from schemas.settings import Settings, load_settings
from schemas.tables import SIGNAL, TABLES, Rows
from tests.servers import Kafka

CODES = {"action": (-1, 1), "side": (-1, 1), "type": (1, 3), "state": (1, 10), "liquidity": (1, 2), "intent": (1, 7), "approved": (0, 1)}


@dataclass(frozen=True)
class Stored:
    """One message as a reader of committed messages sees it."""

    partition: int
    offset: int
    key: str
    value: bytes
    id: str
    content_type: str


class Topics:
    """What stands in the topics of a deployment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def read(self, topic: str, isolation: str = "read_committed") -> list[Stored]:
        """All messages of a topic up to its end, partition by partition."""
        name = self._settings.kafka.topic(topic)
        config = {**self._settings.kafka.client(), "group.id": "test", "enable.partition.eof": True, "isolation.level": isolation}
        reader = Consumer(config)
        out: list[Stored] = []
        try:
            open_parts = set(reader.list_topics(name, timeout=30).topics[name].partitions)
            reader.assign([TopicPartition(name, p, OFFSET_BEGINNING) for p in open_parts])
            while open_parts:
                for m in reader.consume(10_000, 0.2):
                    if m.error() is not None:
                        assert m.error().code() == KafkaError._PARTITION_EOF, m.error()
                        open_parts.discard(m.partition())
                        continue
                    headers = dict(m.headers() or [])
                    out.append(
                        Stored(
                            m.partition(),
                            m.offset(),
                            m.key().decode(),
                            m.value(),
                            headers.get("id", b"").decode(),
                            headers.get("content-type", b"").decode(),
                        )
                    )
        finally:
            reader.close()
        return sorted(out, key=lambda s: (s.partition, s.offset))

    def ids(self, topic: str) -> list[str]:
        return [s.id for s in self.read(topic)]


class MadeRows:
    """Rows with valid codes, the same for a row wherever the piece begins; `slices` a row's slice is 1000 + n // 3."""

    def rows(self, table: str, key: str, first: int, count: int, symbol: int = 0, seed: int = 0) -> Rows:
        a = np.zeros(count, TABLES[table])
        for i in range(count):
            n = first + i
            rng = np.random.default_rng([seed, n, len(table), sum(key.encode())])
            for name in TABLES[table].names or ():
                kind = TABLES[table][name]
                if name == "record":
                    a[name][i] = rng.bytes(72)
                elif name in CODES:
                    low, high = CODES[name]
                    a[name][i] = (v := int(rng.integers(low, high + 1))) or (1 if name == "side" else v)
                elif (table, name) == ("dead_letters", "reason"):
                    a[name][i] = rng.integers(1, 16)
                elif name == "confidence_e6":
                    a[name][i] = rng.integers(0, 10**6)
                elif kind.kind in "iu":
                    a[name][i] = rng.integers(1, 100 if kind.itemsize < 4 else 10**8)
            a["n"][i], a["slice"][i] = n, 1000 + n // 3
        names = TABLES[table].names or ()
        if "symbol" in names:
            a["symbol"] = symbol
        return Rows(table, key, a)

    def slices(self, shard: int, lo: int, hi: int, quotes: int = 0) -> SliceOut:
        """What a shard says about slices [lo, hi): `quotes` quotes a slice."""
        q = np.zeros((hi - lo) * quotes, SLICE_QUOTE)
        q["slice"] = np.repeat(np.arange(lo, hi), quotes)
        q["bid"] = np.arange(q.size)
        return SliceOut(shard, lo, hi, np.zeros(0, SIGNAL), q, (), None)


@pytest.fixture(scope="session")
def made_rows() -> MadeRows:
    return MadeRows()


@pytest.fixture
def deployment(kafka: Kafka) -> Callable[..., Settings]:
    """Settings of a deployment of its own, its topics made; called again it gives the same deployment with other settings."""
    prefix = f"t{uuid4().hex}-"

    def settings(*overrides: str, bootstrap: str = kafka.bootstrap) -> Settings:
        own = (f"kafka.bootstrap_servers={bootstrap}", f"kafka.topic_prefix={prefix}", "kafka.transaction_ms=0")
        made = load_settings(overrides=[*own, *overrides], env={})
        apply(made.model_copy(update={"kafka": made.kafka.model_copy(update={"answer_timeout_s": 120.0})}))
        return made

    return settings


@pytest.fixture
def topics(deployment: Callable[..., Settings]) -> Topics:
    return Topics(deployment())


@pytest.fixture
def topics_of() -> type[Topics]:
    return Topics


@pytest.fixture
def open_part(instruments: InstrumentList) -> Iterator[Callable[..., KafkaPart]]:
    """Opens parts of a sink; their threads are ended in the end."""
    parts: list[KafkaPart] = []

    def opened(settings: Settings, sink: Any = "rows", part: str = "main", resume: bytes | None = None, **options: Any) -> KafkaPart:
        made = KafkaSink(settings, instruments, sink, **options).build_part("sink", part, resume)
        parts.append(made)
        return made

    yield opened
    for part in parts:
        part.end()
