"""Milliseconds that each named query takes, from the question to the rows, with a million points in the store."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks.figure import Figure, figure
from benchmarks.influx_points import lines_of
from benchmarks.influx_store import served, settings_for, values, writer_for
from benchmarks.place import workplace
from benchmarks.run import main
from flows.influx_query import NAMED, asked

NAME = "influx_query"
POINTS = 1_000_000
GOAL_MS = 100
RUNS = 9


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark. Raises RuntimeError where the store does not take all points."""
    figures = {}
    said = values(POINTS)
    count = lines_of(said).count
    with workplace(NAME) as folder, served(folder) as server:
        settings = settings_for(server)
        say(f"writing {count:,} points")
        writer = writer_for(settings, folder / "spool")
        for value in said:
            writer.write(value)
            writer.pass_on()
        if writer.finish(300) or writer.letters.count:
            msg = "the store did not take all points"
            raise RuntimeError(msg)
        writer.stop()
        for name in NAMED:
            spent, rows = [], 0
            for _ in range(RUNS + 1):
                began = time.perf_counter()
                rows = len(asked(settings.influx, name).rows)
                spent.append((time.perf_counter() - began) * 1000)
            note = f"{rows:,} rows, {count:,} points in the store; median of {RUNS}, the first left out ({spent[0]:.0f} ms)"
            figures[f"{NAME}.{name}"] = figure(spent[1:], "ms", "under", GOAL_MS, note)
            say(f"{name}: {statistics.median(spent[1:]):.1f} ms, {rows:,} rows")
    return figures


if __name__ == "__main__":
    main(NAME)
