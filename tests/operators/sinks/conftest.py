"""A small deployment and rows of every table, made by a seeded generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.sinks import Lake, Ledger, RunFolder, chain_table
from schemas.instruments import Instrument, InstrumentList
from schemas.settings import Settings
from schemas.tables import TABLES, Rows

CODEBOOK = {"rule": {1: "REDUCES_RISK", 9: "STOP_MISSING"}, "reason": {0: "NONE", 1: "TIMED_OUT"}}
FIXED_POINT = ("quantity", "filled", "price", "stop_price", "queue_ahead", "largest_passing")
ACCOUNT_TABLES = ("verdicts", "orders", "executions", "positions", "equity")


@pytest.fixture(scope="session")
def instruments() -> InstrumentList:
    """Three instruments with different exponents; one name holds a slash, as the ids do."""
    made = [
        Instrument(symbol="AAPL", price_exponent=4, size_exponent=0, tick_size=100, lot_size=1),
        Instrument(symbol="BTC/USDT", price_exponent=2, size_exponent=8, tick_size=1, lot_size=1000),
        Instrument(symbol="EURUSD", price_exponent=10, size_exponent=0, tick_size=1, lot_size=1),
    ]
    return InstrumentList(instruments=tuple(made))


def made_rows(table: str, key: str, first: int, count: int, symbol: int, seed: int = 0) -> Rows:
    """Rows of a table with values over the whole range of their fields, the same for a row wherever the piece begins."""
    a = np.zeros(count, TABLES[table])
    for i in range(count):
        n = first + i
        rng = np.random.default_rng([seed, n, len(table), sum(key.encode())])
        for name in TABLES[table].names or ():
            kind = TABLES[table][name]
            if kind.kind == "V":
                a[name][i] = rng.bytes(kind.itemsize)
            elif name.endswith(("_e6", "_e8", "_e10")) or name in FIXED_POINT:
                a[name][i] = rng.integers(-(2**62), 2**62) >> int(rng.integers(0, 60))
            elif kind == np.dtype("<u8"):
                a[name][i] = rng.integers(0, 2**64, dtype=np.uint64)
            else:
                a[name][i] = rng.integers(0, 100)
        a["n"][i] = n
        a["slice"][i] = 1000 + n // 3
        a["ts_ns"][i] = (1000 + n // 3) * 100_000_000 + n
    names = TABLES[table].names or ()
    if "symbol" in names:
        a["symbol"] = symbol
    for name, codes in {"action": 3, "side": 3, "intent": 6, "type": 3, "state": 10, "liquidity": 2, "approved": 2}.items():
        if name in names:
            a[name] = np.arange(first, first + count) % codes - (1 if name in ("action", "side") else 0)
    if "rule" in names:
        a["rule"] = np.where(np.arange(first, first + count) % 2, 9, 777)
    return Rows(table, key, a)


def keys_of(table: str) -> list[tuple[str, int]]:
    """Keys of a table with the symbol id of their rows."""
    if table in ACCOUNT_TABLES:
        return [("main", 0), ("second", 1)]
    if table == "statistics":
        return [("s03", 0), ("s17", 0)]
    return [("AAPL", 0), ("BTC/USDT", 1), ("EURUSD", 2)]


def all_rows(first: int, count: int) -> list[Rows]:
    """`count` rows of every table and key from n = first on."""
    return [made_rows(table, key, first, count, symbol) for table in TABLES for key, symbol in keys_of(table)]


class Made:
    """The functions above, for tests (which cannot import a conftest)."""

    codebook = CODEBOOK
    rows = staticmethod(made_rows)
    keys = staticmethod(keys_of)
    all = staticmethod(all_rows)

    @staticmethod
    def say(lake: Lake, ledger: Ledger, pieces: list[Rows]) -> None:
        """What the sink does with a batch."""
        for piece in pieces:
            lake.write(*ledger.take(piece))


@pytest.fixture(scope="session")
def made() -> type[Made]:
    return Made


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture(scope="session")
def new_ledger(instruments: InstrumentList) -> Callable[[], Ledger]:
    return lambda: Ledger(instruments.symbols, [i.notional_scale for i in instruments.instruments])


@pytest.fixture
def open_lake(instruments: InstrumentList, settings: Settings) -> Callable[..., Lake]:
    def opened(path: Path, **lake: Any) -> Lake:
        return Lake(path, instruments, settings.model_copy(update={"lake": settings.lake.model_copy(update=lake)}), CODEBOOK)

    return opened


@pytest.fixture
def finished_run(tmp_path: Path, open_lake: Callable[..., Lake], new_ledger: Callable[[], Ledger]) -> Path:
    """A finished run folder of 40 rows a key, in several commits."""
    folder = RunFolder(tmp_path / "run")
    lake, ledger = open_lake(folder.lake), new_ledger()
    for first in range(0, 40, 8):
        Made.say(lake, ledger, all_rows(first, 8))
        lake.flush()
    lake.finish()
    folder.write_settings({"slice_ms": 100, "risk": {"max_drawdown": "0.15"}})
    folder.write_run({"output_hash": ledger.output_hash(), "chains": chain_table(ledger.chains())})
    return folder.path
