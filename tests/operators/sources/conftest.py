"""What tests of importers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from operators.sources.importers import ColumnMapping, open_sources
from operators.sources.tape import ImportReport
from schemas.instruments import InstrumentList
from schemas.ticks import TICK_V1, Ints, Ticks


@dataclass(frozen=True)
class Imported:
    """All feeds read to their ends: by (symbol, source) the ticks in arrival order and their line numbers."""

    ticks: dict[tuple[str, str], Ticks]
    lines: dict[tuple[str, str], Ints]
    instruments: InstrumentList
    report: ImportReport

    def only(self) -> Ticks:
        """The ticks of the only feed."""
        (ticks,) = self.ticks.values()
        return ticks

    def refusals(self) -> list[tuple[str, int, str]]:
        """(file name, line, reason) of each refused row."""
        return [(Path(e["file"]).name, e["line"], e["reason"]) for e in self.report.summary()["examples"]]


ReadAll = Callable[..., Imported]


@pytest.fixture
def read_all() -> ReadAll:
    """Opens sources, reads every feed, and checks that each row read is a tick, merged or refused."""

    def read(paths: list[Path], fmt: str = "auto", mapping: ColumnMapping | None = None) -> Imported:
        report = ImportReport()
        feeds, instruments = open_sources(paths, fmt, report, mapping)
        ticks, lines = {}, {}
        for feed in feeds:
            chunks = list(feed.chunks())
            key = (feed.symbol, feed.source)
            assert key not in ticks
            ticks[key] = np.concatenate([c.ticks for c in chunks]) if chunks else np.empty(0, TICK_V1)
            lines[key] = np.concatenate([c.line for c in chunks]) if chunks else np.empty(0, np.int64)
            assert len(ticks[key]) == len(lines[key])
        summary = report.summary()
        assert summary["rows_read"] == sum(map(len, ticks.values())) + summary["merged"] + summary["refused"]
        return Imported(ticks, lines, instruments, report)

    return read
