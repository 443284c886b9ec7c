"""A stream whose end does not fit what was read: the flow waits and says so, the end is a dead letter, and the operator can end it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from flows.control import close_partition
from flows.live.deployment import Deployment, asked
from operators.sinks.kafka.reading import committed
from operators.sources.tape import Tape
from schemas.settings import load_settings
from schemas.tick_stream import CONTENT_END, CONTENT_TYPE, encode_end

TICKS = 60_000
WITHIN_S = 120.0


def health(run: Path) -> dict[str, Any]:
    """What /health says; nothing before it listens."""
    return dict(json.loads(asked(run, "health")[1] or "{}"))


def test_an_end_behind_records_that_are_missing_is_a_dead_letter_and_the_partition_waits_until_it_is_ended(
    deployed: Callable[..., Deployment], tapes: Callable[..., Tape], run_once: Callable[..., Any]
) -> None:
    tape = tapes(TICKS, 11)
    d = deployed(tape.path, settings=("health.stall_s=3",))
    d.call("produce", str(tape.path), "--no-end")
    settings = load_settings(env=d.env)
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
    missing = 3
    rows = tape.rows(2)
    producer.produce(settings.kafka.topic("ticks"), encode_end(rows + missing), partition=2, headers=[(CONTENT_TYPE, CONTENT_END)])
    assert producer.flush(30) == 0
    trading = d.add("trading", *d.flow("trading", "trading"))
    trading.start()
    until = time.monotonic() + WITHIN_S
    while health(d.folder / "trading").get("reasons") != ["silent: partitions 0, 1, 2, 3"]:
        assert trading.running, trading.last_words()
        assert time.monotonic() < until, health(d.folder / "trading")
        time.sleep(0.1)
    for p in (0, 1, 3):
        close_partition(settings, tape.instruments, p)
    while health(d.folder / "trading").get("reasons") != ["silent: partition 2"]:
        assert time.monotonic() < until, health(d.folder / "trading")
        time.sleep(0.1)
    time.sleep(5)  # longer than a stall takes
    assert trading.running
    (letter,) = [told for m in committed(settings, "dead-letters") if (told := json.loads(m.value()))["id"].startswith("ticks/")]
    assert (letter["partition"], letter["reason"]) == (2, "end")
    assert f"end after {rows + missing} records, {rows} were read" in letter["detail"]
    assert close_partition(settings, tape.instruments, 2).next == rows
    d.wait(WITHIN_S)
    assert trading.answer()["output_hash"] == run_once(tape).run["output_hash"]
