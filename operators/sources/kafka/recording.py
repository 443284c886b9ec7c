"""The topic `ticks` as it is recorded: each partition's ticks in their order, checked to be such that a tape can hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from operators.sources.kafka.feed import Taken, TickFeed
from operators.sources.kafka.stream import Keyed, Message, State, keyed
from operators.sources.kafka.ticks import carried_by
from operators.timeline.live import Live
from operators.timeline.sparing import SparingPoison
from schemas.errors import TapeError
from schemas.instruments import InstrumentList
from schemas.recorded import ALWAYS_NS, NEVER_NS, RecordedTicks
from schemas.settings import Settings
from schemas.ticks import FLAG_TIME_REFUSED
from schemas.topics import TICKS


class RecordingStream:
    """RecordedTicks of all partitions, keyed by partition, and poison, keyed by its place. `on_rows` is told the ticks read so far.

    A tape holds each symbol's ticks from number 0 without gaps and in order of time: a hole, a beginning that is deleted, a time that goes
    back or was refused raise TapeError, which names the place.
    """

    topic = TICKS
    version = TickFeed.VERSION

    def __init__(self, settings: Settings, instruments: InstrumentList, live: Live, on_rows: Callable[[int], None]) -> None:
        self.partitions = self.owned = tuple(range(settings.partitions))
        self._name = settings.kafka.topic(TICKS)
        self._slice_ns = settings.slice_ns
        self._live = live
        self._poisoned = SparingPoison(live)
        self._on_rows = on_rows
        self._rows = 0
        self._feeds = {p: TickFeed(TICKS, settings.time_guard, carried_by(instruments, settings, p)) for p in self.partitions}
        self._reached = dict.fromkeys(self.partitions, NEVER_NS)
        self._begun = dict.fromkeys(self.partitions, False)

    @property
    def finished(self) -> bool:
        return all(feed.ended for feed in self._feeds.values())

    def decode(self, partition: int, messages: Sequence[Message]) -> list[Keyed]:
        """Poison, then the ticks. Raises TapeError where a tape cannot hold them."""
        feed = self._feeds[partition]
        taken = feed.take(messages)
        self._check(partition, taken)
        believed = taken.times[taken.refused == 0]
        self._reached[partition] = int(believed.max(initial=self._reached[partition]))
        if feed.ended:
            self._reached[partition] = ALWAYS_NS
        self._show(partition, messages, taken)
        offsets = (messages[0].offset(), messages[-1].offset() + 1)
        piece = RecordedTicks(partition, taken.ticks, self._reached[partition], offsets)
        return [*(keyed(p) for p in taken.poison), (f"p{partition}", piece)]

    def settled(self) -> list[Keyed]:
        return []

    def ended(self, partition: int) -> bool:
        return self._feeds[partition].ended

    def slice_of(self, _partition: int) -> int | None:
        """None: what is read is written at once, nothing waits in between."""
        return None

    def time_of(self, message: Message) -> int | None:
        return self._feeds[self.partitions[0]].time_of(message)

    def snapshot(self, offsets: Mapping[int, int]) -> dict[int, State]:
        self._poisoned.due()
        return {p: {**feed.snapshot(offsets[p]), "reached": self._reached[p], "begun": self._begun[p]} for p, feed in self._feeds.items()}

    def restore(self, states: Mapping[int, State]) -> dict[int, int]:
        for p, state in states.items():
            self._feeds[p].restore(state)
            self._reached[p], self._begun[p] = state["reached"], bool(state["begun"])
        return {p: int(state["offset"]) for p, state in states.items()}

    def _check(self, partition: int, taken: Taken) -> None:
        ticks = taken.ticks
        times = ticks["ts_ns"]
        refused = np.flatnonzero(ticks["flags"] & FLAG_TIME_REFUSED)
        before = np.concatenate([[self._reached[partition]], times[:-1]]) if ticks.size else times
        back = np.flatnonzero(times < before)
        what = ""
        if taken.missing:
            what = f"{taken.missing} records are missing before sequence {taken.sequence + ticks.size}"
        elif ticks.size and not self._begun[partition] and taken.sequence:
            what = f"the stream begins with record {taken.sequence}, what was before is deleted"
        elif refused.size:
            what = f"record {taken.sequence + int(refused[0])} has a time that cannot be true, {times[refused[0]]} ns"
        elif back.size:
            what = f"record {taken.sequence + int(back[0])} has a time before that of its predecessor, {times[back[0]]} ns"
        if what:
            msg = f"topic {self._name}, partition {partition}: {what}; a tape cannot hold that. The log still has it: run a flow on it"
            raise TapeError(msg)
        self._begun[partition] = self._begun[partition] or bool(ticks.size)

    def _show(self, partition: int, messages: Sequence[Message], taken: Taken) -> None:
        reached = self._reached[partition]
        told = reached if reached not in (NEVER_NS, ALWAYS_NS) else None
        self._live.arrived(partition, len(messages), taken.ticks.size, sum(map(len, messages)), told)
        self._live.duplicates += taken.duplicates
        for poison in taken.poison:
            self._live.dead_letter(poison.reason)
            self._poisoned.add(poison)
        smallest = min(self._reached.values())
        if told is not None:
            self._live.mark(partition, told // self._slice_ns)
        if smallest not in (NEVER_NS, ALWAYS_NS):
            self._live.done(smallest // self._slice_ns)
        if taken.ticks.size:
            self._rows += taken.ticks.size
            self._on_rows(self._rows)
