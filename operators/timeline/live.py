"""What a running process shows about itself: plain numbers that connectors and flows put down and the health endpoint reads.

A `Live` nobody reads is inert: integers, floats and dicts, no thread, no server, no file. It is touched once a batch, never once a
tick, by sources, sinks and drivers only: nothing here reaches a stage or a hashed row. Ages are counted on the monotonic clock, so
a clock that is set does not move them. Whoever reads it from another thread copies a dict before going through it.

A partition is named by its number where it is a tick partition and by `topic/number` elsewhere; both are kept as text.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the histograms' buckets, in seconds; what is longer falls into a last bucket without bound."""

STARTING: Final = "starting"
OK: Final = "ok"
FAILING: Final = "failing"


class Histogram:
    """How long something took: counts by bucket, their number and their sum. `observe` costs under a microsecond."""

    __slots__ = ("bounds", "count", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.count = 0
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one duration; a bucket holds what is at most its bound."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.count += 1
        self.sum += seconds


class Component:
    """One thing a process needs from outside (a broker, a server, a disk): `starting` until it was reached, then `ok` or `failing`.

    `why` says in words what is wrong, without secrets; `since_s` is the monotonic time of the last change of status. That it begins to
    fail, and that it has recovered, is told to the log once each, however often it was tried in between.

    Several may need it (`who`): it is failing as long as one of them says so.
    """

    __slots__ = ("_failing", "_live", "_lock", "name", "since_s", "status", "why")

    def __init__(self, name: str, live: Live) -> None:
        self.name = name
        self.status = STARTING
        self.why = "not reached yet"
        self.since_s = live.now_s()
        self._live = live
        self._failing: dict[object, str] = {}
        self._lock = threading.Lock()

    def ok(self, who: object = None) -> None:
        """It answers. Cheap enough to be said after each batch."""
        if self.status is OK:
            return
        with self._lock:
            self._failing.pop(who, None)
            if self._failing:
                self.why = next(reversed(self._failing.values()))
            if self._failing or self.status is OK:
                return
            recovered, now_s = self.status is FAILING, self._live.now_s()
            after_s = now_s - self.since_s
            self.status, self.why, self.since_s = OK, "", now_s
        if recovered:
            self._live.tell("info", "recovered", component=self.name, after_s=round(after_s, 3))

    def failing(self, why: str, who: object = None) -> None:
        """It does not answer, or refuses; whoever says so goes on trying and says `ok()` when it is back."""
        with self._lock:
            self._failing[who] = why
            begins = self.status is not FAILING
            if begins:
                self.since_s = self._live.now_s()
            self.status, self.why = FAILING, why
        if begins:
            self._live.tell("warning", "failing", component=self.name, why=why)


def _unheard(_level: str, _event: str, **_fields: Any) -> None:
    """Nobody listens."""


class Live:
    """Counters, gauges and histograms of one process.

    | attribute | unit | meaning |
    | --- | --- | --- |
    | ticks, messages, bytes | - | taken in since the process began |
    | dead_letters | by reason | what could not be used and was set aside |
    | refusals | by rule | intents that risk refused |
    | rows | by table | rows handed to sinks |
    | quality | by symbol | the gate's quality score, 0 to 1, as of the last ten seconds of event time in which the symbol had a tick |
    | duplicates | - | records dropped because they were there already (a producer that began again, output sent anew) |
    | sequence_holes | - | records missing in a partition's stream |
    | restarts | - | how often this run was resumed from its recovery directory |
    | lag_messages | by partition | messages in the log that were not taken in yet |
    | event_ns | by partition, ns | largest event time taken in |
    | watermark | by partition, slice | everything before this slice has been sent on |
    | done_slice | slice | everything before this slice has left the last stage; None before the first |
    | newest_slice | slice | largest slice taken in; None before the first |
    | waiting_for | partitions | read to their end: nothing to read, which is no error |
    | heard_s | by partition, monotonic s | when something last arrived, or the end was first seen |
    | epoch_began_s | monotonic s | begin of the epoch under way; None before the first |
    | epoch_s | s | how long an epoch should last, as the process was told |
    | epochs | - | completed epochs (snapshots asked for) |
    | over | - | the flow has ended: nothing is read any more, what it leaves is being finished |
    | awaited | words | what of another process the last stage waits for though it has all else; None: nothing; asked by another thread |
    | spool_bytes, spool_limit_bytes | bytes | what waits on disk for a server that is away, and how much may |
    | run | - | the id of this start, which stands in each line of the log and of the topic `audit`; empty outside of a process |
    | tell | - | `tell(level, event, **fields)`: a line for the process's log (level `debug`, `info` or `warning`); by any thread |
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._epoch_teller: str | None = None
        self.began_s = clock()
        self.run = ""
        self.tell: Callable[..., None] = _unheard
        self.ticks = 0
        self.messages = 0
        self.bytes = 0
        self.duplicates = 0
        self.sequence_holes = 0
        self.restarts = 0
        self.dead_letters: dict[str, int] = {}
        self.refusals: dict[str, int] = {}
        self.rows: dict[str, int] = {}
        self.quality: dict[str, float] = {}
        self.lag_messages: dict[str, int] = {}
        self.event_ns: dict[str, int] = {}
        self.watermark: dict[str, int] = {}
        self.waiting_for: set[str] = set()
        self.heard_s: dict[str, float] = {}
        self.done_slice: int | None = None
        self.newest_slice: int | None = None
        self.epoch_began_s: float | None = None
        self.epoch_s = 0.0
        self.epochs = 0
        self.over = False
        self.awaited: Callable[[], str | None] = lambda: None
        self.spool_bytes = 0
        self.spool_limit_bytes = 0
        self.components: dict[str, Component] = {}
        self.transactions: dict[str, Histogram] = {}
        self.writes: dict[str, Histogram] = {}

    def arrived(self, partition: int | str, messages: int, ticks: int = 0, size_bytes: int = 0, event_ns: int | None = None) -> None:
        """A batch of a partition came in; `event_ns`: largest event time in it. The partition is not waiting any more."""
        name = str(partition)
        self.heard_s[name] = self._clock()
        self.messages += messages
        self.ticks += ticks
        self.bytes += size_bytes
        if event_ns is not None and event_ns > self.event_ns.get(name, event_ns - 1):
            self.event_ns[name] = event_ns
        self.waiting_for.discard(name)

    def waiting(self, partition: int | str) -> None:
        """A partition is read to its end."""
        name = str(partition)
        self.heard_s.setdefault(name, self._clock())
        self.lag_messages[name] = 0
        self.waiting_for.add(name)

    def lag(self, partition: int | str, messages: int) -> None:
        """So many messages of a partition are in the log and not taken in."""
        self.lag_messages[str(partition)] = messages

    def mark(self, partition: int | str, k: int) -> None:
        """Everything of a partition before slice k has been sent on."""
        self.watermark[str(partition)] = k
        if self.newest_slice is None or k > self.newest_slice:
            self.newest_slice = k

    def done(self, k: int) -> None:
        """Everything before slice k has left the last stage of this process."""
        self.done_slice = k

    def dead_letter(self, reason: str, n: int = 1) -> None:
        """`n` things were set aside as dead letters."""
        self.dead_letters[reason] = self.dead_letters.get(reason, 0) + n

    def refused(self, rule: str, n: int = 1) -> None:
        """Risk refused `n` intents by a rule."""
        self.refusals[rule] = self.refusals.get(rule, 0) + n

    def wrote(self, table: str, n: int) -> None:
        """`n` rows of a table were handed to a sink."""
        self.rows[table] = self.rows.get(table, 0) + n

    def epoch_began(self, step: str) -> None:
        """An epoch has ended and the next begins. Said by a source where it gives its snapshot: a sink is asked for one only in epochs in
        which something came to it. Of several sources, the first that says so is the one that counts.
        """
        if self._epoch_teller is None:
            self._epoch_teller = step
        if step != self._epoch_teller:
            return
        if self.epoch_began_s is not None:
            self.epochs += 1
        self.epoch_began_s = self._clock()

    def epochs_over(self) -> None:
        """The flow has ended: no epoch is under way, none follows, and no gauge of what it reads moves any more."""
        self.epoch_began_s = None
        self.over = True

    def transaction_s(self, sink: str) -> Histogram:
        """Durations of a sink's transactions, begin to commit; the same object at each call, to be kept by the sink."""
        return self.transactions.setdefault(sink, Histogram())

    def write_s(self, sink: str) -> Histogram:
        """Durations of a sink's writes (one call of write_batch, one request); the same object at each call."""
        return self.writes.setdefault(sink, Histogram())

    def component(self, name: str) -> Component:
        """What this process needs under a name; made, as `starting`, at the first call."""
        if name not in self.components:
            self.components[name] = Component(name, self)
        return self.components[name]

    def now_s(self) -> float:
        """The monotonic clock that ages are counted on, in seconds."""
        return self._clock()
