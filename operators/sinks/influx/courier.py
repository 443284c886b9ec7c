"""The courier: a thread that carries the spool's lines to the server, in order, and never gives up on the server.

1. It takes the oldest records, up to `batch_lines` lines. Nothing there: it waits for more.
2. It sends them in one request. No answer, 429, 5xx, a token or bucket that is not right: the same lines again after a pause, which
   doubles up to `retry_most_ms`, or as long as the server asks. Health says what is wrong until it is right.
3. Refused, or too many for the server: the lines are halved until the points at fault stand alone; those become dead letters with
   the server's words, all others are written. A refusal of as many points as were sent needs no halving.
4. Taken: the spool notes it. A kill before that sends the lines again, which rewrites the same points.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from operators.sinks.influx.client import InfluxClient, Meaning
from operators.sinks.influx.dead_letters import REFUSED, DeadLetterFile
from operators.sinks.influx.lines import Lines, cut
from operators.sinks.influx.spool import Spool
from operators.timeline.live import Live
from schemas.refused_point import RefusedPoint
from schemas.settings.sections import InfluxSettings

IDLE_S: Final = 0.5
COMPONENT: Final = "influx"
LOG: Final = logging.getLogger(__name__)


class Courier:
    """Carries until it is stopped. `lines_sent`: taken by the server; `requests`: sent, each attempt counted.

    `failure` is an error that ended the thread, which nobody foresaw; the flow's thread raises it (`check`).
    """

    def __init__(self, spool: Spool, client: InfluxClient, settings: InfluxSettings, letters: DeadLetterFile, live: Live) -> None:
        self.lines_sent = 0
        self.requests = 0
        self.failure: BaseException | None = None
        self._spool = spool
        self._client = client
        self._settings = settings
        self._letters = letters
        self._live = live
        self._component = live.component(COMPONENT)
        self._duration = live.write_s(COMPONENT)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="influx-courier", daemon=True)

    def start(self) -> None:
        """Begins to carry."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the request under way; what was not sent stays in the spool."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._client.close()

    def check(self) -> None:
        """Raises what ended the thread."""
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                sequence, lines = self._spool.waiting(self._settings.batch_lines, IDLE_S)
                self._live.spool_bytes = self._spool.size
                if sequence >= 0 and self._carried(lines):
                    self._spool.sent(sequence)
                    self._live.spool_bytes = self._spool.size
        except BaseException as e:
            self.failure = e
            self._component.failing(f"the thread that sends has ended: {e}")

    def _carried(self, lines: Lines) -> bool:
        """Whether everything that can be taken was taken; False where the courier was stopped."""
        if lines.count == 0:
            return True
        pause_s = self._settings.retry_first_ms / 1000
        while not self._stopped.is_set():
            began = time.monotonic()
            answer = self._client.write(lines)
            self.requests += 1
            self._duration.observe(time.monotonic() - began)
            if answer.meaning is Meaning.TAKEN:
                self.lines_sent += lines.count
                self._component.ok()
                return True
            if answer.meaning is not Meaning.LATER:
                self._component.ok()
                return self._halved(lines, answer.why, answer.dropped)
            self._component.failing(f"{answer.why}; {self._spool.lines_waiting:,} lines wait on disk")
            self._stopped.wait(max(pause_s, answer.pause_s or 0.0))
            pause_s = min(2 * pause_s, self._settings.retry_most_ms / 1000)
        return False

    def _halved(self, lines: Lines, why: str, dropped: int | None) -> bool:
        if lines.count > 1 and dropped != lines.count:
            return all(self._carried(half) for half in cut(lines, (lines.count + 1) // 2))
        points = [RefusedPoint(REFUSED, why, line) for line in lines.content.splitlines()]
        while not self._stopped.is_set():
            try:
                new = self._letters.add(points)
            except OSError as e:
                self._component.failing(f"{self._letters.path} cannot be written: {e.strerror}; sending waits for that")
                self._stopped.wait(self._settings.retry_first_ms / 1000)
                continue
            if new:
                self._live.dead_letter(REFUSED, new)
                first = points[0].content.decode(errors="replace")
                LOG.warning("InfluxDB refused %d points, kept in %s; the first: %s (%s)", new, self._letters.path, first, why)
            return True
        return False
