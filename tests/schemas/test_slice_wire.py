"""What a shard says, over the wire: what goes in comes out, and no bytes raise anything but WireError."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import HEADER, enveloped
from schemas.errors import WireError
from schemas.ranges import SLICE_QUOTE, SliceOut
from schemas.slice_wire import SLICE_WIRE_VERSION, TABLE_CODES, decode_slice_out, encode_slice_out
from schemas.tables import SIGNAL, TABLES, Rows


def records(rng: np.random.Generator, dtype: np.dtype, n: int, lo: int, hi: int) -> np.ndarray:
    """Records of random bits whose slices are in order."""
    rows = np.frombuffer(rng.bytes(n * dtype.itemsize), dtype).copy()
    rows["slice"] = np.sort(rng.integers(lo, hi, n))
    return rows


def slice_out(seed: int = 1, n: int = 40, lo: int = 1000, hi: int = 1100) -> SliceOut:
    rng = np.random.default_rng(seed)
    rows = tuple(Rows(t, f"{t}/Ä{i}", records(rng, TABLES[t], n // (i + 1), lo, hi)) for i, t in enumerate(TABLES))
    return SliceOut(7, lo, hi, records(rng, SIGNAL, n, lo, hi), records(rng, SLICE_QUOTE, 2 * n, lo, hi), rows, None)


def assert_same(a: SliceOut, b: SliceOut) -> None:
    assert (a.shard, a.lo, a.hi) == (b.shard, b.lo, b.hi)
    assert [(r.table, r.key) for r in a.rows] == [(r.table, r.key) for r in b.rows]
    for x, y in zip((a.signals, a.quotes, *(r.a for r in a.rows)), (b.signals, b.quotes, *(r.a for r in b.rows)), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize("n", [0, 1, 40, 5000])
def test_what_goes_in_comes_out_read_only(n: int) -> None:
    out = slice_out(n=n)
    back = decode_slice_out(encode_slice_out(out))
    assert back.gated is None
    assert_same(back, out)
    with pytest.raises(ValueError, match="read-only"):
        back.quotes["bid"] = 1


def test_a_range_without_anything_and_the_whole_of_time() -> None:
    nothing = SliceOut(0, -(2**62), 2**62, np.empty(0, SIGNAL), np.empty(0, SLICE_QUOTE), (), None)
    data = encode_slice_out(nothing)
    assert_same(decode_slice_out(data), nothing)
    assert len(data) == 24 + 40


def test_records_that_do_not_stand_one_after_the_other_are_copied() -> None:
    out = slice_out(n=60)
    every_third = SliceOut(out.shard, out.lo, out.hi, out.signals[::3], out.quotes[::3], out.rows, None)
    assert_same(decode_slice_out(encode_slice_out(every_third)), every_third)


def test_tables_keep_their_numbers() -> None:
    assert set(TABLE_CODES) == set(TABLES)
    assert TABLE_CODES[:9] == (
        "signals",
        "verdicts",
        "orders",
        "executions",
        "positions",
        "equity",
        "dead_letters",
        "statistics",
        "skill",
    )


DATA = encode_slice_out(slice_out(n=5))
BODY = DATA[HEADER.size :]


def resealed(body: bytes) -> bytes:
    return enveloped(b"SPSO", SLICE_WIRE_VERSION, [body])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (DATA[:20], "truncated"),
        (DATA[:-1], "length"),
        (DATA + b"\0", "length"),
        (b"X" + DATA[1:], "magic"),
        (DATA[:4] + b"\2\0" + DATA[6:], "version"),
        (DATA[:6] + b"\1\0" + DATA[8:], "flags"),
        (DATA[:-1] + bytes([DATA[-1] ^ 1]), "checksum"),
        (resealed(b"short"), "truncated"),
        (resealed(BODY + bytes(8)), "length"),
        (resealed(BODY[:8] + BODY[:8] + BODY[16:]), "range"),
        (resealed(BODY[:40] + b"\x63\0" + BODY[42:]), "table"),
        (resealed(BODY[:16] + b"\xff\xff\xff\xff" * 6 + BODY[40:]), "length"),
        (resealed(BODY.replace("Ä".encode(), b"\xff\xfe", 1)), "key"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as e:
        decode_slice_out(data)
    assert e.value.reason == reason


@pytest.mark.parametrize("what", ["signals", "quotes"])
@pytest.mark.parametrize("to", [999, 1100])
def test_signals_and_quotes_of_other_slices_are_refused(what: str, to: int) -> None:
    """The compiled merge counts by slice: a slice out of the range would be written beside its array."""
    out = slice_out()
    getattr(out, what)["slice"][0 if to < 1000 else -1] = to
    with pytest.raises(WireError, match=what) as e:
        decode_slice_out(encode_slice_out(out))
    assert e.value.reason == "slices"


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for attempt in (data, DATA[:24] + data, resealed(data)):
        with pytest.raises(WireError):
            decode_slice_out(attempt)


@settings(max_examples=500, deadline=None)
@given(at=st.integers(0, len(BODY) - 1), to=st.integers(0, 255), cut=st.integers(0, 40))
def test_a_changed_body_decodes_or_is_refused(at: int, to: int, cut: int) -> None:
    body = bytearray(BODY)
    body[at] = to
    try:
        back = decode_slice_out(resealed(bytes(body[: len(body) - cut])))
    except WireError:
        return
    assert back.lo < back.hi
    decode_slice_out(encode_slice_out(back))


@settings(max_examples=300, deadline=None)
@given(bit=st.integers(0, 8 * len(DATA) - 1))
def test_every_flipped_bit_is_found(bit: int) -> None:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError):
        decode_slice_out(bytes(data))
