"""The writer of a flow's points into InfluxDB, as it is made in a replay and in a live flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flows.results import codebook
from operators.encoding.code import INPUTS
from operators.sinks import RunFolder
from operators.sinks.influx import Writer
from operators.spiking.model import HIDDEN
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.instruments import InstrumentList
from schemas.settings import Settings

SPOOL: Final = "spool"
"""Folder of a run folder for what was not sent yet."""
NEURONS: Final = {"input": INPUTS, "hidden": HIDDEN}
"""Neurons of each area, for one symbol."""


def writer_of(
    settings: Settings, instruments: InstrumentList, folder: RunFolder, drain: Drain, live: Live | None = None, bucket: str | None = None
) -> Callable[[int], Writer]:
    """What the sink is given to open its writer with: from the record of the spool before which everything is durable."""

    def opened(needed: int) -> Writer:
        spool = folder.path / SPOOL
        return Writer(settings, instruments, codebook(), NEURONS, spool, bucket=bucket, needed=needed, live=live, drain=drain)

    return opened
