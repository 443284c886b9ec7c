"""A tape as the network sees it: all its ticks through gate, features and encoder, held in memory for training and evaluation.

This composes rooms, which only training and evaluation may do: the stages are those of the flow, run in a plain loop over all symbols
as one shard, so that what is learned is what will be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from operators.encoding import EncodingStage
from operators.features import FeatureStage
from operators.quality import QualityStage
from operators.spiking.model import TickNetwork
from operators.spiking.stage import SpikingStage
from operators.timeline.stage import ShardPlace, shard_places
from schemas.errors import UsageError
from schemas.instruments import InstrumentList
from schemas.ranges import GatedRange, ScoreRange, SpikeBatch, SpikeRange
from schemas.settings import Settings
from schemas.ticks import TICK_V1, Ints, Ticks

CHUNK_TICKS = 200_000


class TapeLike(Protocol):
    """What is needed of a tape (operators/sources/tape has it)."""

    @property
    def instruments(self) -> InstrumentList: ...

    @property
    def partitions(self) -> int: ...

    def rows(self, partition: int) -> int: ...

    def read(self, partition: int, start: int, count: int) -> Ticks: ...


@dataclass(frozen=True, eq=False)
class Prepared:
    """Gated ticks of a tape in their order, n of them, and what the stages before the network made of them.

    `x` float32 (n, F) features, `use` uint8 (n,), `indptr` int64 (n + 1,) and `neuron` uint16: input spikes.
    """

    place: ShardPlace
    ticks: Ticks
    slices: Ints
    gate: npt.NDArray[np.uint8]
    use: npt.NDArray[np.uint8]
    x: npt.NDArray[np.float32]
    indptr: Ints
    neuron: npt.NDArray[np.uint16]

    def spike_range(self) -> SpikeRange:
        """Everything as one range of slices."""
        lo, hi = (int(self.slices[0]), int(self.slices[-1]) + 1) if self.slices.size else (0, 0)
        gated = GatedRange(
            self.place.shard,
            lo,
            hi,
            self.ticks,
            self.slices,
            self.gate,
            (),
            self.ticks.size,
            0,
        )
        return SpikeRange(gated, self.use, SpikeBatch(self.indptr, self.neuron))

    def scores(self, model: TickNetwork, forget: bool = False) -> ScoreRange:
        """What the network says at each tick; with `forget` it starts anew at each."""
        stage = SpikingStage(self.place, model, forget)
        return stage.step(stage.start(), self.spike_range())[1]

    def until(self, ts_ns: int) -> Prepared:
        """The ticks before a time (a view)."""
        n = int(np.searchsorted(self.ticks["ts_ns"], ts_ns))
        return replace(
            self,
            ticks=self.ticks[:n],
            slices=self.slices[:n],
            gate=self.gate[:n],
            use=self.use[:n],
            x=self.x[:n],
            indptr=self.indptr[: n + 1],
        )


def read_all(tape: TapeLike) -> Ticks:
    """All ticks of a tape in its order: (ts_ns, symbol, seq)."""
    parts = []
    for p in range(tape.partitions):
        at = 0
        while at < tape.rows(p):
            part = tape.read(p, at, CHUNK_TICKS)
            parts.append(part)
            at += part.size
    ticks: Ticks = np.concatenate(parts) if parts else np.empty(0, TICK_V1)
    if tape.partitions > 1:
        ticks = ticks[np.lexsort((ticks["seq"], ticks["symbol"], ticks["ts_ns"]))]
    return ticks


def prepare(tape: TapeLike, settings: Settings | None = None) -> Prepared:
    """Runs the stages before the network over a whole tape. Raises UsageError for a tape without ticks that pass the gate."""
    return prepare_ticks(read_all(tape), tape.instruments, settings)


def prepare_ticks(ticks: Ticks, instruments: InstrumentList, settings: Settings | None = None) -> Prepared:
    """As `prepare`, for ticks in memory, in the order of a tape."""
    settings = (settings or Settings()).model_copy(update={"shards": 1})
    if not ticks.size:
        msg = "the tape has no ticks, so nothing can be learned or measured on it"
        raise UsageError(msg)
    place = next(iter(shard_places(instruments, settings).values()))
    gate, features, encoding = QualityStage(place), FeatureStage(place), EncodingStage(place)
    states: list[Any] = [gate.start(), features.start(), encoding.start()]
    parts: list[SpikeRange] = []
    rows: list[npt.NDArray[np.float32]] = []
    for part in _ranges(ticks, settings.slice_ns):
        states[0], (gated, leads) = gate.step(states[0], part)
        ordered = {lead.symbol: lead for lead in leads}
        states[1], featured = features.step(states[1], (gated, tuple(ordered[s] for s in place.leaders)))
        states[2], spikes = encoding.step(states[2], featured)
        parts.append(spikes)
        rows.append(featured.x)
    offsets = np.cumsum([0, *(p.spikes.neuron.size for p in parts)])
    return Prepared(
        place,
        np.concatenate([p.gated.ticks for p in parts]),
        np.concatenate([p.gated.slices for p in parts]),
        np.concatenate([p.gated.gate for p in parts]),
        np.concatenate([p.use for p in parts]),
        np.concatenate(rows),
        np.concatenate([np.zeros(1, np.int64), *(p.spikes.indptr[1:] + o for p, o in zip(parts, offsets[:-1], strict=True))]),
        np.concatenate([p.spikes.neuron for p in parts]),
    )


def _ranges(ticks: Ticks, slice_ns: int) -> Iterator[tuple[int, int, Ticks, Ints]]:
    """The ticks as ranges of whole slices of about CHUNK_TICKS ticks."""
    slices = ticks["ts_ns"] // slice_ns
    start, lo = 0, int(slices[0])
    while start < ticks.size:
        hi = int(slices[min(start + CHUNK_TICKS, ticks.size - 1)]) + 1
        stop = int(np.searchsorted(slices, hi))
        yield lo, hi, ticks[start:stop], slices[start:stop]
        start, lo = stop, hi
