"""The leaders' ticks, read in the same source for the followers in each partition: what the tape tells, wherever partitions move to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flows.produce import Playing, produce
from operators.sources.kafka import merged, split
from operators.sources.kafka.position import partitions_in
from operators.sources.tape import Tape
from operators.timeline.control import Drain
from operators.timeline.seal import sealed, unsealed
from operators.timeline.stage import shard_places
from schemas.errors import StateMismatchError
from schemas.settings import Settings

Deployed = Callable[..., Settings]


@pytest.fixture
def settings(deployed: Deployed, tape: Tape) -> Settings:
    settings = deployed()
    assert produce(tape, settings, Playing(batch_ticks=64), Drain()).finished
    return settings


def shards_of(tape: Tape, settings: Settings, partition: int) -> list[int]:
    return [s for s in shard_places(tape.instruments, settings) if s % settings.partitions == partition]


@pytest.fixture
def leaders(tape: Tape, settings: Settings) -> dict[int, list[int]]:
    """Followers in partition 0 have leaders in 1 and 0 itself, those in 1 in 0 and 3: of each the first shard."""
    first = {p: shards_of(tape, settings, p)[0] for p in range(settings.partitions)}
    return {0: [first[1], first[0]], 1: [first[0], first[3]]}


def two_places(settings: Settings, tape: Tape, leaders: dict[int, list[int]], reading: Any) -> tuple[dict[int, Any], list[dict[str, Any]]]:
    """Readers of partitions 0 and 1, each alone and stopped at a place of its own: by partition, and their snapshots."""
    parted: dict[int, Any] = {}
    snapshots = []
    for p, rows in ((0, 300), (1, 3000)):
        driven = parted[p] = reading(settings, tape, partitions=(p,), leaders={p: leaders[p]}, batch_ticks=100)
        driven.until(lambda driven=driven, rows=rows: driven.rows >= rows)
        snapshots.append(unsealed("ticks", driven.part.snapshot()))
        driven.part.close()
    return parted, snapshots


def test_leaders_of_any_partition_are_told_as_the_tape_has_them(
    settings: Settings, tape: Tape, leaders: dict[int, list[int]], reading: Any, by_cursor: Any
) -> None:
    whole = by_cursor(settings, tape).result()
    driven = reading(settings, tape, partitions=(0, 1), leaders=leaders)
    assert driven.run().result() == {s: told for s, told in whole.items() if s % settings.partitions in (0, 1)}
    for p, shards in leaders.items():
        assert driven.led[p].result() == {s: whole[s] for s in shards}
    assert driven.rows == sum(s.rows for s in tape.manifest.partitions if s.rows) - sum(
        len(whole[s][1]) // 8 for s in whole if s % settings.partitions not in (0, 1)
    )


def test_a_partition_that_is_read_for_leaders_only_is_shown_as_waited_for_and_not_counted(
    deployed: Deployed, tape: Tape, leaders: dict[int, list[int]], reading: Any
) -> None:
    """Else a process whose leaders are silent would be taken for one that has come to a stand by itself."""
    settings = deployed()
    assert produce(tape, settings, Playing(batch_ticks=64, end=False), Drain()).finished
    driven = reading(settings, tape, partitions=(0,), leaders={0: leaders[1]})
    driven.until(lambda: driven.live.waiting_for == {"0", "3"})
    assert set(driven.live.watermark) == set(driven.live.lag_messages) == {"0", "3"}
    assert driven.live.ticks == tape.rows(0)
    driven.part.close()


def test_two_processes_that_stand_at_different_places_become_one_and_two_again(
    settings: Settings, tape: Tape, leaders: dict[int, list[int]], reading: Any, by_cursor: Any
) -> None:
    whole = by_cursor(settings, tape).result()
    parted, snapshots = two_places(settings, tape, leaders, reading)
    told = {p: driven.told for p, driven in parted.items()}
    led = {p: driven.led[p] for p, driven in parted.items()}
    entries = {p: entry for s in snapshots for p, entry in partitions_in(s).items()}
    assert entries[0]["offset"] != entries[1]["leaders"]["0"]["offset"]

    one = reading(settings, tape, sealed(merged(snapshots)), partitions=(0, 1), leaders=leaders, led=led, batch_ticks=100)
    for p in (0, 1):
        one.told.gates |= told[p].gates
        one.told.pieces |= told[p].pieces
        one.told.marks |= told[p].marks
    one.until(lambda: one.rows >= 1500)
    snapshot = unsealed("ticks", one.part.snapshot())
    one.part.close()

    for p, piece in zip((0, 1), split(snapshot, [[0], [1]]), strict=True):
        alone = reading(settings, tape, sealed(piece), partitions=(p,), leaders={p: leaders[p]}, told=one.told, led={p: led[p]})
        alone.run()
    assert one.told.result() == {s: told for s, told in whole.items() if s % settings.partitions in (0, 1)}
    for p, shards in leaders.items():
        assert led[p].result() == {s: whole[s] for s in shards}


def test_readers_that_have_come_to_the_same_place_read_it_once(
    settings: Settings, tape: Tape, leaders: dict[int, list[int]], reading: Any
) -> None:
    """Merged from different places, the partition is decoded twice until both have come as far; then its entries are the same."""
    _, snapshots = two_places(settings, tape, leaders, reading)
    one = reading(settings, tape, sealed(merged(snapshots)), partitions=(0, 1), leaders=leaders, batch_ticks=100)
    stream = one.source.stream
    assert sum(len(stream.readings(q)) for q in stream.partitions) > len(stream.partitions)
    while one.step():
        one.part.snapshot()
    assert [len(stream.readings(q)) for q in stream.partitions] == [1] * len(stream.partitions)
    entries = partitions_in(unsealed("ticks", one.part.snapshot()))
    for p, shards in leaders.items():
        for q in {s % settings.partitions for s in shards} & {0, 1}:
            assert entries[p]["leaders"][str(q)].items() <= entries[q].items()
    one.part.close()


def test_a_snapshot_with_other_leaders_is_refused(settings: Settings, tape: Tape, leaders: dict[int, list[int]], reading: Any) -> None:
    driven = reading(settings, tape, partitions=(0,), leaders={0: leaders[0]})
    assert driven.step()
    driven.until(lambda: driven.rows > 0)
    snapshot = driven.part.snapshot()
    driven.part.close()
    with pytest.raises(StateMismatchError, match="partition 0 of ticks: the store knows of leaders in partitions"):
        reading(settings, tape, snapshot, partitions=(0,), leaders={0: leaders[1]})
