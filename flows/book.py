"""The book flow: what the shards say and what the venue reports in, decisions out. One of the processes of a deployment.

    slices ---\
    reports --- book --- orders, executions, positions, equity, and requests for the venue
    control --/

It goes slice by slice with the venue through Kafka while it has orders there, and works ahead where it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.live.commands import command_source, committed
from flows.live.outlets import KAFKA, Outlets
from flows.live.process import Process, Wired, flow_of
from flows.live.trading import decided_noted
from operators.book import BookStage
from operators.book.book_stage import awaited, is_over
from operators.book.operator import book
from operators.sinks.kafka.operator import ACCOUNT_TABLES
from operators.sources.kafka import MessageStream, published
from operators.sources.kafka.joined import JoinedSource, from_source
from operators.sources.kafka.operator import KafkaSource, poison_apart
from operators.sources.kafka.stream import Keyed, Message
from operators.timeline.stage import shard_places
from schemas.order_wire import decode_venue_turn
from schemas.ranges import SliceOut
from schemas.settings import Settings, load_settings
from schemas.slice_wire import decode_slice_out
from schemas.ticks import END, shard_key
from schemas.topics import REPORTS, SLICES

NAME = "book"


@dataclass(frozen=True)
class Options:
    """How the process is started. `sinks`: of outlets.CHOICES."""

    sinks: tuple[str, ...] = (KAFKA,)


def wire(process: Process, options: Options) -> Wired:
    """The flow between `slices`, `reports` and `control` on one side, `requests` and the topics of the account's rows on the other."""
    settings, live, drain, meters = process.settings, process.live, process.drain, process.meters
    instruments = published(settings, drain, live)
    shards = tuple(shard_places(instruments, settings))
    before = committed(process, instruments, "rows.main")
    credit = process.credit()
    accounts: dict[str, Any] = {}

    def ended() -> bool:
        return any(is_over(account.state) for account in accounts.values())

    def source(
        step: str,
        topic: str,
        partitions: Sequence[int],
        decode: Callable[[bytes], tuple[str, Any]],
        reaches: Callable[[Any], int] | None = None,
    ) -> KafkaSource:
        def decoded(_partition: int, message: Message) -> list[Keyed]:
            return [decode(message.value() or b"")]

        stream = MessageStream(topic, partitions, decoded, ended, reaches)
        return KafkaSource(step, settings, f"{process.client}.{step}", stream, drain, credit, meters, live)

    def said(content: bytes) -> tuple[str, Any]:
        out = decode_slice_out(content)
        live.mark(f"{SLICES}/{out.shard % settings.partitions}", min(out.hi, END))
        return shard_key(out.shard), out

    def reached(out: SliceOut) -> int:
        return out.hi

    def told(content: bytes) -> tuple[str, Any]:
        return settings.account.id, decode_venue_turn(content)

    def book_of(_key: str) -> BookStage:
        return BookStage(instruments, settings, shards, before.log, before.decided)

    flow = Dataflow(NAME)
    sources = op.input(
        "topics",
        flow,
        JoinedSource(
            {
                "slices": source("slices", SLICES, range(settings.partitions), said, reached),
                "reports": source("reports", REPORTS, (0,), told),
                "control": command_source(process, ended),
            }
        ),
    )
    slices = poison_apart("sound_slices", from_source("slices", sources, "slices"))
    reports = poison_apart("sound_reports", from_source("reports", sources, "reports"))
    control = from_source("control", sources, "control")
    live.awaited = lambda: awaited(accounts[settings.account.id].state) if accounts else None
    decided = book("book", slices.trues, reports.trues, control, settings.account.id, shards, book_of, credit, meters, accounts)
    results = op.map("noted", decided, lambda item: decided_noted(live, item))
    outlets = Outlets(process, instruments, options.sinks, ACCOUNT_TABLES, turns_at_once=True)
    outlets.connect(results, slices.trues, [slices.falses, reports.falses])
    steps = {
        f"{NAME}.topics": JoinedSource.version,
        f"{NAME}.book.stage": BookStage.version,
        **outlets.steps(NAME),
    }
    return Wired(flow, steps, ended, outlets.summary, outlets.settle, outlets.farewell)


def build(settings: Settings, options: Options | None = None) -> Dataflow:
    """The flow between the topics that the settings name, for a runner of one's own: without lock, registry of steps, drain and health."""
    return flow_of(NAME, settings, lambda process: wire(process, options or Options()))


def live() -> Dataflow:
    """For Bytewax's own runner, settings from the environment. `spiketape run book` is the way with lock, recovery and health."""
    return build(load_settings())
