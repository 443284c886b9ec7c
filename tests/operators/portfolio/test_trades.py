"""N15 of spec/trading-cases.md 3.1: repeated executions."""

from __future__ import annotations

import pytest

from operators.portfolio import ConflictingTradeError, is_new_trade, seen_nothing
from operators.portfolio.trades import REMEMBERED


def test_same_id_same_data_is_ignored_other_data_is_an_error_other_ids_count():
    seen = seen_nothing()
    assert is_new_trade(seen, 7, (0, 1, 100, 5))
    assert not is_new_trade(seen, 7, (0, 1, 100, 5))
    with pytest.raises(ConflictingTradeError, match="execution 7 .* was dropped"):
        is_new_trade(seen, 7, (0, 1, 101, 5))
    assert is_new_trade(seen, 8, (0, 1, 100, 5))


def test_reports_may_come_in_any_order():
    seen = seen_nothing()
    assert [is_new_trade(seen, i, (0, 1, 1, 1)) for i in (3, 1, 2, 3, 0)] == [True, True, True, False, True]


def test_what_left_the_memory_is_still_known_as_a_repeat():
    seen = seen_nothing()
    for i in range(REMEMBERED + 50):
        assert is_new_trade(seen, i, (0, 1, 1, 1))
    assert not is_new_trade(seen, 3, (0, 1, 2, 1))
    assert len(seen["trades"]) == REMEMBERED
