"""Records the topic `ticks` of a deployment to a tape that `replay` reads back to the same hash.

The ticks of all partitions are merged in the tape's order, (ts_ns, symbol, seq), as far as every partition has come, and written by the
tape's writer: what is cut short is never a tape, the next attempt starts over. Messages that cannot be read stand in `poison.jsonl` beside
the ticks. A stream that a tape cannot hold (a symbol's numbers with holes, times that go back or were refused) ends the recording with the
tick: the log still has it all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from operators.sources.kafka import Start, Taken, TickFeed, TopicLog, carried_by, published
from operators.sources.tape import Manifest, TapeWriter
from operators.sources.tape.disk import writing
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.errors import TapeError
from schemas.instruments import InstrumentList
from schemas.settings import Settings
from schemas.ticks import FLAG_TIME_REFUSED, Ticks, rows_at, rows_joined
from schemas.topics import TICKS

POISON: Final = "poison.jsonl"
_TAKE_BYTES: Final = 8 << 20
_HELD_ROWS: Final = 1 << 20
"""Ticks of a partition that may wait for the others; then it is not read on until they have come as far."""
_PAUSE_S: Final = 0.002
_NOTHING: Final = -(2**63)


@dataclass(frozen=True)
class Recorded:
    """The tape that was made: its manifest, and how many messages could not be read."""

    out: Path
    manifest: Manifest
    poison: int


def record(
    settings: Settings,
    out: Path,
    until_end: bool,
    drain: Drain,
    overwrite: bool = False,
    live: Live | None = None,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Recorded | None:
    """Records from the earliest message to the end of the stream, or until a drain is asked.

    `until_end`: only the whole stream makes a tape, a drain leaves none (None is returned). Otherwise a drain ends the tape at the time
    that every partition has reached. `on_rows` is told the ticks on the tape so far.

    Raises TopicError and BrokerError as a flow that reads the topic does, RefusedError where `out` is taken, TapeError where the stream
    holds a tick that a tape cannot.
    """
    live = Live() if live is None else live
    instruments = published(settings, drain, live)
    partitions = range(settings.partitions)
    log = TopicLog(settings.kafka, f"{settings.deployment}.record", TICKS, tuple(partitions), settings.partitions, live)
    origin: dict[str, Any] = {"recorded": {"deployment": settings.deployment, "topic": settings.kafka.topic(TICKS)}}
    with TapeWriter(out, instruments, settings.partitions, settings.shards, origin, overwrite) as tape:
        with writing(out):
            poison = (tape.folder / POISON).open("wb")
        with poison:
            recording = _Recording(settings, instruments, log, tape, poison, live, on_rows)
            try:
                whole = recording.run(drain)
            finally:
                log.close()
        if not whole and until_end:
            tape.abort()
            return None
        tape.origin["recorded"] |= {"from": recording.first_offsets, "before": recording.offsets, "end": whole}
        return Recorded(out, tape.close(), recording.poisoned)


class _Recording:
    """One pass over the log: what each partition has given and the tape has not taken yet."""

    def __init__(
        self,
        settings: Settings,
        instruments: InstrumentList,
        log: TopicLog,
        tape: TapeWriter,
        poison: IO[bytes],
        live: Live,
        on_rows: Callable[[int], None],
    ) -> None:
        self.poisoned = 0
        self.first_offsets: dict[str, int] = {}
        self._log = log
        self._tape = tape
        self._file = poison
        self._live = live
        self._on_rows = on_rows
        self._topic = settings.kafka.topic(TICKS)
        self._feeds = {p: TickFeed(TICKS, settings.time_guard, carried_by(instruments, settings, p)) for p in log.partitions}
        self._held: dict[int, list[Ticks]] = {p: [] for p in log.partitions}
        self._reached = dict.fromkeys(log.partitions, _NOTHING)

    @property
    def offsets(self) -> dict[str, int]:
        """The offset after what was taken, by partition."""
        return {str(p): self._log.position(p) for p in self._feeds} if self._log.connected or self.first_offsets else {}

    def run(self, drain: Drain) -> bool:
        """Reads and writes until the stream ends (True) or a drain is asked."""
        while not drain.asked and not self._log.connected:
            if not self._log.connect(lambda client, s: Start("earliest").offsets_in(client, self._topic, self._log.partitions, None, s)):
                time.sleep(_PAUSE_S)
        if self._log.connected:
            self.first_offsets = self.offsets
        while not drain.asked and not all(f.ended for f in self._feeds.values()):
            self._log.read()
            arrived = [p for p in self._feeds if self._take(p)]
            self._write()
            if not arrived:
                time.sleep(_PAUSE_S)
        return all(f.ended for f in self._feeds.values())

    def _take(self, p: int) -> bool:
        """Takes what has arrived of a partition, unless it is far ahead of the others; returns whether there was anything."""
        feed = self._feeds[p]
        if feed.ended or not self._log.waiting(p) or sum(map(len, self._held[p])) > _HELD_ROWS:
            return False
        messages = self._log.take(p, _TAKE_BYTES)
        taken = feed.take(messages)
        with writing(self._tape.path):
            for poison in taken.poison:
                self._file.write(poison.json() + b"\n")
        self.poisoned += len(taken.poison)
        self._check(p, taken)
        if taken.ticks.size:
            self._held[p].append(taken.ticks)
        if taken.times.size:
            self._reached[p] = max(self._reached[p], int(taken.times.max()))
        if feed.ended:
            self._reached[p] = 2**63 - 1
            self._log.stop(p)
        self._live.arrived(p, len(messages), taken.ticks.size, sum(map(len, messages)), self._reached[p] if not feed.ended else None)
        return True

    def _check(self, p: int, taken: Taken) -> None:
        refused = np.flatnonzero(taken.ticks["flags"] & FLAG_TIME_REFUSED)
        if not refused.size and not taken.missing:
            return
        if taken.missing:
            what = f"{taken.missing} records are missing before sequence {taken.sequence + taken.ticks.size}"
        else:
            what = f"record {taken.sequence + int(refused[0])} has a time that cannot be true, {taken.ticks['ts_ns'][refused[0]]} ns"
        msg = (
            f"topic {self._topic}, partition {p}: {what}; a tape cannot hold that, so none was made. The log still has it: run a flow on it"
        )
        raise TapeError(msg)

    def _write(self) -> None:
        """Writes what every partition has passed: ticks before the smallest time that one has reached."""
        before_ns = min(self._reached.values())
        parts = []
        for p, held in self._held.items():
            if not held:
                continue
            joined = held[0] if len(held) == 1 else rows_joined(held)
            n = joined.size if before_ns == 2**63 - 1 else int(np.searchsorted(joined["ts_ns"], before_ns))
            if n:
                parts.append(joined[:n])
            self._held[p] = [joined[n:]] if n < joined.size else []
        if parts:
            ticks = rows_joined(parts)
            self._tape.append(rows_at(ticks, np.lexsort((ticks["seq"], ticks["symbol"], ticks["ts_ns"]))))
            self._on_rows(self._tape.rows)
