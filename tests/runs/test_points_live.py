"""A live flow whose InfluxDB refuses points, or is away until the spool is full: all of it stands in Kafka, or waits and is not lost."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from benchmarks.points import points_of
from flows.live.deployment import Deployment, asked
from operators.sinks.kafka.reading import committed
from operators.sources.tape import Tape
from schemas.settings import load_settings
from tests.servers import Influx

TICKS = 60_000
WITHIN_S = 300.0
NOBODY_THERE = "http://127.0.0.1:9"


@pytest.fixture
def tape(tapes: Callable[..., Tape]) -> Tape:
    return tapes(TICKS, 11)


@pytest.fixture
def output_hash(tape: Tape, run_once: Callable[..., Any]) -> str:
    return str(run_once(tape).run["output_hash"])


def until(said: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not said():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.1)


def write(influx: Influx, bucket: str, line: str) -> None:
    url = f"{influx.url}/api/v2/write?org={influx.org}&bucket={bucket}&precision=ns"
    assert urllib3.request("POST", url, body=line, headers={"Authorization": f"Token {influx.token}"}).status == 204


def ready(run: Path) -> dict[str, Any]:
    """What /ready says; nothing before it listens."""
    return dict(json.loads(asked(run, "ready")[1] or "{}"))


def refused(d: Deployment) -> list[dict[str, Any]]:
    """The messages of refused points in the topic of dead letters."""
    settings = load_settings(env=d.env)
    told = [json.loads(m.value()) for m in committed(settings, "dead-letters")]
    return [letter for letter in told if letter["id"].startswith("INFLUX_REFUSED/")]


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_points_that_influxdb_refuses_are_dead_letters_in_kafka_once_though_the_process_is_killed(
    deployed: Callable[..., Deployment], tape: Tape, influx: Influx, output_hash: str, tmp_path: Path
) -> None:
    d = deployed(tape.path, influx, epoch_s=0.5)
    write(influx, d.env["SPIKETAPE_INFLUX__BUCKET"], f'quote,symbol=X mid="text" {tape.manifest.first_ts_ns}')
    d.add_producer(8.0).start()
    d.await_instruments(WITHIN_S)
    trading = d.add("trading", *d.flow("trading", "trading"), "--sink", "kafka,influx")
    letters = d.folder / "trading" / "spool" / "dead-letters.jsonl"
    for least in (1, 300):
        trading.start()
        until(lambda least=least: lines_in(letters) >= least)  # type: ignore[misc]
        assert trading.end(signal.SIGKILL) == -signal.SIGKILL
    assert trading.begun()
    d.members["produce"].end(signal.SIGKILL)
    d.add_producer(None).start()
    trading.start()
    d.wait(WITHIN_S)
    whole = d.call("replay", str(tape.path), "--out", str(tmp_path / "whole"), "--sink", "influx", "--no-report")
    points = points_of(influx.url, influx.token, influx.org, whole["influx"]["bucket"])
    quotes = sum({("_measurement", "quote"), ("_field", "mid")} <= set(place) for place in points)
    told = refused(d)
    kept = [json.loads(line) for line in letters.read_text().splitlines()]
    assert all('"mid" on measurement "quote"' in letter["detail"] for letter in told)
    assert len({letter["id"] for letter in told}) == len(told) == len(kept) == quotes > 300
    topics = d.call("verify", "--kafka")
    assert (topics["output_hash"], topics["problems"], topics["poison"]) == (output_hash, [], 0)


def test_a_process_asked_to_end_while_its_spool_is_full_is_drained_and_goes_on_when_the_server_is_back(
    deployed: Callable[..., Deployment], tapes: Callable[..., Tape], run_once: Callable[..., Any], influx: Influx, tmp_path: Path
) -> None:
    tape = tapes()
    d = deployed(tape.path, influx, epoch_s=0.5, settings=("influx.spool_max_mb=1",))
    d.call("produce", str(tape.path))
    trading = d.add("trading", *d.flow("trading", "trading"), "--sink", "kafka,influx")
    trading.env = {**d.env, "SPIKETAPE_INFLUX__URL": NOBODY_THERE}
    for how in (signal.SIGTERM, signal.SIGINT):
        trading.start()
        until(lambda: ready(d.folder / "trading").get("components", {}).get("influx-spool", {}).get("status") == "failing")
        assert trading.running
        assert trading.end(how) == 128 + how
        assert not trading.answer()["ended"]
    trading.env = d.env
    trading.start()
    d.wait(WITHIN_S)
    assert trading.answer()["output_hash"] == run_once(tape).run["output_hash"]
    whole = d.call("replay", str(tape.path), "--out", str(tmp_path / "whole"), "--sink", "influx", "--no-report")
    name = d.env["SPIKETAPE_DEPLOYMENT"]
    live, replayed = (points_of(influx.url, influx.token, influx.org, b) for b in (name, whole["influx"]["bucket"]))
    assert live == replayed


def test_a_flow_whose_stream_has_ended_waits_for_its_influxdb_and_can_be_drained_then(
    deployed: Callable[..., Deployment], tape: Tape, influx: Influx, output_hash: str
) -> None:
    d = deployed(tape.path, influx, epoch_s=0.5, settings=("health.stall_s=3",))
    d.call("produce", str(tape.path))
    trading = d.add("trading", *d.flow("trading", "trading"), "--sink", "kafka,influx")
    trading.env = {**d.env, "SPIKETAPE_INFLUX__URL": NOBODY_THERE}
    trading.start()
    until(lambda: d.call("verify", "--kafka")["output_hash"] == output_hash)
    time.sleep(10)  # longer than a stall takes
    assert ready(d.folder / "trading")["standing"] == "waiting"
    assert trading.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert trading.answer()["influx"]["lines_waiting"] > 0
    trading.env = d.env
    trading.start()
    d.wait(WITHIN_S)
    told = trading.answer()
    assert (told["ended"], told["output_hash"], told["influx"]["lines_waiting"]) == (True, output_hash, 0)


def test_a_book_at_its_end_that_is_drained_and_killed_while_it_waits_for_its_influxdb_sends_the_rest_and_ends(
    deployed: Callable[..., Deployment], tapes: Callable[..., Tape], run_once: Callable[..., Any], influx: Influx
) -> None:
    """What has ended is known from the state: no turn says it again to a book that starts anew."""
    tape = tapes()
    d = deployed(tape.path, influx, epoch_s=0.5)
    d.call("produce", str(tape.path))
    d.add_flows()
    book = d.members["book"]
    book.env = {**d.env, "SPIKETAPE_INFLUX__URL": NOBODY_THERE}
    d.start()
    until(lambda: not any(m.running for m in d.members.values() if m is not book))
    for how, code in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
        until(lambda: ready(d.folder / "book").get("standing") == "waiting")
        time.sleep(2)  # longer than an epoch: the end is in the snapshot
        assert book.end(how) == code
        book.start()
    book.end(signal.SIGKILL)
    book.env = d.env
    d.wait(WITHIN_S)
    told = book.answer()
    assert (told["ended"], told["influx"]["lines_waiting"]) == (True, 0)
    topics = d.call("verify", "--kafka")
    assert (topics["output_hash"], topics["problems"]) == (run_once(tape).run["output_hash"], [])
