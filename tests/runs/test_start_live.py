"""Where a live run begins that was told where, and the flow under Bytewax's own runner."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flows.live.deployment import Deployment
from flows.produce import Playing, produce
from operators.sinks.kafka.reading import committed
from operators.sources.kafka.start import NOTE
from operators.sources.tape import Tape
from operators.timeline.control import Drain
from operators.timeline.stage import shard_places
from schemas.settings import load_settings
from schemas.slice_wire import decode_slice_out
from schemas.ticks import END
from schemas.topics import SLICES

TICKS = 20_000
WITHIN_S = 120.0
ROOT = Path(__file__).parents[2]


def test_a_run_from_the_latest_that_is_killed_before_its_first_recovery_point_skips_nothing(
    deployed: Callable[..., Deployment], tapes: Callable[..., Tape]
) -> None:
    """Half of the tape was there before its first start, the rest comes while it is dead."""
    tape = tapes(TICKS, 11)
    d = deployed(tape.path, epoch_s=3600.0)  # no recovery point before the end
    drain = Drain()
    first = produce(tape, load_settings(env=d.env), Playing(speed=1000.0), drain, lambda rows: drain.ask() if rows > TICKS // 2 else None)
    trading = d.add("trading", *d.flow("trading", "trading"), "--start", "latest")
    trading.start()
    until = time.monotonic() + WITHIN_S
    while not (d.folder / "trading" / NOTE).exists():
        assert trading.running, trading.last_words()
        assert time.monotonic() < until
        time.sleep(0.05)
    assert trading.end(signal.SIGKILL) == -signal.SIGKILL
    rest = d.call("produce", str(tape.path))
    assert rest["there_before"] == first.sent
    assert 0 < rest["sent"] < TICKS
    trading.start()
    assert trading.ended() == 0, trading.last_words()
    told = trading.answer()
    assert told["ticks"] == rest["sent"]
    assert not told["resumed"]


def test_bytewax_runs_a_flow_by_its_own_runner(deployed: Callable[..., Deployment], tapes: Callable[..., Tape], tmp_path: Path) -> None:
    """As docs/running.md says it: every shard says all it has to say."""
    tape = tapes(2_000, 11)
    d = deployed(tape.path)
    d.call("produce", str(tape.path))
    command = [sys.executable, "-m", "bytewax.run", "flows.signals:live()"]
    done = subprocess.run(
        command, env={**d.env, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, timeout=WITHIN_S, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    settings = load_settings(env=d.env)
    said: dict[int, int] = {}
    for message in committed(settings, SLICES):
        out = decode_slice_out(message.value())
        assert out.lo <= said.get(out.shard, out.lo)
        said[out.shard] = out.hi
    assert said.keys() == shard_places(tape.instruments, settings).keys()
    assert min(said.values()) >= END
