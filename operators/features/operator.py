"""Features as a Bytewax operator: joins a shard's gated ranges with the paths of the symbols that lead it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.features.stage import FeatureStage
from operators.timeline.aligner import Aligner, common_ranges
from operators.timeline.control import Meters
from operators.timeline.lift import lift
from operators.timeline.logic import Lifted
from operators.timeline.stage import ShardPlace
from schemas.ranges import OWN, FeatureRange, GatedRange, LeadSeries
from schemas.ticks import shard_key

FeatureInput = tuple[GatedRange, tuple[LeadSeries, ...]]


@dataclass(frozen=True)
class FeatureJoint:
    """A shard's features: its inputs are its own ticks and the paths of its leaders."""

    stage: FeatureStage
    leaders: tuple[int, ...]

    def aligner(self) -> Aligner[Any]:
        return Aligner((OWN, *self.leaders), lambda piece, k: piece.cut(k))

    def feed(self, aligner: Aligner[Any], value: tuple[str, int, GatedRange | LeadSeries]) -> None:
        _, source, piece = value
        aligner.put(source, piece)
        aligner.mark(source, piece.hi)

    def joined(self, _lo: int, _hi: int, pieces: dict[int, list[Any]]) -> Iterator[FeatureInput]:
        for piece in common_ranges(pieces):
            yield piece[OWN], tuple(piece[leader] for leader in self.leaders)

    def items(self, x: FeatureInput) -> int:
        return x[0].ticks.size

    def emitted(self, out: FeatureRange) -> list[FeatureRange]:
        return [out]


@operator
def features(
    step_id: str,
    up: KeyedStream[Any],
    places: Mapping[int, ShardPlace],
    stage_of: Callable[[ShardPlace], FeatureStage],
    meters: Meters,
) -> KeyedStream[FeatureRange]:
    """Features of each shard's ticks, from what `gate` sends: `(key, OWN | leader's symbol id, range)`."""
    of_key = {shard_key(s): place for s, place in places.items()}

    def joint_of(key: str) -> FeatureJoint:
        place = of_key[key]
        return FeatureJoint(stage_of(place), place.leaders)

    return lift("stage", up, Lifted(step_id.rsplit(".", 1)[-1], lambda value: str(value[0]), joint_of, meters))
