"""The ledger: the hash depends on what was said and on nothing else; totals are sums over it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.sinks import Ledger
from operators.sinks.ledger import chain_table, chains_of, output_hash
from schemas.errors import LakeError, StateMismatchError
from schemas.instruments import InstrumentList
from schemas.tables import HASHED_TABLES, TABLES, Rows

NewLedger = Callable[[], Ledger]


def cut(rows: Rows, places: list[int]) -> list[Rows]:
    ends = sorted({0, rows.a.size, *(p % (rows.a.size + 1) for p in places)})
    return [Rows(rows.table, rows.key, rows.a[a:b]) for a, b in pairwise(ends)]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 100), max_size=30), st.integers(0, 30))
def test_cuts_and_a_resume_change_nothing(new_ledger: NewLedger, made: Any, places: list[int], resume_after: int) -> None:
    whole, pieces = new_ledger(), new_ledger()
    rows = [made.rows(table, key, 0, 12, symbol) for table in TABLES for key, symbol in made.keys(table)[:1]]
    for r in rows:
        whole.take(r)
    for i, piece in enumerate(p for r in rows for p in cut(r, places)):
        if i == resume_after:
            state = pieces.snapshot()
            pieces.take(piece)  # what is taken after a snapshot does not reach it
            pieces = new_ledger()
            pieces.restore(state)
        pieces.take(piece)
    assert pieces.output_hash() == whole.output_hash()
    assert pieces.snapshot() == whole.snapshot()


def test_the_hash_is_what_the_definition_says(new_ledger: NewLedger, made: Any) -> None:
    ledger = new_ledger()
    rows = made.rows("signals", "BTC/USDT", 0, 3, 1)
    _, marks = ledger.take(rows)
    digest = bytes(32)
    seen = []
    for i in range(3):
        row = rows.a[i : i + 1].copy()
        row["symbol"] = zlib.crc32(b"BTC/USDT")
        row["pad"] = bytes(3)
        digest = hashlib.sha256(digest + row.tobytes()).digest()
        seen.append(int.from_bytes(digest[:8], "little", signed=True))
    assert marks.tolist() == seen
    line = f"signals BTC/USDT 3 {digest.hex()}\n"
    assert ledger.output_hash() == hashlib.sha256(line.encode()).hexdigest()


def test_symbol_ids_do_not_enter_the_hash(instruments: InstrumentList, made: Any) -> None:
    other = Ledger(("AAA", "AAPL", "BTC/USDT", "EURUSD"), (1, 1, 1, 1))
    one = Ledger(instruments.symbols, (1, 1, 1))
    for table in ("signals", "dead_letters", "orders"):
        key, symbol = made.keys(table)[0]
        rows = made.rows(table, key, 0, 5, symbol)
        if table == "dead_letters":  # the record holds the tick, and the tick its symbol's id at byte 56
            records = np.frombuffer(rows.a["record"].tobytes(), np.uint8).reshape(5, 72).copy()
            records[:, 56:60] = np.frombuffer(np.uint32(symbol).tobytes(), np.uint8)
            rows.a["record"] = np.frombuffer(records.tobytes(), "V72")
        one.take(rows)
        moved = rows.a.copy()
        moved["symbol"] += 1
        if table == "dead_letters":
            records[:, 56:60] = np.frombuffer(np.uint32(symbol + 1).tobytes(), np.uint8)
            moved["record"] = np.frombuffer(records.tobytes(), "V72")
        other.take(Rows(table, key, moved))
    assert one.output_hash() == other.output_hash()


@pytest.mark.parametrize("table", HASHED_TABLES)
def test_every_field_enters_the_hash(table: str, new_ledger: NewLedger, made: Any) -> None:
    key, symbol = made.keys(table)[0]
    rows = made.rows(table, key, 0, 2, symbol)
    ledger = new_ledger()
    ledger.take(rows)
    for name in TABLES[table].names or ():
        if name in ("n", "pad"):
            continue
        changed = rows.a.copy()
        if TABLES[table][name].kind == "V":
            changed[name][1] = bytes(TABLES[table][name].itemsize)
        else:
            changed[name][1] = 1 - changed[name][1] if name == "approved" else changed[name][1] ^ 1
        other = new_ledger()
        other.take(Rows(table, key, changed))
        assert other.output_hash() != ledger.output_hash(), name


def test_unhashed_tables_do_not_enter(new_ledger: NewLedger, made: Any) -> None:
    ledger = new_ledger()
    empty = ledger.output_hash()
    ledger.take(made.rows("statistics", "s03", 0, 9, 0))
    ledger.take(made.rows("skill", "AAPL", 0, 9, 0))
    assert ledger.output_hash() == empty == hashlib.sha256(b"").hexdigest()


def test_rows_that_come_again_are_counted_and_left_out_and_gaps_refused(new_ledger: NewLedger, made: Any) -> None:
    ledger, once = new_ledger(), new_ledger()
    once.take(made.rows("orders", "main", 0, 10, 0))
    ledger.take(made.rows("orders", "main", 0, 6, 0))
    new, marks = ledger.take(made.rows("orders", "main", 3, 7, 0))
    assert new.a["n"].tolist() == [6, 7, 8, 9]
    assert marks.size == 4
    assert ledger.totals.repeated == 3
    assert ledger.output_hash() == once.output_hash()
    with pytest.raises(LakeError, match="table orders, key main: rows 10 to 11 are missing"):
        ledger.take(made.rows("orders", "main", 12, 1, 0))


def test_a_newer_state_is_refused(new_ledger: NewLedger) -> None:
    ledger = new_ledger()
    with pytest.raises(StateMismatchError, match="ledger of version 99"):
        ledger.restore({**ledger.snapshot(), "version": 99})


def test_chains_survive_the_way_through_json(new_ledger: NewLedger, made: Any) -> None:
    ledger = new_ledger()
    for piece in made.all(0, 4):
        ledger.take(piece)
    assert output_hash(chains_of(chain_table(ledger.chains()))) == ledger.output_hash()


def test_totals_keep_sums_last_means_and_the_lowest_score_of_a_symbols_quality(new_ledger: NewLedger, instruments: InstrumentList) -> None:
    ledger = new_ledger()
    q = np.zeros(4, TABLES["quality"])
    q["n"], q["ts_ns"], q["read"], q["missing"] = np.arange(4), [10, 20, 30, 40], [5, 6, 7, 8], [0, 3, 0, 1]
    q["score_e6"], q["validity_e6"] = [900_000, 400_000, 400_000, 950_000], 10**6
    ledger.take(Rows("quality", "AAPL", q[:1]))
    ledger.take(Rows("quality", "AAPL", q[1:3]))
    again = new_ledger()
    again.restore(ledger.snapshot())
    again.take(Rows("quality", "AAPL", q[3:]))
    (told,) = again.totals.named(instruments.symbols, {})["quality"].values()
    assert (told["read"], told["missing"], told["score"], told["validity"]) == (26, 4, 0.95, 1.0)
    assert (told["lowest"], told["lowest_ts_ns"]) == (0.4, 20), "the first of equal ones"


def test_totals_of_a_small_run(new_ledger: NewLedger, instruments: InstrumentList, made: Any) -> None:
    ledger = new_ledger()
    s = np.zeros(2, TABLES["statistics"])
    s["n"], s["slice"], s["ts_ns"] = [0, 1], [10, 14], [1_100, 1_500]
    s["ticks"], s["dead"], s["late"], s["max_late_ns"], s["hidden_spikes"] = [5, 7], [1, 0], [0, 2], [0, 44], [3, 4]
    ledger.take(Rows("statistics", "s03", s))
    ledger.take(Rows("statistics", "s17", s))
    v = np.zeros(3, TABLES["verdicts"])
    v["n"], v["approved"], v["rule"], v["intent"] = [0, 1, 2], [1, 0, 0], [1, 9, 9], [1, 1, 3]
    ledger.take(Rows("verdicts", "main", v))
    o = np.zeros(3, TABLES["orders"])
    o["n"], o["state"] = [0, 1, 2], [1, 2, 1]
    ledger.take(Rows("orders", "main", o))
    x = np.zeros(2, TABLES["executions"])
    x["n"], x["symbol"], x["price"], x["quantity"], x["fee_e10"] = [0, 1], [0, 1], [1_000_000, 12_345], [3, 150_000_000], [100, -20]
    ledger.take(Rows("executions", "main", x))
    p = np.zeros(3, TABLES["positions"])
    p["n"], p["symbol"], p["realised_e10"], p["unrealised_e10"] = [0, 1, 2], [0, 1, 0], [5, 7, 11], [1, 2, -3]
    ledger.take(Rows("positions", "main", p))
    e = np.zeros(2, TABLES["equity"])
    e["n"], e["equity_e10"], e["drawdown_e8"] = [0, 1], [10**15, 10**15 - 5], [9, 4]
    ledger.take(Rows("equity", "main", e))
    d = np.zeros(2, TABLES["dead_letters"])
    d["n"], d["reason"], d["slice"], d["ts_ns"] = [0, 1], [5, 5], [9, 14], [950, 1_450]
    ledger.take(Rows("dead_letters", "AAPL", d))
    told = ledger.totals.named(instruments.symbols, made.codebook)
    assert (told["ticks"], told["rows_read"], told["late_ticks"], told["max_late_ns"]) == (24, 26, 4, 44)
    assert (told["slices"], told["first_ts_ns"], told["last_ts_ns"]) == (6, 950, 1_500)  # slices 9 to 14
    assert told["dead_letters"] == {"BOOK_CROSSED": 2}
    assert (told["intents"], told["refusals"], told["orders"], told["fills"]) == (3, {"STOP_MISSING": 2}, 2, 2)
    # AAPL 100.0000 * 3 = 300; BTC 123.45 * 1.5 = 185.175; in 1e-10
    assert told["volume_e10"] == 4_851_750_000_000
    assert told["fees_e10"] == 80
    assert (told["realised_e10"], told["unrealised_e10"]) == (18, -1)  # last of AAPL 11 and -3, of BTC 7 and 2
    assert told["positions"]["main/BTC/USDT"]["realised_e10"] == 7
    assert (told["max_drawdown_e8"], told["equity_e10"]) == (9, {"main": 10**15 - 5})
