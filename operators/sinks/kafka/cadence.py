"""When a part commits, and when it begins again: transactions some time apart, each committed behind messages, not in front of them.

- The first messages after a pause are committed at once: nobody gains by their waiting.
- Where messages keep coming, commits are `every_s` apart. They come in bursts, one for each range of slices; a commit in the pause between
  two of them holds up the second. So from EARLY of `every_s` on the next messages are committed with what is open.
- The broker says that a transaction is committed before it has written so to every partition. Asked meanwhile to take up the next one of
  the same producer it refuses (CONCURRENT_TRANSACTIONS), and librdkafka asks again only 20 ms later: SETTLING_S costs less.
"""

from __future__ import annotations

from typing import Final

EARLY: Final = 0.75
SETTLING_S: Final = 0.005
"""On a broker of one machine 2 to 4 ms were measured; where it takes longer, librdkafka's 20 ms are lost as they were."""


class Cadence:
    """The times of one part's transactions, all on one clock in seconds. `every_s`: from one commit to the next; 0: each write commits."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._committed_s = float("-inf")

    def committed(self, now_s: float) -> None:
        """A transaction was just committed."""
        self._committed_s = now_s

    def begins_in(self, now_s: float) -> float:
        """Seconds until a transaction is best begun; not positive: now."""
        return self._committed_s + SETTLING_S - now_s

    def due_in(self, now_s: float) -> float:
        """Seconds until an open transaction is to be committed, though no more messages come; not positive: now."""
        return self._committed_s + self._every_s - now_s

    def due_with_messages(self, now_s: float) -> bool:
        """Whether an open transaction is to be committed with the messages that have come now."""
        return self._committed_s + EARLY * self._every_s <= now_s
