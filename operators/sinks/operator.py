"""The sink of the flow: rows into the ledger and the lake, as a Bytewax sink with one partition.

An epoch is complete only after `snapshot` has returned, and `snapshot` commits the lake first: so the recovery store never knows of
rows that the lake does not hold. The other way round the lake may be ahead, and leaves out what comes again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.sinks.lake import Lake
from operators.sinks.ledger import LEDGER_VERSION, Ledger
from operators.timeline.seal import sealed, unsealed
from schemas.tables import Rows

PARTITION: Final = "lake"

Value = Rows | tuple[Rows, ...] | list[Rows]


@dataclass
class Holder:
    """Where the driver finds the ledger and the lake of a run after it (and during it, for progress)."""

    ledger: Ledger | None = None
    lake: Lake | None = None


class RowsPart(StatefulSinkPartition[Value, bytes]):
    """The one partition. Without a lake it keeps the ledger only.

    There is no `close`: the last epoch's snapshot has committed everything, and Bytewax also calls `close` while an error is on
    its way, where a second one would abort the process.
    """

    def __init__(self, ledger: Ledger, lake: Lake | None) -> None:
        self._ledger = ledger
        self._lake = lake

    def write_batch(self, values: list[Value]) -> None:
        for value in values:
            for piece in (value,) if isinstance(value, Rows) else value:
                rows, digests = self._ledger.take(piece)
                if rows.a.size and self._lake is not None:
                    self._lake.write(rows, digests)

    def snapshot(self) -> bytes:
        """Everything before is durable when this returns."""
        if self._lake is not None:
            self._lake.flush()
        return sealed(self._ledger.snapshot())


class RowsSink(FixedPartitionedSink[Value, bytes]):
    """Takes `(key, Rows or several Rows)`. `lake_of` opens the lake in the worker that has the partition; None: no lake.

    `on_resume` is told how many rows the lake holds beyond the recovery point: they will come again and be left out.
    `version`: of the ledger's state, for the registry of steps.
    """

    version: Final = LEDGER_VERSION

    def __init__(
        self,
        ledger_of: Callable[[], Ledger],
        lake_of: Callable[[], Lake] | None,
        holder: Holder,
        on_resume: Callable[[int], None] = lambda _rows: None,
    ) -> None:
        self._ledger_of = ledger_of
        self._lake_of = lake_of
        self._holder = holder
        self._on_resume = on_resume

    def list_parts(self) -> list[str]:
        return [PARTITION]

    def part_fn(self, item_key: str) -> int:  # noqa: ARG002
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> RowsPart:  # noqa: ARG002
        ledger = self._ledger_of()
        lake = None if self._lake_of is None else self._lake_of()
        if resume_state is not None:
            ledger.restore(unsealed(step_id, resume_state))
            if lake is not None:
                counts = ledger.counts()
                lake.require(counts)
                held = sum(last + 1 for token in lake.tokens().values() for last in token.values())
                self._on_resume(held - sum(counts.values()))
        self._holder.ledger, self._holder.lake = ledger, lake
        return RowsPart(ledger, lake)
