"""Control of live flows: what an operator sends while ticks flow, and a process is killed, a replay of the audit's lines repeats."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.live.commands import audit_lines
from flows.live.deployment import Deployment, Member
from operators.sources.tape import Tape
from schemas.control import ControlLog
from schemas.settings import load_settings
from tests.servers import Kafka

TICKS = 60_000
WITHIN_S = 300.0
KEY = "a key for tests only"


@pytest.fixture
def deployed(tmp_path: Path, tapes: Callable[..., Tape], kafka: Kafka, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    name = f"steered{sum(request.node.name.encode())}"
    deployment = Deployment(tmp_path / "d", tapes(TICKS, 11).path, kafka.bootstrap, None, name=name, epoch_s=0.3)
    deployment.env["SPIKETAPE_CONTROL__KEY"] = KEY
    deployment.call("topics", "apply")
    yield deployment
    deployment.stop()


def steer(d: Deployment, account: Member) -> int:
    """Sends messages while the account runs, and kills it in between; returns how many were accepted."""
    said = [
        ("change-limit", "max_position_fraction", "0.005"),
        ("pause",),
        ("resume",),
        ("reduce",),
        ("resume",),
    ]
    for i, arguments in enumerate(said):
        told = d.call("control", *arguments, "--reason", "a test", "--wait-s", "60", "--id", f"m{i}")
        assert told["judged"]["accepted"]
        if i in (1, 3):
            account.end(signal.SIGKILL)
            account.start()
            account.await_begin()
        time.sleep(0.5)
    return len(said)


@pytest.mark.parametrize("shape", ["one process", "several processes"])
def test_a_replay_of_the_audit_gives_the_live_runs_hash(shape: str, deployed: Deployment, tmp_path: Path) -> None:
    d = deployed
    slow = d.add_producer(1.0)
    slow.start()
    time.sleep(3)
    if shape == "one process":
        account = d.add("trading", *d.flow("trading", "trading"))
    else:
        d.add_flows(("0-1", "2-3"))
        account = d.members["book"]
    d.start()
    account.await_begin()
    accepted = steer(d, account)
    slow.end(signal.SIGTERM)
    d.add_producer(None).start()  # the rest of the tape at once
    d.wait(WITHIN_S)
    settings = load_settings(None, (), {k: v for k, v in d.env.items() if k.startswith("SPIKETAPE_")})
    lines = audit_lines(settings)
    log = ControlLog.of_lines(lines, "audit")
    assert [m.id for m in log.messages] == [f"m{i}" for i in range(accepted)]
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\n".join(lines))
    told = d.call("replay", str(d.tape), "--out", str(tmp_path / "replay"), "--control", str(path), "--no-report", "--sink", "none")
    plain = d.call("replay", str(d.tape), "--out", str(tmp_path / "plain"), "--no-report", "--sink", "none")
    topics = d.call("verify", "--kafka")
    assert topics["problems"] == []
    assert topics["output_hash"] == told["output_hash"] != plain["output_hash"]
    assert account.answer()["output_hash"] == told["output_hash"]


def test_silent_partitions_that_are_left_out_hold_nobody_back(deployed: Deployment, tmp_path: Path) -> None:
    """The producer dies in the middle: each partition stands elsewhere, none ends. Left out one after the other, the stream is over."""
    d = deployed
    producing = d.add_producer(4.0)
    producing.start()
    d.await_instruments(WITHIN_S)
    trading = d.add("trading", *d.flow("trading", "trading"))
    trading.start()
    trading.await_begin()
    time.sleep(5)
    producing.end(signal.SIGKILL)
    del d.members["produce"]
    for p in range(4):
        told = d.call("control", "exclude-partition", str(p), "--reason", "its producer died", "--wait-s", "60", "--id", f"x{p}")
        assert told["judged"]["accepted"]
    d.wait(WITHIN_S)
    live = trading.answer()
    assert 0 < live["ticks"] < TICKS
    d.call("run", "record", "--out", str(tmp_path / "recorded"), "--until-end")
    settings = load_settings(None, (), {k: v for k, v in d.env.items() if k.startswith("SPIKETAPE_")})
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\n".join(audit_lines(settings)))
    told = d.call(
        "replay", str(tmp_path / "recorded"), "--out", str(tmp_path / "replay"), "--control", str(path), "--no-report", "--sink", "none"
    )
    assert told["ticks"] == live["ticks"]
    assert told["output_hash"] == live["output_hash"]
