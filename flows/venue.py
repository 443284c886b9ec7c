"""The venue flow: ticks and the book's requests in, its reports out. The paper venue as a process of its own.

    ticks --- gate ---\
    requests ---------- venue --- reports
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.live.process import Process, Wired, flow_of
from flows.live.ticks import tick_source
from operators.execution.operator import VENUE_KEY, venue
from operators.execution.venue_stage import VenueStage, awaited, is_over
from operators.quality.operator import gate_apart
from operators.quality.stage import QualityStage
from operators.sinks.kafka.operator import KafkaSink
from operators.sources.kafka import MessageStream, Start, TickStream, published
from operators.sources.kafka.joined import JoinedSource, from_source
from operators.sources.kafka.operator import KafkaSource, poison_apart
from operators.sources.kafka.stream import Keyed, Message
from operators.timeline.live import Live
from operators.timeline.stage import ShardPlace, shard_places
from schemas.order_wire import VenueTurn, decode_book_turn
from schemas.settings import Settings, load_settings
from schemas.topics import REQUESTS

NAME = "venue"
BATCH_TICKS = 4096
"""Read at once of a partition. What the book has not decided yet waits in the venue's state, which each epoch writes down."""


@dataclass(frozen=True)
class Options:
    """How the process is started. `start`: where a new run begins to read ticks."""

    start: Start = field(default_factory=Start)


def wire(process: Process, options: Options) -> Wired:
    """The flow between `ticks` and `requests` on one side, `reports` on the other. Ticks that cannot be used are told by `signals`."""
    settings, live, drain, meters = process.settings, process.live, process.drain, process.meters
    instruments = published(settings, drain, live)
    places = shard_places(instruments, settings)
    shards = tuple(places)
    credit = process.credit()
    logics: dict[str, Any] = {}

    def ended() -> bool:
        return any(is_over(logic.state) for logic in logics.values())

    def asked(_partition: int, message: Message) -> list[Keyed]:
        return [(NAME, decode_book_turn(message.value() or b""))]

    def gate_of(place: ShardPlace) -> QualityStage:
        return QualityStage(place)

    def venue_of(_key: str) -> VenueStage:
        return VenueStage(instruments, settings, shards)

    def noted(item: tuple[str, VenueTurn]) -> tuple[str, VenueTurn]:
        live.done(item[1].hi)
        return item

    stream = TickStream(settings, instruments, shards, tuple(range(settings.partitions)), live)
    ticks = tick_source(process, stream, credit, options.start, BATCH_TICKS)
    turns = MessageStream(REQUESTS, (0,), asked, ended)
    requests = KafkaSource("requests", settings, f"{process.client}.requests", turns, drain, process.credit(), meters, Live())
    flow = Dataflow(NAME)
    sources = op.input("topics", flow, JoinedSource({"ticks": ticks, "requests": requests}))
    sound = poison_apart("sound_ticks", from_source("ticks", sources, "ticks"))
    read = poison_apart("sound_requests", from_source("requests", sources, "requests"))
    gated = gate_apart("gate", sound.trues, None, places, {}, settings.partitions, gate_of, meters)
    live.awaited = lambda: awaited(logics[VENUE_KEY].state) if logics else None
    reports = op.map("noted", venue("venue", gated, read.trues, venue_of, credit, meters, logics), noted)
    sink = KafkaSink(settings, instruments, "venue", live=live, drain=drain, turns_at_once=True)
    op.output("kafka", op.merge("everything", reports, read.falses), sink)
    steps = {
        f"{NAME}.topics": JoinedSource.version,
        f"{NAME}.gate.stage": QualityStage.version,
        f"{NAME}.venue.stage": VenueStage.version,
        f"{NAME}.kafka": KafkaSink.version,
    }
    return Wired(flow, steps, ended, farewell=sink.finish)


def build(settings: Settings, options: Options | None = None) -> Dataflow:
    """The flow between the topics that the settings name, for a runner of one's own: without lock, registry of steps, drain and health."""
    return flow_of(NAME, settings, lambda process: wire(process, options or Options()))


def live() -> Dataflow:
    """For Bytewax's own runner, settings from the environment. `spiketape run venue` is the way with lock, recovery and health."""
    return build(load_settings())
