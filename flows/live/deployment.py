"""A whole deployment on this machine: the real broker and InfluxDB, a producer and the processes signals, book and venue, under a
supervisor that starts again what was killed. For the demonstration, for trials that break it (benchmarks/live_crash.py) and for tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from flows.live.health import ANNOUNCEMENT
from operators.sources.kafka import published
from schemas.errors import TopicError
from schemas.settings import Settings, load_settings

DRAINED: Final = 128 + signal.SIGTERM
POLL_S: Final = 0.1
LONGEST_DRAIN_S: Final = 120.0
EPOCHS_TO_A_STATE: Final = 2
"""An epoch is counted where its snapshots are asked for: when the second is, those of the first are stored."""


def asked(run: Path, path: str) -> tuple[int, str]:
    """What the process of a run folder answers at its endpoint: status and text; 0 and nothing before it listens."""
    try:
        target = json.loads((run / ANNOUNCEMENT).read_text())[0]["targets"][0]
        with urllib.request.urlopen(f"http://{target}/{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read().decode()
    except OSError:
        return 0, ""


@dataclass
class Member:
    """One process of the deployment: its command line, and how often it was started and how it ended."""

    name: str
    arguments: list[str]
    folder: Path
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    codes: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Starts it; its standard error is kept in `<name>.log`, its answer in `<name>.json`."""
        with (self.folder / f"{self.name}.log").open("ab") as log, (self.folder / f"{self.name}.json").open("wb") as answer:
            command = [sys.executable, "-m", "flows", *self.arguments, "--json"]
            self.process = subprocess.Popen(command, stdout=answer, stderr=log, env=dict(self.env))

    def end(self, how: signal.Signals) -> int:
        """Sends a signal and waits; the exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.ended()

    def ended(self, within_s: float = LONGEST_DRAIN_S) -> int:
        """Waits for its end; the exit code."""
        assert self.process is not None
        code = self.process.wait(within_s)
        self.codes.append(code)
        return code

    @property
    def run(self) -> Path:
        """The run folder of a flow."""
        return Path(self.arguments[self.arguments.index("--out") + 1])

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def answer(self) -> dict[str, Any]:
        """What it printed at its end."""
        told: dict[str, Any] = json.loads((self.folder / f"{self.name}.json").read_text())
        return told

    def begun(self) -> bool:
        """Whether the flow in this process has begun to run; at once for what is no flow."""
        if "--out" not in self.arguments or self.process is None:
            return True
        return any(start["pid"] == self.process.pid for start in starts_in(self.run))

    def await_begin(self, within_s: float = LONGEST_DRAIN_S) -> None:
        """Waits until it has begun or ended."""
        self._await(self.begun, within_s)

    def await_state(self, within_s: float = LONGEST_DRAIN_S) -> None:
        """Waits until it has completed an epoch, after which there is a state to be moved, or has ended. None comes without its broker."""
        self._await(lambda: self.metric("epochs_total") >= EPOCHS_TO_A_STATE, within_s)

    def _await(self, there: Callable[[], bool], within_s: float) -> None:
        until = time.monotonic() + within_s
        while self.running and not there() and time.monotonic() < until:
            time.sleep(POLL_S)

    def until(self, there: Callable[[dict[str, Any]], bool], within_s: float = LONGEST_DRAIN_S) -> dict[str, Any]:
        """What /ready says as soon as `there` is so of it. RuntimeError where that takes too long or the process has ended."""
        until = time.monotonic() + within_s
        while time.monotonic() < until and self.running:
            told = json.loads(asked(self.run, "ready")[1] or "{}")
            if told and there(told):
                return dict(told)
            time.sleep(POLL_S)
        msg = f"{self.name} did not come to it: {self.last_words()}"
        raise RuntimeError(msg)

    def metric(self, name: str) -> float:
        """A metric of a flow, without its prefix: the sum over its labels; 0 before it listens."""
        lines = asked(self.run, "metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"spiketape_{name}{{"))

    def last_words(self) -> str:
        """The end of its log."""
        return (self.folder / f"{self.name}.log").read_text(errors="replace")[-2000:]


class Influx(Protocol):
    """Where an InfluxDB is, and whose token may make buckets."""

    @property
    def url(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def org(self) -> str: ...


class Deployment:
    """The processes of one deployment between one broker and one InfluxDB. `prefix`: of its topics; `sinks`: of the book."""

    def __init__(
        self,
        folder: Path,
        tape: Path,
        bootstrap: str,
        influx: Influx | None,
        *,
        name: str = "spiketape",
        epoch_s: float = 1.0,
        settings: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.tape = tape
        self.epoch_s = epoch_s
        self.settings = tuple(settings)
        self.env = {
            **os.environ,
            "SPIKETAPE_DEPLOYMENT": name,
            "SPIKETAPE_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            "SPIKETAPE_KAFKA__TOPIC_PREFIX": f"{name}.",
        }
        self.sinks = "kafka"
        if influx is not None:
            self.sinks = "kafka,influx"
            self.env |= {
                "SPIKETAPE_INFLUX__URL": influx.url,
                "SPIKETAPE_INFLUX__TOKEN": influx.token,
                "SPIKETAPE_INFLUX__ORG": influx.org,
                "SPIKETAPE_INFLUX__BUCKET": name,
            }
        self.members: dict[str, Member] = {}
        self._moves = 0

    def call(self, *arguments: str) -> dict[str, Any]:
        """Runs one command of the command line in the deployment's settings; its JSON. RuntimeError where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "flows", *arguments, "--json"], env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            msg = f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr[-2000:]}"
            raise RuntimeError(msg)
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def add(self, name: str, *arguments: str) -> Member:
        """A member that is not started yet."""
        self.members[name] = Member(name, list(arguments), self.folder, self.env)
        return self.members[name]

    def await_instruments(self, within_s: float) -> None:
        """Waits until the producer has told the instruments, which every flow reads at its start. RuntimeError where it ends before."""
        producer = self.members["produce"]
        if not instruments_told(load_settings(env=self.env), within_s, lambda: producer.running):
            msg = f"nothing was produced: {producer.last_words()}"
            raise RuntimeError(msg)

    def add_flows(self, partitions: Sequence[str] = ("0-3",)) -> None:
        """The flows, with a signals process for each list of partitions."""
        for listed in partitions:
            self.add_signals(listed, self.folder / f"signals-{listed}")
        self.add("venue", *self.flow("venue", "venue"))
        self.add("book", *self.flow("book", "book"), "--sink", self.sinks)

    def add_signals(self, partitions: str, out: Path) -> Member:
        """A signals process."""
        return self.add(f"signals {partitions}", *self.flow("signals", out.name), "--partitions", partitions)

    def add_producer(self, speed: float | None) -> Member:
        """Plays the tape; started again it goes on where the log ends."""
        throttle = [] if speed is None else ["--speed", str(speed)]
        return self.add("produce", "produce", str(self.tape), *throttle)

    def flow(self, flow: str, out: str) -> list[str]:
        """The command line of a flow with its run folder in this deployment's."""
        extra = [part for setting in self.settings for part in ("--set", setting)]
        return ["run", flow, "--out", str(self.folder / out), "--epoch-s", str(self.epoch_s), *extra]

    def start(self) -> None:
        """Starts what does not run."""
        for member in self.members.values():
            if not member.running:
                member.start()

    def tend(self) -> None:
        """Starts again what has ended with an error, as a supervisor does; what came to its end stays as it is.

        RuntimeError where a process refuses to go on: wrong use, something in the way, a state that does not fit, fenced.
        """
        for member in self.members.values():
            if member.process is None or member.running or member.process.poll() == 0:
                continue
            code = member.ended()
            if code in (2, 3, 4, 5):
                msg = f"{member.name} ended with exit code {code} and will not start again: {member.last_words()}"
                raise RuntimeError(msg)
            member.start()

    def rescale(self, partitions: Sequence[str]) -> None:
        """Drains the signals processes, moves their state to new ones by the command, and starts these, while ticks flow."""
        old = {name: m for name, m in self.members.items() if name.startswith("signals")}
        for member in old.values():
            member.await_begin()
            member.await_state()
        for member in old.values():
            if member.running:
                member.end(signal.SIGTERM)
        self._moves += 1
        sources = [part for m in old.values() for part in ("--from", str(m.run))]
        new = {listed: self.folder / f"signals-{listed}-{self._moves}" for listed in partitions}
        targets = [part for listed, out in new.items() for part in ("--to", f"{out}={listed}")]
        self.call("rescale", *sources, *targets)
        for name in old:
            del self.members[name]
        for listed, out in new.items():
            self.add_signals(listed, out).start()

    def wait(self, within_s: float) -> None:
        """Tends the deployment until every member has come to its end. RuntimeError after `within_s`."""
        until = time.monotonic() + within_s
        while not self.over():
            self.tend()
            if time.monotonic() > until:
                words = "\n".join(f"{m.name}: {m.last_words()}" for m in self.members.values() if m.running)
                msg = f"not at the end after {within_s:.0f} s: {words}"
                raise RuntimeError(msg)
            time.sleep(POLL_S)

    def over(self) -> bool:
        """Whether every member has come to its end."""
        return all(m.process is not None and m.process.poll() == 0 for m in self.members.values())

    def stop(self) -> None:
        """Kills what is left."""
        for member in self.members.values():
            if member.running:
                member.end(signal.SIGKILL)

    def starts(self) -> list[dict[str, Any]]:
        """Every start of a flow that has begun to run, as its run folder tells: start, pid, resumed."""
        return [start for path in sorted(self.folder.glob("*/starts.jsonl")) for start in starts_in(path.parent)]


def instruments_told(settings: Settings, within_s: float, going: Callable[[], bool] = lambda: True) -> bool:
    """Waits until a producer has told the instruments, as long as `going` says so; returns whether it has."""
    until = time.monotonic() + within_s
    while True:
        try:
            published(settings)
        except TopicError:
            if time.monotonic() > until or not going():
                return False
            time.sleep(0.2)
        else:
            return True


def starts_in(run: Path) -> list[dict[str, Any]]:
    """The starts of a flow in its run folder."""
    path = run / "starts.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]
