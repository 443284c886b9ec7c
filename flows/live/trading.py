"""The trading flow live: between the topic of ticks and the topics of results, all stages in one process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.live.commands import command_source, committed
from flows.live.outlets import KAFKA, Outlets
from flows.live.process import Process, Wired, flow_of
from flows.live.ticks import tick_source
from flows.model import model_for
from flows.trading import NAME, Stages, said, thinking_steps
from operators.book import AccountStage
from operators.book.operator import account
from operators.quality.operator import gate
from operators.quality.stage import QualityStage
from operators.sources.kafka import Start, TickStream, feeds_of, published
from operators.sources.kafka.joined import JoinedSource, from_source
from operators.sources.kafka.operator import poison_apart
from operators.timeline.live import Live
from schemas.order_wire import BookTurn
from schemas.settings import Settings, load_settings


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
    stages = Stages(settings, instruments, model_for(settings, options.model))
    before = committed(process, instruments, "rows.main")
    credit = process.credit()
    stream = TickStream(settings, instruments, stages.shards, tuple(range(settings.partitions)), live)
    ticks = tick_source(process, stream, credit, options.start)
    commands = command_source(process, lambda: ticks.finished)
    outlets = Outlets(process, instruments, options.sinks)

    def account_of(_key: str) -> AccountStage:
        return AccountStage(instruments, settings, stages.shards, before.log, before.decided)

    flow = Dataflow(NAME)
    sources = op.input("topics", flow, JoinedSource({"ticks": ticks, "control": commands}))
    read = poison_apart("sound", from_source("ticks", sources, "ticks"))
    feeds = feeds_of(stages.shards, settings.partitions)
    gated = gate("gate", read.trues, stages.places, feeds, stages.quality, meters)
    slices = said(stages, stages.places, gated, meters)
    control = from_source("control", sources, "control")
    accounts: dict[str, Any] = {}
    results = account(
        "account", slices, settings.account.id, stages.shards, account_of, credit, meters, accounts, control, tells_turns=True
    )
    outlets.connect(op.map("noted", results, lambda item: decided_noted(live, item)), slices, [read.falses])
    steps = {
        f"{NAME}.topics": JoinedSource.version,
        f"{NAME}.gate.stage": QualityStage.version,
        **thinking_steps(NAME),
        f"{NAME}.account.stage": AccountStage.version,
        **outlets.steps(NAME),
    }
    return Wired(flow, steps, lambda: ticks.finished, outlets.summary, outlets.settle, outlets.farewell)


def decided_noted(live: Live, item: tuple[str, Any]) -> tuple[str, Any]:
    """Tells `live` how far an account has decided."""
    if isinstance(item[1], BookTurn):
        live.done(item[1].hi)
    return item


def build(settings: Settings, options: Options | None = None) -> Dataflow:
    """The flow between the topics that the settings name, for a runner of one's own: without lock, registry of steps, drain and health."""
    return flow_of(NAME, settings, lambda process: wire(process, options or Options()))


def live() -> Dataflow:
    """For Bytewax's own runner, settings from the environment. `spiketape run trading` is the way with lock, recovery and health."""
    return build(load_settings())
