"""Decoding as a Bytewax operator: one stage per shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.decoding.stage import DecodingStage
from operators.timeline.chain import ChainJoint
from operators.timeline.control import Meters
from operators.timeline.lift import lift
from operators.timeline.logic import Lifted
from operators.timeline.stage import ShardPlace
from schemas.ranges import ScoreRange, SliceOut
from schemas.ticks import shard_key


@operator
def decode(
    step_id: str,
    up: KeyedStream[ScoreRange],
    places: Mapping[int, ShardPlace],
    stage_of: Callable[[ShardPlace], DecodingStage],
    meters: Meters,
) -> KeyedStream[SliceOut]:
    """Turns each shard's scores into signals, slice-end quotes, statistics and skill counts."""
    of_key = {shard_key(s): place for s, place in places.items()}

    def joint_of(key: str) -> ChainJoint:
        return ChainJoint(stage_of(of_key[key]), lambda x: x.gated.hi, lambda x: x.gated.ticks.size)

    return lift("stage", up, Lifted(step_id.rsplit(".", 1)[-1], lambda x: shard_key(x.gated.shard), joint_of, meters))
