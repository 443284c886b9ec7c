"""The way of a replay's results into InfluxDB: a bucket of its own, a spool in the run folder."""

from __future__ import annotations

from typing import Any

from flows.points import writer_of
from infra.influx.replays import prepare_replay_bucket
from operators.sinks import RunFolder
from operators.sinks.influx.operator import InfluxHolder, InfluxSink
from operators.timeline.control import Drain
from schemas.instruments import InstrumentList
from schemas.settings import Settings


class ReplayPoints:
    """Makes the bucket and the sink. `drain`: of the replay, which a full spool looks at while it waits. Raises InfluxError."""

    def __init__(self, instruments: InstrumentList, settings: Settings, folder: RunFolder, fresh: bool) -> None:
        self.drain = Drain()
        self._holder = InfluxHolder()
        self.bucket = prepare_replay_bucket(settings.influx, folder.path.name, fresh)
        writer = writer_of(settings, instruments, folder, self.drain, bucket=self.bucket)
        self.sink = InfluxSink(writer, self._holder)

    def settle(self) -> None:
        """Waits until the server has everything; what a drain leaves stays in the spool for the next attempt."""
        if self._holder.writer is not None:
            try:
                self._holder.writer.finish()
            finally:
                self._holder.writer.stop()

    def summary(self) -> dict[str, Any]:
        """For run.json: where the points are."""
        writer = self._holder.writer
        return {"bucket": self.bucket, "lines_sent": 0 if writer is None else writer.lines_sent}
