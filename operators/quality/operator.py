"""The quality gate as a Bytewax operator: batches and marks of partitions in, gated ranges and lead series out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.quality.kernels import in_order
from operators.quality.stage import QualityStage
from operators.timeline.aligner import Aligner
from operators.timeline.control import Meters
from operators.timeline.lift import lift
from operators.timeline.logic import Lifted
from operators.timeline.stage import ShardPlace
from schemas.ranges import OWN, GatedRange, LeadSeries
from schemas.ticks import TICK_V1, Mark, TickBatch, lead_key, read_only, rows_at, rows_joined, shard_key


def cut_batch(batch: TickBatch, k: int) -> tuple[TickBatch | None, TickBatch | None]:
    """What of a batch stands before slice k, and from k on."""
    i = int(np.searchsorted(batch.slices, k))
    if i == batch.slices.size:
        return batch, None
    if i == 0:
        return None, batch
    head = TickBatch(batch.shard, batch.partition, batch.first_offset, batch.slices[:i], batch.ticks[:i])
    tail = TickBatch(batch.shard, batch.partition, batch.first_offset, batch.slices[i:], batch.ticks[i:])
    return head, tail


NO_TICKS: Final = read_only(np.empty(0, TICK_V1))
NO_SLICES: Final = read_only(np.empty(0, np.int64))
"""Read-only as all ticks are: kernels are compiled for read-only ones only."""


def joined_batches(batches: Sequence[TickBatch]) -> tuple[Any, Any]:
    """Ticks and slices of the batches of all partitions, ordered by (slice, ts_ns, symbol, seq), read-only.

    One sorted batch is not copied.
    """
    if not batches:
        return NO_TICKS, NO_SLICES
    if len(batches) == 1:
        ticks, slices = batches[0].ticks, batches[0].slices
    else:
        ticks = rows_joined([b.ticks for b in batches])
        slices = np.concatenate([b.slices for b in batches])
    if len({b.partition for b in batches}) > 1 or not in_order(ticks["ts_ns"], ticks["symbol"], ticks["seq"]):
        order = np.lexsort((ticks["seq"], ticks["symbol"], ticks["ts_ns"], slices))
        ticks, slices = rows_at(ticks, order), slices[order]
    if len(batches) > 1 or ticks is not batches[0].ticks:
        ticks.flags.writeable = slices.flags.writeable = False
    return ticks, slices


@dataclass(frozen=True)
class GateJoint:
    """A shard's gate: its inputs are the partitions that feed the shard."""

    stage: QualityStage
    partitions: tuple[int, ...]

    def aligner(self) -> Aligner[TickBatch]:
        return Aligner(self.partitions, cut_batch)

    def feed(self, aligner: Aligner[TickBatch], value: TickBatch | Mark) -> None:
        if isinstance(value, Mark):
            aligner.mark(value.source, value.k)
        else:
            aligner.put(value.partition, value)

    def joined(self, lo: int, hi: int, pieces: dict[int, list[TickBatch]]) -> list[tuple[int, int, Any, Any]]:
        ticks, slices = joined_batches([b for p in sorted(pieces) for b in pieces[p]])
        return [(lo, hi, ticks, slices)]

    def items(self, x: tuple[int, int, Any, Any]) -> int:
        return int(x[2].size)

    def emitted(self, out: tuple[GatedRange, tuple[LeadSeries, ...]]) -> list[GatedRange | LeadSeries]:
        return [out[0], *out[1]]


@dataclass(frozen=True)
class LeadJoint:
    """A leading shard's gate on behalf of the followers in one partition, `on_behalf_of`: only the leaders' paths go on."""

    gate: GateJoint
    on_behalf_of: int

    @property
    def stage(self) -> QualityStage:
        return self.gate.stage

    def aligner(self) -> Aligner[TickBatch]:
        return self.gate.aligner()

    def feed(self, aligner: Aligner[TickBatch], value: tuple[int, TickBatch | Mark]) -> None:
        self.gate.feed(aligner, value[1])

    def joined(self, lo: int, hi: int, pieces: dict[int, list[TickBatch]]) -> list[tuple[int, int, Any, Any]]:
        return self.gate.joined(lo, hi, pieces)

    def items(self, x: tuple[int, int, Any, Any]) -> int:
        return self.gate.items(x)

    def emitted(self, out: tuple[GatedRange, tuple[LeadSeries, ...]]) -> list[tuple[int, LeadSeries]]:
        return [(self.on_behalf_of, path) for path in out[1]]


