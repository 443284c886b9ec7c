"""The writer: makes lines of what the flow says, and puts them into the spool, from which the courier sends them."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from operators.sinks.influx.client import InfluxClient
from operators.sinks.influx.courier import Courier
from operators.sinks.influx.dead_letters import DeadLetterFile
from operators.sinks.influx.lines import Lines, cut
from operators.sinks.influx.points import RowPoints
from operators.sinks.influx.seconds import SecondPoints
from operators.sinks.influx.spool import NoRoomError, Spool
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.errors import DrainedError
from schemas.instruments import InstrumentList
from schemas.ranges import SliceOut
from schemas.refused_point import RefusedPoint
from schemas.settings import Settings
from schemas.tables import Rows

RECORD_LINES: Final = 1000
"""Lines in a record: what a changed bit on the disk can cost at most."""
LOOK_S: Final = 0.2
LOG: Final = logging.getLogger(__name__)
DEAD_LETTERS: Final = "dead-letters.jsonl"
SPOOL_COMPONENT: Final = "influx-spool"

Value = Rows | tuple[Rows, ...] | list[Rows] | SliceOut


class Writer:
    """Points of one flow into one bucket. `dropped`: lines that were dropped because the spool was full and the settings say so.

    `spool`: its folder; `bucket`: None takes the settings'; `neurons`: of each area, for one symbol; `codebook`: names of the flow's codes;
    `drain`: looked at while the flow waits for room. Raises RefusedError, InfluxError: see Spool.
    """

    def __init__(
        self,
        settings: Settings,
        instruments: InstrumentList,
        codebook: Mapping[str, Mapping[int, str]],
        neurons: Mapping[str, int],
        spool: Path,
        *,
        bucket: str | None = None,
        needed: int = 0,
        live: Live | None = None,
        drain: Drain | None = None,
    ) -> None:
        influx = settings.influx
        self.dropped = 0
        self.bucket = bucket or influx.bucket
        self._live = live or Live()
        self._drain = drain or Drain()
        self._drop = influx.drop_when_full
        self._rows = RowPoints(instruments, codebook)
        self._seconds = SecondPoints(instruments, settings, neurons)
        self._buffer: list[Lines] = []
        self._buffered = 0
        spool.mkdir(parents=True, exist_ok=True)
        self.letters = DeadLetterFile(spool / DEAD_LETTERS)
        self.spool = Spool(spool, influx.spool_max_mb << 20, needed, self._damaged, influx.spool_spare_mb << 20)
        self._live.spool_limit_bytes = self.spool.max_bytes
        self._live.spool_bytes = self.spool.size
        self._room = self._live.component(SPOOL_COMPONENT)
        self._room.ok()
        self._courier = Courier(self.spool, InfluxClient(influx, self.bucket), influx, self.letters, self._live)
        self._courier.start()

    def _damaged(self, point: RefusedPoint) -> None:
        if self.letters.add([point]):
            self._live.dead_letter(point.reason)
            LOG.error("the spool is damaged, what cannot be used is kept in %s: %s", self.letters.path, point.detail)

    @property
    def lines_sent(self) -> int:
        """Lines that the server has taken from this writer."""
        return self._courier.lines_sent

    @property
    def requests(self) -> int:
        """Requests that were sent."""
        return self._courier.requests

    def write(self, value: Value) -> None:
        """Makes the lines of a value; they are in the spool after `pass_on` or `secured`."""
        if isinstance(value, SliceOut):
            for lines in self._seconds.take(value):
                self._keep(lines)
            return
        for piece in (value,) if isinstance(value, Rows) else value:
            made = self._rows.take(piece)
            if made is not None:
                self._keep(made)

    def _keep(self, lines: Lines) -> None:
        self._buffer.append(lines)
        self._buffered += lines.count

    def pass_on(self, least: int = RECORD_LINES) -> None:
        """Puts what was made into the spool where it is at least so many lines; waits while the spool is full.

        Raises DrainedError where the process is asked to end meanwhile, InfluxError where the spool fails.
        """
        self._courier.check()
        if self._buffered < max(least, 1):
            return
        whole = Lines(self._buffered, b"".join(p.content for p in self._buffer))
        self._buffer, self._buffered = [], 0
        for piece in cut(whole, RECORD_LINES):
            self._spooled(piece)
        self._live.spool_bytes = self.spool.size

    def _spooled(self, piece: Lines) -> None:
        while True:
            try:
                self.spool.append(piece)
            except NoRoomError as e:
                if self._drop:
                    self.dropped += piece.count
                    self._live.dead_letter("SPOOL_FULL", piece.count)
                    self._room.failing(f"{e.why}: {self.dropped:,} points were dropped (influx.drop_when_full)")
                    return
                self._wait_for_room(e)
            else:
                self._room.ok()
                return

    def _wait_for_room(self, e: NoRoomError) -> None:
        """Says that the flow waits, and waits a little. Raises DrainedError where the process is asked to end."""
        self._courier.check()
        self._room.failing(f"{e.why}: the flow waits")
        if self._drain.asked:
            msg = f"asked to end while the flow waits: {e.why}. Nothing is lost: the next start goes on from the last epoch"
            raise DrainedError(msg, self._drain.signal or signal.SIGTERM) from e
        self.spool.wait_for_change(LOOK_S)

    def secured(self) -> dict[str, Any]:
        """Puts everything into the spool, forces that to the disk, and returns the state from which a later writer goes on."""
        self.pass_on(1)
        while True:
            try:
                self.spool.sync()
                break
            except NoRoomError as e:
                self._wait_for_room(e)
        return {
            "needed": self.spool.next_sequence,
            "rows": self._rows.snapshot(),
            "seconds": self._seconds.snapshot(),
            "dropped": self.dropped,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Puts back what `secured` returned."""
        self._rows.restore(state["rows"])
        self._seconds.restore(state["seconds"])
        self.dropped = int(state["dropped"])

    def finish(self, within_s: float | None = None) -> int:
        """Waits until the server has everything, at most so long (None: as long as it takes), or until the process is asked to end.

        Returns how many lines wait still: they stay in the spool.
        """
        self.pass_on(1)
        until = None if within_s is None else time.monotonic() + within_s
        while (waiting := self.spool.lines_waiting) and (until is None or time.monotonic() < until):
            self._courier.check()
            if self._drain.asked:
                break
            self.spool.wait_for_change(LOOK_S)
        return waiting

    def stop(self) -> None:
        """Ends the courier and lets the spool's folder go; what was not sent stays on disk for the next start."""
        self._courier.stop()
        self.spool.close()
