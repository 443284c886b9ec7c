"""The aligner: joins inputs by slices. This is the whole of "watermarks".

A stage that joins inputs works on a slice once the smallest mark of its static list of inputs has passed it. Pieces are kept per
input in the order in which they came; a piece that reaches beyond the smallest mark is cut there. What is buffered is a
value, so that it can be part of a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

P = TypeVar("P")

NOTHING_SENT = -(2**62)
"""Mark of an input that has not said anything yet."""


class Aligner(Generic[P]):
    """Buffers pieces of several inputs until all of them have passed a slice.

    `inputs`: the static list of inputs. `cut(piece, k)` gives what of a piece stands before slice k and from k on (either may be
    None).
    """

    def __init__(self, inputs: Sequence[int], cut: Callable[[P, int], tuple[P | None, P | None]]) -> None:
        if not inputs:
            msg = "an aligner needs at least one input"
            raise ValueError(msg)
        self._cut = cut
        self._marks = dict.fromkeys(inputs, NOTHING_SENT)
        self._pieces: dict[int, list[P]] = {i: [] for i in inputs}
        self._passed = NOTHING_SENT

    @property
    def passed(self) -> int:
        """Everything before this slice has been handed out."""
        return self._passed

    @property
    def waiting_for(self) -> tuple[int, ...]:
        """The inputs whose marks hold the others back."""
        low = min(self._marks.values())
        return tuple(i for i, k in self._marks.items() if k == low)

    def put(self, source: int, piece: P) -> None:
        """Buffers a piece of an input. KeyError for an input that is not on the list."""
        self._pieces[source].append(piece)

    def mark(self, source: int, k: int) -> None:
        """Everything of `source` before slice k has been put. A mark never goes back."""
        if k > self._marks[source]:
            self._marks[source] = k

    def ready(self) -> tuple[int, int, dict[int, list[P]]] | None:
        """The range [lo, hi) that all inputs have passed since the last call, with its pieces by input; None if there is none.

        `lo` is NOTHING_SENT the first time.
        """
        hi = min(self._marks.values())
        lo = self._passed
        if hi <= lo:
            return None
        self._passed = hi
        out: dict[int, list[P]] = {}
        for source, pieces in self._pieces.items():
            if not pieces:
                out[source] = []
                continue
            before: list[P] = []
            after: list[P] = []
            for piece in pieces:
                head, tail = self._cut(piece, hi)
                if head is not None:
                    before.append(head)
                if tail is not None:
                    after.append(tail)
            out[source] = before
            self._pieces[source] = after
        return lo, hi, out

    def snapshot(self) -> dict[str, Any]:
        """What is buffered and the marks, as a value."""
        return {"marks": dict(self._marks), "passed": self._passed, "pieces": {i: list(p) for i, p in self._pieces.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Puts a snapshot back. Its list of inputs must be this aligner's."""
        if set(state["marks"]) != set(self._marks):
            msg = f"the snapshot joins inputs {sorted(state['marks'])}, this flow joins {sorted(self._marks)}"
            raise ValueError(msg)
        self._marks = dict(state["marks"])
        self._passed = state["passed"]
        self._pieces = {i: list(p) for i, p in state["pieces"].items()}


def common_ranges(pieces: dict[int, list[Any]]) -> Iterator[dict[int, Any]]:
    """Cuts complete ranges of several inputs, all covering the same slices, at common places.

    `pieces`: by input, ranges that follow each other without gaps. Yields one piece of each input at a time, all with the same hi.
    """
    rest = {source: list(reversed(ranges)) for source, ranges in pieces.items()}
    while any(rest.values()):
        hi = min(stack[-1].hi for stack in rest.values())
        out = {}
        for source, stack in rest.items():
            piece = stack.pop()
            if piece.hi > hi:
                piece, tail = piece.cut(hi)
                stack.append(tail)
            out[source] = piece
        yield out
