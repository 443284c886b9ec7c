"""The Kafka topics of a deployment: their names without prefix, what they hold, and which partition a key belongs to.

Settings say how many partitions the topics of shards and accounts have (`partitions`); all others have one.
"""

from __future__ import annotations

import zlib
from typing import Final

from schemas.settings import Settings
from schemas.ticks import shard_of

TICKS: Final = "ticks"
INSTRUMENTS: Final = "instruments"
SLICES: Final = "slices"
REQUESTS: Final = "requests"
REPORTS: Final = "reports"
CONTROL: Final = "control"
AUDIT: Final = "audit"
TOKENS: Final = "tokens"
DEAD_LETTERS: Final = "dead-letters"

TOPIC_OF_TABLE: Final = {
    "signals": "signals",
    "verdicts": "verdicts",
    "orders": "orders",
    "executions": "executions",
    "positions": "positions",
    "equity": "equity",
    "dead_letters": DEAD_LETTERS,
}
"""The tables whose rows go to a topic, one message a row. Statistics and skill go to Kafka inside `slices` only."""

SYMBOL_TABLES: Final = frozenset({"signals", "dead_letters"})
"""Of these tables the key is a symbol, of the others it is an account."""

PARTITIONED: Final = frozenset({TICKS, SLICES, *TOPIC_OF_TABLE.values()})
"""Topics with `settings.partitions` partitions."""


def partitions_of(topic: str, settings: Settings) -> int:
    """How many partitions a topic (its name without prefix) has."""
    return settings.partitions if topic in PARTITIONED else 1


def shard_partition(shard: int, settings: Settings) -> int:
    """The partition of `ticks` and `slices` in which a shard stands."""
    return shard % settings.partitions


def row_partition(table: str, key: str, settings: Settings) -> int:
    """The partition in which the rows of a table and key stand, all of them."""
    if table in SYMBOL_TABLES:
        return shard_partition(shard_of(key, settings.shards), settings)
    return zlib.crc32(key.encode()) % settings.partitions
