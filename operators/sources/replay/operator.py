"""The tape as a Bytewax source: one part that multiplexes all partitions, with drain, credit and speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from operators.sources.replay.cursor import Message, Position, TapeCursor
from operators.timeline.control import Credit, Drain, Meters
from operators.timeline.seal import sealed, unsealed
from schemas.errors import StateMismatchError
from schemas.ticks import TickBatch, shard_key

PART = "tape"
_BLOCKED = timedelta(milliseconds=1)


class _TapePart(StatefulSourcePartition[tuple[str, Message], bytes]):
    def __init__(self, source: TapeSource, resume: dict[str, Any] | None) -> None:
        self._source = source
        self._position = source.cursor.start() if resume is None else Position.restored(resume)
        self._first_rows = source.cursor.rows_read(self._position)
        source.on_start(self._first_rows, max(self._position.running))
        source.finished = self._position.finished
        self._meter = source.meters.new(source.step)
        self._awake: datetime | None = None
        self._began: tuple[float, int] | None = None

    def next_batch(self) -> list[tuple[str, Message]]:
        s = self._source
        self._awake = None
        if s.drain.asked:
            raise StopIteration
        first = s.cursor.first_slice(self._position)
        if first is None and self._position.finished:
            raise StopIteration
        if first is not None and not self._may_send(first):
            return []
        with self._meter.measure(0):
            before = s.cursor.rows_read(self._position)
            self._position, messages = s.cursor.next(self._position, s.batch_ticks)
            rows = s.cursor.rows_read(self._position)
        self._meter.items += rows - before
        s.on_rows(rows)
        s.rows_this_attempt = rows - self._first_rows
        s.finished = self._position.finished
        last = max((int(m.slices[-1]) for m in messages if isinstance(m, TickBatch)), default=None)
        if last is not None:
            s.credit.sent(0, last)
        return [(shard_key(m.shard), m) for m in messages]

    def _may_send(self, first: int) -> bool:
        s = self._source
        if not s.credit.may_send(0, first):
            self._awake = datetime.now(UTC) + _BLOCKED
            return False
        if s.speed is not None:
            now = time.monotonic()
            if self._began is None:
                self._began = (now, first)
            due = self._began[0] + (first - self._began[1]) * s.slice_ns / 1e9 / s.speed
            if due > now:
                self._awake = datetime.now(UTC) + timedelta(seconds=min(due - now, 0.2))
                return False
        return True

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> bytes:
        return sealed(self._position.snapshot())


class TapeSource(FixedPartitionedSource[tuple[str, Message], bytes]):
    """A tape, from a cursor. `speed`: multiple of real time, None for as fast as possible; `on_rows` is told the rows read so far,
    `on_start` the rows and the slice from which this attempt goes on.
    """

    def __init__(
        self,
        step: str,
        cursor: TapeCursor,
        batch_ticks: int,
        slice_ns: int,
        drain: Drain,
        credit: Credit,
        meters: Meters,
        speed: float | None = None,
        on_rows: Callable[[int], None] = lambda _: None,
        on_start: Callable[[int, int], None] = lambda _rows, _slice: None,
    ) -> None:
        self.step = step
        self.cursor = cursor
        self.batch_ticks = batch_ticks
        self.slice_ns = slice_ns
        self.drain = drain
        self.credit = credit
        self.meters = meters
        self.speed = speed
        self.on_rows = on_rows
        self.on_start = on_start
        self.rows_this_attempt = 0
        self.finished = False

    def list_parts(self) -> list[str]:
        """One part: sources on several workers starve each other (Bytewax pull request 556)."""
        return [PART]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> _TapePart:
        """Called once at the start, with the snapshot to resume from."""
        position = None if resume_state is None else unsealed(step_id, resume_state)
        if position is not None and position["version"] != Position.VERSION:
            msg = f"step {step_id!r}, part {for_part!r}: position version {position['version']}, this code knows {Position.VERSION}"
            raise StateMismatchError(msg)
        return _TapePart(self, position)
