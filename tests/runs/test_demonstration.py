"""The one-command demonstration: a whole deployment between servers of its own, which says the replay's hash and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from operators.sources.tape import Tape

TICKS, SEED = 15_000, 5


def test_the_demonstration_comes_to_the_replays_hash_with_its_points_in_influxdb_and_ends_its_servers(
    spiketape: Callable[..., subprocess.CompletedProcess[str]],
    tapes: Callable[..., Tape],
    run_once: Callable[..., Any],
    kafka: Any,
    influx: Any,
    tmp_path: Path,
) -> None:
    """`kafka` and `influx` only see to it that both servers can be had."""
    tape = tapes(TICKS, SEED)
    done = spiketape("live", tape.path, "--out", tmp_path / "shown", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    run = run_once(tape).run
    assert told["same"] is True
    assert told["output_hash"] == told["replay_hash"] == run["output_hash"]
    assert told["points"]["signal"] == told["rows"]["signals"] == run["signals"] > 0
    assert told["points"]["order"] == told["rows"]["orders"] > 0
    assert told["points"]["execution"] == told["rows"]["executions"] == run["fills"] > 0
    assert told["points"]["equity"] == told["rows"]["equity"] > 0
    assert "in InfluxDB: " in done.stderr
    assert _processes_of(tmp_path / "shown") == []
    taken = spiketape("live", tape.path, "--out", tmp_path, "--json")
    assert taken.returncode == 2
    assert "holds no demonstration" in taken.stderr


def _processes_of(folder: Path) -> list[str]:
    """Command lines of processes of this machine that name a folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if str(folder) in line]
