"""The trading flow live: between the topic of ticks and the topics of results, all stages in one process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bytewax.dataflow import Dataflow

from flows.live.commands import command_source
from flows.live.outlets import KAFKA, Outlets
from flows.live.process import Process, Wired, run_folder
from flows.trading import NAME, Stages, said, thinking_steps
from operators.sinks import RunFolder
from operators.sources.kafka import Start, TickStream, feeds_of, published
from operators.sources.kafka.operator import KafkaSource
from operators.spiking import load_model
from schemas.settings import load_settings


@dataclass(frozen=True)
class Options:
    """How the process is started. `sinks`: of outlets.CHOICES; `model`: file of the network, None for the default; `start`: where a new
    run begins."""

    sinks: tuple[str, ...] = (KAFKA,)
    model: Path | None = None
    start: Start = field(default_factory=Start)


def wire(process: Process, options: Options) -> Wired:
    """The flow between `ticks` and `control` on one side, the topics of rows on the other."""
    settings, live, drain, meters = process.settings, process.live, process.drain, process.meters
    instruments = published(settings, drain, live)
    stages = Stages(settings, instruments, load_model(options.model))
    partitions = tuple(range(settings.partitions))
    credit = process.credit()
    stream = TickStream(settings, instruments, stages.shards, partitions, live)
    ticks = KafkaSource("ticks", settings, f"{process.client}.ticks", stream, drain, credit, meters, live, options.start)
    commands = command_source(process, lambda: ticks.finished)
    outlets = Outlets(process, instruments, options.sinks)
    accounts: dict[str, Any] = {}
    feeds = feeds_of(stages.shards, settings.partitions)
    flow = build_live(stages, ticks, commands, feeds, outlets.connect, credit, meters, accounts, live)

    def summary() -> dict[str, Any]:
        return outlets.summary()

    return Wired(flow, {**live_steps(), **outlets.steps(NAME)}, lambda: ticks.finished, summary, outlets.settle)


def live() -> Dataflow:
    """For Bytewax's own runner, settings from the environment. `spiketape run trading` is the way with lock, recovery and health."""
    settings = load_settings()
    return wire(Process(NAME, settings, RunFolder(run_folder(settings, NAME, None))), Options()).flow
