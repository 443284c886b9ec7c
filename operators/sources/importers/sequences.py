"""Which numbers of a venue's sequence have come: what tells a row that is sent or recorded twice from one that only looks the same.

Numbers are kept as stretches without a hole between them, so a sequence that runs up by one costs one stretch however long it is, in
whatever order its rows come. After MOST_STRETCHES the lower half of them becomes one: a number below its end that never came is then
taken for a repeat. So memory is bounded and no repeat gets through; what it costs is a row that is late by half a million rows or more.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from schemas.ticks import Ints

MOST_STRETCHES: Final = 1 << 20
_FIRST_ROOM: Final = 64


@njit(nogil=True, cache=True)
def take_numbers(numbers, low, high, count, new):  # type: ignore[no-untyped-def]
    """Takes numbers in their order; `new` uint8 (n,): 1 where one had not come before. Returns how many stretches there are then.

    low, high int64 (room,): first and last number of each stretch, ascending, the first `count` in use.
    """
    for i in range(numbers.size):
        x = numbers[i]
        at = count
        if count and x <= high[count - 1]:
            a = 0
            while a < at:
                middle = (a + at) >> 1
                if high[middle] < x:
                    a = middle + 1
                else:
                    at = middle
            if low[at] <= x:
                new[i] = 0
                continue
        new[i] = 1
        ends_before = at > 0 and high[at - 1] + 1 == x
        begins_after = at < count and low[at] - 1 == x
        if ends_before and begins_after:
            high[at - 1] = high[at]
            count -= 1
            for j in range(at, count):
                low[j] = low[j + 1]
                high[j] = high[j + 1]
        elif ends_before:
            high[at - 1] = x
        elif begins_after:
            low[at] = x
        else:
            if count == low.size:
                half = count >> 1
                high[0] = high[half]
                for j in range(half + 1, count):
                    low[j - half] = low[j]
                    high[j - half] = high[j]
                count -= half
                if at <= half:
                    low[0] = min(low[0], x)
                    continue
                at -= half
            for j in range(count, at, -1):
                low[j] = low[j - 1]
                high[j] = high[j - 1]
            low[at] = x
            high[at] = x
            count += 1
    return count


class VenueSequence:
    """The numbers of one sequence that have come. `highest`: the largest of them, None before the first."""

    def __init__(self, most_stretches: int = MOST_STRETCHES) -> None:
        self._most = most_stretches
        self._low, self._high = np.empty((2, min(_FIRST_ROOM, most_stretches)), np.int64)
        self._count = 0

    @property
    def highest(self) -> int | None:
        return int(self._high[self._count - 1]) if self._count else None

    def take(self, numbers: Ints) -> npt.NDArray[np.bool_]:
        """Takes numbers, int64 (n,), in their order; True where one had not come before."""
        wanted = min(self._count + numbers.size, self._most)
        if wanted > self._low.size:
            room = min(2 * wanted, self._most)
            self._low, self._high = np.resize(self._low, room), np.resize(self._high, room)
        new = np.empty(numbers.size, np.uint8)
        self._count = take_numbers(np.ascontiguousarray(numbers), self._low, self._high, self._count, new)
        return new.view(np.bool_)

    def missing_before(self, numbers: Ints) -> Ints:
        """How many numbers are missing before each of these, in their order, int64 (n,): 0 for the first of all and for one that is not
        the highest so far. To be asked before they are taken."""
        if not numbers.size:
            return np.empty(0, np.int64)
        begin = numbers[0] - 1 if self.highest is None else self.highest
        before = np.maximum.accumulate(np.concatenate([[begin], numbers[:-1]]))
        missing: Ints = np.maximum(numbers - before - 1, 0)
        return missing
