"""Corporate actions from files: what is read, what is refused before anything is written, and what the tape holds then."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from operators.sources.importers import ColumnMapping, import_sources
from operators.sources.importers.actions import with_actions
from operators.sources.tape import Tape, describe
from operators.sources.tape.format import parse_manifest
from schemas.errors import UsageError
from schemas.instruments import Instrument, InstrumentList
from schemas.ticks import FLAG_CORPORATE_ACTION
from tests.operators.sources.tapes import read_all

OPEN_NS = 1_402_320_600_000_000_000
"""9 June 2014, 09:30 New York."""
LISTED = InstrumentList(
    instruments=tuple(
        Instrument(symbol=s, price_exponent=2, size_exponent=0, tick_size=1, lot_size=1, calendar=c)
        for s, c in (("AAPL", "us_equity"), ("BTC", "always"), ("EUR", "forex"))
    )
)
HEAD = "symbol,effective,kind,ratio,amount,note\n"


@pytest.fixture
def stated(tmp_path):
    """`stated(text, name)`: the actions of a file with that text, by (symbol, time, kind, terms, note)."""

    def read(text, name="actions.csv"):
        path = tmp_path / name
        path.write_text(text)
        return [(a.symbol, a.ts_ns, a.kind, a.terms, a.note) for a in with_actions(LISTED, [path]).actions]

    return read


def test_csv_with_every_kind_and_every_way_to_state_a_time(stated) -> None:
    text = HEAD + (
        "BTC,2014-06-10,other,,,a fork\n"
        "AAPL,2014-06-09,split,14:2,,\n"
        "\n"
        "AAPL,2014-05-08T09:30:00-04:00,dividend,,3.290,cash\n"
        f"AAPL,{OPEN_NS + 10**6},dividend,,1,\n"
        "EUR,2014-06-08,other,,,\n"
    )
    assert stated(text) == [
        ("AAPL", 1_399_555_800_000_000_000, "dividend", "3.290", "cash"),
        ("AAPL", OPEN_NS, "split", "7:1", ""),
        ("AAPL", OPEN_NS + 10**6, "dividend", "1", ""),
        ("BTC", 1_402_358_400_000_000_000, "other", "", "a fork"),
        ("EUR", 1_402_261_200_000_000_000, "other", "", ""),
    ]


def test_json_says_the_same(stated) -> None:
    rows = [{"symbol": "AAPL", "effective": "2014-06-09", "kind": "split", "ratio": "7:1"}]
    rows += [{"symbol": "BTC", "effective": OPEN_NS, "kind": "dividend", "amount": 0.1, "ratio": None}]
    assert stated(json.dumps(rows), "actions.json") == [("AAPL", OPEN_NS, "split", "7:1", ""), ("BTC", OPEN_NS, "dividend", "0.1", "")]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("IBM,2014-06-09,split,7:1,,", r"line 3, symbol 'IBM': expected one that is imported: AAPL, BTC, EUR"),
        ("AAPL,2014-06-08,split,7:1,,", r"line 3, effective '2014-06-08': .*on this one none does, give a time"),
        ("EUR,2014-06-09,other,,,", r"line 3, effective.*calendar forex begins"),
        ("AAPL,9 June,split,7:1,,", r"line 3, effective '9 June': expected a date such as 2014-06-09"),
        ("AAPL,2014-06-09T09:30:00.0001-04:00,split,7:1,,", r"line 3, effective.*multiple of 1000000"),
        ("AAPL,2014-06-09,merger,,,", r"line 3, kind 'merger': expected one of split, dividend, other"),
        ("AAPL,2014-06-09,split,,,", r"line 3, ratio '': expected units after to units before"),
        ("AAPL,2014-06-09,split,7,,", r"line 3, ratio '7'"),
        ("AAPL,2014-06-09,split,7:0,,", r"line 3, ratio '7:0'"),
        ("AAPL,2014-06-09,split,2:2,,", r"line 3, ratio '2:2': expected one that changes something"),
        ("AAPL,2014-06-09,split,7:1,1.00,", r"line 3, amount '1.00': expected nothing: a split has none"),
        ("AAPL,2014-06-09,dividend,7:1,1.00,", r"line 3, ratio '7:1': expected nothing: a dividend has none"),
        ("AAPL,2014-06-09,dividend,,-1,", r"line 3, amount '-1': expected money per unit"),
        ("AAPL,2014-06-09,dividend,,NaN,", r"line 3, amount 'NaN'"),
        ("AAPL,2014-06-09,dividend,,0.00000000001,", r"line 3, amount '0.00000000001': expected .*less than or equal to 10"),
        ("AAPL,2014-06-09,split,7:1", r"line 3: 4 fields, the header has 6"),
        ("AAPL,2014-06-09,split,7:1,,\nAAPL,2014-06-09,dividend,,1,", r"AAPL has two corporate actions .*line 3.*line 4.*1 ms apart"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_nothing_is_taken(stated, row, expected) -> None:
    with pytest.raises(UsageError, match=expected):
        stated(HEAD + "BTC,2014-06-10,other,,,\n" + row + "\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "lacks symbol, effective, kind"),
        ("symbol,date,kind\n", "lacks effective"),
        ("symbol,effective,kind,price\n", "'price' unknown"),
        ("[{]", "not valid JSON"),
        ("{}", "expected a list of objects"),
        ('[{"symbol": "AAPL"}]', "lacks effective, kind"),
        ('[{"symbol": ["AAPL"], "effective": "2014-06-09", "kind": "other"}]', "line 1, symbol .*: expected text or a number"),
        ('symbol,effective,kind\n"AAPL,2014-06-09,other\n', "not readable as CSV"),
    ],
)
def test_a_file_that_is_no_list_of_actions_is_refused(stated, text, expected) -> None:
    with pytest.raises(UsageError, match=expected):
        stated(text)


def test_a_file_that_is_not_there_or_no_text(tmp_path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        with_actions(LISTED, [tmp_path / "none.csv"])
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        with_actions(LISTED, [tmp_path / "a.csv"])


FACTORS = (
    "19980102,0.9311149,0.0357143\n20000620,0.9311149,0.0357143\n20050225,0.9311149,0.0714286\n20120808,0.9311149,0.142857,619.86\n"
    "20121106,0.9736908,0.142857\n20140606,0.9741588,0.142857,645.57\n20501231,1.0000000,1,0\n"
)
"""Lines of LEAN's aapl.csv, the second dividend's reference price left out, and a dividend on the day of the last split."""


def test_leans_factor_file_gives_splits_exactly_and_dividends_in_cents(stated) -> None:
    found = stated(FACTORS, "aapl.csv")
    assert [(s, kind, terms) for s, _, kind, terms, _ in found] == [
        ("AAPL", "split", "2:1"),
        ("AAPL", "split", "2:1"),
        ("AAPL", "dividend", "27.10"),  # 619.86 * (1 - 0.9311149 / 0.9736908)
        ("AAPL", "other", ""),
        ("AAPL", "dividend", "16.68"),  # 645.57 * (1 - 0.9741588)
        ("AAPL", "split", "7:1"),
    ]
    assert found[3][4] == "LEAN price factor 0.9736908 to 0.9741588"
    assert [ts for _, ts, *_ in found[-2:]] == [OPEN_NS - 10**6, OPEN_NS]
    assert stated(FACTORS.replace("0.142857,645.57", "0.1438,645.57"), "aapl.csv")[-1][2:] == ("other", "", "LEAN split factor 0.1438 to 1")


def test_a_folder_of_factor_files_gives_those_of_imported_symbols(tmp_path) -> None:
    for name in ("aapl.csv", "ibm.csv"):
        (tmp_path / name).write_text(FACTORS)
    assert {a.symbol for a in with_actions(LISTED, [tmp_path]).actions} == {"AAPL"}
    with pytest.raises(UsageError, match=r"ibm.csv: its name says symbol IBM, which is not imported"):
        with_actions(LISTED, [tmp_path / "ibm.csv"])
    (tmp_path / "aapl.csv").write_text(FACTORS + "2051,1,1\n")
    with pytest.raises(UsageError, match=r"aapl.csv, line 8 '2051,1,1': expected yyyymmdd"):
        with_actions(LISTED, [tmp_path])


MAPPING = ColumnMapping.parse("ts=t,unit=s,price=p,size=s,name=X,calendar=always")


@pytest.fixture
def source(tmp_path) -> Path:
    """100 trades of X, one a second from second 1000 on; at second 1050 the price falls to a quarter."""
    path = tmp_path / "x.csv"
    path.write_text("t,p,s\n" + "".join(f"{1000 + i},{'400.00' if i < 50 else '100.00'},5\n" for i in range(100)))
    return path


def imported(source, tmp_path, name, text=None) -> Tape:
    actions = []
    if text is not None:
        actions = [tmp_path / f"{name}.csv"]
        actions[0].write_text(text)
    import_sources([source], tmp_path / name, "columns", mapping=MAPPING, actions=actions)
    return Tape.open(tmp_path / name)


def test_a_tape_holds_its_actions_flags_the_first_tick_and_is_another_tape(source, tmp_path) -> None:
    plain = imported(source, tmp_path, "plain")
    tape = imported(source, tmp_path, "split", "symbol,effective,kind,ratio\nX,1049500000000,split,4:1\nX,99000000000,other,\n")
    other = imported(source, tmp_path, "other", "symbol,effective,kind,ratio\nX,1049500000000,split,3:1\nX,99000000000,other,\n")
    assert len({t.manifest.tape_hash for t in (plain, tape, other)}) == 3
    ticks = np.concatenate(read_all(tape))
    assert np.flatnonzero(ticks["flags"] & FLAG_CORPORATE_ACTION).tolist() == [50]
    assert not np.concatenate(read_all(plain))["flags"].any()
    told = describe(tape)
    assert [(a.kind, a.terms) for a in told.actions] == [("other", ""), ("split", "4:1")]
    assert told.checksum_ok
    report = json.loads((tape.path / "import_report.json").read_text())
    assert (report["actions"], report["actions_outside"]) == (2, 1)
    assert [s["file"] for s in tape.manifest.origin["actions"]] == ["split.csv"]


def test_a_refused_file_leaves_no_tape(source, tmp_path) -> None:
    with pytest.raises(UsageError, match="unknown|imported"):
        imported(source, tmp_path, "bad", "symbol,effective,kind,ratio\nY,1049500000000,split,4:1\n")
    assert not list(tmp_path.glob("bad*/"))


def test_the_manifest_of_a_tape_from_before_actions_is_read_and_written_to_the_same_bytes(source, tmp_path) -> None:
    """Its checksum and its hash do not know of actions: they are those of a tape without any."""
    tape = imported(source, tmp_path, "plain")
    data = (tape.path / "manifest.json").read_bytes()
    tree = json.loads(data)
    assert "actions" not in tree["instruments"]
    assert tree["instruments"]["version"] == 1
    assert parse_manifest(data, "it").instruments.actions == ()
    assert tree["tape_hash"] == "3c670c964bd7d7c955ecbd67e117bb3efb925648fcaa1b2f2163fedfc034d626"
