"""What there may be many of, told seldom: the first of a kind at once, further ones counted, in one line for each kind and minute."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from operators.timeline.live import Live
from schemas.poison import Poison

EVERY_S: Final = 60.0


@dataclass
class _Kind:
    """Things of one kind: what all have in common, when they may be told next, and what waits for that."""

    common: dict[str, Any]
    next_s: float = float("-inf")
    waiting: int = 0
    last: dict[str, Any] = field(default_factory=dict)


class Sparing:
    """Lines of one event for the log of a process. `count` in a line: how many it stands for; its other fields are those of the last."""

    def __init__(self, live: Live, level: str, event: str) -> None:
        self._live = live
        self._level = level
        self._event = event
        self._kinds: dict[Hashable, _Kind] = {}

    def note(self, common: dict[str, Any], count: int = 1, **fields: Any) -> None:
        """So many more of the kind that `common` names; `fields`: about the last of them."""
        kind = self._kinds.setdefault(tuple(common.values()), _Kind(common))
        kind.waiting += count
        kind.last = fields
        if self._live.now_s() >= kind.next_s:
            self._tell(kind)

    def due(self) -> None:
        """Tells what has waited for long enough."""
        now_s = self._live.now_s()
        for kind in self._kinds.values():
            if kind.waiting and now_s >= kind.next_s:
                self._tell(kind)

    def rest(self) -> None:
        """Tells what still waits: nothing follows."""
        for kind in self._kinds.values():
            if kind.waiting:
                self._tell(kind)

    def _tell(self, kind: _Kind) -> None:
        self._live.tell(self._level, self._event, **kind.common, count=kind.waiting, **kind.last)
        kind.next_s, kind.waiting = self._live.now_s() + EVERY_S, 0


class SparingPoison(Sparing):
    """Messages that cannot be decoded, by topic, partition and reason."""

    def __init__(self, live: Live) -> None:
        super().__init__(live, "warning", "poison")

    def add(self, poison: Poison) -> None:
        """One more."""
        where = {"topic": poison.topic, "partition": poison.partition, "reason": poison.reason}
        self.note(where, offset=poison.offset, detail=poison.detail)
