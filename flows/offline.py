"""The same stages without Bytewax: a plain loop over a tape, for variants of the book, for training, and to check the flow itself.

Nothing is shared with the flow but the stages and the cursor: no aligner, no keys, no workers. Both must give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flows.trading import Stages
from operators.book.driver import AccountStage
from operators.quality.operator import joined_batches
from operators.sources.replay import TapeCursor
from operators.timeline.aligner import NOTHING_SENT
from operators.timeline.stage import State
from schemas.ranges import SliceOut
from schemas.tables import Rows
from schemas.ticks import Mark, TickBatch


class ShardChain:
    """All stages of one shard, one after another, with their states. `states` is by stage name."""

    def __init__(self, stages: Stages, shard: int) -> None:
        place = stages.places[shard]
        self.leaders = place.leaders
        self._gate = stages.quality(place)
        self._rest: tuple[tuple[str, Any], ...] = (
            ("features", stages.features(place)),
            ("encode", stages.encoding(place)),
            ("infer", stages.spiking(place)),
            ("decode", stages.decoding(place)),
        )
        self.states: dict[str, State] = {"gate": self._gate.start(), **{name: s.start() for name, s in self._rest}}

    def gate(self, lo: int, hi: int, batches: Sequence[TickBatch]) -> tuple[Any, tuple[Any, ...]]:
        """The gated range, and the paths of the shard's leading symbols."""
        ticks, slices = joined_batches(batches)
        self.states["gate"], (gated, leads) = self._gate.step(self.states["gate"], (lo, hi, ticks, slices))
        return gated, leads

    def rest(self, gated: Any, leads: tuple[Any, ...]) -> SliceOut:
        """From a gated range to what the shard says."""
        x: Any = (gated, leads)
        for name, stage in self._rest:
            self.states[name], x = stage.step(self.states[name], x)
        out: SliceOut = x
        return out


Gated = dict[int, tuple[Any, tuple[Any, ...]]]
"""By shard: the gated range of its ticks, and the paths of the symbols of the shard that lead others."""


def gated_ranges(chains: Mapping[int, ShardChain], cursor: TapeCursor, batch_ticks: int) -> Iterator[Gated]:
    """What passes the gates of all shards, range by range; only the gates' states move."""
    waiting: dict[int, list[TickBatch]] = {shard: [] for shard in chains}
    position, lo = cursor.start(), NOTHING_SENT
    while not position.finished:
        position, messages = cursor.next(position, batch_ticks)
        hi = lo
        for m in messages:
            if isinstance(m, TickBatch):
                waiting[m.shard].append(m)
            elif isinstance(m, Mark):
                hi = max(hi, m.k)
        if hi == lo or any(b.slices[-1] >= hi for batches in waiting.values() for b in batches):
            continue
        yield {s: chain.gate(lo, hi, waiting[s]) for s, chain in chains.items()}
        waiting = {shard: [] for shard in chains}
        lo = hi


def shard_outs(stages: Stages, cursor: TapeCursor, batch_ticks: int) -> Iterator[tuple[SliceOut, ...]]:
    """What all shards say, range by range, in the order of `stages.shards`."""
    chains = {shard: ShardChain(stages, shard) for shard in stages.shards}
    for gated in gated_ranges(chains, cursor, batch_ticks):
        leads = {lead.symbol: lead for _, series in gated.values() for lead in series}
        yield tuple(chain.rest(gated[s][0], tuple(leads[i] for i in chain.leaders)) for s, chain in chains.items())


def booked(stage: AccountStage, outs: Iterator[tuple[SliceOut, ...]]) -> Iterator[tuple[State, tuple[Rows, ...]]]:
    """One account over what the shards say: its state and its rows after each range."""
    state = stage.start()
    for out in outs:
        state, rows = stage.step(state, out)
        yield state, rows
