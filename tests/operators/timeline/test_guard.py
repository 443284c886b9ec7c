"""The time guard: what it believes, that cuts do not matter, and that absurd times never pin the maximum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.timeline.guard import LARGEST_TIME_NS, TimeGuard
from schemas.settings.sections import TimeGuardSettings

S = 1_000_000_000
DAY = 86_400 * S
START = 1_381_152_600 * S


def judge(times: list[int], jump_s: int = 300, confirmations: int = 3, cuts: list[int] | None = None) -> list[int]:
    guard = TimeGuard(TimeGuardSettings(jump_s=jump_s, confirmations=confirmations))
    out: list[int] = []
    edges = [0, *(cuts or []), len(times)]
    for lo, hi in itertools.pairwise(edges):
        out += guard.judge(np.array(times[lo:hi], np.int64)).tolist()
        assert guard.undecided <= confirmations
    out += guard.judge(np.empty(0, np.int64), final=True).tolist()
    return out


def reference(times: list[int], jump_s: int, confirmations: int) -> list[int]:
    """The definition in the module's docstring, in exact integers."""
    jump, latest = jump_s * S, None
    out = []
    for i, t in enumerate(times):
        following = times[i + 1 : i + 1 + confirmations]
        if not 0 <= t < LARGEST_TIME_NS:
            believed = False
        elif latest is not None and t <= latest + jump:
            believed = True
        else:
            believed = all(f >= t - jump for f in following) and (bool(following) or latest is None)
        if believed:
            latest = t if latest is None else max(latest, t)
        out.append(int(believed))
    return out


def test_ordinary_and_late_ticks_are_believed() -> None:
    assert judge([START, START, START, START + S, START - 5 * DAY, START + 2 * S]) == [1] * 6


def test_one_absurd_time_is_refused_and_does_not_move_the_maximum() -> None:
    times = [START, START + 1, START + 40 * DAY, START + 2, START + 3, START + 300 * S + 3]
    assert judge(times) == [1, 1, 0, 1, 1, 1]


def test_a_jump_of_exactly_the_limit_needs_no_confirmation() -> None:
    assert judge([START, START + 1, START + 2, START + 300 * S + 2]) == [1, 1, 1, 1]
    assert judge([START, START + 1, START + 2, START + 300 * S + 3]) == [1, 1, 1, 0]


def test_the_next_session_is_believed_when_three_ticks_follow() -> None:
    assert judge([START, START + 1, START + DAY, START + DAY + 1, START + DAY + 2, START + DAY + 3]) == [1] * 6


def test_a_confirmation_may_lie_up_to_the_limit_before_the_jump() -> None:
    base = [START, START + DAY, START + DAY - 300 * S, START + DAY, START + DAY]
    assert judge([START, *base]) == [1] * 6
    base[2] -= 1
    assert judge([START, *base])[2] == 0


def test_an_absurd_first_time_does_not_pin_the_feed() -> None:
    assert judge([START + 400 * DAY, START, START + 1, START + 2]) == [0, 1, 1, 1]


def test_at_the_end_the_remaining_ticks_confirm() -> None:
    assert judge([START, START, START, START + DAY, START + DAY]) == [1, 1, 1, 1, 1]
    assert judge([START, START, START, START + DAY]) == [1, 1, 1, 0]


def test_a_feed_of_one_tick_is_believed() -> None:
    assert judge([START]) == [1]


def test_two_absurd_times_in_a_row_are_refused() -> None:
    assert judge([START, START + 1, START + 40 * DAY, START + 41 * DAY, START + 2, START + 3, START + 4]) == [1, 1, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("absurd", [-1, -(2**63), 2**62, 2**63 - 1])
def test_impossible_times_are_refused_without_overflow(absurd: int) -> None:
    assert judge([START, START, START, START + 1, absurd, START + 2, START + 3]) == [1, 1, 1, 1, 0, 1, 1]
    assert judge([absurd, absurd, absurd]) == [0, 0, 0]


TIMES = st.lists(
    st.one_of(
        st.integers(START, START + 900 * S),
        st.sampled_from([0, START + DAY, START + DAY + S, START + 30 * DAY, -5, 2**62, 2**63 - 1, -(2**63)]),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(TIMES, st.integers(1, 5), st.data())
def test_any_cut_gives_the_definition(times: list[int], confirmations: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(times)), max_size=8)))
    expected = reference(times, 300, confirmations)
    assert judge(times, confirmations=confirmations) == expected
    assert judge(times, confirmations=confirmations, cuts=cuts) == expected
    assert judge(times, confirmations=confirmations, cuts=list(range(1, len(times)))) == expected


def test_a_snapshot_resumes_anywhere() -> None:
    rng = np.random.default_rng(5)
    times = START + np.cumsum(rng.integers(0, 400 * S, 200))
    times[rng.integers(0, 200, 30)] += 90 * DAY
    whole = judge(times.tolist())
    for cut in range(0, 200, 7):
        before = TimeGuard(TimeGuardSettings())
        out = before.judge(times[:cut]).tolist()
        state = before.snapshot()
        before.judge(np.full(10, 2**61))
        after = TimeGuard(TimeGuardSettings())
        after.restore(state)
        out += after.judge(times[cut:], final=True).tolist()
        assert out == whole
    with pytest.raises(ValueError, match="version 0"):
        after.restore(state | {"version": 0})
