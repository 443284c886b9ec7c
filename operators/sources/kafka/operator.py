"""A topic as a Bytewax source: one part that multiplexes a static list of partitions, with drain, credit, outages and exact snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import BranchOut, KeyedStream

from operators.sources.kafka.log import TopicLog
from operators.sources.kafka.position import fitting, partitions_in, position
from operators.sources.kafka.start import Start
from operators.sources.kafka.stream import Keyed, Stream
from operators.timeline.control import Credit, Drain, Meters
from operators.timeline.live import Live
from operators.timeline.seal import sealed, unsealed
from schemas.poison import Poison
from schemas.settings import Settings
from schemas.ticks import TICK_V1, TickBatch
from schemas.topics import TICKS, partitions_of

PART: Final = "kafka"
BATCH_TICKS: Final = 65_536
"""Packed ticks of a partition that are handed on at once at most; live, what has arrived is."""
_SOON: Final = timedelta(milliseconds=1)
_AWAY: Final = timedelta(milliseconds=50)


class KafkaPart(StatefulSourcePartition[Keyed, bytes]):
    """The only part of a source."""

    def __init__(self, source: KafkaSource, resume: dict[int, dict[str, Any]] | None) -> None:
        s = self._source = source
        self._stream = s.stream
        self._offsets = None if resume is None else self._stream.restore(resume)
        self._untouched = resume
        self._log = TopicLog(
            s.settings.kafka,
            s.name,
            self._stream.topic,
            self._stream.partitions,
            partitions_of(self._stream.topic, s.settings),
            s.live,
            {p: s.shown_as(p) for p in self._stream.partitions},
        )
        self._meter = s.meters.new(s.step)
        self._placed = False
        self._ends: dict[int, int] | None = None
        self._turn = 0
        self._awake: datetime | None = None

    def next_batch(self) -> list[Keyed]:
        s, stream, log = self._source, self._stream, self._log
        self._awake = None
        if s.drain.asked or (stream.finished and self._read_out()):
            s.finished = stream.finished
            raise StopIteration
        if not log.connected and not self._connected():
            self._awake = datetime.now(UTC) + _AWAY
            return []
        log.read()
        out: list[Keyed] = []
        held_back = False
        with self._meter.measure(0):
            for p in self._in_turn():
                if not log.waiting(p):
                    continue
                over = stream.ended(p)
                first = None if over else stream.slice_of(p)
                if first is not None and not s.credit.may_send(p, first):
                    held_back = True
                    continue
                items = stream.decode(p, log.take(p, s.batch_bytes))
                self._count(items)
                reached = stream.slice_of(p)
                if reached is not None and reached >= 0 and any(_is_sound(item) for item in items):
                    s.credit.sent(p, reached)
                out += items
                if not over and stream.ended(p):
                    log.over(p)
            out += stream.settled()
        if not out and held_back:
            self._awake = datetime.now(UTC) + _SOON
        return out

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> bytes:
        return sealed(self.position())

    def position(self) -> dict[str, Any]:
        """By partition where it is; before the broker was reached the first time, what was resumed from or nothing at all."""
        stream, log = self._stream, self._log
        self._source.live.epoch_began(self._source.step)
        if not self._placed:
            return position(stream.topic, stream.version, self._untouched or {})
        states = stream.snapshot({p: log.position(p) for p in stream.partitions})
        return position(stream.topic, stream.version, states)

    def close(self) -> None:
        self._log.close()

    def _connected(self) -> bool:
        s, stream = self._source, self._stream

        def first_offsets(client: Any, timeout_s: float) -> dict[int, int]:
            if self._offsets is not None:
                return self._offsets
            topic = s.settings.kafka.topic(stream.topic)
            return s.start.offsets_in(client, topic, stream.partitions, stream.time_of, timeout_s)

        if not self._log.connect(first_offsets):
            return False
        self._placed = True
        for p in stream.partitions:
            if stream.ended(p):
                self._log.over(p)
        return True

    def _read_out(self) -> bool:
        """Whether what the log held behind the partitions' ends, when the last of them was read, has been read too."""
        log, stream = self._log, self._stream
        if not log.connected:
            return True
        if self._ends is None:
            self._ends = {p: log.end(p) for p in stream.partitions if stream.ended(p)}
        return all(log.position(p) >= end for p, end in self._ends.items())

    def _in_turn(self) -> tuple[int, ...]:
        """The partitions, beginning with another each time."""
        partitions = self._stream.partitions
        self._turn = (self._turn + 1) % len(partitions)
        return partitions[self._turn :] + partitions[: self._turn]

    def _count(self, items: list[Keyed]) -> None:
        s = self._source
        ticks = sum(v.ticks.size for _, v in items if isinstance(v, TickBatch))
        self._meter.items += ticks or len(items)
        s.ticks_this_attempt += ticks


class KafkaSource(FixedPartitionedSource[Keyed, bytes]):
    """The partitions of a stream, read by one part: sources on several workers starve each other (Bytewax pull request 556).

    `name`: who reads, for the broker's logs (deployment and flow). `start`: where
    a new run begins; one that has a snapshot goes on from there whatever `start` says. After the run `finished` says whether the
    stream came to its end, `ticks_this_attempt` how many ticks were handed on.
    """

    def __init__(
        self,
        step: str,
        settings: Settings,
        name: str,
        stream: Stream,
        drain: Drain,
        credit: Credit,
        meters: Meters,
        live: Live | None = None,
        start: Start | None = None,
        batch_ticks: int = BATCH_TICKS,
    ) -> None:
        self.step = step
        self.settings = settings
        self.name = name
        self.stream = stream
        self.drain = drain
        self.credit = credit
        self.meters = meters
        self.live = Live() if live is None else live
        self.start = Start() if start is None else start
        self.batch_bytes = batch_ticks * TICK_V1.itemsize
        self.ticks_this_attempt = 0
        self.finished = False

    def shown_as(self, partition: int) -> str:
        """How a partition is named in `live`: by its number in the topic of ticks, else with its topic."""
        return str(partition) if self.stream.topic == TICKS else f"{self.stream.topic}/{partition}"

    def list_parts(self) -> list[str]:
        return [PART]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> KafkaPart:  # noqa: ARG002
        """Called once at the start, with the snapshot to resume from. Does not wait for the broker."""
        return self.part(step_id, None if resume_state is None else unsealed(step_id, resume_state))

    def part(self, step_id: str, snapshot: Mapping[str, Any] | None) -> KafkaPart:
        """A part that begins anew or goes on from a snapshot. StateMismatchError where that does not fit."""
        resume = None
        if snapshot is not None and partitions_in(snapshot):
            resume = fitting(step_id, snapshot, self.stream.topic, self.stream.version, self.stream.owned)
        return KafkaPart(self, resume)


@operator
def poison_apart(step_id: str, up: KeyedStream[Any]) -> BranchOut[Keyed, Keyed]:  # noqa: ARG001
    """Parts what a Kafka source gives: `trues` are the stream's items, `falses` the poison, both keyed."""
    return op.branch("sound", up, _is_sound)


@operator
def leads_apart(step_id: str, up: KeyedStream[Any]) -> BranchOut[Keyed, Keyed]:  # noqa: ARG001
    """Parts what a source of ticks with leaders gives: `trues` are the leaders' ticks and marks with the partition that they are for,
    `falses` the process's own."""
    return op.branch("leads", up, _is_lead)


def _is_lead(item: Keyed) -> bool:
    return isinstance(item[1], tuple)


def _is_sound(item: Keyed) -> bool:
    return not isinstance(item[1], Poison)
