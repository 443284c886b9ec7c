"""Recorded markets through the command line: imported, described, replayed and verified; the golden five-minute bar."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from operators.sources.tape import Tape

Cli = Callable[..., Any]
LEAN = ("ibm quote", "ibm trade", "spy trade")
UNTIL_MS = (9 * 60 + 40) * 60_000
"""Ten minutes into the session of New York, after its pre-market."""


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


def opening(source: Path, folder: Path) -> list[list[str]]:
    """A LEAN day file cut at UNTIL_MS and written below `folder`; its rows."""
    with zipfile.ZipFile(source) as z:
        member = z.namelist()[0]
        rows = [line for line in z.read(member).decode().splitlines() if int(line.split(",")[0]) < UNTIL_MS]
    path = folder / source.parent.name / source.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(member, "\n".join(rows) + "\n")
    return [row.split(",") for row in rows]


def test_equities_are_replayed_and_verified_and_every_row_is_accounted_for(cli: Cli, market_data: Path, tmp_path: Path) -> None:
    """Quotes and trades of IBM with SPY, which has no quotes, as its leader: counts come from the files by other lines than ours."""
    data = market_data / "lean_equity_ticks"
    files = {name: opening(data / f"{name.split()[0]}/20131007_{name.split()[1]}.zip", tmp_path / "data") for name in LEAN}
    asks = [row for row in files["ibm quote"] if row[3] != "0"]
    told = imported(cli, [tmp_path / "data"], tmp_path / "equity")
    assert told["rows_read"] == sum(map(len, files.values()))
    assert (told["merged"], told["refused"]) == (len(files["ibm quote"]) - len(asks), 1), "the first ask row has no bid before it"
    manifest = Tape.open(tmp_path / "equity").manifest
    kinds = {s.symbol: s.kinds for s in manifest.symbols}
    assert kinds == {
        "IBM": {"quote": len(asks) - 1, "trade": len(files["ibm trade"])},
        "SPY": {"trade": len(files["spy trade"])},
    }
    midnight_ns = 1_381_118_400 * 10**9  # 2013-10-07 00:00 in New York, UTC-4
    last = {s.symbol: s.last_ts_ns for s in manifest.symbols}
    for symbol, names in (("IBM", ("ibm quote", "ibm trade")), ("SPY", ("spy trade",))):
        assert last[symbol] == midnight_ns + max(int(files[name][-1][0]) for name in names) * 10**6

    hashes = set()
    for out, options in (("run", ()), ("cut", ("--workers", "2", "--batch-ticks", "1000", "--no-report"))):
        ended = cli("replay", tmp_path / "equity", "--out", tmp_path / out, "--json", *options)
        assert ended.code == 0, ended.err
        run = json.loads(ended.out)
        assert run["rows_read"] == told["ticks"] == run["ticks"] + sum(run["dead_letters"].values())
        assert cli("verify", tmp_path / out).code == 0
        hashes.add(run["output_hash"])
    assert len(hashes) == 1
    bad = sum(row[-1] != "0" for name in ("ibm trade", "spy trade") for row in files[name])
    assert run["dead_letters"].get("SUSPICIOUS", 0) >= bad
    assert {symbol: q["read"] for symbol, q in run["quality"].items()} == {s: sum(k.values()) for s, k in kinds.items()}
    assert run["signals"] > 0
    traded = json.loads(cli("query", tmp_path / "run", "SELECT DISTINCT symbol FROM orders", "--json").out)["rows"]
    assert [row["symbol"] for row in traded] == ["IBM"], "SPY leads and is never traded"
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
