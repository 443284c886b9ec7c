"""The paper venue as a Bytewax operator, where it is a flow of its own: gated ticks and the book's turns in, its turns out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.execution.venue_stage import VenueStage
from operators.timeline.aligner import Aligner, common_ranges
from operators.timeline.control import Credit, Meters
from operators.timeline.lift import lift
from operators.timeline.logic import Lifted, StageLogic
from schemas.order_wire import BookTurn, VenueTurn
from schemas.ranges import OWN, GatedRange

VENUE_KEY: Final = "venue"


@dataclass(frozen=True)
class VenueJoint:
    """The venue: its aligned inputs are all shards, the book's turns are taken at once. `credit` learns which slices are done."""

    stage: VenueStage
    credit: Credit

    def aligner(self) -> Aligner[GatedRange]:
        return Aligner(self.stage.shards, lambda piece, k: piece.cut(k))

    def feed(self, aligner: Aligner[GatedRange], value: GatedRange | BookTurn) -> BookTurn | None:
        if isinstance(value, BookTurn):
            return value
        aligner.put(value.shard, value)
        aligner.mark(value.shard, value.hi)
        return None

    def joined(self, _lo: int, _hi: int, pieces: dict[int, list[GatedRange]]) -> Iterator[tuple[GatedRange, ...]]:
        for piece in common_ranges(pieces):
            yield tuple(piece[s] for s in self.stage.shards)

    def items(self, x: tuple[GatedRange, ...] | BookTurn) -> int:
        return x.requests.size if isinstance(x, BookTurn) else sum(g.ticks.size for g in x)

    def emitted(self, out: list[VenueTurn]) -> list[VenueTurn]:
        for turn in out:
            self.credit.done(turn.hi)
        return out


@operator
def venue(
    step_id: str,
    gated: KeyedStream[Any],
    requests: KeyedStream[BookTurn],
    stage_of: Callable[[str], VenueStage],
    credit: Credit,
    meters: Meters,
    logics: dict[str, StageLogic],
) -> KeyedStream[VenueTurn]:
    """Fills the book's orders from gated ticks. Downstream: VenueTurns under VENUE_KEY.

    `gated`: what `gate` sends, `(key, OWN | leader's symbol id, range)`, of which the shards' own ranges are read. `logics`: see Lifted.
    """

    def own(item: tuple[str, tuple[str, int, Any]]) -> list[tuple[str, Any]]:
        _, (_, source, piece) = item
        return [(VENUE_KEY, piece)] if source == OWN else []

    def asked(item: tuple[str, BookTurn]) -> tuple[str, Any]:
        return VENUE_KEY, item[1]

    merged = op.merge("inputs", op.flat_map("own", gated, own), op.map("asked", requests, asked))
    lifted = Lifted(step_id.rsplit(".", 1)[-1], lambda _: VENUE_KEY, lambda key: VenueJoint(stage_of(key), credit), meters, logics)
    return lift("stage", merged, lifted)
