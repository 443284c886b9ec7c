"""Control of live flows: what an operator sends while ticks flow, and a process is killed, a replay of the log of it repeats."""

from __future__ import annotations

import base64
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from flows.live.deployment import Deployment, Member
from operators.sinks.kafka.reading import committed
from operators.sources.tape import Tape
from schemas.control import ControlLog
from schemas.settings import load_settings
from schemas.tick_stream import CONTENT_TYPE
from schemas.wire import CONTENT_PACKED, encode
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
    path = tmp_path / "control.log"
    assert d.call("control", "log", "--out", str(path)) == {"out": str(path), "messages": accepted}
    assert [m.id for m in ControlLog.read(path).messages] == [f"m{i}" for i in range(accepted)]
    told = d.call("replay", str(d.tape), "--out", str(tmp_path / "replay"), "--control", str(path), "--no-report", "--sink", "none")
    plain = d.call("replay", str(d.tape), "--out", str(tmp_path / "plain"), "--no-report", "--sink", "none")
    topics = d.call("verify", "--kafka")
    assert topics["problems"] == []
    assert topics["output_hash"] == told["output_hash"] != plain["output_hash"]
    assert account.answer()["output_hash"] == told["output_hash"]


def test_partitions_that_are_left_out_hold_nobody_back_the_others_go_on_and_what_comes_late_is_told(
    deployed: Deployment, tmp_path: Path
) -> None:
    """The producer dies in the middle. One partition is left out, by a command that was not answered the first time; the others are
    produced further, without an end, and then left out too. What still comes in the first one becomes a dead letter. A replay of the
    recording with the log says what the flow said."""
    d, tape = deployed, Tape.open(deployed.tape)
    producing = d.add_producer(4.0)
    producing.start()
    d.await_instruments(WITHIN_S)
    time.sleep(5)
    producing.end(signal.SIGKILL)
    del d.members["produce"]
    with pytest.raises(RuntimeError, match="nobody answered within 0.1 s.*run the command again"):
        d.call("control", "exclude-partition", "3", "--reason", "its producer died", "--wait-s", "0.1")
    trading = d.add("trading", *d.flow("trading", "trading"))
    trading.start()
    trading.await_begin()
    left_out = d.call("control", "exclude-partition", "3", "--reason", "its producer died", "--wait-s", "300")
    assert left_out["judged"]["accepted"]
    produced = d.call("produce", str(d.tape), "--no-end")
    assert produced["finished"]
    assert produced["left_out"] == {"3": tape.rows(3) - left_out["records"]}
    settings = load_settings(env=d.env)
    late = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0})
    content = encode(tape.read(3, left_out["records"], 5), left_out["records"])
    late.produce(settings.kafka.topic("ticks"), content, partition=3, headers=[(CONTENT_TYPE, CONTENT_PACKED)])
    assert late.flush(30) == 0
    for p in range(3):
        told = d.call("control", "exclude-partition", str(p), "--reason", "no end was said", "--wait-s", "300")
        assert told["records"] == tape.rows(p)
    d.wait(WITHIN_S)
    live = trading.answer()
    assert live["ticks"] == tape.manifest.rows - produced["left_out"]["3"]
    (letter,) = [told for m in committed(settings, "dead-letters") if (told := json.loads(m.value()))["id"].startswith("ticks/")]
    assert (letter["partition"], letter["reason"], base64.b64decode(letter["content"])) == (3, "ended", content)
    d.call("run", "record", "--out", str(tmp_path / "recorded"), "--until-end")
    path = tmp_path / "control.log"
    assert d.call("control", "log", "--out", str(path))["messages"] == 4
    told = d.call(
        "replay", str(tmp_path / "recorded"), "--out", str(tmp_path / "replay"), "--control", str(path), "--no-report", "--sink", "none"
    )
    assert told["ticks"] + sum(told["dead_letters"].values()) == live["ticks"]
    assert told["output_hash"] == live["output_hash"]
