"""The aligner on unsorted, late, skewed and idle inputs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.timeline.aligner import NOTHING_SENT, Aligner, common_ranges
from schemas.ranges import LeadSeries

Piece = list[tuple[int, str]]


def cut(piece: Piece, k: int) -> tuple[Piece | None, Piece | None]:
    before = [x for x in piece if x[0] < k]
    after = [x for x in piece if x[0] >= k]
    return before or None, after or None


def test_a_slice_is_ready_only_when_the_smallest_mark_has_passed_it() -> None:
    a: Aligner[Piece] = Aligner((0, 1), cut)
    a.put(0, [(5, "a"), (6, "b")])
    a.mark(0, 7)
    assert a.ready() is None
    assert a.waiting_for == (1,)
    a.mark(1, 6)
    assert a.ready() == (NOTHING_SENT, 6, {0: [[(5, "a")]], 1: []})
    assert a.ready() is None
    a.mark(1, 9)
    assert a.ready() == (6, 7, {0: [[(6, "b")]], 1: []})


def test_a_mark_never_goes_back() -> None:
    a: Aligner[Piece] = Aligner((0,), cut)
    a.mark(0, 10)
    a.mark(0, 3)
    assert a.ready() == (NOTHING_SENT, 10, {0: []})


def test_an_input_that_is_not_on_the_list_is_refused() -> None:
    a: Aligner[Piece] = Aligner((0,), cut)
    with pytest.raises(KeyError):
        a.put(1, [(0, "x")])


def test_no_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one input"):
        Aligner((), cut)


def test_a_snapshot_of_other_inputs_is_refused() -> None:
    a: Aligner[Piece] = Aligner((0, 1), cut)
    b: Aligner[Piece] = Aligner((0, 2), cut)
    with pytest.raises(ValueError, match=r"joins inputs \[0, 1\], this flow joins \[0, 2\]"):
        b.restore(a.snapshot())


@given(
    sizes=st.lists(st.lists(st.integers(0, 30), max_size=20), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_any_interleaving_of_inputs_gives_every_piece_once_in_its_slice_range(sizes: list[list[int]], seed: int) -> None:
    """Each input sends its slices in order, in pieces of random length, skewed against the others, with a snapshot in between."""
    rng = random.Random(seed)
    inputs = range(len(sizes))
    a: Aligner[Piece] = Aligner(tuple(inputs), cut)
    todo = {i: [(k, f"{i}.{n}") for n, k in enumerate(sorted(s))] for i, s in enumerate(sizes)}
    seen: list[tuple[int, str]] = []
    passed = NOTHING_SENT

    def collect() -> None:
        nonlocal passed
        ready = a.ready()
        if ready is None:
            return
        lo, hi, pieces = ready
        assert lo == passed
        passed = hi
        for source in inputs:
            for piece in pieces[source]:
                assert all(lo <= k < hi for k, _ in piece)
                seen.extend(piece)

    while any(todo.values()):
        i = rng.choice([j for j in inputs if todo[j]])
        n = rng.randint(1, len(todo[i]))
        piece, todo[i] = todo[i][:n], todo[i][n:]
        a.put(i, piece)
        a.mark(i, piece[-1][0])
        if rng.random() < 0.3:
            b: Aligner[Piece] = Aligner(tuple(inputs), cut)
            b.restore(a.snapshot())
            a = b
        collect()
    for i in inputs:
        a.mark(i, 31)
        collect()
    assert passed == 31
    everything = sorted((k, f"{i}.{n}") for i, s in enumerate(sizes) for n, k in enumerate(sorted(s)))
    assert sorted(seen) == everything
    for i in inputs:
        mine = [name for _, name in seen if name.startswith(f"{i}.")]
        assert mine == [f"{i}.{n}" for n in range(len(mine))]


def lead(lo: int, hi: int) -> LeadSeries:
    slices = np.arange(lo, hi, dtype=np.int64)
    return LeadSeries(0, lo, hi, slices * 100, slices * 7, slices)


def test_common_ranges_cuts_all_inputs_at_the_same_places() -> None:
    pieces = {0: [lead(0, 10), lead(10, 12)], 1: [lead(0, 3), lead(3, 12)], 2: [lead(0, 12)]}
    out = list(common_ranges(pieces))
    assert [{s: (r.lo, r.hi) for s, r in x.items()} for x in out] == [dict.fromkeys(range(3), r) for r in ((0, 3), (3, 10), (10, 12))]
    for source in range(3):
        assert np.concatenate([x[source].ts_ns for x in out]).tolist() == [k * 100 for k in range(12)]
