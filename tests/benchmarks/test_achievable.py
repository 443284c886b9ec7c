"""The default model beside the best that could be known from a simulated tape: the part of its skill that is promised."""

from __future__ import annotations

from benchmarks.achievable import DELAYS_MS, SHARES, measure

UNSEEN = 43
"""A seed on which nothing was trained or chosen (docs/skill.md)."""
PROMISED = 0.85
"""Of the lead over chance of the filter that knows the simulator's equations."""


def test_the_default_model_has_most_of_the_best_achievable_lead_at_each_delay_and_share() -> None:
    """And could not without what it remembers from tick to tick."""
    table = measure(UNSEEN, 2_000_000)
    assert set(table) == {str(d) for d in DELAYS_MS}
    for of_delay in table.values():
        assert set(of_delay) == {str(s) for s in SHARES}
        for found in of_delay.values():
            assert found["n"] > 3000
            assert found["lead"] >= PROMISED, found
            assert (found["forgetful"] - 0.5) / (found["best"] - 0.5) < PROMISED, found
