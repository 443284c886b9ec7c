"""The signals flow: the ticks of some partitions, from the log to what their shards say. One of the processes of a deployment.

    ticks ---- gate --------- features - encode - infer - decode ---- what the shards say
    leaders' ticks - gate ---/

The leaders' ticks, of any partition, come from the same source. They are gated for the followers in each partition apart: nothing that the
process knows of one partition hangs on another, so partitions can be moved to other processes with their state (flows/rescale.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.live.process import Process, Wired, flow_of
from flows.live.ticks import tick_source
from flows.model import model_for
from flows.partitions import listed
from flows.trading import Stages, said, thinking_steps
from operators.quality.operator import gate_apart
from operators.quality.stage import QualityStage
from operators.sinks.kafka.operator import KafkaSink
from operators.sources.kafka import Start, TickStream, published
from operators.sources.kafka.operator import leads_apart, poison_apart
from operators.sources.kafka.position import POSITION_VERSION
from operators.timeline.control import Credit, Meters
from operators.timeline.live import Live
from operators.timeline.stage import ShardPlace
from schemas.errors import UsageError
from schemas.ranges import SliceOut
from schemas.settings import Settings, load_settings
from schemas.ticks import shard_of

NAME = "signals"


@dataclass(frozen=True)
class Owned:
    """What a process of some partitions works on.

    `places`: its shards; `leading_places`: shards of the symbols that lead one of its own; `leaders`: by partition with followers, the
    shards that lead there.
    """

    stages: Stages
    partitions: tuple[int, ...]
    places: dict[int, ShardPlace] = field(init=False)
    leading_places: dict[int, ShardPlace] = field(init=False)
    leaders: dict[int, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        settings, symbols = self.stages.settings, self.stages.instruments.symbols
        everywhere = self.stages.places
        places = {s: place for s, place in everywhere.items() if s % settings.partitions in self.partitions}
        leaders = {
            p: tuple(
                sorted(
                    {
                        shard_of(symbols[leader], settings.shards)
                        for s, place in places.items()
                        if s % settings.partitions == p
                        for leader in place.leaders
                    }
                )
            )
            for p in self.partitions
        }
        object.__setattr__(self, "places", places)
        object.__setattr__(self, "leaders", {p: shards for p, shards in leaders.items() if shards})
        object.__setattr__(self, "leading_places", {s: everywhere[s] for shards in leaders.values() for s in shards})


class Progress:
    """Notes up to where all shards have spoken: for the source's credit, and for whoever watches the process."""

    def __init__(self, shards: Sequence[int], credit: Credit, live: Live) -> None:
        self._said = dict.fromkeys(shards, -1)
        self._credit = credit
        self._live = live

    def note(self, out: SliceOut) -> None:
        """A shard has spoken of everything before `out.hi`."""
        self._said[out.shard] = out.hi
        k = min(self._said.values())
        if k >= 0:
            self._credit.done(k)
            self._live.done(k)


def flow_over(
    owned: Owned,
    ticks: Source[Any],
    sink: Sink[Any],
    progress: Progress,
    meters: Meters,
) -> Dataflow:
    """The flow over a source of ticks with leaders (operators/sources/kafka/ticks.py).

    `sink` takes `(shard key or place in the log, SliceOut | Poison)`, a SliceOut without its ticks.
    """
    stages = owned.stages
    partitions = stages.settings.partitions
    flow = Dataflow(NAME)
    read = poison_apart("sound", op.input("ticks", flow, ticks))
    ticks_of = leads_apart("leaders", read.trues)
    leading = ticks_of.trues if owned.leaders else None
    gated = gate_apart("gate", ticks_of.falses, leading, owned.places, owned.leading_places, partitions, stages.quality, meters)
    slices = said(stages, owned.places, gated, meters)

    def told(item: tuple[str, SliceOut]) -> tuple[str, SliceOut]:
        progress.note(item[1])
        return item[0], replace(item[1], gated=None)

    op.output("kafka", op.merge("everything", op.map("told", slices, told), read.falses), sink)
    return flow


def steps(sink_version: int, leaders: bool) -> dict[str, int]:
    """The flow's stateful steps with their state versions."""
    led = {f"{NAME}.gate.leaders": QualityStage.version} if leaders else {}
    return {
        f"{NAME}.ticks": POSITION_VERSION,
        f"{NAME}.gate.stage": QualityStage.version,
        **led,
        **thinking_steps(NAME),
        f"{NAME}.kafka": sink_version,
    }


@dataclass(frozen=True)
class Options:
    """How a signals process is started. `model`: file of the network, None for the default; `start`: where a new run begins."""

    partitions: tuple[int, ...]
    model: Path | None = None
    start: Start = field(default_factory=Start)


def wire(process: Process, options: Options) -> Wired:
    """The flow between the topic `ticks` and the topics `slices`, `signals` and `dead-letters`."""
    settings, live = process.settings, process.live
    instruments = published(settings, process.drain, live)
    owned = Owned(Stages(settings, instruments, model_for(settings, options.model)), options.partitions)
    credit = process.credit()
    stream = TickStream(settings, instruments, tuple(owned.places), options.partitions, live, owned.leaders)
    ticks = tick_source(process, stream, credit, options.start)
    sink = KafkaSink(settings, instruments, "signals", options.partitions, live=live, drain=process.drain)
    flow = flow_over(owned, ticks, sink, Progress(tuple(owned.places), credit, live), process.meters)
    return Wired(flow, steps(KafkaSink.version, bool(owned.leaders)), lambda: ticks.finished, farewell=sink.finish)


def parsed_partitions(text: str, count: int) -> tuple[int, ...]:
    """`0-3,5` as partitions, ascending. UsageError for what is no list of partitions below `count`."""
    try:
        return listed(text, count)
    except ValueError as e:
        msg = f"--partitions {text!r}: expected partitions from 0 to {count - 1}, as in 0-1 or 0,2"
        raise UsageError(msg) from e


def build(settings: Settings, options: Options | None = None) -> Dataflow:
    """The flow between the topics that the settings name, by default of all partitions, for a runner of one's own: without lock, registry
    of steps, drain and health."""
    chosen = options or Options(tuple(range(settings.partitions)))
    return flow_of(NAME, settings, lambda process: wire(process, chosen))


def live() -> Dataflow:
    """For Bytewax's own runner: all partitions, settings from the environment. `spiketape run signals` is the way with lock and health."""
    return build(load_settings())
