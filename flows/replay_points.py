"""The way of a replay's results into InfluxDB: a bucket of its own, a spool in the run folder."""

from __future__ import annotations

from typing import Any, Final

from flows.results import codebook
from infra.influx.replays import prepare_replay_bucket
from operators.encoding.code import INPUTS
from operators.sinks import RunFolder
from operators.sinks.influx import Writer
from operators.sinks.influx.operator import InfluxHolder, InfluxSink
from operators.spiking.model import HIDDEN
from operators.timeline.control import Drain
from schemas.instruments import InstrumentList
from schemas.settings import Settings

SPOOL: Final = "spool"
NEURONS: Final = {"input": INPUTS, "hidden": HIDDEN}
"""Neurons of each area, for one symbol."""


class ReplayPoints:
    """Makes the bucket and the sink. `drain`: of the replay, which a full spool looks at while it waits. Raises InfluxError."""

    def __init__(self, instruments: InstrumentList, settings: Settings, folder: RunFolder, fresh: bool) -> None:
        self.drain = Drain()
        self._holder = InfluxHolder()
        self.bucket = prepare_replay_bucket(settings.influx, folder.path.name, fresh)
        spool = folder.path / SPOOL

        def writer_of(needed: int) -> Writer:
            return Writer(
                settings,
                instruments,
                codebook(),
                NEURONS,
                spool,
                bucket=self.bucket,
                needed=needed,
                drain=self.drain,
            )

        self.sink = InfluxSink(writer_of, self._holder)

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
