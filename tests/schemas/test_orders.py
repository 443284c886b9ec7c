"""Messages between book and venue: their layout."""

from __future__ import annotations

from schemas.orders import EXECUTION_REPORT, ORDER_REQUEST, Reason


def test_layouts_have_no_hidden_padding():
    for dtype, size in ((ORDER_REQUEST, 64), (EXECUTION_REPORT, 88)):
        assert dtype.itemsize == size == sum(dtype.fields[n][0].itemsize for n in dtype.names)
        assert all(offset % dtype.fields[n][0].base.alignment == 0 for n, (_, offset) in ((n, dtype.fields[n][:2]) for n in dtype.names))


def test_reasons_fit_a_byte():
    assert max(Reason) < 256
