"""Wire forms: what goes in comes out, and no bytes raise anything but WireError."""

from __future__ import annotations

import json
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import WireError
from schemas.ticks import TICK_V1, Ticks
from schemas.wire import (
    CONTENT_ARROW,
    CONTENT_JSON,
    CONTENT_PACKED,
    MAX_TICKS,
    WireHeader,
    decode,
    decode_message,
    encode,
    encode_arrow,
    encode_json,
    header_of,
)

FORMS = {
    CONTENT_PACKED: lambda ticks: encode(ticks, 1000),
    CONTENT_ARROW: encode_arrow,
    CONTENT_JSON: encode_json,
}


def random_ticks(n: int, seed: int = 1) -> Ticks:
    """Ticks of random bits in every field: the wire carries whatever a tick can hold."""
    return np.frombuffer(np.random.default_rng(seed).bytes(n * TICK_V1.itemsize), TICK_V1)


@pytest.mark.parametrize("content_type", FORMS)
@pytest.mark.parametrize("n", [1, 2, 777])
def test_what_goes_in_comes_out_read_only(content_type: str, n: int) -> None:
    ticks = random_ticks(n)
    back = decode_message(content_type + "; charset=utf-8", FORMS[content_type](ticks))
    assert back.dtype == TICK_V1
    assert back.tobytes() == ticks.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        back["price"] = 1


def test_the_packed_form_is_a_header_of_32_bytes_and_the_records() -> None:
    ticks = random_ticks(3)
    data = encode(ticks, 2**64 - 3)
    assert len(data) == 32 + 3 * 72
    assert data[32:] == ticks.tobytes()
    assert header_of(data) == WireHeader(3, 2**64 - 3, 2**64 - 1)
    assert np.shares_memory(decode(data), np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(("n", "sequence"), [(0, 0), (1, -1), (2, 2**64 - 1)])
def test_what_cannot_be_packed_is_refused(n: int, sequence: int) -> None:
    with pytest.raises(ValueError, match="packed batch"):
        encode(random_ticks(n), sequence)


def test_every_flipped_bit_of_a_packed_batch_is_found() -> None:
    data = encode(random_ticks(4), 77)
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            decode(bytes(broken))


def test_every_truncation_of_a_packed_batch_is_found() -> None:
    data = encode(random_ticks(2), 0)
    for size in range(len(data)):
        with pytest.raises(WireError):
            decode(data[:size])
    with pytest.raises(WireError):
        decode(data + b"\0")


@pytest.mark.parametrize(
    ("at", "form", "value", "reason"),
    [
        (0, "<I", 0, "magic"),
        (4, "<H", 2, "version"),
        (6, "<H", 1, "flags"),
        (8, "<I", 0, "count"),
        (8, "<I", MAX_TICKS + 1, "count"),
        (16, "<Q", 6, "sequence"),
        (12, "<I", 0, "crc"),
    ],
)
def test_reasons(at: int, form: str, value: int, reason: str) -> None:
    data = bytearray(encode(random_ticks(2), 5))
    struct.pack_into(form, data, at, value)
    with pytest.raises(WireError) as e:
        decode(bytes(data))
    assert e.value.reason == reason


def test_an_unknown_content_type_is_named() -> None:
    with pytest.raises(WireError, match="text/plain") as e:
        decode_message("text/plain", b"")
    assert e.value.reason == "content_type"


@pytest.mark.parametrize(
    "change",
    [
        {"ts_ns": 1.5},
        {"ts_ns": "1"},
        {"ts_ns": True},
        {"ts_ns": 2**63},
        {"seq": -1},
        {"kind": 256},
        {"side": -129},
        {"colour": 1},
        {"price": None},
    ],
)
def test_json_of_wrong_types_or_ranges_is_refused(change: dict[str, object]) -> None:
    good = {"ts_ns": 1, "symbol": 0, "kind": 1, "price": 5, "size": 1}
    assert decode_message(CONTENT_JSON, json.dumps({"version": 1, "ticks": [good]}).encode())["price"][0] == 5
    with pytest.raises(WireError) as e:
        decode_message(CONTENT_JSON, json.dumps({"version": 1, "ticks": [good | change]}).encode())
    assert e.value.reason == "json"


def test_arrow_of_other_columns_types_or_nulls_is_refused() -> None:
    import pyarrow as pa

    table = pa.ipc.open_stream(encode_arrow(random_ticks(5))).read_all()
    with_null = pa.array([None, 1, 2, 3, 4], pa.int64())
    for changed, reason in (
        (table.drop_columns(["seq"]), "schema"),
        (table.append_column("seq", table["seq"]), "schema"),
        (table.set_column(0, "ts_ns", table["ts_ns"].cast(pa.float64(), safe=False)), "schema"),
        (table.set_column(0, pa.field("ts_ns", pa.int64()), with_null), "null"),
        (table.slice(0, 0), "count"),
    ):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, changed.schema) as stream:
            stream.write_table(changed)
        with pytest.raises(WireError) as e:
            decode_message(CONTENT_ARROW, sink.getvalue().to_pybytes())
        assert e.value.reason == reason


def mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    how = rng.randrange(5)
    if how == 0:
        return bytes(out[: rng.randrange(len(out))])
    if how == 1:
        return rng.randbytes(rng.randrange(300))
    if how == 2:
        out[rng.randrange(len(out)) :] = rng.randbytes(rng.randrange(64))
        return bytes(out)
    for _ in range(rng.randrange(1, 9)):
        at = rng.randrange(min(len(out), 600) if how == 3 else len(out))
        out[at] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    return bytes(out)


@pytest.mark.parametrize("content_type", FORMS)
def test_ten_thousand_broken_messages_raise_nothing_but_wire_error(content_type: str) -> None:
    rng = random.Random(20131007)
    good = [FORMS[content_type](random_ticks(n, n)) for n in (1, 3, 20)]
    refused = 0
    for i in range(4000):
        try:
            ticks = decode_message(content_type, mutated(good[i % 3], rng))
        except WireError:
            refused += 1
        else:
            assert ticks.dtype == TICK_V1
            assert 1 <= len(ticks) <= MAX_TICKS
    assert refused > 1000


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.binary(max_size=400))
def test_any_bytes_decode_or_raise_wire_error(content_type: str, data: bytes) -> None:
    with pytest.raises(WireError):
        decode_message(content_type, data)
