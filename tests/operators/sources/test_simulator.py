"""The simulator's rows: the same bytes whatever the cut, and a market that could have been recorded."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from operators.sources.simulator import TRUTH, generate, simulate, simulated_instruments
from operators.sources.simulator.generation import TRUTH_FILE
from operators.sources.simulator.model import (
    CLOSING_PRINT,
    FIRST_OPEN_NS,
    OFF_EXCHANGE,
    OPENING_PRINT,
    PRE_MARKET_MS,
    SESSION_MS,
    SPECIAL_PRINT,
    session_plan,
)
from operators.sources.tape import Tape
from schemas.errors import RefusedError, UsageError
from schemas.ticks import QUOTE, TRADE, Ticks

GOLDEN_TICKS = 40_000
GOLDEN = {
    1: "8f5c163f9ca9e26b2e3e4f8be6481fb12d365e8095d166d0e03cc25ce687e994",
    2: "a9e99c70b027c32dcfe405894f438930e1556bc9386b66ba2a02398947ff8169",
}
"""SHA-256 of the first 40,000 rows and of their truth, by seed. A change here is a change of SIMULATOR_VERSION."""


def made(ticks: int, **options: object) -> tuple[Ticks, np.ndarray]:
    chunks = list(generate(ticks, **options))
    return np.concatenate([c for c, _ in chunks]), np.concatenate([t for _, t in chunks])


@pytest.fixture(scope="module")
def market() -> tuple[Ticks, np.ndarray]:
    """Past the first close: a session of four symbols, and the pre-market of the next."""
    return made(260_000, symbols=4, seed=3)


@pytest.mark.parametrize("seed", sorted(GOLDEN))
def test_same_seed_gives_the_golden_bytes(seed: int) -> None:
    digest = hashlib.sha256()
    for rows, truth in generate(GOLDEN_TICKS, seed=seed):
        digest.update(rows.tobytes())
        digest.update(truth.tobytes())
    assert digest.hexdigest() == GOLDEN[seed]


@pytest.mark.parametrize(("chunk_ticks", "window_ms"), [(1, 60_000), (997, 7_321), (65_536, 100), (5_000, 10_000_000)])
def test_neither_chunks_nor_windows_change_a_row(chunk_ticks: int, window_ms: int) -> None:
    rows, truth = made(9_000, seed=7)
    other, other_truth = made(9_000, seed=7, chunk_ticks=chunk_ticks, window_ms=window_ms)
    assert other.tobytes() == rows.tobytes()
    assert other_truth.tobytes() == truth.tobytes()


def test_chunks_are_bounded_and_a_shorter_tape_is_the_beginning_of_a_longer_one() -> None:
    rows, _ = made(5_000, seed=5)
    sizes = [len(c) for c, _ in generate(4_321, seed=5, chunk_ticks=1_000)]
    assert sizes == [1_000] * 4 + [321]
    assert made(4_321, seed=5)[0].tobytes() == rows[:4_321].tobytes()


def test_buffers_that_are_too_small_are_grown_without_a_trace() -> None:
    calm, _ = made(120_000, symbols=2, window_ms=1_000)
    crowded, _ = made(120_000, symbols=2, window_ms=3_600_000)
    assert crowded.tobytes() == calm.tobytes()


def test_another_seed_gives_another_market() -> None:
    assert made(2_000, seed=1)[0].tobytes() != made(2_000, seed=2)[0].tobytes()


def test_rows_are_in_tape_order_with_sequences_without_gaps(market: tuple[Ticks, np.ndarray]) -> None:
    ticks, truth = market
    assert truth.dtype == TRUTH
    for name in ("ts_ns", "symbol", "seq"):
        assert np.array_equal(truth[name], ticks[name])
    order = np.lexsort((ticks["seq"], ticks["symbol"], ticks["ts_ns"]))
    assert np.array_equal(order, np.arange(len(ticks)))
    assert not np.any(ticks["ts_ns"] % 1_000_000)
    for symbol in range(4):
        own = ticks[ticks["symbol"] == symbol]
        assert np.array_equal(own["seq"], np.arange(len(own)))
        quote_then_trade = (own["kind"][:-1] == QUOTE) & (own["kind"][1:] == TRADE) & (np.diff(own["ts_ns"]) == 0)
        assert not quote_then_trade.any()


def test_quotes_stand_and_prints_lie_where_they_say(market: tuple[Ticks, np.ndarray]) -> None:
    ticks, _ = market
    quotes, trades = ticks[ticks["kind"] == QUOTE], ticks[ticks["kind"] == TRADE]
    assert len(quotes) + len(trades) == len(ticks)
    assert (quotes["price"] > 0).all()
    assert (quotes["price"] <= quotes["ask"]).all()
    for name in ("price", "ask"):
        assert not np.any(quotes[name] % 100)
    for name in ("size", "ask_size"):
        assert (quotes[name] >= 100).all()
        assert not np.any(quotes[name] % 100)
    assert (trades["size"] >= 100).all()
    assert max(quotes["size"].max(), quotes["ask_size"].max()) < 10_000_000
    for symbol in range(4):
        own = ticks[ticks["symbol"] == symbol]
        quoted = np.where(own["kind"] == QUOTE, np.arange(len(own)), -1)
        before = np.maximum.accumulate(quoted)
        lit = np.flatnonzero((own["kind"] == TRADE) & (own["side"] != 0) & (before >= 0))
        at = own[before[lit]]
        expected = np.where(own["side"][lit] > 0, at["ask"], at["price"])
        assert np.array_equal(own["price"][lit], expected)
        unsided = np.flatnonzero((own["venue"] == OFF_EXCHANGE) & (before >= 0))
        assert not own["side"][unsided].any()
        at = own[before[unsided]]
        assert ((own["price"][unsided] >= at["price"]) & (own["price"][unsided] <= at["ask"])).all()


def test_the_shown_queue_shrinks_by_what_trades_on_its_exchange(market: tuple[Ticks, np.ndarray]) -> None:
    ticks, _ = market
    compared = 0
    for symbol in range(4):
        own = ticks[ticks["symbol"] == symbol]
        quote_at = np.flatnonzero(own["kind"] == QUOTE)
        for left, right in pairwise(quote_at):
            if right - left != 2 or own["ts_ns"][left + 1] != own["ts_ns"][right]:
                continue
            a, trade, b = own[left], own[left + 1], own[right]
            if trade["venue"] != a["venue"] or trade["side"] == 0 or (a["price"], a["ask"]) != (b["price"], b["ask"]):
                continue
            name = "ask_size" if trade["side"] > 0 else "size"
            assert b[name] == a[name] - trade["size"]
            compared += 1
    assert compared > 500


def test_a_used_up_side_trades_in_the_millisecond_in_which_the_price_moves(market: tuple[Ticks, np.ndarray]) -> None:
    """Adverse selection: prints on the shown exchange that take the whole queue come with a move through it."""
    ticks, _ = market
    own = ticks[(ticks["symbol"] == 0) & (ticks["ts_ns"] >= FIRST_OPEN_NS)]
    quoted = np.where(own["kind"] == QUOTE, np.arange(len(own)), -1)
    before = np.maximum.accumulate(quoted)
    swept = moved = 0
    for row in np.flatnonzero((own["kind"] == TRADE) & (own["side"] != 0) & (before >= 0)):
        last = own[before[row]]
        if own["venue"][row] != last["venue"]:
            continue
        same = own[row:][own["ts_ns"][row:] == own["ts_ns"][row]] if own["ts_ns"][row] != own["ts_ns"][row - 1] else own[:0]
        volume = same["size"][same["kind"] == TRADE].sum() if len(same) else 0
        queue = last["ask_size"] if own["side"][row] > 0 else last["size"]
        if volume >= queue:
            swept += 1
            after = same[same["kind"] == QUOTE][-1]
            moved += (after["ask"] > last["ask"]) if own["side"][row] > 0 else (after["price"] < last["price"])
    assert swept > 100
    assert moved == swept


def test_sessions_pre_market_auctions_and_late_prints(market: tuple[Ticks, np.ndarray]) -> None:
    ticks, truth = market
    (open_ns, close_ns), (second_open_ns, second_close_ns) = session_plan(2)
    assert close_ns - open_ns == SESSION_MS * 1_000_000
    assert second_open_ns < ticks["ts_ns"][-1] < second_close_ns
    inside = ((ticks["ts_ns"] >= open_ns) & (ticks["ts_ns"] < close_ns)) | (ticks["ts_ns"] >= second_open_ns)
    early = ~inside & (ticks["ts_ns"] != close_ns)
    assert ticks["ts_ns"][0] >= open_ns - PRE_MARKET_MS * 1_000_000
    assert not np.any((ticks["ts_ns"] > close_ns) & (ticks["ts_ns"] < second_open_ns - PRE_MARKET_MS * 1_000_000))
    assert 20 < early.sum() < 0.02 * len(ticks)
    quotes = ticks["kind"] == QUOTE
    spread = (ticks["ask"] - ticks["price"]) // 100
    assert np.median(spread[quotes & early]) > 15
    assert np.median(spread[quotes & inside]) == 1
    opening, closing = ticks["conditions"] & OPENING_PRINT > 0, ticks["conditions"] & CLOSING_PRINT > 0
    assert opening.sum() == 8
    assert closing.sum() == 4
    assert np.isin(ticks["ts_ns"][opening], [open_ns, second_open_ns]).all()
    assert (ticks["ts_ns"][closing] == close_ns).all()
    prints = (ticks["kind"] == TRADE) & inside
    off = ticks["venue"][prints] == OFF_EXCHANGE
    assert 0.2 < off.mean() < 0.4
    late = ticks["late_ns"] > 0
    assert late.sum() > 20
    assert (ticks["venue"][late] == OFF_EXCHANGE).all()
    assert (ticks["late_ns"] >= 0).all()
    assert 0.0005 < np.mean(ticks["conditions"][prints] & SPECIAL_PRINT > 0) < 0.005
    assert 0.005 < np.mean(spread[quotes & inside] == 0) < 0.04
    assert 0 < np.sum(ticks["gap"] > 0) < 0.0002 * len(ticks)
    modelled = np.isfinite(truth["p_up"])
    assert modelled[inside].mean() > 0.99
    assert ((truth["p_up"][modelled] > 0) & (truth["p_up"][modelled] < 1)).all()
    assert set(np.unique(truth["regime"][modelled])) == {0, 1, 2}
    assert set(np.unique(truth["pressure"][modelled])) == {-2, -1, 0, 1, 2}


def test_the_tape_and_its_truth_are_whole_and_the_same_twice(tmp_path: Path) -> None:
    seen: list[int] = []
    first = simulate(tmp_path / "a", ticks=70_000, seed=4, symbols=5, partitions=3, progress=seen.append)
    simulate(tmp_path / "b", ticks=70_000, seed=4, symbols=5, partitions=3)
    assert seen == [65_536, 70_000]
    assert sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*")) == sorted(
        p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*")
    )
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path.name
    tape = Tape.open(tmp_path / "a")
    tape.verify()
    assert tape.manifest.rows == first.ticks == 70_000
    assert tape.manifest.origin["seed"] == 4
    assert tape.manifest.origin["market"]["tau_lead_ms"] == 1500.0
    assert (tape.manifest.first_ts_ns, tape.manifest.last_ts_ns) == (first.first_ts_ns, first.last_ts_ns)
    assert tape.instruments == simulated_instruments(70_000, 5)
    assert [i.leader for i in tape.instruments.instruments] == [None, *["SIM000"] * 4]
    truth = made(70_000, seed=4, symbols=5)[1]
    stored = pq.read_table(tmp_path / "a" / TRUTH_FILE)
    for name in ("ts_ns", "symbol", "seq", "regime", "pressure", "p_up"):
        assert np.array_equal(stored[name].to_numpy(), truth[name], equal_nan=name == "p_up")
    with pytest.raises(RefusedError, match="exists already"):
        simulate(tmp_path / "a", ticks=10)


def test_a_disturbed_simulation_leaves_nothing(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "tape", ticks=1_000, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ticks": 0}, "ticks"),
        ({"ticks": 10, "symbols": 0}, "symbols"),
        ({"ticks": 10, "symbols": 1001}, "symbols"),
        ({"ticks": 10, "edge": 1.5}, "edge"),
        ({"ticks": 10, "edge": float("nan")}, "edge"),
        ({"ticks": 10, "seed": -1}, "seed"),
        ({"ticks": 10, "chunk_ticks": 0}, "chunk_ticks"),
    ],
)
def test_a_value_out_of_range_is_named(options: dict[str, int | float], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        generate(**options)


def test_the_listed_sessions_reach_beyond_the_tape() -> None:
    ticks, _ = made(400_000, symbols=3)
    listed = simulated_instruments(400_000, 3)
    assert listed.sessions["sim"][-1][1] > ticks["ts_ns"][-1]
    assert ticks["ts_ns"][-1] > listed.sessions["sim"][1][0]
