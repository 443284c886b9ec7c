"""Corporate actions: what one may say, and what a list of instruments makes of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from pydantic import ValidationError

from operators.sources.kafka.instruments import DeploymentList
from schemas.actions import CorporateAction
from schemas.instruments import Instrument, InstrumentList

MS = 1_000_000
COMMON: dict[str, Any] = {"price_exponent": 2, "size_exponent": 0, "tick_size": 1, "lot_size": 1}
BARE = InstrumentList(
    instruments=(Instrument(symbol="A", **COMMON), Instrument(symbol="B", calendar="day", **COMMON)),
    sessions={"day": ((100 * MS, 200 * MS), (300 * MS, 400 * MS))},
)


def split(symbol: str = "B", ts_ns: int = 150 * MS, after: int = 4, before: int = 1) -> CorporateAction:
    return CorporateAction(symbol=symbol, ts_ns=ts_ns, kind="split", numerator=after, denominator=before)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({"kind": "split"}, "a ratio other than 1:1"),
        ({"kind": "split", "numerator": 8, "denominator": 2}, "not in lowest terms"),
        ({"kind": "dividend"}, "an amount above 0"),
        ({"kind": "other", "numerator": 2}, "nothing else has one"),
        ({"kind": "other", "amount": 2}, "nothing else has one"),
        ({"kind": "merger"}, "split"),
        ({"kind": "other", "ts_ns": 3 * 10**18}, "less than"),
        ({"kind": "other", "ts_ns": MS + 1}, "multiple of"),
    ],
)
def test_an_action_that_contradicts_itself_is_refused(what: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        CorporateAction.model_validate({"symbol": "A", "ts_ns": 0, **what})


def test_terms_are_exact() -> None:
    assert (split().ratio, split().terms) == (Fraction(4), "4:1")
    assert (split(after=1, before=10).ratio, split(after=1, before=10).terms) == (Fraction(1, 10), "1:10")
    paid = CorporateAction(symbol="A", ts_ns=0, kind="dividend", amount=47, amount_exponent=2)
    assert (paid.cash, paid.terms, paid.ratio) == (Fraction(47, 100), "0.47", Fraction(1))


def test_a_session_is_cut_at_the_actions_inside_it_and_only_there() -> None:
    cut = BARE.with_actions([split(), split(ts_ns=300 * MS), split(ts_ns=250 * MS, after=2), split(ts_ns=170 * MS), split("A", 7 * MS)])
    assert (cut.session_array(1) // MS).tolist() == [[100, 150], [150, 170], [170, 200], [300, 400]]
    assert cut.session_array(0).tolist() == [[-(2**62), 7 * MS], [7 * MS, 2**62]]
    assert BARE.session_array(1).tolist() == [[100 * MS, 200 * MS], [300 * MS, 400 * MS]]
    assert [a.ts_ns // MS for a in cut.actions_of(1)] == [150, 170, 250, 300]


def test_actions_of_other_symbols_or_twice_at_one_time_are_refused() -> None:
    with pytest.raises(ValueError, match="not among the instruments A, B"):
        BARE.with_actions([split("C")])
    with pytest.raises(ValueError, match="no two of a symbol at one"):
        BARE.with_actions([split(), split(after=2)])
    tree = BARE.with_actions([split()]).model_dump()
    with pytest.raises(ValidationError, match="version 2 exactly where"):
        InstrumentList.model_validate({**tree, "version": 1})
    with pytest.raises(ValidationError, match="version 2 exactly where"):
        InstrumentList.model_validate({**BARE.model_dump(), "version": 2})


def test_a_list_without_actions_is_what_it_was_to_the_byte() -> None:
    """Manifests of older tapes have a checksum over these bytes, and runs know their tape by a hash of them."""
    assert "actions" not in BARE.model_dump(mode="json")
    assert BARE.version == 1
    assert BARE.with_actions([]) == BARE
    assert BARE.with_actions([split()]).with_actions([]) == BARE


def test_actions_travel_with_the_deployments_list() -> None:
    """As the topic `instruments` carries it (operators/sources/kafka/instruments.py): a live flow cuts its sessions as a replay does."""
    said = DeploymentList(shards=1, partitions=1, slice_ms=100, instruments=BARE.with_actions([split()]))
    heard = DeploymentList.model_validate_json(said.model_dump_json(exclude_defaults=True)).instruments
    assert heard == said.instruments
    assert heard.session_array(1).tolist() == said.instruments.session_array(1).tolist() != BARE.session_array(1).tolist()
