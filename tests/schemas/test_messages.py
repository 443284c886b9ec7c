"""Messages and rows say the same, exactly, both ways and through JSON."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.instruments import Instrument, InstrumentList
from schemas.messages import MESSAGES, ControlMessage, ExecutionMessage, message_of, row_of
from schemas.row_json import RowJson, parsed
from schemas.tables import EXECUTION, NO_SYMBOL, TABLES, VERDICT, DeadLetterReason, Rows

LISTED = InstrumentList(
    instruments=(
        Instrument(symbol="BTCUSDT.SPOT", price_exponent=2, size_exponent=6, tick_size=1, lot_size=10, size_max=10**8),
        Instrument(symbol="IBM", price_exponent=4, size_exponent=0, tick_size=100, lot_size=1),
    )
)
CODES = {"action": (-1, 1), "side": (-1, 1), "type": (1, 3), "state": (1, 10), "liquidity": (1, 2), "intent": (1, 7), "approved": (0, 1)}
BOUNDS = {
    "n": (0, 2**40),
    "order_n": (0, 2**40),
    "confidence_e6": (0, 10**6),
    "drawdown_e8": (0, 10**8),
    "model": (0, 2**64 - 1),
    "sequence": (0, 2**64 - 1),
}


def test_an_execution_reads_in_the_instruments_decimals() -> None:
    row = np.zeros(1, EXECUTION)
    row["n"], row["symbol"], row["side"], row["liquidity"] = 17, 0, -1, 1
    row["quantity"], row["price"], row["fee_e10"] = 2_000_000, 6_183_763, 12_345
    m = message_of("executions", "main", "spiketape", row[0], LISTED)
    assert isinstance(m, ExecutionMessage)
    assert (m.id, m.account, m.symbol, m.side, m.liquidity) == ("spiketape/executions/main/17", "main", "BTCUSDT.SPOT", "sell", "maker")
    assert (m.quantity, m.price, m.fee) == (Decimal("2.000000"), Decimal("61837.63"), Decimal("0.0000012345"))


def test_a_verdict_on_the_whole_account_has_no_symbol() -> None:
    row = np.zeros(1, VERDICT)
    row["symbol"], row["intent"] = NO_SYMBOL, 7
    m = message_of("verdicts", "main", "d", row[0], LISTED)
    assert m.model_dump()["symbol"] is None
    assert row_of("verdicts", m, LISTED) == row[0]


def test_decimals_are_plain_text_in_json() -> None:
    row = np.zeros(1, EXECUTION)
    row["side"], row["liquidity"], row["quantity"], row["price"], row["fee_e10"] = 1, 2, 1, 5, -3
    text = message_of("executions", "main", "d", row[0], LISTED).model_dump_json()
    assert '"quantity":"0.000001","price":"0.05","fee":"-0.0000000003"' in text


@settings(max_examples=150, deadline=None)
@given(table=st.sampled_from(sorted(MESSAGES)), data=st.data())
def test_every_row_comes_back_through_json(table: str, data: st.DataObject) -> None:
    row = np.zeros(1, TABLES[table])
    for name in row.dtype.names or ():
        if name == "symbol":
            row[name] = data.draw(st.sampled_from((0, 1, 7, 2**32 - 1)) if table == "dead_letters" else st.integers(0, 1))
        elif (table, name) == ("dead_letters", "reason"):
            row[name] = data.draw(st.sampled_from(DeadLetterReason))
        elif name == "record":
            row[name] = data.draw(st.binary(min_size=72, max_size=72))
        elif name != "pad":
            kind = row.dtype[name]
            least, most = (0, 255) if kind.itemsize == 1 else (0, 65_535) if kind.itemsize == 2 else (-(2**60), 2**60)
            if table == "executions" and name in ("price", "quantity"):
                least = 1
            row[name] = data.draw(st.integers(*CODES.get(name, BOUNDS.get(name, (least, most)))).filter(lambda v, n=name: n != "side" or v))
    key = LISTED.symbols[int(row["symbol"][0])] if table == "signals" else "main"
    message = message_of(table, key, "spiketape", row[0], LISTED)
    again = MESSAGES[table].model_validate_json(message.model_dump_json())
    assert again == message
    assert row_of(table, again, LISTED).tobytes() == row[0].tobytes()
    by_columns = RowJson("spiketape", LISTED)
    (line,) = by_columns.encoded(Rows(table, key, row))
    assert line.decode() == message.model_dump_json()
    assert by_columns.decoded(table, [parsed(line)]).tobytes() == row.tobytes()


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "stop everything"}, {"reason": ""}, {"id": "white space"}, {"account": "a/b c"}, {"unknown": 1}],
    ids=str,
)
def test_a_control_message_with_a_wrong_field_is_refused(wrong: dict[str, object]) -> None:
    good = {"id": "ops-1", "account": "main", "kind": "pause", "reason": "venue halted"}
    assert ControlMessage(**good).kind == "pause"
    with pytest.raises(ValidationError):
        ControlMessage(**{**good, **wrong})
