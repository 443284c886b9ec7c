"""Where a live run begins that was told where, and the flow under Bytewax's own runner."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Producer

from flows.live.deployment import Deployment
from operators.sinks.kafka.reading import committed
from operators.sources.kafka import publish
from operators.sources.kafka.start import NOTE
from operators.sources.tape import Tape
from operators.timeline.stage import shard_places
from schemas.settings import Settings, load_settings
from schemas.slice_wire import decode_slice_out
from schemas.tick_stream import CONTENT_TYPE
from schemas.ticks import END
from schemas.topics import SLICES
from schemas.topics import TICKS as TOPIC
from schemas.wire import CONTENT_PACKED, encode

TICKS = 20_000
WITHIN_S = 120.0
ROOT = Path(__file__).parents[2]


def half_played(tape: Tape, settings: Settings) -> int:
    """Half of each partition of a tape into the topic of ticks; how many ticks these are."""
    publish(settings, tape.instruments)
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "enable.idempotence": True})
    half = {p: tape.rows(p) // 2 for p in range(settings.partitions)}
    for p, n in half.items():
        for i in range(0, n, 500):
            ticks = tape.read(p, i, min(500, n - i))
            producer.produce(settings.kafka.topic(TOPIC), encode(ticks, i), partition=p, headers=[(CONTENT_TYPE, CONTENT_PACKED)])
    assert producer.flush(30) == 0
    return sum(half.values())


def test_a_run_from_the_latest_that_is_killed_before_its_first_recovery_point_skips_nothing(
    deployed: Callable[..., Deployment], tapes: Callable[..., Tape]
) -> None:
    """Half of the tape was there before its first start, the rest comes while it is dead."""
    tape = tapes(TICKS, 11)
    d = deployed(tape.path, epoch_s=3600.0)  # no recovery point before the end
    first = half_played(tape, load_settings(env=d.env))
    trading = d.add("trading", *d.flow("trading", "trading"), "--start", "latest")
    trading.start()
    until = time.monotonic() + WITHIN_S
    while not (d.folder / "trading" / NOTE).exists():
        assert trading.running, trading.last_words()
        assert time.monotonic() < until
        time.sleep(0.05)
    assert trading.end(signal.SIGKILL) == -signal.SIGKILL
    rest = d.call("produce", str(tape.path))
    assert rest["there_before"] == first
    trading.start()
    assert trading.ended() == 0, trading.last_words()
    told = trading.answer()
    assert told["ticks"] == rest["sent"] == TICKS - first
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
