"""Points a second into the real influxd through the sink: from rows and ranges to everything in the server, spool and fsync included.

The peer is influxdb-client's batching WriteApi (batches of 5,000, gzip, as the sink sends them), which gets the same points as finished
lines, a thousand in a call: it makes no line, keeps nothing on disk, and what it holds is lost with its process. What both could reach at
most is the server alone: the same lines, sent by hand.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from influxdb_client import InfluxDBClient, WriteOptions

from benchmarks.figure import Figure, rounded, spread_of
from benchmarks.influx_store import instruments, served, settings_for, values, writer_for
from benchmarks.place import workplace
from benchmarks.run import main
from flows.results import codebook
from infra.influx import prepare_replay_bucket
from infra.local import InfluxServer
from operators.sinks.influx import Lines, RowPoints, SecondPoints
from operators.sinks.influx.client import InfluxClient, Meaning
from operators.sinks.influx.lines import cut
from schemas.ranges import SliceOut
from schemas.settings import Settings
from schemas.tables import Rows

NAME = "influx_points"
POINTS = 300_000
RUNS = 3
EPOCH_PIECES = 64
"""Pieces after which an epoch ends: everything so far is forced to the disk."""


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark. Raises RuntimeError where points are missing in the server."""
    said = values(POINTS)
    lines = lines_of(said)
    own, peer, alone = [], [], []
    with workplace(NAME) as folder, served(folder) as server:
        for run in range(RUNS + 1):
            say(f"run {run} of {RUNS}, {lines.count:,} points")
            own.append(lines.count / _by_sink(server, said, folder / f"spool-{run}", f"sink-{run}", lines.count))
            peer.append(lines.count / _by_peer(server, lines, f"peer-{run}", lines.count))
            alone.append(lines.count / _by_hand(server, lines, f"hand-{run}", lines.count))
    own, peer, alone = own[1:], peer[1:], alone[1:]
    note = (
        f"{lines.count:,} points of nine measurements, {len(lines.content) / lines.count:.0f} bytes each, from rows to the last answer; "
        f"the same lines sent by hand, nothing else: {statistics.median(alone):,.0f} points a second, which is the server's own speed here"
    )
    value, beside = statistics.median(own), statistics.median(peer)
    return {
        NAME: Figure(
            rounded(value), "points a second", None, None, rounded(spread_of(own)), "influxdb-client WriteApi, batching", rounded(beside),
            rounded(value / beside), note,
        )
    }  # fmt: skip


def lines_of(said: Sequence[Rows | SliceOut]) -> Lines:
    """All lines of what a flow says."""
    rows, seconds = RowPoints(instruments(), codebook()), SecondPoints(instruments(), Settings(), {"input": 64, "hidden": 128})
    made: list[Lines] = []
    for value in said:
        made += seconds.take(value) if isinstance(value, SliceOut) else [lines for lines in [rows.take(value)] if lines is not None]
    return Lines(sum(m.count for m in made), b"".join(m.content for m in made))


def _bucket(server: InfluxServer, name: str) -> Settings:
    bucket = prepare_replay_bucket(settings_for(server).influx, name, fresh=True)
    return settings_for(server, bucket)


def _by_sink(server: InfluxServer, said: Sequence[Rows | SliceOut], spool: Path, name: str, count: int) -> float:
    settings = _bucket(server, name)
    began = time.perf_counter()
    writer = writer_for(settings, spool)
    for i, value in enumerate(said):
        writer.write(value)
        writer.pass_on()
        if i % EPOCH_PIECES == EPOCH_PIECES - 1:
            writer.secured()
    writer.secured()
    waiting = writer.finish(120)
    spent = time.perf_counter() - began
    writer.stop()
    _demand(server, settings, count, waiting == 0 and writer.letters.count == 0)
    return spent


def _by_peer(server: InfluxServer, lines: Lines, name: str, count: int) -> float:
    settings = _bucket(server, name)
    pieces = [p.content.decode().splitlines() for p in cut(lines, 1000)]
    began = time.perf_counter()
    with (
        InfluxDBClient(server.url, server.token, org=server.org, enable_gzip=True, timeout=60_000) as client,
        client.write_api(WriteOptions(batch_size=settings.influx.batch_lines, flush_interval=1000)) as api,
    ):
        for piece in pieces:
            api.write(bucket=settings.influx.bucket, record=piece)
    spent = time.perf_counter() - began
    _demand(server, settings, count, True)
    return spent


def _by_hand(server: InfluxServer, lines: Lines, name: str, count: int) -> float:
    settings = _bucket(server, name)
    client = InfluxClient(settings.influx, settings.influx.bucket)
    began = time.perf_counter()
    taken = all(client.write(piece).meaning is Meaning.TAKEN for piece in cut(lines, settings.influx.batch_lines))
    spent = time.perf_counter() - began
    client.close()
    _demand(server, settings, count, taken)
    return spent


def _demand(server: InfluxServer, settings: Settings, count: int, well: bool) -> None:
    """RuntimeError unless the bucket holds as many points as were sent. Each measurement has one field that counts its points."""
    fields = " or ".join(f'r._field == "{name}"' for name in ("n", "bid", "rate", "ticks"))
    text = (
        f'from(bucket: "{settings.influx.bucket}") |> range(start: 0) |> filter(fn: (r) => {fields}) |> count() |> group() |> sum()'
        ' |> keep(columns: ["_value"])'
    )
    with InfluxDBClient(server.url, server.token, org=server.org, timeout=60_000) as client:
        held = sum(int(record.get_value()) for table in client.query_api().query(text) for record in table.records)
    if held != count or not well:
        msg = f"bucket {settings.influx.bucket} holds {held} of {count} points"
        raise RuntimeError(msg)


if __name__ == "__main__":
    main(NAME)
