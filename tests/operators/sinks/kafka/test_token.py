"""The token as bytes: it comes back as it was, and a changed one never passes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.sinks.kafka import Token, identity_of
from schemas.errors import StateMismatchError
from schemas.instruments import InstrumentList
from schemas.settings import load_settings

COUNTS = st.dictionaries(st.text(max_size=12), st.integers(-(2**63), 2**63), max_size=4)
TOKENS = st.builds(
    Token, st.text(), st.text(), st.integers(0), COUNTS, COUNTS, COUNTS, st.integers(), st.lists(st.text(max_size=8), max_size=3).map(tuple)
)


@given(token=TOKENS)
def test_a_token_comes_back_as_it_was(token: Token) -> None:
    assert Token.parsed(token.encoded(), "here") == token
    copied = token.copy()
    copied.rows["orders/main"] = -1
    copied.slices["s00"] = copied.poison["ticks/0"] = 0
    assert copied != token


@settings(max_examples=300)
@given(token=TOKENS, at=st.integers(0), bit=st.integers(0, 7))
def test_a_token_with_a_flipped_bit_is_refused(token: Token, at: int, bit: int) -> None:
    raw = bytearray(token.encoded())
    raw[at % len(raw)] ^= 1 << bit
    with suppress(StateMismatchError):
        assert Token.parsed(bytes(raw), "here") == token


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b"{}", b"\xff", b'{"crc":1,"version":1}', b'{"crc":1,"version":1,"accepted":3}'], ids=repr
)
def test_what_is_no_token_is_refused(raw: bytes) -> None:
    with pytest.raises(StateMismatchError, match="the token is damaged"):
        Token.parsed(raw, "here")


@pytest.mark.parametrize(
    ("override", "same"),
    [("slice_ms=50", False), ("shards=32", False), ("partitions=8", False), ("risk.max_drawdown=0.2", True), ("kafka.replication=3", True)],
)
def test_what_numbers_depend_on_is_in_the_identity(instruments: InstrumentList, override: str, same: bool) -> None:
    plain: Any = load_settings(env={})
    assert (identity_of(plain, instruments) == identity_of(load_settings(overrides=[override], env={}), instruments)) is same
    fewer = InstrumentList(instruments=instruments.instruments[:2])
    assert identity_of(plain, instruments) != identity_of(plain, fewer)
