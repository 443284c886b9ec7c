"""Several topics as one Bytewax source with one part, so that all that a process reads keeps to the same epochs.

Bytewax counts epochs by part, on a clock that each part begins on its own, and lets a part read on in the next epoch only when all others
have ended the last one: with two sources the first to end its epoch stood still until the other's clock had come as far, each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream

from operators.sources.kafka.operator import KafkaPart, KafkaSource
from operators.sources.kafka.stream import Keyed
from operators.timeline.seal import sealed, unsealed
from schemas.errors import StateMismatchError

PART: Final = "kafka"
JOINED_VERSION: Final = 1

Named = tuple[str, Keyed]


class _JoinedPart(StatefulSourcePartition[Named, bytes]):
    def __init__(self, parts: Mapping[str, KafkaPart]) -> None:
        self._parts = dict(parts)
        self._running = dict(parts)
        self._awake: datetime | None = None

    def next_batch(self) -> list[Named]:
        out: list[Named] = []
        awake: list[datetime | None] = []
        for name, part in list(self._running.items()):
            try:
                out += [(name, item) for item in part.next_batch()]
            except StopIteration:
                del self._running[name]
            else:
                awake.append(part.next_awake())
        if not self._running and not out:
            raise StopIteration
        times = [at for at in awake if at is not None]
        self._awake = min(times) if not out and times and len(times) == len(awake) else None
        return out

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> bytes:
        return sealed({"version": JOINED_VERSION, "sources": {name: part.position() for name, part in self._parts.items()}})

    def close(self) -> None:
        for part in self._parts.values():
            part.close()


class JoinedSource(FixedPartitionedSource[Named, bytes]):
    """`sources` by name, read in turns by one part. Items: `(name of the source, its item)`; `from_source` takes them apart.

    It ends when all of them have ended.
    """

    version: Final = JOINED_VERSION

    def __init__(self, sources: Mapping[str, KafkaSource]) -> None:
        self.sources = dict(sources)

    def list_parts(self) -> list[str]:
        return [PART]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> Any:  # noqa: ARG002
        """Called once at the start, with the snapshot to resume from. Raises StateMismatchError where that is of other sources."""
        held: Mapping[str, Any] = {}
        if resume_state is not None:
            snapshot = unsealed(step_id, resume_state)
            held = snapshot.get("sources", {})
            if snapshot.get("version") != JOINED_VERSION or held.keys() != self.sources.keys():
                msg = (
                    f"step {step_id!r}: the store holds positions of {sorted(held)} (version {snapshot.get('version')!r}), this flow reads "
                    f"{sorted(self.sources)} (version {JOINED_VERSION}); finish the run with the release that began it"
                )
                raise StateMismatchError(msg)
        return _JoinedPart({name: source.part(f"{step_id}.{name}", held.get(name)) for name, source in self.sources.items()})


@operator
def from_source(step_id: str, up: KeyedStream[Keyed], name: str) -> KeyedStream[Any]:  # noqa: ARG001
    """The items of one of the sources that were joined."""
    return op.filter_map("named", up, lambda item: item[1] if item[0] == name else None)
