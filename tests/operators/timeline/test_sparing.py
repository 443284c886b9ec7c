"""Of many things of a kind a few lines: none is left out of the count, none is told twice."""

from __future__ import annotations

from typing import Any

from operators.timeline.live import Live
from operators.timeline.sparing import EVERY_S, Sparing, SparingPoison
from schemas.poison import Poison


def test_the_first_is_told_at_once_and_the_others_are_counted_by_kind():
    now, told = [5.0], []
    live = Live(clock=lambda: now[0])
    live.tell = lambda level, event, **fields: told.append((level, event, fields))
    poison = Sparing(live, "warning", "poison")

    def note(partition: int, count: int, offset: int) -> None:
        poison.note({"partition": partition, "reason": "crc"}, count, offset=offset)

    def lines() -> list[dict[str, Any]]:
        new = [fields for level, event, fields in told if (level, event) == ("warning", "poison")]
        told.clear()
        return new

    note(1, 2, 10)
    note(2, 1, 70)
    assert lines() == [
        {"partition": 1, "reason": "crc", "count": 2, "offset": 10},
        {"partition": 2, "reason": "crc", "count": 1, "offset": 70},
    ]
    for offset in range(11, 1011):
        note(1, 1, offset)
    poison.due()
    assert lines() == []
    now[0] += EVERY_S
    poison.due()
    assert lines() == [{"partition": 1, "reason": "crc", "count": 1000, "offset": 1010}]
    note(2, 3, 73)
    assert lines() == [{"partition": 2, "reason": "crc", "count": 3, "offset": 73}]
    note(1, 4, 1014)
    poison.due()
    assert lines() == []
    poison.rest()
    poison.rest()
    assert lines() == [{"partition": 1, "reason": "crc", "count": 4, "offset": 1014}]


def test_poison_is_told_by_its_partition_and_reason_and_with_the_place_of_the_last():
    told = []
    live = Live(clock=lambda: 5.0)
    live.tell = lambda level, event, **fields: told.append((level, event, fields))
    poison = SparingPoison(live)
    for partition, offset, reason in ((1, 4, "crc"), (1, 9, "crc"), (1, 11, "magic"), (2, 3, "crc"), (1, 12, "crc")):
        poison.add(Poison("ticks", partition, offset, reason, f"of {offset}", b"x"))
    poison.rest()
    assert [(level, event) for level, event, _ in told] == [("warning", "poison")] * 4
    assert [fields for _, _, fields in told] == [
        {"topic": "ticks", "partition": 1, "reason": "crc", "count": 1, "offset": 4, "detail": "of 4"},
        {"topic": "ticks", "partition": 1, "reason": "magic", "count": 1, "offset": 11, "detail": "of 11"},
        {"topic": "ticks", "partition": 2, "reason": "crc", "count": 1, "offset": 3, "detail": "of 3"},
        {"topic": "ticks", "partition": 1, "reason": "crc", "count": 2, "offset": 12, "detail": "of 12"},
    ]
