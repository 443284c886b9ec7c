"""N15 of spec/trading-cases.md 3.1: repeated executions."""

from __future__ import annotations

import pytest

from operators.portfolio import ConflictingTradeError, is_new_trade


def test_same_id_same_data_is_ignored_other_data_is_an_error_other_ids_count():
    booked = {}
    assert is_new_trade(booked, 7, (1, 100, 5))
    assert not is_new_trade(booked, 7, (1, 100, 5))
    with pytest.raises(ConflictingTradeError, match=r"execution 7 .* the repeat was dropped"):
        is_new_trade(booked, 7, (1, 101, 5))
    assert is_new_trade(booked, 8, (1, 100, 5))
    assert booked == {7: (1, 100, 5), 8: (1, 100, 5)}
