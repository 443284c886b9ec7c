"""A live flow on a machine whose clock is years off, or is set while it runs: the same hash, the same points, and health says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.points import points_of
from flows.live.deployment import Deployment, asked
from operators.sources.tape import Tape
from tests.servers import Influx

TICKS = 60_000
WITHIN_S = 300.0
PACE = 2.0
"""At this multiple of real time the tape lasts two minutes: longer than all steps take on a busy machine."""
YEARS_S = 10 * 365 * 86_400
STALLED = 6
SHIM = Path(__file__).with_name("wrong_clock.c")


class WrongClock:
    """The wall clock of processes with this environment is so many seconds off; `set` while they run is as if somebody set it."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        self.env = {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(self._file)}

    def set(self, off_s: int) -> None:
        with self._file.open("r+b" if self._file.exists() else "wb") as f:
            f.write(struct.pack("<q", off_s * 10**9))


@pytest.fixture
def clock(tmp_path: Path) -> WrongClock:
    if shutil.which("gcc") is None:
        why = "no gcc, which makes what sets a process's clock; apt-get install gcc"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    library = tmp_path / "wrong_clock.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SHIM), "-ldl"], check=True)
    return WrongClock(tmp_path, library)


def told_of_the_clock(run: Path) -> str:
    """What /health says of the clock; empty before it listens."""
    told = asked(run, "health")[1]
    return str(json.loads(told)["components"]["clock"]["why"]) if told else ""


@pytest.mark.parametrize(
    "steps",
    [
        [(YEARS_S, "behind this machine's clock")],
        [(-YEARS_S, "ahead of this machine's clock")],
        [(0, "behind"), (YEARS_S, "was set 3650 days, 0:00:00 ahead"), (-YEARS_S, "ahead of this machine's clock"), (86_400, "behind")],
    ],
    ids=["ahead", "behind", "set again and again"],
)
def test_on_a_machine_with_a_wrong_clock_the_output_is_the_same_and_health_says_so(
    steps: list[tuple[int, str]],
    clock: WrongClock,
    deployed: Callable[..., Deployment],
    tapes: Callable[..., Tape],
    run_once: Callable[..., Any],
    influx: Influx,
    tmp_path: Path,
) -> None:
    """Each step: how far the clock is off from then on, and what health must say of it before the next."""
    tape = tapes(TICKS, 11)
    clock.set(steps[0][0])
    d = deployed(tape.path, influx, epoch_s=0.5, settings=("health.stall_s=4",))
    d.env |= clock.env
    producer = d.add_producer(PACE)
    producer.start()
    d.await_instruments(WITHIN_S)
    trading = d.add("trading", *d.flow("trading", "trading"), "--sink", "kafka,influx")
    trading.start()
    until = time.monotonic() + WITHIN_S
    for off_s, words in steps:
        clock.set(off_s)
        while words not in told_of_the_clock(d.folder / "trading"):
            d.tend()
            assert not d.over()
            assert time.monotonic() < until
            time.sleep(0.1)
    producer.end(signal.SIGKILL)
    d.add_producer(None).start()  # the rest as fast as possible
    d.wait(WITHIN_S)
    assert set(trading.codes) <= {STALLED}  # where the clock is set back the engine stands still: the watchdog ends it, and it goes on
    assert trading.answer()["output_hash"] == run_once(tape).run["output_hash"]
    whole = d.call("replay", str(tape.path), "--out", str(tmp_path / "whole"), "--sink", "influx", "--no-report")
    name = d.env["SPIKETAPE_DEPLOYMENT"]
    live, replayed = (points_of(influx.url, influx.token, influx.org, b) for b in (name, whole["influx"]["bucket"]))
    assert live == replayed
