"""The simplest joint: a stage with one input whose pieces are complete ranges, each its own mark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from operators.timeline.aligner import Aligner
from operators.timeline.stage import Stage


def _uncut(piece: Any, _k: int) -> tuple[Any, Any]:
    return piece, None


@dataclass(frozen=True)
class ChainJoint:
    """One input, range in, range out. `hi_of` is the slice before which a piece is complete, `count` its items for the meter."""

    stage: Stage[Any, Any]
    hi_of: Callable[[Any], int]
    count: Callable[[Any], int]

    def aligner(self) -> Aligner[Any]:
        return Aligner((0,), _uncut)

    def feed(self, aligner: Aligner[Any], value: Any) -> None:
        aligner.put(0, value)
        aligner.mark(0, self.hi_of(value))

    def joined(self, _lo: int, _hi: int, pieces: dict[int, list[Any]]) -> list[Any]:
        return pieces[0]

    def items(self, x: Any) -> int:
        return self.count(x)

    def emitted(self, out: Any) -> list[Any]:
        return [out]
