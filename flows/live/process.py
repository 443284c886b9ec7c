"""One long-running process: its run folder and lock, recovery, logs, health, watchdog and drain around a dataflow.

1. The run folder is locked: a second process in it is refused (exit code 3).
2. Logs, health, metrics and watchdog are there; from here on SIGTERM and SIGINT drain, also while the broker is waited for.
3. The flow is wired, for which the broker is asked. The recovery store must fit its steps and state versions (exit code 5).
4. The flow runs. A drain: sources end after their batch, everything on its way is committed, the snapshot is exact, exit code 143 or 130;
   where the broker is away or the spool has no room, the flow is left as its last epoch was. A newer instance of the same identity
   fences this one (exit code 4); a stall ends it (exit code 6).
5. Whatever happened, starting the same command again goes on where the last epoch ended. Where the stream came to its end and every
   sink has everything, run.json is written, and starting again only says so.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from flows.live.health import watched
from flows.live.logs import Log, heard, logging_to, secrets_of
from flows.memory import keep_freed_memory, keep_old_objects
from flows.model import model_for
from flows.replay import quiet_engine
from operators.sinks import Decision, Identity, RunFolder
from operators.sinks.kafka.client import COMPONENT as KAFKA_SINK
from operators.sinks.kafka.operator import DRAINED, ENDED
from operators.timeline.control import Credit, Drain, Meters, peak_rss_mb
from operators.timeline.live import FAILING, Live
from operators.timeline.registry import confirm, opened
from schemas.errors import BrokerError, DrainedError
from schemas.settings import Settings, settings_hash

STARTS: Final = "starts.jsonl"
"""File in the run folder: a line for each start of the process in it."""
ANY_CODE: Final = "checked by the states' versions"
"""A live run goes on with a newer release: what must fit is the store, not the code."""


@dataclass(frozen=True)
class Wired:
    """A flow ready to run. `steps`: its stateful steps with their versions; `finished`: whether the stream came to its end;
    `summary`: what is known after it has run, for `--json`; `settle`: what must be done when the flow has ended in order, which says
    whether everything is out; `farewell`: the last thing, which tells the topic `audit` how the process has ended.
    """

    flow: Dataflow
    steps: dict[str, int]
    finished: Callable[[], bool]
    summary: Callable[[], dict[str, Any]] = dict
    settle: Callable[[], bool] = lambda: True
    farewell: Callable[[str], None] = lambda _how: None


@dataclass
class Process:
    """What the wiring of a flow may use of the process around it."""

    name: str
    settings: Settings
    folder: RunFolder
    live: Live = field(default_factory=Live)
    drain: Drain = field(default_factory=Drain)
    meters: Meters = field(default_factory=Meters)

    def credit(self) -> Credit:
        """A new bound on how far a source may run ahead of the last stage."""
        return Credit(self.settings.max_open_slices)

    @property
    def client(self) -> str:
        """How this process names itself to servers."""
        return f"{self.settings.deployment}.{self.name}"


@dataclass(frozen=True)
class Ended:
    """How a process ended. `drained_by`: None where the stream came to its end and everything is out, else the signal that asked for an end
    before that, SIGTERM where it was asked for without one.
    """

    summary: dict[str, Any]
    drained_by: int | None


def run(process: Process, model: str, wire: Callable[[Process], Wired], epoch_s: float, fresh: bool = False) -> Ended:
    """Runs a flow until its stream ends or it is told to stop. `model`: digest of the model it uses, empty where it uses none.

    Raises RefusedError for a folder in use or of another job, StateMismatchError where its state does not fit, FencedError where a newer
    instance has taken over, and what the flow's connectors raise.
    """
    settings, folder, live = process.settings, process.folder, process.live
    began = time.monotonic()
    keep_freed_memory()
    start = secrets.token_hex(4)
    level = logging.getLevelNamesMapping()[settings.health.log_level.upper()]
    identity = Identity(f"{settings.deployment}/{process.name}", settings_hash(settings), model, ANY_CODE)
    logged = logging_to(process.name, settings.deployment, start, secrets_of(settings), level=level)
    with folder.locked(), logged as log, heard(live, log, start):
        if folder.decide(identity, fresh) is Decision.FINISHED:
            log.info("ended before: this stream is over; --fresh or another deployment begins anew", run_folder=str(folder.path))
            return Ended(folder.read_run() or {}, None)
        folder.write_settings(settings.model_dump(mode="json"))
        about = {"flow": process.name, "deployment": settings.deployment, "out": str(folder.path), "start": start}
        with process.drain.on_signals(), _told(log), watched(live, settings, process.name, folder.path):
            log.info("starting", run_folder=str(folder.path))
            try:
                wired = wire(process)
            except DrainedError as e:
                log.info(DRAINED, why=str(e))
                return Ended({**about, "resumed": False, "ended": False, "ticks": 0}, process.drain.signal or signal.SIGTERM)
            with quiet_engine(folder.path):
                recovery, resumed = opened(folder.recovery, wired.steps)
            live.restarts, live.epoch_s = _noted(folder, start, resumed), epoch_s
            log.info("started", resumed=resumed, setup_s=round(time.monotonic() - began, 3))
            keep_old_objects()
            cpu, wall = time.process_time(), time.monotonic()
            try:
                with quiet_engine(folder.path):
                    cli_main(wired.flow, workers_per_process=1, epoch_interval=timedelta(seconds=epoch_s), recovery_config=recovery)
                live.epochs_over()
                whole = wired.settle() and wired.finished()
            except DrainedError as e:
                log.warning("left as the last epoch was", why=str(e))
                whole = False
            how = ENDED if whole else DRAINED
            _say_farewell(wired, how, live, log)
        with quiet_engine(folder.path):
            confirm(folder.recovery, wired.steps)
        drained_by = None if whole else process.drain.signal or signal.SIGTERM
        spent = {
            "wall_s": round(time.monotonic() - wall, 3),
            "cpu_s": round(time.process_time() - cpu, 3),
            "peak_rss_mb": round(peak_rss_mb(), 1),
            "stages": {name: {"cpu_s": round(m["cpu_s"], 4), "items": m["items"]} for name, m in process.meters.by_step().items()},
        }
        summary = {
            **about,
            "resumed": resumed,
            "ended": whole,
            "ticks": live.ticks,
            "dead_letters": dict(live.dead_letters),
            **spent,
            **wired.summary(),
        }
        if whole:
            folder.write_run(summary)
        log.info(how, slice=live.done_slice, ticks=live.ticks, **spent)
        return Ended(summary, drained_by)


def _say_farewell(wired: Wired, how: str, live: Live, log: Log) -> None:
    """The audit is told; a drained process does not wait for a broker that is away: nothing is lost but the line."""
    sink = live.components.get(KAFKA_SINK)
    if how == DRAINED and sink is not None and sink.status is FAILING:
        log.warning("the topic audit was not told", how=how, why=sink.why)
        return
    try:
        wired.farewell(how)
    except (BrokerError, DrainedError) as e:
        if how == ENDED:
            raise
        log.warning("the topic audit was not told", how=how, why=str(e))


def _noted(folder: RunFolder, start: str, resumed: bool) -> int:
    """Writes this start down; returns how many there were before it."""
    path = folder.path / STARTS
    before = len(path.read_text().splitlines()) if path.exists() else 0
    with path.open("a") as f:
        f.write(json.dumps({"start": start, "pid": os.getpid(), "resumed": resumed}) + "\n")
    return before


@contextmanager
def _told(log: Log) -> Iterator[None]:
    """Logs the error that ends a flow before it goes on to the command line."""
    try:
        yield
    except BaseException as e:
        log.critical("failed", error=type(e).__name__, why=str(e))
        raise


def digest_of(settings: Settings, model: Path | None) -> str:
    """Digest of a model file, None for the default: part of a run's identity. Raises ModelError where it does not fit the settings."""
    return model_for(settings, model).digest.hex()


def flow_of(name: str, settings: Settings, wire: Callable[[Process], Wired]) -> Dataflow:
    """The dataflow alone, in the default run folder, for a runner that is not `run`."""
    return wire(Process(name, settings, RunFolder(run_folder(settings, name, None)))).flow


def run_folder(settings: Settings, name: str, out: Path | None) -> Path:
    """The folder of a process: as given, else `runs/<deployment>-<flow>`."""
    return out if out is not None else Path("runs") / f"{settings.deployment}-{name}"
