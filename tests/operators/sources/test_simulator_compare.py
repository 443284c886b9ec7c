"""Stylised facts of simulated symbols beside those of the recorded stocks that they are modelled on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from operators.sources.simulator import generate
from operators.sources.simulator.compare import StylisedFacts, recorded_facts, simulated_facts, stylised_facts, table

PAIRS = {"aig": (0, 3), "bac": (1, 4), "ibm": (2, 5)}


@pytest.fixture(scope="module")
def simulated() -> list[StylisedFacts]:
    ticks = np.concatenate([c for c, _ in generate(300_000, symbols=6)])
    return [simulated_facts(ticks, i) for i in range(6)]


@pytest.mark.parametrize("symbol", sorted(PAIRS))
def test_simulated_symbols_resemble_the_recorded_one(simulated: list[StylisedFacts], market_data: Path, symbol: str) -> None:
    """Tolerances are ratios or differences that still tell the three stocks apart; the table is printed on failure and by `pytest -s`."""
    recorded = recorded_facts(market_data / "lean_equity_ticks" / symbol, "20131007")
    print(table({symbol: recorded, **{f"SIM{i:03d}": simulated[i] for i in PAIRS[symbol]}}))
    for i in PAIRS[symbol]:
        own = simulated[i]
        assert 0.5 < own.updates_per_s / recorded.updates_per_s < 2
        assert 1 / 3 < own.updates_per_change / recorded.updates_per_change < 3
        assert abs(own.spread_1 - recorded.spread_1) < 0.06
        assert 0.6 < own.mean_spread / recorded.mean_spread < 1.3
        assert abs(own.locked - recorded.locked) < 0.02
        assert abs(own.reversals - recorded.reversals) < 0.13
        assert abs(own.trade_share - recorded.trade_share) < 0.1
        assert abs(own.off_exchange - recorded.off_exchange) < 0.15
        assert abs(own.same_ms - recorded.same_ms) < 0.1
        assert abs(own.reroutes - recorded.reroutes) < 0.15
        assert abs(own.half_ticks - recorded.half_ticks) < 0.27


def test_facts_by_hand() -> None:
    ms = np.array([0, 1000, 1000, 2000, 4000])
    bid, ask = np.array([1000, 1000, 1000, 1000, 1000]), np.array([1100, 1200, 1200, 1100, 1000])
    size = np.array([500, 300, 300, 100, 100])
    facts = stylised_facts(ms, bid, ask, size, np.full(5, 200), np.array([78, 78, 80, 80, 80], np.uint8), np.array([68, 78], np.uint8), 100)
    assert facts.updates_per_s == pytest.approx(5 / 4)
    assert facts.updates_per_change == pytest.approx(5 / 3)  # up half a tick, down half a tick, down half a tick into a lock
    assert facts.reversals == pytest.approx(1 / 2)
    assert facts.half_ticks == 1.0
    assert (facts.spread_1, facts.locked, facts.mean_spread) == pytest.approx((2 / 5, 1 / 5, 6 / 5))
    assert (facts.same_ms, facts.reroutes) == pytest.approx((1 / 4, 1 / 4))
    assert (facts.change_p50_s, facts.trade_share, facts.off_exchange) == pytest.approx((1.5, 2 / 7, 1 / 2))
    # before the up move the bid is larger: right; before the first down move it is larger: wrong; before the second it is smaller: right
    assert facts.imbalance_hits == pytest.approx(2 / 3)