@operator
def gate(
    step_id: str,
    up: KeyedStream[TickBatch | Mark],
    places: Mapping[int, ShardPlace],
    feeds: Mapping[int, tuple[int, ...]],
    stage_of: Callable[[ShardPlace], QualityStage],
    meters: Meters,
) -> KeyedStream[Any]:
    """Gates each shard's ticks. Downstream: a shard's GatedRange under its own key, a leader's LeadSeries under each follower's key.

    `feeds`: the partitions that feed a shard. Values are `(key, source, GatedRange | LeadSeries)`: source is OWN for the shard's own
    range, else the leader's symbol id.
    """
    of_key = {shard_key(s): s for s in places}
    followers = followers_of(places)

    def joint_of(key: str) -> GateJoint:
        shard = of_key[key]
        return GateJoint(stage_of(places[shard]), feeds[shard])

    def routed(item: tuple[str, GatedRange | LeadSeries]) -> list[tuple[str, Any]]:
        key, value = item
        return followed(value, followers) if isinstance(value, LeadSeries) else [(key, (key, OWN, value))]

    lifted = Lifted(step_id.rsplit(".", 1)[-1], lambda v: shard_key(v.shard), joint_of, meters)
    gated = lift("stage", up, lifted)
    return op.flat_map("route", gated, routed)


def followers_of(places: Mapping[int, ShardPlace]) -> dict[int, list[str]]:
    """By id of each symbol that leads others: the keys of the shards, of those in `places`, that follow it."""
    followers: dict[int, list[str]] = {}
    for shard, place in places.items():
        for leader in place.leaders:
            followers.setdefault(leader, []).append(shard_key(shard))
    return followers


def followed(path: LeadSeries, followers: Mapping[int, list[str]]) -> list[tuple[str, Any]]:
    """A leader's path under the key of each shard that follows it."""
    return [(key, (key, path.symbol, path)) for key in followers.get(path.symbol, ())]


@operator
def gate_apart(
    step_id: str,
    own: KeyedStream[TickBatch | Mark],
    leading: KeyedStream[tuple[int, TickBatch | Mark]] | None,
    places: Mapping[int, ShardPlace],
    leading_places: Mapping[int, ShardPlace],
    partitions: int,
    stage_of: Callable[[ShardPlace], QualityStage],
    meters: Meters,
) -> KeyedStream[Any]:
    """Gates as `gate` does where the leaders' ticks are another stream, so that no partition's state depends on another's.

    `own`: ticks of `places`, of some partitions of the topic. `leading`: under `lead_key(p, shard)`, `(p, ticks)` of each shard of
    `leading_places` that the followers in partition p need, read for them alone; None where nobody leads. A leader may so be gated more
    than once.
    """
    of_key = {shard_key(s): s for s in places}
    followers: dict[int, dict[int, list[str]]] = {
        p: followers_of({s: place for s, place in places.items() if s % partitions == p}) for p in {s % partitions for s in places}
    }

    def joint_of(key: str) -> GateJoint:
        shard = of_key[key]
        return GateJoint(stage_of(places[shard]), (shard % partitions,))

    def lead_joint_of(key: str) -> LeadJoint:
        partition, shard = (int(part[1:]) for part in key.split("."))
        return LeadJoint(GateJoint(stage_of(leading_places[shard]), (shard % partitions,)), partition)

    def alone(item: tuple[str, GatedRange | LeadSeries]) -> list[tuple[str, Any]]:
        key, value = item
        return [] if isinstance(value, LeadSeries) else [(key, (key, OWN, value))]

    def led(item: tuple[str, tuple[int, LeadSeries]]) -> list[tuple[str, Any]]:
        partition, path = item[1]
        return followed(path, followers[partition])

    name = step_id.rsplit(".", 1)[-1]
    gated = lift("stage", own, Lifted(name, lambda v: shard_key(v.shard), joint_of, meters))
    alone_ranges = op.flat_map("route", gated, alone)
    if leading is None:
        return alone_ranges
    paths = lift("leaders", leading, Lifted(f"{name} leaders", lambda v: lead_key(v[0], v[1].shard), lead_joint_of, meters))
    return op.merge("with_leaders", alone_ranges, op.flat_map("route_leaders", paths, led))
