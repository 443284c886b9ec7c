"""What a simulated tape must show: money to the unit, no skill where there is none, and what the network's memory is worth."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from flows.replay import Outcome
from operators.sources.tape import Tape
from operators.spiking import load_model
from operators.spiking.training import evaluate

TICKS = 300_000
SEED = 11
OFTEN = ("signal.enter_share=0.5", "signal.min_interval_ms=0", "book.entry=market", "book.holding_s=10")
"""Settings that trade often, so that a short tape has many fills."""
DELAY, ALL = "150", "1.0"


@pytest.fixture(scope="module")
def skill(tapes: Callable[..., Tape]) -> Callable[[float], dict[str, Any]]:
    """The pooled skill of the default model on a tape by its edge, all predictors, by `evaluate`."""
    done: dict[float, dict[str, Any]] = {}

    def of(edge: float) -> dict[str, Any]:
        if edge not in done:
            done[edge] = evaluate(load_model(), tapes(TICKS, SEED, edge=edge), learners=False)["all"]
        return done[edge]

    return of


def lake(run: Outcome, table: str) -> pl.DataFrame:
    return pl.read_delta(str(run.folder.lake / table))


@pytest.mark.parametrize("settings", [(), OFTEN], ids=["default", "often"])
def test_money_is_the_sum_of_the_executions_to_the_unit(
    settings: tuple[str, ...], tapes: Callable[..., Tape], run_once: Callable[..., Outcome]
) -> None:
    outcome = run_once(tapes(TICKS, SEED, edge=1.0), *settings)
    run = outcome.run
    assert run is not None
    fills = lake(outcome, "executions").sort("slice", "symbol", "n")
    assert len(fills) == run["fills"] > (1000 if settings else 10)
    capital = Decimal(100_000)
    cash, fees, volume = capital, Decimal(0), Decimal(0)
    held: dict[str, Decimal] = {}
    flows: dict[str, Decimal] = {}
    cash_before: dict[int, Decimal] = {}
    for f in fills.iter_rows(named=True):
        cash_before.setdefault(f["slice"], cash)
        signed = f["quantity"] if f["side"] == "buy" else -f["quantity"]
        flow = -signed * f["price"] - f["fee"]
        cash, fees, volume = cash + flow, fees + f["fee"], volume + f["quantity"] * f["price"]
        held[f["symbol"]] = held.get(f["symbol"], Decimal(0)) + signed
        flows[f["symbol"]] = flows.get(f["symbol"], Decimal(0)) + flow
    assert cash == Decimal(run["account"]["cash"])
    equity = lake(outcome, "equity").sort("n")
    assert len(equity) > 100
    slices = sorted(cash_before)
    for row in equity.iter_rows(named=True):  # a row knows what was booked up to the end of its slice
        later = bisect_right(slices, row["slice"])
        assert row["cash"] == (cash_before[slices[later]] if later < len(slices) else cash), row
    assert (Decimal(run["fees"]), Decimal(run["volume"])) == (fees, volume)
    positions = {p["symbol"]: p for p in lake(outcome, "positions").sort("n").group_by("symbol").last().iter_rows(named=True)}
    assert {s: p["quantity"] for s, p in positions.items()} == held
    for symbol, p in positions.items():
        if p["quantity"] == 0:
            assert p["realised"] == flows[symbol], symbol
    realised, unrealised, net = (Decimal(run["pnl"][k]) for k in ("realised", "unrealised", "net"))
    assert realised + unrealised == net == Decimal(run["account"]["equity"]) - capital
    assert realised == sum(p["realised"] for p in positions.values())
    by_symbol = run["account"]["symbols"].values()
    assert sum(Decimal(s["pnl"]["net"]) for s in by_symbol) == net
    assert sum(Decimal(s["fees"]) for s in by_symbol) == fees


def test_there_is_no_skill_on_a_null_tape(skill: Callable[[float], dict[str, Any]]) -> None:
    for delay in ("0", DELAY):
        cell = skill(0.0)[delay]["network"][ALL]
        assert cell["n"] > 4000
        assert cell["low"] < 0.5 < cell["high"]
        assert cell["high"] - cell["low"] < 0.04, "the interval is narrow enough to say something"


def test_a_null_tape_costs_fees_and_spread(tapes: Callable[..., Tape], run_once: Callable[..., Outcome]) -> None:
    """Market orders both ways: what is lost beyond the fees is the spread that was crossed, give or take the noise of the marks."""
    run = run_once(tapes(TICKS, SEED, edge=0.0), *OFTEN).run
    assert run is not None
    net, fees = Decimal(run["pnl"]["net"]), Decimal(run["fees"])
    costs = fees - Decimal(run["pnl"]["spread_captured"])
    assert run["fills"] > 1000
    assert fees > 100
    assert net < -fees
    assert Decimal("0.7") * costs < -net < Decimal("1.3") * costs


def test_memory_is_worth_accuracy_and_the_placebo_has_none(skill: Callable[[float], dict[str, Any]]) -> None:
    cells = {name: by_share[ALL] for name, by_share in skill(1.0)[DELAY].items()}
    assert cells["network"]["low"] > 0.55
    assert cells["forgetful"]["high"] < cells["network"]["low"] - 0.02
    placebo = cells["placebo"]
    assert abs(placebo["accuracy"] - 0.5) < 0.01
    assert placebo["high"] < cells["forgetful"]["low"]
    blind = skill(0.0)[DELAY]["placebo"][ALL]
    assert blind["low"] < 0.5 < blind["high"]
    assert blind["high"] - blind["low"] < 0.02, "its own interval, narrower than the network's: twenty draws"


def test_a_run_that_forgets_says_the_same(tapes: Callable[..., Tape], run_once: Callable[..., Outcome]) -> None:
    """The same in the flow's own counts, pooled over symbols."""
    tape = tapes(TICKS, SEED, edge=1.0)
    pooled = []
    for forget in (False, True):
        run = run_once(tape, forget=forget).run
        assert run is not None
        cells = [by_delay[DELAY][ALL] for by_delay in run["skill"].values() if by_delay[DELAY][ALL]["n"]]
        pooled.append(sum(c["accuracy"] * c["n"] for c in cells) / sum(c["n"] for c in cells))
    assert pooled[0] > pooled[1] + 0.03
