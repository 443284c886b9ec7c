"""Snapshots are copies; older versions are migrated or refused."""

from __future__ import annotations

import numpy as np
import pytest

from operators.timeline.state import copied, migrated
from schemas.errors import StateMismatchError


def test_a_copy_shares_no_array_with_the_state() -> None:
    state = {"a": np.arange(3), "nested": {"b": [np.zeros(2), (np.ones(1), 5)]}, "n": 7}
    copy = copied(state)
    state["a"][0] = 99
    state["nested"]["b"][0][0] = 99
    state["nested"]["b"][1][0][0] = 99
    assert copy["a"].tolist() == [0, 1, 2]
    assert copy["nested"]["b"][0].tolist() == [0, 0]
    assert copy["nested"]["b"][1][0].tolist() == [1]
    assert copy["n"] == 7


def test_migrations_run_one_version_at_a_time() -> None:
    steps = {1: lambda s: {**s, "two": 2}, 2: lambda s: {**s, "three": s["two"] + 1}}
    assert migrated("x", {"one": 1}, 1, 3, steps) == {"one": 1, "two": 2, "three": 3}


def test_a_missing_migration_and_a_newer_state_are_refused_with_the_step() -> None:
    with pytest.raises(StateMismatchError, match=r"step 'trading.gate': the store holds state version 1.*no migration from 1"):
        migrated("trading.gate", {}, 1, 2, {})
    with pytest.raises(StateMismatchError, match=r"step 'trading.gate': the store holds state version 3, this code knows up to 2"):
        migrated("trading.gate", {}, 3, 2, {})
