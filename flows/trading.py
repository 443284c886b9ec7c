"""The trading flow: from ticks to orders, executions and equity, in one process.

Read `build` from top to bottom: it is the sentence that describes the product. Every stage is a step of its own; the same
stages run without Bytewax in flows/offline.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bytewax.operators as op
import numpy as np
import numpy.typing as npt
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import KeyedStream
from bytewax.outputs import Sink

from operators.book.driver import AccountStage
from operators.book.operator import account
from operators.decoding.operator import decode
from operators.decoding.stage import DecodingStage
from operators.encoding.operator import encode
from operators.encoding.stage import EncodingStage
from operators.features.operator import features
from operators.features.stage import FeatureStage
from operators.quality.operator import gate
from operators.quality.stage import QualityStage
from operators.sources.replay import Position
from operators.spiking import SpikingStage, TickNetwork
from operators.spiking.operator import infer
from operators.timeline.control import Credit, Meters
from operators.timeline.logic import StageLogic
from operators.timeline.stage import ShardPlace, shard_places
from schemas.control import NO_LOG, ControlLog
from schemas.instruments import InstrumentList
from schemas.ranges import SliceOut
from schemas.settings import Settings, load_settings

if TYPE_CHECKING:
    from flows.live.trading import Options

NAME = "trading"


@dataclass(frozen=True)
class Stages:
    """How each stage of the flow is made, from settings, instruments and model. `forget` makes the network forget at each tick.

    `control`: messages that the account obeys, each at its slice.
    """

    settings: Settings
    instruments: InstrumentList
    model: TickNetwork
    forget: bool = False
    control: ControlLog = NO_LOG
    places: Mapping[int, ShardPlace] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", shard_places(self.instruments, self.settings))

    @property
    def shard_index(self) -> npt.NDArray[np.int32]:
        """Place of each symbol's shard in `shards`, -1 where the symbol is not read."""
        index = np.full(len(self.instruments.symbols), -1, np.int32)
        for i, place in enumerate(self.places.values()):
            index[list(place.symbols)] = i
        return index

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards that own an instrument: the static inputs of the account."""
        return tuple(self.places)

    def quality(self, place: ShardPlace) -> QualityStage:
        start = self.settings.replay.from_ns
        return QualityStage(place) if start is None else QualityStage(place, start)

    def features(self, place: ShardPlace) -> FeatureStage:
        return FeatureStage(place)

    def encoding(self, place: ShardPlace) -> EncodingStage:
        return EncodingStage(place)

    def spiking(self, place: ShardPlace) -> SpikingStage:
        return SpikingStage(place, self.model, self.forget)

    def decoding(self, place: ShardPlace) -> DecodingStage:
        return DecodingStage(place, self.model)

    def account(self, _account_id: str) -> AccountStage:
        return AccountStage(self.instruments, self.settings, self.shards, self.control)


def flow_over(
    stages: Stages,
    source: Source[Any],
    feeds: Mapping[int, tuple[int, ...]],
    sinks: Mapping[str, Sink[Any]],
    credit: Credit,
    meters: Meters,
    accounts: dict[str, StageLogic],
    telling_sinks: Mapping[str, Sink[Any]] | None = None,
) -> Dataflow:
    """The flow over any source of `(shard key, TickBatch | Mark)`.

    `feeds`: the partitions that feed each shard; `sinks` by step name; `accounts` gets each account's logic, for its final state.
    `telling_sinks`: those that are given what the shards say beside the rows.
    """
    flow = Dataflow(NAME)
    ticks = op.input("ticks", flow, source)
    gated = gate("gate", ticks, stages.places, feeds, stages.quality, meters)
    slices = said(stages, stages.places, gated, meters)
    rows = account("account", slices, stages.settings.account.id, stages.shards, stages.account, credit, meters, accounts)
    for name, sink in sinks.items():
        op.output(name, rows, sink)
    for name, sink in (telling_sinks or {}).items():
        op.output(name, op.merge(f"for_{name}", rows, slices), sink)
    return flow


def said(stages: Stages, places: Mapping[int, ShardPlace], gated: KeyedStream[Any], meters: Meters) -> KeyedStream[SliceOut]:
    """From gated ticks to what the shards of `places` say: the middle of every flow that thinks."""
    featured = features("features", gated, places, stages.features, meters)
    spikes = encode("encode", featured, places, stages.encoding, meters)
    scores = infer("infer", spikes, places, stages.spiking, meters)
    return decode("decode", scores, places, stages.decoding, meters)


def build(settings: Settings, options: Options | None = None) -> Dataflow:
    """The flow between Kafka's topics (flows/live/trading.py), for a runner of one's own. `flow_over`: over any source and sinks."""
    from flows.live.trading import build as between_topics

    return between_topics(settings, options)


def live() -> Dataflow:
    """For Bytewax's own runner: between Kafka's topics, settings from the environment."""
    return build(load_settings())


def steps(sinks: Mapping[str, int]) -> dict[str, int]:
    """The flow's stateful steps with their state versions: what its recovery directory must hold. `sinks`: versions by step name."""
    return {
        f"{NAME}.ticks": Position.VERSION,
        f"{NAME}.gate.stage": QualityStage.version,
        **thinking_steps(NAME),
        f"{NAME}.account.stage": AccountStage.version,
        **{f"{NAME}.{name}": version for name, version in sinks.items()},
    }


def thinking_steps(flow: str) -> dict[str, int]:
    """The stateful steps of `said` in a flow of that name."""
    stages: dict[str, Any] = {"features": FeatureStage, "encode": EncodingStage, "infer": SpikingStage, "decode": DecodingStage}
    return {f"{flow}.{step}.stage": stage.version for step, stage in stages.items()}
