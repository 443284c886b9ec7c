"""What a stage is: a pure function of (state, a range of slices) to (state, output), and the place it works in.

A stage never reads a clock, the environment or an unseeded generator. Its state is a value: a dict of NumPy arrays, numbers,
bytes, strings and dicts, lists or tuples of those, so that it can be copied, pickled, versioned and compared. `step` owns the
state that it is given and may change its arrays in place; it never changes its input. Cutting the same ranges at other places
must give the same outputs, concatenated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.instruments import InstrumentList
from schemas.settings import Settings
from schemas.ticks import shard_of

State = dict[str, Any]
Migration = Callable[[State], State]
In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


class Stage(Protocol[In, Out]):
    """One stage of the flow for one key (a shard or an account)."""

    version: int
    """Version of the state's layout; raised by one with each change, together with a migration."""

    migrations: Mapping[int, Migration]
    """For each older version v still readable: a function from a state of v to a state of v + 1."""

    def start(self) -> State:
        """The state before the first slice."""
        ...

    def step(self, state: State, x: In) -> tuple[State, Out]:
        """Takes the next range and returns the state after it and what the stage says about it."""
        ...


@dataclass(frozen=True)
class ShardPlace:
    """Where a shard's stages work: which symbols are its own, and what everybody may know.

    `symbols`: ids of the shard's symbols, ascending; `local`: int32 (all instruments,), place in `symbols` or -1.
    """

    shard: int
    symbols: tuple[int, ...]
    local: npt.NDArray[np.int32]
    instruments: InstrumentList
    settings: Settings

    @property
    def leaders(self) -> tuple[int, ...]:
        """Ids of the symbols that lead a symbol of this shard, ascending."""
        named = {self.instruments.instruments[s].leader for s in self.symbols} - {None}
        known = self.instruments.symbols
        return tuple(sorted(known.index(s) for s in named if s in known))


def shard_places(instruments: InstrumentList, settings: Settings) -> dict[int, ShardPlace]:
    """The shards that own at least one instrument that is read: those of `replay.symbols` and their leaders, or all."""
    chosen = set(settings.replay.symbols) or set(instruments.symbols)
    chosen |= {i.leader for i in instruments.instruments if i.symbol in chosen and i.leader is not None}
    owned: dict[int, list[int]] = {}
    for i, symbol in enumerate(instruments.symbols):
        if symbol not in chosen:
            continue
        owned.setdefault(shard_of(symbol, settings.shards), []).append(i)
    places = {}
    for shard, symbols in sorted(owned.items()):
        local = np.full(len(instruments.symbols), -1, np.int32)
        local[symbols] = np.arange(len(symbols), dtype=np.int32)
        places[shard] = ShardPlace(shard, tuple(symbols), local, instruments, settings)
    return places
