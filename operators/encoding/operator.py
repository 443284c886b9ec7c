"""Encoding as a Bytewax operator: one stage per shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.encoding.stage import EncodingStage
from operators.timeline.chain import ChainJoint
from operators.timeline.control import Meters
from operators.timeline.lift import lift
from operators.timeline.logic import Lifted
from operators.timeline.stage import ShardPlace
from schemas.ranges import FeatureRange, SpikeRange
from schemas.ticks import shard_key


@operator
def encode(
    step_id: str,
    up: KeyedStream[FeatureRange],
    places: Mapping[int, ShardPlace],
    stage_of: Callable[[ShardPlace], EncodingStage],
    meters: Meters,
) -> KeyedStream[SpikeRange]:
    """Encodes each shard's features as input spikes."""
    of_key = {shard_key(s): place for s, place in places.items()}

    def joint_of(key: str) -> ChainJoint:
        return ChainJoint(stage_of(of_key[key]), lambda x: x.gated.hi, lambda x: x.gated.ticks.size)

    return lift("stage", up, Lifted(step_id.rsplit(".", 1)[-1], lambda x: shard_key(x.gated.shard), joint_of, meters))
