"""The account as Bytewax operators: what all shards say, aligned slice by slice, into orders, executions, positions, equity.

`account` has the venue in its stage, `book` hears of it by turns (operators/execution/operator.py is the other side).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.book.book_stage import BookItem, BookStage
from operators.book.driver import AccountStage
from operators.timeline.aligner import Aligner, common_ranges
from operators.timeline.control import Credit, Meters
from operators.timeline.lift import lift
from operators.timeline.logic import Lifted, StageLogic
from schemas.control import Accepted, Command, Refused
from schemas.order_wire import BookTurn, VenueTurn
from schemas.ranges import SliceOut
from schemas.tables import Rows

Out = tuple[Rows, ...] | Accepted | Refused


@dataclass(frozen=True)
class ShardsJoint:
    """What is the same for both: the aligned inputs are all shards; a turn or a control message is taken at once."""

    shards: tuple[int, ...]
    credit: Credit

    def aligner(self) -> Aligner[SliceOut]:
        return Aligner(self.shards, lambda piece, k: piece.cut(k))

    def feed(self, aligner: Aligner[SliceOut], value: SliceOut | VenueTurn | Command) -> VenueTurn | Command | None:
        if not isinstance(value, SliceOut):
            return value
        aligner.put(value.shard, value)
        aligner.mark(value.shard, value.hi)
        return None

    def items(self, x: tuple[SliceOut, ...] | VenueTurn | Command) -> int:
        if isinstance(x, tuple):
            return sum(0 if o.gated is None else o.gated.ticks.size for o in x)
        return x.reports.size if isinstance(x, VenueTurn) else 0


@dataclass(frozen=True)
class AccountJoint(ShardsJoint):
    """An account with its venue. `credit` learns which slices are done.

    `tells_turns`: after the rows of a range comes an empty BookTurn, which says how far the account has decided; `decided`: its slices.
    """

    stage: AccountStage
    tells_turns: bool
    decided: list[int] = field(default_factory=lambda: [0, 0])

    def joined(self, _lo: int, hi: int, pieces: dict[int, list[SliceOut]]) -> Iterator[tuple[SliceOut, ...]]:
        for piece in common_ranges(pieces):
            outs = tuple(piece[s] for s in self.shards)
            self.decided[:] = outs[0].lo, outs[0].hi
            yield outs
        self.credit.done(hi)

    def emitted(self, out: Out) -> list[Out | BookTurn]:
        return [out, BookTurn(self.decided[0], self.decided[1])] if self.tells_turns and isinstance(out, tuple) else [out]


@dataclass(frozen=True)
class BookJoint(ShardsJoint):
    """An account without its venue. `credit` learns which slices are decided: what waits for the venue holds the source back."""

    stage: BookStage

    def joined(self, _lo: int, _hi: int, pieces: dict[int, list[SliceOut]]) -> Iterator[tuple[SliceOut, ...]]:
        for piece in common_ranges(pieces):
            yield tuple(piece[s] for s in self.shards)

    def emitted(self, out: list[BookItem]) -> list[BookItem]:
        for item in out:
            if isinstance(item, BookTurn):
                self.credit.done(item.hi)
        return out


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
    control: KeyedStream[Command] | None = None,
    tells_turns: bool = False,
) -> KeyedStream[Any]:
    """Books an account from all shards. Downstream: tuples of rows, everything that the sinks store; of `control` what became of it.

    `logics`: see Lifted. `tells_turns`: see AccountJoint.
    """
    merged = _addressed([up] if control is None else [up, control], account_id)
    name = step_id.rsplit(".", 1)[-1]
    lifted = Lifted(name, lambda _: account_id, lambda key: AccountJoint(shards, credit, stage_of(key), tells_turns), meters, logics)
    return lift("stage", merged, lifted)


@operator
def book(
    step_id: str,
    slices: KeyedStream[SliceOut],
    reports: KeyedStream[VenueTurn],
    control: KeyedStream[Command] | None,
    account_id: str,
    shards: tuple[int, ...],
    stage_of: Callable[[str], BookStage],
    credit: Credit,
    meters: Meters,
    logics: dict[str, StageLogic],
) -> KeyedStream[Any]:
    """Books an account whose venue is elsewhere. Downstream: tuples of rows, BookTurns for the venue, Accepted and Refused."""
    ups: list[KeyedStream[Any]] = [slices, reports] if control is None else [slices, reports, control]
    merged = _addressed(ups, account_id)
    name = step_id.rsplit(".", 1)[-1]
    lifted = Lifted(name, lambda _: account_id, lambda key: BookJoint(shards, credit, stage_of(key)), meters, logics)
    return lift("stage", merged, lifted)


def _addressed(ups: list[KeyedStream[Any]], account_id: str) -> KeyedStream[Any]:
    """The streams as one, whatever its keys were, under the account's key."""

    def addressed(item: tuple[str, Any]) -> tuple[str, Any]:
        return account_id, item[1]

    return op.map("address", op.merge("inputs", *ups) if len(ups) > 1 else ups[0], addressed)
