"""Turns of book and venue over the wire, and cut at a slice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import HEADER, enveloped
from schemas.errors import WireError
from schemas.order_wire import (
    ORDER_WIRE_VERSION,
    UNSETTLED,
    BookTurn,
    VenueTurn,
    decode_book_turn,
    decode_venue_turn,
    encode_turn,
)
from schemas.orders import EXECUTION_REPORT, ORDER_REQUEST

LO, HI = 500, 600


def book_turn(n: int = 6, seed: int = 1) -> BookTurn:
    rng = np.random.default_rng(seed)
    requests = np.frombuffer(rng.bytes(n * ORDER_REQUEST.itemsize), ORDER_REQUEST).copy()
    decided = np.sort(rng.integers(LO, HI, n))
    requests["sent_ts_ns"] = (decided + 1) * 100
    return BookTurn(LO, HI, requests, decided)


def venue_turn(n: int = 6, seed: int = 1) -> VenueTurn:
    rng = np.random.default_rng(seed)
    reports = np.frombuffer(rng.bytes(n * EXECUTION_REPORT.itemsize), EXECUTION_REPORT).copy()
    reports["slice"] = np.sort(rng.integers(LO, HI, n))
    return VenueTurn(LO, HI, reports, 555)


def same(a: BookTurn | VenueTurn, b: BookTurn | VenueTurn) -> bool:
    return encode_turn(a) == encode_turn(b)


KINDS = {"book": (book_turn, decode_book_turn, b"SPRQ"), "venue": (venue_turn, decode_venue_turn, b"SPRP")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 300])
def test_what_goes_in_comes_out_read_only(kind: str, n: int) -> None:
    make, decode, _ = KINDS[kind]
    turn = make(n)
    back = decode(encode_turn(turn))
    assert (back.lo, back.hi) == (LO, HI)
    if kind == "book":
        assert back.requests.tobytes() == turn.requests.tobytes()
        assert back.decided.tolist() == turn.decided.tolist()
        assert not back.requests.flags.writeable
    else:
        assert back.reports.tobytes() == turn.reports.tobytes()
        assert back.settled == 555
        assert not back.reports.flags.writeable


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(0, 20), k=st.integers(LO - 5, HI + 5))
def test_a_cut_turn_says_the_same_in_two(kind: str, seed: int, n: int, k: int) -> None:
    make, decode, _ = KINDS[kind]
    turn = make(n, seed)
    head, tail = turn.cut(k)
    if k <= LO:
        assert head is None
        assert tail is turn
    elif k >= HI:
        assert head is turn
        assert tail is None
    else:
        assert (head.lo, head.hi, tail.lo, tail.hi) == (LO, k, k, HI)
        for part in (head, tail):
            assert same(decode(encode_turn(part)), part)
        field = "requests" if kind == "book" else "reports"
        assert np.concatenate([getattr(head, field), getattr(tail, field)]).tobytes() == getattr(turn, field).tobytes()
        if kind == "venue":
            assert (head.settled, tail.settled) == (UNSETTLED, 555)


def body_of(kind: str) -> bytes:
    return encode_turn(KINDS[kind][0]())[HEADER.size :]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_is_named(kind: str) -> None:
    make, decode, magic = KINDS[kind]
    data, body = encode_turn(make()), body_of(kind)

    def sealed(b: bytes) -> bytes:
        return enveloped(magic, ORDER_WIRE_VERSION, [b])

    negative = (-1).to_bytes(8, "little", signed=True)
    cases = [
        (b"", "truncated"),
        (data[:-1], "length"),
        (data[:-1] + bytes([data[-1] ^ 1]), "checksum"),
        (b"SPXX" + data[4:], "magic"),
        (data[:4] + b"\7\0" + data[6:], "version"),
        (sealed(body[:16]), "truncated"),
        (sealed(body + bytes(8)), "length"),
        (sealed(body[:24] + negative + body[32:]), "length"),
        (sealed(body[:8] + body[:8] + body[16:]), "range"),
        (sealed((HI - 1).to_bytes(8, "little") + body[8:]), "slices"),
    ]
    for wrong, reason in cases:
        with pytest.raises(WireError) as e:
            decode(wrong)
        assert e.value.reason == reason
    other = "venue" if kind == "book" else "book"
    with pytest.raises(WireError, match="begins with"):
        decode(encode_turn(KINDS[other][0]()))


def test_requests_out_of_order_are_refused() -> None:
    turn = book_turn()
    turn.requests["sent_ts_ns"] = turn.requests["sent_ts_ns"][::-1].copy()
    with pytest.raises(WireError) as e:
        decode_book_turn(encode_turn(turn))
    assert e.value.reason == "order"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300))
def test_no_bytes_raise_anything_else(kind: str, data: bytes) -> None:
    _, decode, magic = KINDS[kind]
    for attempt in (data, enveloped(magic, ORDER_WIRE_VERSION, [data])):
        try:
            turn = decode(attempt)
        except WireError:
            continue
        assert turn.lo < turn.hi


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 200), to=st.integers(0, 255))
def test_a_changed_body_decodes_or_is_refused(kind: str, at: int, to: int) -> None:
    _, decode, magic = KINDS[kind]
    body = bytearray(body_of(kind))
    body[at] = to
    try:
        turn = decode(enveloped(magic, ORDER_WIRE_VERSION, [bytes(body)]))
    except WireError:
        return
    assert same(decode(encode_turn(turn)), turn)
