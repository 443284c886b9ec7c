"""A flow that is asked to end while its broker is away: it ends, whether it ran or was starting, and goes on where its last epoch was."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

from flows.live.deployment import Deployment, Member, asked
from operators.sources.tape import Tape

PATIENCE_S = 300.0
DRAINED = 128 + signal.SIGTERM


def failing(told: dict[str, Any]) -> set[str]:
    """The components that do not answer."""
    return {name for name, component in told["components"].items() if component["status"] == "failing"}


def events(member: Member) -> list[str]:
    """What it has logged, without what its Kafka client has to say."""
    lines = (member.folder / f"{member.name}.log").read_text().splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    return [line["event"] for line in told if "logger" not in line]


def test_without_its_broker_a_flow_that_runs_and_one_that_starts_say_so_and_end_when_they_are_asked_to(
    deployed: Callable[..., Deployment], own_kafka: Callable[..., Any], tapes: Callable[..., Tape], run_once: Callable[..., Any]
) -> None:
    """A broker that is waited for would end the process with another code, after `kafka.outage_s`."""
    tape, broker = tapes(60_000, 11), own_kafka()
    d = deployed(tape.path, broker=broker, epoch_s=0.3, settings=("kafka.outage_s=100",))
    producing = d.add_producer(4.0)
    producing.start()
    d.await_instruments(PATIENCE_S)
    trading = d.add("trading", *d.flow("trading", "trading"))
    trading.start()
    trading.until(lambda told: told["ready"] and told["done_slice"] is not None and trading.metric("epochs_total") > 2)

    broker.kill()
    trading.until(lambda told: "kafka-sink" in failing(told))
    assert trading.end(signal.SIGTERM) == DRAINED, trading.last_words()
    assert events(trading)[-3:] == ["left as the last epoch was", "the topic audit was not told", "drained"]

    trading.start()
    told = trading.until(lambda told: "kafka" in failing(told))
    assert (told["ready"], told["standing"]) == (False, "waiting")
    assert told["reasons"][0].startswith(f"kafka: broker {broker.bootstrap}: ")
    assert 'spiketape_component_up{component="kafka",deployment=' in asked(trading.run, "metrics")[1]
    assert (events(trading).count("starting"), events(trading).count("started")) == (2, 1)
    assert trading.end(signal.SIGTERM) == DRAINED, trading.last_words()
    assert events(trading)[-1] == "drained"
    assert not trading.answer()["ended"]

    broker.start()
    trading.start()
    producing.end(signal.SIGKILL)
    d.add_producer(None).start()  # the rest of the tape at once
    d.wait(PATIENCE_S)
    assert trading.answer()["resumed"]
    assert trading.answer()["output_hash"] == run_once(tape).run["output_hash"]
    told = d.call("verify", "--kafka")
    assert (told["output_hash"], told["problems"]) == (run_once(tape).run["output_hash"], [])
