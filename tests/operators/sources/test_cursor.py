"""The tape cursor: batch boundaries and partitions never change what a shard is told."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.quality.operator import cut_batch, joined_batches
from operators.sources.replay import Position, TapeCursor
from operators.timeline.aligner import Aligner
from schemas.ticks import FLAG_TIME_REFUSED, TICK_V1, Mark, TickBatch, Ticks, shard_key

W = 100


class ArrayTape:
    """Partitions in memory."""

    def __init__(self, parts: list[Ticks]) -> None:
        self.parts = parts

    def rows(self, partition: int) -> int:
        return int(self.parts[partition].size)

    def read(self, partition: int, start: int, count: int) -> Ticks:
        return self.parts[partition][start : start + min(count, 37)]

    def seek(self, partition: int, ts_ns: int) -> int:
        return int(np.searchsorted(self.parts[partition]["ts_ns"], ts_ns))


def random_ticks(n: int, symbols: int, seed: int) -> Ticks:
    rng = np.random.default_rng(seed)
    a = np.zeros(n, TICK_V1)
    a["ts_ns"] = np.sort(rng.integers(0, 20 * W, n))
    a["symbol"] = rng.integers(0, symbols, n)
    a = a[np.lexsort((a["symbol"], a["ts_ns"]))]
    for s in range(symbols):
        a["seq"][a["symbol"] == s] = np.arange(np.count_nonzero(a["symbol"] == s))
    return a


def partitioned(a: Ticks, partitions: int) -> ArrayTape:
    return ArrayTape([np.ascontiguousarray(a[a["symbol"] % partitions == p]) for p in range(partitions)])


def told(tape: ArrayTape, partitions: int, batch: int, resume_every: int = 0) -> dict[int, Ticks]:
    """What three shards (symbol modulo 3) are told, aligned, by shard; slices checked against their definition."""
    feeds = [sorted({s % partitions for s in range(6) if s % 3 == shard}) for shard in range(3)]
    cursor = TapeCursor(tape, partitions, [10, 11, 12], np.arange(6, dtype=np.int32) % 3, feeds, W)
    gates = {10 + i: Aligner(tuple(f), cut_batch) for i, f in enumerate(feeds)}
    out: dict[int, list[Ticks]] = {10: [], 11: [], 12: []}
    position = cursor.start()
    for n in range(100_000):
        position, messages = cursor.next(position, batch)
        if not messages:
            break
        if resume_every and n % resume_every == 0:
            position = Position.restored(pickle.loads(pickle.dumps(position.snapshot())))
        for m in messages:
            gate = gates[m.shard]
            if isinstance(m, Mark):
                gate.mark(m.source, m.k)
            else:
                gate.put(m.partition, m)
            ready = gate.ready()
            if ready is not None:
                _, hi, pieces = ready
                ticks, slices = joined_batches([b for p in sorted(pieces) for b in pieces[p]])
                assert np.array_equal(slices, ticks["ts_ns"] // W)
                assert ticks.size == 0 or slices[-1] < hi
                out[m.shard].append(ticks)
    assert position.finished
    assert cursor.rows_read(position) == cursor.rows_total == sum(p.size for p in tape.parts)
    return {s: np.concatenate(x) for s, x in out.items()}


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 400), seed=st.integers(0, 1000), batch=st.integers(1, 500), partitions=st.sampled_from([1, 2, 4, 6]))
def test_every_shard_is_told_its_ticks_in_order_for_any_batch_and_partition_count(n: int, seed: int, batch: int, partitions: int) -> None:
    a = random_ticks(n, 6, seed)
    got = told(partitioned(a, partitions), partitions, batch, resume_every=3)
    for shard in range(3):
        wanted = a[a["symbol"] % 3 == shard]
        assert got[10 + shard].tobytes() == wanted.tobytes()


def test_a_refused_time_does_not_move_the_slice() -> None:
    a = random_ticks(6, 1, 0)
    a["ts_ns"] = [10, 20, 10**15, 130, 140, 250]
    a["flags"][2] = FLAG_TIME_REFUSED
    cursor = TapeCursor(ArrayTape([a]), 1, [0], np.zeros(1, np.int32), [[0]], W)
    _, messages = cursor.next(cursor.start(), 100)
    (batch,) = [m for m in messages if isinstance(m, TickBatch)]
    assert batch.slices.tolist() == [0, 0, 0, 1, 1, 2]
    assert [m.k for m in messages if isinstance(m, Mark)] == [3]


def test_from_and_to_bound_the_rows() -> None:
    a = random_ticks(300, 6, 1)
    tape = partitioned(a, 2)
    cursor = TapeCursor(tape, 2, [10], np.zeros(6, np.int32), [[0, 1]], W, from_ns=500, to_ns=900)
    assert cursor.rows_total == np.count_nonzero((a["ts_ns"] >= 500) & (a["ts_ns"] < 900))


def test_a_symbol_that_is_not_read_is_left_out_and_an_unknown_one_goes_to_the_first_shard() -> None:
    a = random_ticks(50, 3, 2)
    a["symbol"][7] = 999
    cursor = TapeCursor(ArrayTape([a]), 1, [3, 4], np.array([0, -1, 1], np.int32), [[0], [0]], W)
    _, messages = cursor.next(cursor.start(), 1000)
    by_shard = {m.shard: set(m.ticks["symbol"].tolist()) for m in messages if isinstance(m, TickBatch)}
    assert by_shard == {3: {0, 999}, 4: {2}}


def test_a_batch_pickles_to_little_more_than_its_bytes() -> None:
    a = random_ticks(256, 1, 3)
    batch = TickBatch(3, 0, 5, a["ts_ns"] // W, a)
    data = pickle.dumps(batch)
    assert len(data) < 256 * 80 + 200
    back = pickle.loads(data)
    assert back.ticks.tobytes() == a.tobytes()
    assert not back.ticks.flags.writeable
    with pytest.raises(ValueError, match="version 9"):
        back.__reduce__()[0](9, 0, 0, 0, b"", b"")


def test_shard_keys_read_well() -> None:
    assert shard_key(7) == "s07"
    assert shard_key(123) == "s123"
