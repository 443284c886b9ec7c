"""A process that writes made rows and ranges through the sink of a Bytewax flow, to be killed at any moment.

    python -m tests.operators.sinks.influx.writing_process FOLDER URL TOKEN ORG BUCKET

The flow's recovery store and the spool are in FOLDER. It ends with 0 when the server has everything.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main

from operators.sinks.influx import Writer
from operators.sinks.influx.operator import InfluxHolder, InfluxSink
from schemas.instruments import InstrumentList
from schemas.settings import Settings, load_settings
from schemas.tables import Rows
from tests.operators.sinks.influx.conftest import CODEBOOK, NEURONS, cut_up, end_of, made_instruments, made_ranges, many_rows

ROWS = 6000
PIECE = 25
SLICES = 600


def items(instruments: InstrumentList, settings: Settings) -> list[tuple[str, Any]]:
    """What the flow says, always the same."""
    rows = many_rows(ROWS)
    pieces: list[Any] = [Rows(rows.table, rows.key, rows.a[i : i + PIECE]) for i in range(0, ROWS, PIECE)]
    for out in made_ranges(instruments, settings, SLICES, seed=11):
        pieces += [*cut_up(out, list(range(out.lo + 7, out.hi, 7))), end_of(out)]
    return [("main", piece) for piece in pieces]


def slow(item: tuple[str, Any]) -> tuple[str, Any]:
    """Gives the killer time."""
    time.sleep(0.003)
    return item


def main(folder: Path, url: str, token: str, org: str, bucket: str) -> None:
    """Runs the flow, from where it was."""
    chosen = [f"influx.url={url}", f"influx.token={token}", f"influx.org={org}", f"influx.bucket={bucket}"]
    settings = load_settings(overrides=[*chosen, "influx.retry_first_ms=20", "influx.retry_most_ms=100"], env={})
    instruments = made_instruments()
    recovery = folder / "recovery"
    if not (recovery / "ready").exists():
        recovery.mkdir(exist_ok=True)
        for stale in recovery.iterdir():
            stale.unlink()
        init_db_dir(recovery, 1)
        (recovery / "ready").touch()
    holder = InfluxHolder()
    sink = InfluxSink(lambda needed: Writer(settings, instruments, CODEBOOK, NEURONS, folder / "spool", needed=needed), holder)
    flow = Dataflow("influx")
    stream = op.input("items", flow, TestingSource(items(instruments, settings), batch_size=2))
    op.output("influx", op.map("slow", stream, slow), sink)
    run_main(flow, epoch_interval=timedelta(milliseconds=20), recovery_config=RecoveryConfig(str(recovery)))
    assert holder.writer is not None
    waiting = holder.writer.finish(60)
    holder.writer.stop()
    sys.exit(1 if waiting else 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
