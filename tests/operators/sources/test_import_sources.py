"""Sources of several formats into one tape: what is found, told apart, and refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from operators.sources.importers import ColumnMapping, import_sources, kernels
from operators.sources.importers.detect import files_of, format_of
from operators.sources.tape import Tape
from schemas.errors import RefusedError, UsageError


def test_formats_of_recorded_files(market_data) -> None:
    told = {
        "lean_equity_ticks/ibm/20131007_quote.zip": "lean_equity",
        "lean_equity_ticks/spy/20131007_trade.zip": "lean_equity",
        "lean_fx_ticks/fxcm/tick/eurusd/20140502_quote.zip": "lean_forex",
        "binance_ws_raw_hftbacktest/cm/btcusd_perp_20240808.gz": "binance_raw",
        "lobster_aapl_slice/AAPL_2012-06-21_34200000_57600000_orderbook_10.csv.gz": "lobster",
        "nautilus_test_data/truefx/usdjpy-ticks.csv.gz": "columns",
        "nautilus_test_data/binance/btcusdt-quotes.parquet": "columns",
        "nautilus_test_data/databento/esh4-glbx-mdp3-20231224.mbo.dbn.zst": None,
        "README.md": None,
    }
    assert {name: format_of(market_data / name) for name in told} == told


def test_folders_are_searched_and_hidden_files_left_out(tmp_path) -> None:
    for name in ("b/x.csv", "a.csv", ".hidden/y.csv", "b/.z.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in files_of([tmp_path, tmp_path / "a.csv"])] == ["a.csv", "b/x.csv"]
    with pytest.raises(UsageError, match="no file or folder"):
        files_of([tmp_path / "missing"])


def test_wrong_format_and_nothing_to_import(tmp_path, read_all) -> None:
    with pytest.raises(UsageError, match="--format must be auto or one of lean_equity, lean_forex"):
        read_all([tmp_path], "excel")
    with pytest.raises(UsageError, match=r"nothing to import in .*: no files there"):
        read_all([tmp_path])
    (tmp_path / "note.md").write_text("hello")
    with pytest.raises(UsageError, match="of no known format"):
        read_all([tmp_path])


@pytest.fixture
def mixed(market_data, tmp_path) -> Path:
    """A folder with files of four formats, one of them unknown."""
    folder = tmp_path / "mixed"
    for name in (
        "lean_equity_ticks/ibm/20131007_trade.zip",
        "lean_fx_ticks/oanda/tick/eurusd/20140504_quote.zip",
        "lobster_aapl_slice/AAPL_2012-06-21_34200000_57600000_message_10.csv.gz",
        "lobster_aapl_slice/AAPL_2012-06-21_34200000_57600000_orderbook_10.csv.gz",
        "README.md",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(market_data / name, folder / name)
    return folder


def test_several_formats_merge_into_one_tape(mixed, tmp_path) -> None:
    out = tmp_path / "tape"
    done: list[tuple[str, int]] = []
    report = import_sources([mixed], out, partitions=2, progress=lambda what, n: done.append((what, n)))
    tape = Tape.open(out)
    assert tape.instruments.symbols == ("AAPL", "EURUSD.OANDA", "IBM")
    assert report.rows_read == report.ticks + report.rows_merged + report.rows_refused
    assert tape.manifest.rows == report.ticks == done[-1][1]
    assert sorted(tape.instruments.sessions) == ["forex", "us_equity"]
    assert "README.md" in str(report.summary()["refused_by"])
    assert tape.manifest.origin["sources"][0]["file"] == "README.md"
    assert str(tmp_path) not in str(tape.manifest.origin)
    with pytest.raises(RefusedError):
        import_sources([mixed], out)


def test_partitions_and_shards_do_not_change_what_is_on_the_tape(mixed, tmp_path) -> None:
    hashes = set()
    for i, (partitions, shards) in enumerate(((1, 64), (4, 16))):
        import_sources([mixed], tmp_path / f"t{i}", partitions=partitions, shards=shards)
        hashes.add(Tape.open(tmp_path / f"t{i}").manifest.tape_hash)
    assert len(hashes) == 1


def test_a_copy_of_a_file_is_refused_whole(tmp_path, read_all) -> None:
    for name, price in (("a.csv", 5), ("b.csv", 6), ("copy of a.csv", 5)):
        (tmp_path / name).write_text(f"t,p\n1,{price}\n2,{price}\n")
    got = read_all([tmp_path], mapping=ColumnMapping.parse("ts=t,price=p,name=X"))
    assert got.only()["price"].tolist() == [5, 5, 6, 6]
    assert got.refusals() == [("copy of a.csv", 0, "a repeat: a file of the same bytes is imported")]


def test_one_symbol_from_two_formats_is_refused(market_data, tmp_path, read_all) -> None:
    folder = tmp_path / "x"
    shutil.copytree(market_data / "lobster_aapl_slice", folder / "lobster")
    for path in (folder / "lobster").iterdir():
        path.chmod(0o644)
        path.rename(path.with_name(path.name.replace("AAPL", "IBM")))
    with pytest.raises(UsageError, match="IBM comes from two formats"):
        read_all([folder, market_data / "lean_equity_ticks" / "ibm" / "20131007_trade.zip"])


def test_numbers_are_read_exactly() -> None:
    cases = {
        (b"0.1", 1): (1, kernels.OK),
        (b"-0.10", 1): (-1, kernels.OK),
        (b"+7", 0): (7, kernels.OK),
        (b"007.50", 2): (750, kernels.OK),
        (b"1.", 0): (1, kernels.OK),
        (b".5", 1): (5, kernels.OK),
        (b"1e3", 0): (1000, kernels.OK),
        (b"1.5E-1", 2): (15, kernels.OK),
        (b"100000000000000000000000", 0): (0, kernels.TOO_LARGE),
        (b"0.00000000000000000000000000", 2): (0, kernels.OK),
        (b"61837.63000000", 2): (6_183_763, kernels.OK),
        (b"1.0000000000000000000000000", 0): (1, kernels.OK),
        (b"0.000000000000000000000000001", 9): (0, kernels.TOO_FINE),
        (b"4611686018427387895", 0): (4_611_686_018_427_387_895, kernels.OK),
        (b"4611686018427387905", 0): (0, kernels.TOO_LARGE),
        (b"", 0): (0, kernels.NOT_A_NUMBER),
        (b"-", 0): (0, kernels.NOT_A_NUMBER),
        (b".", 0): (0, kernels.NOT_A_NUMBER),
        (b"1e", 0): (0, kernels.NOT_A_NUMBER),
        (b"1e1.5", 0): (0, kernels.NOT_A_NUMBER),
        (b"1.2.3", 1): (0, kernels.NOT_A_NUMBER),
        (b"12a", 0): (0, kernels.NOT_A_NUMBER),
        (b"1e99", 0): (0, kernels.TOO_LARGE),
        (b"1e-99", 9): (0, kernels.TOO_FINE),
    }
    for (text, scale), expected in cases.items():
        assert kernels.read_number(np.frombuffer(text or b" ", np.uint8), 0, len(text), scale) == expected, text
