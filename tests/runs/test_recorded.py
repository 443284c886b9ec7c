"""Recorded markets through the command line: imported, described, replayed and verified; the golden five-minute bar."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


def imported(cli: Cli, sources: list[Path], out: Path) -> dict[str, Any]:
    ended = cli("import", *sources, "--out", out, "--json")
    assert ended.code == 0, ended.err
    told: dict[str, Any] = json.loads(ended.out)
    assert told["rows_read"] == told["ticks"] + told["merged"] + told["refused"]
    lines = (out / "rejected.jsonl").read_text().splitlines()
    assert len(lines) == told["refused"]
    assert all({"file", "line", "reason"} <= json.loads(line).keys() for line in lines[:200])
    return told


def test_the_golden_five_minute_bar(cli: Cli, market_data: Path, tmp_path: Path) -> None:
    """data/README.md: trades of the raw capture summed to bars equal the exchange's own bar of 23:55."""
    imported(cli, [market_data / "binance_ws_raw_hftbacktest" / "spot" / "btcusdt_20240808.gz"], tmp_path / "btc")
    bars = json.loads(cli("bars", tmp_path / "btc", "--every", "5m", "--symbol", "BTCUSDT.SPOT", "--json").out)["bars"]
    golden = [Decimal(x) for x in ("61828.0", "61860.8", "61583.22", "61685.99", "199.429")]
    found = [[Decimal(b[k]) for k in ("open", "high", "low", "close", "volume")] for b in bars]
    assert [[*f[:4], round(f[4], 3)] for f in found].count(golden) == 1, bars


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("binance", "binance_ws_raw_hftbacktest/spot/ethusdt_20240808.gz"),
        ("forex", "lean_fx_ticks/fxcm/tick/eurusd/20140502_quote.zip"),
        ("lobster", "lobster_aapl_slice"),
    ],
)
def test_recorded_markets_are_replayed_and_verified(cli: Cli, market_data: Path, tmp_path: Path, name: str, source: str) -> None:
    told = imported(cli, [market_data / source], tmp_path / name)
    assert cli("tape", tmp_path / name).code == 0
    ended = cli("replay", tmp_path / name, "--out", tmp_path / "run", "--json")
    assert ended.code == 0, ended.err
    run = json.loads(ended.out)
    assert run["rows_read"] == told["ticks"] == run["ticks"] + sum(run["dead_letters"].values()) > 100
    assert cli("verify", tmp_path / "run").code == 0
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    if name == "forex":
        assert run["dead_letters"]["BOOK_CROSSED"] > 0.05 * run["rows_read"], "FXCM's ten percent of crossed rows"
