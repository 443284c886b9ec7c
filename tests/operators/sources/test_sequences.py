"""Numbers that have come: the same as a set of them, in bounded memory, and never a repeat."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.sources.importers.sequences import VenueSequence

NUMBERS = st.lists(st.lists(st.integers(-3, 40), max_size=20), max_size=6)


def array(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, np.int64)


@given(NUMBERS)
@settings(max_examples=300, deadline=None)
def test_a_number_is_new_once_in_whatever_order_they_come(pieces: list[list[int]]) -> None:
    sequence, seen = VenueSequence(), set()
    for piece in pieces:
        expected = []
        for n in piece:
            expected.append(n not in seen)
            seen.add(n)
        assert sequence.take(array(piece)).tolist() == expected
        assert sequence.highest == max(seen, default=None)


@given(NUMBERS, st.integers(2, 8))
@settings(max_examples=300, deadline=None)
def test_with_little_room_no_repeat_gets_through_and_what_is_higher_than_all_is_new(pieces: list[list[int]], room: int) -> None:
    sequence, seen = VenueSequence(room), set()
    for n in (n for piece in pieces for n in piece):
        new = bool(sequence.take(array([n]))[0])
        assert not (new and n in seen)
        assert new or n <= max(seen)
        seen.add(n)


def test_a_sequence_without_a_hole_takes_the_room_of_one_stretch_however_it_comes() -> None:
    sequence = VenueSequence(4)
    shuffled = np.concatenate([np.random.default_rng(1).permutation(3) + 3 * i for i in range(20_000)])
    assert sequence.take(shuffled).all()
    assert not sequence.take(shuffled).any()


def test_extremes_of_64_bits_are_numbers_like_others() -> None:
    ends = array([2**63 - 1, -(2**63), 2**63 - 2])
    sequence = VenueSequence()
    assert sequence.take(ends).tolist() == [True, True, True]
    assert sequence.take(ends).tolist() == [False, False, False]


def test_missing_numbers_count_from_the_highest_so_far() -> None:
    sequence = VenueSequence()
    first, second = array([10, 11, 14, 12, 14]), array([15, 20, 20, 21])
    assert sequence.missing_before(first).tolist() == [0, 0, 2, 0, 0]
    sequence.take(first)
    assert sequence.missing_before(second).tolist() == [0, 4, 0, 0]
    assert sequence.missing_before(array([])).tolist() == []
