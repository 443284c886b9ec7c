"""kill -9 of the writing process and of influxd at random moments: at the end every point is there once, with the right value."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from operators.sinks.influx import SecondPoints
from schemas.instruments import InstrumentList
from tests.conftest import ROOT

KILLS = 8
ROWS = 6000


def test_killed_at_random_moments_every_point_is_there_once(
    own_influx: Any, held_by: Any, instruments: InstrumentList, made: Any, tmp_path: Path
) -> None:
    server = own_influx()
    held = held_by(server)
    rng = random.Random(20261121)
    folder = tmp_path / "process"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.operators.sinks.influx.writing_process"]
    arguments = [str(folder), server.url, server.token, server.org, server.bucket]
    resumed = 0
    for kill in range(KILLS + 1):
        log = (tmp_path / f"log-{kill}").open("w+")
        process = subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        before = spooled(folder)
        if kill == KILLS:
            if not server.running:
                server.start()
            assert process.wait(120) == 0, (tmp_path / f"log-{kill}").read_text()[-3000:]
            break
        began = time.monotonic()
        while spooled(folder) == before and process.poll() is None and time.monotonic() - began < 60:
            time.sleep(0.01)  # until it writes
        time.sleep(rng.random() * 0.25)
        if rng.random() < 0.4 and server.running:
            server.kill()
            time.sleep(rng.random() * 0.2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        resumed += before > 0
        if not server.running and rng.random() < 0.6:
            server.start()
    assert resumed >= KILLS // 2 - 1  # the first starts may be killed before they have written anything
    rows = made.many(ROWS)
    points = held.points("execution", "account", "side", "symbol")
    expected = made.expected(instruments, rows)
    assert len(points) == ROWS
    for (account, side, symbol, time_ns), fields in points.items():
        tags, ts_ns, values = expected[fields["n"]]
        assert ({"account": account, "side": side, "symbol": symbol}, values, ts_ns) == (tags, fields, time_ns)
    outs = made.ranges(instruments, held.settings, 600, seed=11)
    seconds = SecondPoints(instruments, held.settings, made.neurons)
    lines = b"".join(p.content for o in [*outs, *map(made.end, outs)] for p in seconds.take(o)).decode().splitlines()
    stored = [held.points(m, *tags) for m, tags in (("quote", ["symbol"]), ("spikes", ["area", "symbol"]), ("pipeline", ["shard"]))]
    assert sum(map(len, stored)) == len(lines) > 400
    quotes = {tuple(line.split(" ")[0::2]): line for line in lines if line.startswith("quote,")}
    for (symbol, time_ns), fields in stored[0].items():
        said = dict(f.split("=") for f in quotes[f"quote,symbol={symbol}", str(time_ns)].split(" ")[1].split(","))
        assert {k: float(v) for k, v in said.items()} == fields


def spooled(folder: Path) -> int:
    """Bytes that were ever spooled, as far as can be seen: names of segments run up, files grow."""
    segments = sorted((folder / "spool").glob("*.lines"))
    return 0 if not segments else int(segments[-1].stem) * 1000 + segments[-1].stat().st_size
