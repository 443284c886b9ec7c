"""The ticks of leading symbols, read once more for the followers in each partition, so that no partition's state needs another's.

A process of some partitions needs the paths of leaders that stand in partitions of other processes. Read here, on their behalf, from
positions of their own, they follow their followers when partitions move to another process.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from operators.sources.kafka.operator import KafkaSource
from operators.sources.kafka.stream import Keyed
from schemas.poison import Poison
from schemas.ticks import shard_key


class _LeadPart(StatefulSourcePartition[Keyed, bytes]):
    """What a source reads, on behalf of the followers in partition `partition`."""

    def __init__(self, partition: int, inner: StatefulSourcePartition[Keyed, bytes]) -> None:
        self._partition = partition
        self._inner = inner

    def next_batch(self) -> list[Keyed]:
        p = self._partition
        return [(f"p{p}.{shard_key(v.shard)}", (p, v)) for _, v in self._inner.next_batch() if not isinstance(v, Poison)]

    def next_awake(self) -> datetime | None:
        return self._inner.next_awake()

    def snapshot(self) -> bytes:
        return self._inner.snapshot()

    def close(self) -> None:
        self._inner.close()


class LeadSource(FixedPartitionedSource[Keyed, bytes]):
    """One part for each partition that has followers, `p3`, with a source of its own. Items: `(lead key, (partition, ticks or mark))`.

    `sources`: by partition, over the partitions of the topic that hold the leaders. Poison is left to whoever owns those partitions.
    """

    def __init__(self, sources: Mapping[int, KafkaSource]) -> None:
        self.sources = dict(sources)

    def list_parts(self) -> list[str]:
        return [f"p{p}" for p in sorted(self.sources)]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> Any:
        """Called once for each part at the start, with the snapshot to resume from."""
        p = int(for_part.removeprefix("p"))
        return _LeadPart(p, self.sources[p].build_part(step_id, for_part, resume_state))
