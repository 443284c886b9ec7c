"""One partition's messages as ticks: however they are cut into calls and whenever it is restored, the same comes out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.sources.kafka import TickFeed
from schemas.poison import Poison
from schemas.settings.sections import TimeGuardSettings
from schemas.tick_stream import CONTENT_END, CONTENT_HEARTBEAT, CONTENT_TYPE, SEQUENCE, encode_end, encode_heartbeat
from schemas.ticks import FLAG_TIME_REFUSED, TICK_V1, Ticks
from schemas.wire import CONTENT_JSON, CONTENT_PACKED, encode, encode_json

CARRIED = np.array([True, False, True])
JUMP_S = 10
GUARD = TimeGuardSettings(jump_s=JUMP_S, confirmations=3)
S = 10**9


@dataclass(frozen=True)
class Said:
    """A message of the log."""

    at: int
    kind: str
    content: bytes
    sequence: int | None = None

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return self.content

    def headers(self) -> list[tuple[str, bytes | str | None]]:
        named: list[tuple[str, bytes | str | None]] = [(CONTENT_TYPE, self.kind.encode())]
        return named if self.sequence is None else [*named, (SEQUENCE, str(self.sequence).encode())]

    def __len__(self) -> int:
        return len(self.content)


def ticks_at(*times_s: float, symbol: int = 0) -> Ticks:
    a = np.zeros(len(times_s), TICK_V1)
    a["ts_ns"] = [int(t * S) for t in times_s]
    a["symbol"] = symbol
    return a


def made_log(seed: int, n: int) -> list[Said]:
    """Messages of all kinds: batches, repeats, holes, jumps, absurd times, heartbeats, poison."""
    chance = random.Random(seed)
    out: list[Said] = []
    now, sequence = 1000.0, 0

    def say(kind: str, content: bytes, numbered: int | None = None) -> None:
        out.append(Said(len(out) * 2, kind, content, numbered))

    for _ in range(n):
        what = chance.randrange(12)
        if what < 4:
            steps = [chance.choice((0.0, 0.1, 3.0, 3.0 * JUMP_S)) for _ in range(chance.randrange(1, 5))]
            times = [now := now + step for step in steps]
            if chance.random() < 0.2:
                times[chance.randrange(len(times))] = chance.choice((5e6, 9e8, 1.0))
            a = ticks_at(*times, symbol=chance.choice((0, 2)))
            if chance.random() < 0.1:
                a["flags"][0] = FLAG_TIME_REFUSED
            if chance.random() < 0.5:
                say(CONTENT_PACKED, encode(a, sequence))
            else:
                say(CONTENT_JSON, encode_json(a), sequence)
            sequence += len(a)
        elif what == 4 and sequence > 3:
            say(CONTENT_PACKED, encode(ticks_at(now, now), sequence - 2))
        elif what == 5:
            say(CONTENT_JSON, encode_json(ticks_at(now, now + 0.5)))
        elif what == 6:
            now += chance.choice((0.1, 2.0, 4.0 * JUMP_S))
            say(CONTENT_HEARTBEAT, encode_heartbeat(int(now * S)))
        elif what == 7:
            say(CONTENT_HEARTBEAT, encode_heartbeat(chance.randrange(2**61, 2**62)))
        elif what == 8:
            sequence += 2
            say(CONTENT_PACKED, encode(ticks_at(now, now), sequence))
            sequence += 2
        elif what == 9:
            say(CONTENT_PACKED, encode(ticks_at(now, symbol=chance.choice((1, 99))), sequence))
        else:
            say(chance.choice((CONTENT_PACKED, "text/html", CONTENT_END)), b"no")
    say(CONTENT_END, encode_end(sequence))
    say(CONTENT_PACKED, encode(ticks_at(now), sequence))
    return out


@dataclass
class Out:
    ticks: list[Ticks]
    entries: list[tuple[int, int]]
    poison: list[Poison]


def fed(log: Sequence[Said], cuts: random.Random | None = None) -> Out:
    """The whole log through a feed; with `cuts` in calls of random length, restored from a snapshot now and then."""
    feed = TickFeed("ticks", GUARD, CARRIED)
    out = Out([], [], [])
    at = 0
    while at < len(log):
        n = len(log) if cuts is None else cuts.randrange(0, 4)
        taken = feed.take(log[at : at + n])
        at += n
        assert not taken.ticks.flags.writeable
        out.ticks.append(taken.ticks)
        out.entries += zip(taken.times.tolist(), taken.refused.tolist(), strict=True)
        out.poison += taken.poison
        if cuts is not None and cuts.random() < 0.3:
            state = feed.snapshot(log[at].at if at < len(log) else log[-1].at + 1)
            feed = TickFeed("ticks", GUARD, CARRIED)
            feed.restore(state)
            at = next((i for i, m in enumerate(log) if m.at >= state["offset"]), len(log))
    assert feed.ended
    assert not feed.holds
    return out


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 60), cuts=st.integers(0, 10**6))
def test_what_comes_out_depends_on_the_log_only(seed: int, n: int, cuts: int) -> None:
    log = made_log(seed, n)
    whole, cut = fed(log), fed(log, random.Random(cuts))
    assert b"".join(t.tobytes() for t in cut.ticks) == b"".join(t.tobytes() for t in whole.ticks)
    assert cut.entries == whole.entries
    assert cut.poison == whole.poison
    offsets = [p.offset for p in whole.poison]
    assert offsets == sorted(set(offsets))


def taken(*messages: tuple[str, bytes], guard: TimeGuardSettings = GUARD) -> tuple[TickFeed, Any]:
    feed = TickFeed("ticks", guard, CARRIED)
    return feed, feed.take([Said(i, kind, content) for i, (kind, content) in enumerate(messages)])


def test_a_jump_is_believed_when_three_followers_do_not_contradict_it() -> None:
    day = 86_400
    feed, got = taken(
        (CONTENT_PACKED, encode(ticks_at(0, 1, 2, 3), 0)),
        (CONTENT_PACKED, encode(ticks_at(day), 4)),
        (CONTENT_HEARTBEAT, encode_heartbeat((day + 1) * S)),
        (CONTENT_HEARTBEAT, encode_heartbeat((day + 2) * S)),
    )
    assert got.ticks.size == 4
    assert feed.holds
    got = feed.take([Said(9, CONTENT_HEARTBEAT, encode_heartbeat((day + 3) * S))])
    assert got.ticks["ts_ns"].tolist() == [day * S]
    assert got.sequence == 4
    assert not got.refused.any()


def test_an_absurd_tick_is_flagged_an_absurd_heartbeat_is_poison() -> None:
    _, got = taken(
        (CONTENT_PACKED, encode(ticks_at(0, 1, 10**8, 2, 3), 0)),
        (CONTENT_HEARTBEAT, encode_heartbeat(2**61)),
        (CONTENT_PACKED, encode(ticks_at(4, 5, 6, 7), 5)),
    )
    assert got.ticks["flags"].tolist() == [0, 0, FLAG_TIME_REFUSED, 0, 0, 0, 0, 0, 0]
    assert [(p.offset, p.reason) for p in got.poison] == [(1, "time")]
    assert got.is_tick is not None
    assert np.flatnonzero(~got.is_tick).tolist() == [5]


def test_an_end_that_does_not_fit_what_was_read_is_poison() -> None:
    feed, got = taken(
        (CONTENT_PACKED, encode(ticks_at(1, 2, 3, 4), 0)), (CONTENT_END, encode_end(3)), (CONTENT_PACKED, encode(ticks_at(4, 4, 4), 4))
    )
    assert not feed.ended
    assert [p.reason for p in got.poison] == ["end"]


def test_ticks_behind_the_end_are_poison_repeated_ones_are_dropped_and_the_end_stays_where_it_was() -> None:
    feed, got = taken(
        (CONTENT_PACKED, encode(ticks_at(1, 2, 3, 4), 0)),
        (CONTENT_END, encode_end(4)),
        (CONTENT_PACKED, encode(ticks_at(3, 4), 2)),
        (CONTENT_HEARTBEAT, encode_heartbeat(2**61)),
        (CONTENT_PACKED, encode(ticks_at(4, 5), 3)),
        (CONTENT_JSON, encode_json(ticks_at(6))),
        (CONTENT_END, encode_end(7)),
        ("text/html", b"no"),
    )
    assert feed.ended
    assert (got.ticks.size, got.duplicates, got.missing) == (4, 2, 0)
    assert [(p.offset, p.reason) for p in got.poison] == [(4, "ended"), (5, "ended"), (7, "content_type")]
    assert "2 records came after the stream had ended after 4 records" in got.poison[0].detail
    again = TickFeed("ticks", GUARD, CARRIED)
    again.restore(feed.snapshot(8))
    got = again.take([Said(8, CONTENT_PACKED, encode(ticks_at(7), 4))])
    assert [(p.offset, p.reason) for p in got.poison] == [(8, "ended")]
    assert again.snapshot(9) == {**feed.snapshot(8), "offset": 9}


@pytest.mark.parametrize("first", [2**25, 2**62])
def test_a_sequence_far_ahead_is_poison_and_what_follows_goes_on(first: int) -> None:
    _, got = taken(*((CONTENT_PACKED, encode(ticks_at(1, 2, 3, 4), at)) for at in (0, first, 4)), (CONTENT_END, encode_end(8)))
    assert got.ticks.size == 8
    assert got.missing == got.duplicates == 0
    assert [p.reason for p in got.poison] == ["sequence"]
