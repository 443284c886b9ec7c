"""Whole runs over tapes with corporate actions: a four for one split of two symbols inside a session, and of two over night.

Each tape is there twice: with its actions stated, and without, which shows what they are for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.replay import Execution, Outcome, replay
from flows.report import write_report
from operators.sinks import LakeReader, verify
from operators.sources.tape import Tape, TapeWriter
from schemas.actions import CorporateAction
from schemas.errors import RefusedError
from schemas.settings import load_settings
from schemas.ticks import QUOTE, TICK_V1

SECOND = 1_000_000_000
SYMBOLS = 3
BUSY = (
    "signal.enter_share=1.0", "book.entry=market", "book.holding_s=2000", "book.hold_overnight=true", "book.flat_before_close_s=30",
    "risk.stop_spreads=1000",
)  # fmt: skip
"""Positions from nearly the first tick on, that only a signal or the close before an action ends."""


def quartered(ticks: np.ndarray, tick_size: int) -> None:
    """Four for one, in place: prices on the tick at a quarter, spreads as wide as before, sizes four times."""
    spread = ticks["ask"] - ticks["price"]
    ticks["price"] = ticks["price"] // 4 // tick_size * tick_size
    ticks["ask"] = np.where(ticks["kind"] == QUOTE, ticks["price"] + spread, 0)
    ticks["size"] *= 4
    ticks["ask_size"] *= 4


@pytest.fixture(scope="module")
def split_tape(tapes: Callable[..., Tape], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tape]:
    """`split_tape(stated, partitions)`: 24 minutes of the simulated market, the second half moved to the next day."""
    folder = tmp_path_factory.mktemp("split")

    def made(stated: bool = True, partitions: int = 4) -> Tape:
        path = folder / f"{stated}-{partitions}"
        if path.exists():
            return Tape.open(path)
        source = tapes(60_000, seed=5, symbols=SYMBOLS)
        listed = source.instruments
        ticks = np.concatenate([source.read(p, 0, source.rows(p)).view("V72") for p in range(source.partitions)]).view(TICK_V1)
        ticks = ticks[np.lexsort((ticks["seq"], ticks["symbol"], ticks["ts_ns"]))]
        (opens, _), (again, closes), *_ = listed.sessions["sim"]
        inside, night = opens + 330 * SECOND, opens + 660 * SECOND
        actions = []
        for symbol, t in ((0, inside), (1, inside), (1, night), (2, night)):
            mine = (ticks["symbol"] == symbol) & (ticks["ts_ns"] >= t)
            part = ticks[mine]
            quartered(part, listed.instruments[symbol].tick_size)
            ticks[mine] = part
            at = again if t == night else t
            actions.append(CorporateAction(symbol=listed.symbols[symbol], ts_ns=at, kind="split", numerator=4))
        ticks["ts_ns"] += np.where(ticks["ts_ns"] >= night, again - night, 0)
        listed = listed.model_copy(update={"sessions": {"sim": ((opens, night), (again, closes))}})
        with TapeWriter(path, listed.with_actions(actions if stated else ()), partitions) as tape:
            tape.append(ticks)
        return Tape.open(path)

    return made


@pytest.fixture(scope="module")
def run_split(split_tape: Callable[..., Tape], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """`run_split(stated, partitions, **execution)`: one replay each."""
    folder = tmp_path_factory.mktemp("split-runs")
    done: dict[str, Outcome] = {}

    def run(stated: bool = True, partitions: int = 4, **execution: Any) -> Outcome:
        name = f"{stated}-{partitions}-{execution}"
        if name not in done:
            settings = load_settings(None, BUSY, {})
            done[name] = replay(split_tape(stated, partitions), settings, None, folder / str(len(done)), Execution(**execution))
        return done[name]

    return run


def held_at(outcome: Outcome, tape: Tape) -> dict[tuple[str, int], int]:
    """What was held of each symbol at each time at which it was split, by (symbol, time)."""
    positions = np.concatenate([k.rows for k in LakeReader(outcome.folder.lake).table("positions").keys])
    found = {}
    for a in tape.instruments.actions:
        mine = positions[(positions["symbol"] == tape.instruments.id_of(a.symbol)) & (positions["ts_ns"] <= a.ts_ns)]
        found[a.symbol, a.ts_ns] = int(mine["quantity"][-1]) if mine.size else 0
    return found


def largest_jump(outcome: Outcome) -> float:
    """Of the equity from one row to the next; three quarters of a position are 1,500."""
    equity = np.concatenate([k.rows for k in LakeReader(outcome.folder.lake).table("equity").keys])
    return float(np.abs(np.diff(equity["equity_e10"])).max()) / 1e10


def test_the_gate_takes_an_unstated_split_for_outliers_and_a_stated_one_for_none(run_split: Callable[..., Outcome]) -> None:
    unstated, stated = run_split(stated=False).run, run_split().run
    assert unstated["dead_letters"].get("OUTLIER_PERCENT", 0) >= 5
    assert not {name for name in stated["dead_letters"] if name.startswith("OUTLIER")}
    assert len(stated["corporate_actions"]) == 4
    assert unstated["corporate_actions"] == []
    assert {(a["symbol"], a["terms"]) for a in stated["corporate_actions"]} == {(f"SIM00{s}", "4:1") for s in range(SYMBOLS)}


def test_nothing_is_held_over_one_though_positions_are_held_over_night(
    run_split: Callable[..., Outcome], split_tape: Callable[..., Tape]
) -> None:
    tape = split_tape()
    assert any(held_at(run_split(stated=False), tape).values())
    assert not any(held_at(run_split(), tape).values())
    account = run_split().run["account"]
    assert account["suspended"] == []
    assert account["refusals"]["CORPORATE_ACTION_NEAR"] > 0
    assert largest_jump(run_split()) < 200 < 1000 < largest_jump(run_split(stated=False))


@pytest.mark.parametrize(
    "execution", [{"workers": 2, "batch_ticks": 3_000}, {"batch_ticks": 500, "epoch_s": 0.2}, {"partitions": 1, "workers": 3}], ids=str
)
def test_execution_never_changes_the_output(execution: dict[str, Any], run_split: Callable[..., Outcome]) -> None:
    outcome = run_split(**execution)
    assert outcome.run["output_hash"] == run_split().run["output_hash"] != run_split(stated=False).run["output_hash"]
    assert verify(outcome.folder.path).ok


def test_a_tape_with_other_actions_does_not_go_on_with_a_run(run_split: Callable[..., Outcome], split_tape: Callable[..., Tape]) -> None:
    with pytest.raises(RefusedError, match="tape"):
        replay(split_tape(stated=False), load_settings(None, BUSY, {}), None, run_split().folder.path, Execution())


def test_the_page_lists_them(run_split: Callable[..., Outcome], split_tape: Callable[..., Tape]) -> None:
    outcome = run_split()
    page: Path = write_report(outcome.folder, split_tape(), variants=False)
    text = page.read_text()
    assert "corporate actions" in text
    assert text.count("4:1") >= 4
