"""Lists of tick partitions as they are written on the command line."""

from __future__ import annotations


def listed(text: str, count: int) -> tuple[int, ...]:
    """`0-3,5` as partitions, ascending. ValueError for what is no list of partitions below `count`."""
    chosen: set[int] = set()
    for piece in text.split(","):
        first, dash, last = piece.partition("-")
        low, high = int(first), int(last if dash else first)
        if not 0 <= low <= high < count:
            msg = f"partitions {piece!r}: expected from 0 to {count - 1}, the smaller first"
            raise ValueError(msg)
        chosen |= set(range(low, high + 1))
    return tuple(sorted(chosen))
