"""The sink of the flow: rows and what shards say, as points in InfluxDB, through a spool on disk.

An epoch is complete only after `snapshot` has returned, and `snapshot` forces the spool to the disk first: so everything before a
recovery point is in the server, or on the disk and on its way. What comes again after a crash has the same times and values: it
rewrites points, it makes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.sinks.influx.writer import Value, Writer
from operators.timeline.seal import sealed, unsealed

VERSION: Final = 1
PARTITION: Final = "influx"


@dataclass
class InfluxHolder:
    """Where the driver finds the writer of a flow, during it and after it: `holder.writer.finish(...)` waits for what is on its way."""

    writer: Writer | None = None


class InfluxPart(StatefulSinkPartition[Value, bytes]):
    """The one partition. There is no `close`: what waits in the spool goes on being sent until the driver stops the writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write_batch(self, values: list[Value]) -> None:
        for value in values:
            self._writer.write(value)
        self._writer.pass_on()

    def snapshot(self) -> bytes:
        """Everything before is in the server or durable on the disk when this returns."""
        return sealed({"version": VERSION, **self._writer.secured()})


class InfluxSink(FixedPartitionedSink[Value, bytes]):
    """Takes `(key, Rows | several Rows | SliceOut)`: rows of the account's stream, and the shards' SliceOut, of which only quotes and
    statistics are used. `writer_of(needed)` opens the writer in the worker that has the partition; `needed`: see Spool.

    `version`: of the sink's state, for the registry of steps.
    """

    version: Final = VERSION

    def __init__(self, writer_of: Callable[[int], Writer], holder: InfluxHolder) -> None:
        self._writer_of = writer_of
        self._holder = holder

    def list_parts(self) -> list[str]:
        return [PARTITION]

    def part_fn(self, item_key: str) -> int:  # noqa: ARG002
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> InfluxPart:  # noqa: ARG002
        state: Mapping[str, Any] | None = None if resume_state is None else unsealed(step_id, resume_state)
        writer = self._writer_of(0 if state is None else int(state["needed"]))
        if state is not None:
            writer.restore(state)
        self._holder.writer = writer
        return InfluxPart(writer)
