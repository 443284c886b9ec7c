"""The account as a Bytewax operator: what all shards say, aligned slice by slice, into orders, executions, positions, equity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.book.driver import AccountStage
from operators.timeline.aligner import Aligner, common_ranges
from operators.timeline.control import Credit, Meters
from operators.timeline.lift import lift
from operators.timeline.logic import Lifted, StageLogic
from schemas.ranges import SliceOut
from schemas.tables import Rows


@dataclass(frozen=True)
class AccountJoint:
    """An account: its inputs are all shards. `credit` learns which slices are done."""

    stage: AccountStage
    shards: tuple[int, ...]
    credit: Credit

    def aligner(self) -> Aligner[SliceOut]:
        return Aligner(self.shards, lambda piece, k: piece.cut(k))

    def feed(self, aligner: Aligner[SliceOut], value: SliceOut) -> None:
        aligner.put(value.shard, value)
        aligner.mark(value.shard, value.hi)

    def joined(self, _lo: int, hi: int, pieces: dict[int, list[SliceOut]]) -> Iterator[tuple[SliceOut, ...]]:
        for piece in common_ranges(pieces):
            yield tuple(piece[s] for s in self.shards)
        self.credit.done(hi)

    def items(self, x: tuple[SliceOut, ...]) -> int:
        return sum(0 if o.gated is None else o.gated.ticks.size for o in x)

    def emitted(self, out: tuple[Rows, ...]) -> list[tuple[Rows, ...]]:
        return [out]


@operator
def account(
    step_id: str,
    up: KeyedStream[SliceOut],
    account_id: str,
    shards: tuple[int, ...],
    stage_of: Callable[[str], AccountStage],
    credit: Credit,
    meters: Meters,
    logics: dict[str, StageLogic],
) -> KeyedStream[Any]:
    """Books an account from all shards. Downstream: tuples of rows, everything that the sinks store. `logics`: see Lifted."""

    def addressed(item: tuple[str, SliceOut]) -> tuple[str, SliceOut]:
        return account_id, item[1]

    merged = op.map("address", up, addressed)
    name = step_id.rsplit(".", 1)[-1]
    lifted = Lifted(name, lambda _: account_id, lambda key: AccountJoint(stage_of(key), shards, credit), meters, logics)
    return lift("stage", merged, lifted)
