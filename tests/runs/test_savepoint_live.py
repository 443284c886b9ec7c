"""A savepoint of a live flow put back while its topics, lake and spool are ahead of it: nothing is doubled, nothing is missing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.points import points_of
from flows.live.deployment import Deployment, Member
from operators.sources.tape import Tape
from tests.servers import Kafka

WITHIN_S = 300.0
AHEAD = 60
"""Slices that are decided after the savepoint."""


def commits(run: Path) -> int:
    """Commits in a lake."""
    return len(list((run / "lake").glob("*/_delta_log/*.json")))


def goes_on(member: Member, slices: int) -> int:
    """Waits until a flow has done so many slices more; the slice before which it has done everything then."""
    began = member.until(lambda told: told["done_slice"] is not None, WITHIN_S)["done_slice"]
    return int(member.until(lambda told: told["done_slice"] >= began + slices, WITHIN_S)["done_slice"])


def test_a_flow_put_back_to_a_savepoint_behind_its_topics_lake_and_spool_doubles_nothing(
    deployed: Callable[..., Deployment],
    own_influx: Callable[..., Any],
    tapes: Callable[..., Tape],
    run_once: Callable[..., Any],
    kafka: Kafka,
) -> None:
    """First in its own folder, whose lake and spool stay, then in a new one, to which they come from the savepoint."""
    tape, influx = tapes(60_000, 11), own_influx()
    d = deployed(tape.path, influx, epoch_s=0.3)
    whole = d.call("replay", str(tape.path), "--out", str(d.folder / "whole"), "--sink", "influx", "--no-report")
    producing = d.add_producer(2.0)
    producing.start()
    d.await_instruments(WITHIN_S)
    trading = d.add("trading", *d.flow("trading", "trading"), "--sink", "kafka,influx,lake")
    trading.start()
    saved_at = goes_on(trading, AHEAD)
    point = d.call("savepoint", str(trading.run), "--out", str(d.folder / "points"))["savepoint"]
    influx.kill()  # what follows waits in the spool
    assert goes_on(trading, AHEAD) > saved_at
    trading.until(lambda _: trading.metric("spool_bytes") > 0, WITHIN_S)
    trading.end(signal.SIGKILL)
    assert commits(trading.run) > commits(Path(point, "run")) > 0

    assert d.call("restore", point, "--to", str(trading.run))["restored"] == ["recovery"]
    trading.start()
    influx.start()
    goes_on(trading, AHEAD)
    assert trading.metric("duplicates_total") > 0, "nothing was said again: the topics were not ahead of the state"
    trading.end(signal.SIGKILL)

    elsewhere = d.add("trading", *d.flow("trading", "elsewhere"), "--sink", "kafka,influx,lake")
    assert "lake" in d.call("restore", point, "--to", str(elsewhere.run))["restored"]
    producing.end(signal.SIGTERM)
    d.add_producer(None).start()
    elsewhere.start()
    d.wait(WITHIN_S)
    told = elsewhere.answer()
    assert told["resumed"]
    assert told["output_hash"] == whole["output_hash"]
    assert d.call("verify", str(elsewhere.run))["output_hash"] == whole["output_hash"]
    topics = d.call("verify", "--kafka")
    assert (topics["output_hash"], topics["problems"]) == (whole["output_hash"], [])
    live, replayed = (
        points_of(influx.url, influx.token, influx.org, b) for b in (d.env["SPIKETAPE_DEPLOYMENT"], whole["influx"]["bucket"])
    )
    assert len(live) > 0
    assert live == replayed
