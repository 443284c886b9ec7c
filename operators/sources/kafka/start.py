"""Where a flow that reads a topic for the first time begins: the earliest message, the latest, an offset, a time, or where it was.

The end of a log moves. So a run that begins there notes where that was before it reads: killed before its first recovery point, it begins
at the same place again, and nothing that came meanwhile is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from operators.sources.kafka.client import bounds
from operators.sources.kafka.stream import Message
from operators.timeline.broker import lacking
from schemas.durable import write_whole
from schemas.errors import LakeError, UsageError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BY_PARTITION: Final = re.compile(r"\d+:\d+(,\d+:\d+)*")

NOTE: Final = "begin.json"
"""File of a run folder that says where a run began that was told to begin at the end of the log."""

TimeOf = Callable[[Message], int | None]
"""The latest event time that a message speaks of, ns UTC; None where it says none."""


@dataclass(frozen=True)
class Start:
    """Where to begin. `resume`: where the flow was, the earliest message where it has not been anywhere.

    `offset`: of every partition, or by partition where `offsets` has it; `ts_ns`: the first message that reaches this event time.
    `note`: the file in which `latest` says what it found, None where nothing is kept.
    """

    kind: Literal["resume", "earliest", "latest", "offset", "time"] = "resume"
    offset: int = 0
    offsets: Mapping[int, int] | None = None
    ts_ns: int = 0
    note: Path | None = None

    @classmethod
    def parsed(cls, text: str) -> Start:
        """`earliest`, `latest`, `resume`, an offset, `0:1200,1:1340` (offsets by partition) or an ISO time. UsageError for others."""
        if text in ("resume", "earliest", "latest"):
            return cls(text)  # type: ignore[arg-type]
        if text.isdecimal():
            return cls("offset", int(text))
        if _BY_PARTITION.fullmatch(text):
            pairs = (pair.split(":") for pair in text.split(","))
            return cls("offset", offsets={int(p): int(o) for p, o in pairs})
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as e:
            msg = f"--start {text!r}: expected earliest, latest, resume, an offset, 0:1200,1:1340 or an ISO time as 2013-10-07T14:00:00Z"
            raise UsageError(msg) from e
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return cls("time", ts_ns=(moment - _EPOCH) // timedelta(microseconds=1) * 1000)

    def noted_in(self, run: Path) -> Start:
        """The same for a run in a folder, which keeps what `latest` means for it."""
        return replace(self, note=run / NOTE)

    def offsets_in(
        self, client: Consumer, topic: str, partitions: Sequence[int], time_of: TimeOf | None, timeout_s: float
    ) -> dict[int, int]:
        """The first offset to read of each partition, as the log stands now, or stood when this run asked first for its end.

        KafkaException where the broker does not answer, LakeError where the note cannot be written or read.
        """
        noted = self._noted(topic, partitions)
        if noted is not None:
            return noted
        out = self._found(client, topic, partitions, time_of, timeout_s)
        if self.kind == "latest" and self.note is not None:
            content = json.dumps({"topic": topic, "offsets": {str(p): o for p, o in out.items()}}).encode()
            try:
                self.note.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self.note, content)
            except OSError as e:
                msg = f"{self.note} cannot be written: {e.strerror}; mend that, then start again: nothing was read yet"
                raise LakeError(msg) from e
        return out

    def _noted(self, topic: str, partitions: Sequence[int]) -> dict[int, int] | None:
        """What an earlier start of this run found, None where it has not come so far."""
        if self.kind != "latest" or self.note is None or not self.note.exists():
            return None
        try:
            told = json.loads(self.note.read_bytes())
            offsets = {int(p): int(o) for p, o in told["offsets"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            msg = f"{self.note} does not say where this run began ({e}); start over with --fresh"
            raise LakeError(msg) from e
        if told.get("topic") != topic or sorted(offsets) != sorted(partitions):
            msg = (
                f"{self.note} says that this run began in partitions {sorted(offsets)} of {told.get('topic')}, now it is to read "
                f"{sorted(partitions)} of {topic}; start over with --fresh"
            )
            raise LakeError(msg)
        return offsets

    def _found(self, client: Consumer, topic: str, partitions: Sequence[int], time_of: TimeOf | None, timeout_s: float) -> dict[int, int]:
        out = {}
        for p in partitions:
            low, high = bounds(client, topic, p, timeout_s)
            if self.kind == "latest":
                out[p] = high
            elif self.kind == "offset":
                out[p] = self._named(p)
            elif self.kind == "time":
                if time_of is None:
                    msg = f"--start with a time: the messages of {topic} have no event time; give an offset"
                    raise UsageError(msg)
                out[p] = _first_at(client, topic, p, low, high, self.ts_ns, time_of, timeout_s)
            else:
                out[p] = low
        return out

    def _named(self, partition: int) -> int:
        if self.offsets is None:
            return self.offset
        if partition not in self.offsets:
            msg = f"--start names offsets of the partitions {sorted(self.offsets)}, but not of {partition}"
            raise UsageError(msg)
        return self.offsets[partition]


def _first_at(client: Consumer, topic: str, partition: int, low: int, high: int, ts_ns: int, time_of: TimeOf, timeout_s: float) -> int:
    """Offset of the first message of a partition that reaches `ts_ns`, `high` where none does: by halving, as times grow with offsets.

    Event times, not the broker's: a recorded tape that is produced today is looked for by its own times.
    """
    while low < high:
        middle = (low + high) // 2
        at, time = _time_from(client, topic, partition, middle, high, time_of, timeout_s)
        if time is None or time >= ts_ns:
            high = middle
        else:
            low = at + 1
    return low


def _time_from(
    client: Consumer, topic: str, partition: int, offset: int, high: int, time_of: TimeOf, timeout_s: float
) -> tuple[int, int | None]:
    """Offset and time of the first message from `offset` on that says a time; (high, None) where none does."""
    client.assign([TopicPartition(topic, partition, offset)])
    try:
        while True:
            m: Any = client.poll(timeout_s)
            if m is None:
                text = f"{topic}/{partition} was not read within {timeout_s:g} s"
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, text))
            if m.error() is not None:
                if m.error().code() != KafkaError._PARTITION_EOF:
                    raise lacking(m.error(), "READ", topic)
                return high, None
            if m.offset() >= high:
                return high, None
            time = time_of(m)
            if time is not None:
                return m.offset(), time
    finally:
        client.unassign()
