"""Ticks of one partition of the topic `ticks` on their way from the log into a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.ticks import Ticks

NEVER_NS: Final = -(2**63)
"""Before any time: nothing of a partition has come."""
ALWAYS_NS: Final = 2**63 - 1
"""After all times: a partition has ended."""


@dataclass(frozen=True, slots=True)
class RecordedTicks:
    """The next ticks of a partition, in their order; maybe none, where only its time has moved on.

    `reached_ns`: the partition has nothing before this time any more (NEVER_NS, ALWAYS_NS); `offsets`: of the first message that these
    came from, and the one after the last.
    """

    partition: int
    ticks: Ticks
    reached_ns: int
    offsets: tuple[int, int]
