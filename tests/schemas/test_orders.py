"""Messages between book and venue: their layout, and when a report may be used."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.orders import EXECUTION_REPORT, ORDER_REQUEST, Reason, sort_reports, visible_slice

W = 100


def test_layouts_have_no_hidden_padding():
    for dtype, size in ((ORDER_REQUEST, 64), (EXECUTION_REPORT, 88)):
        assert dtype.itemsize == size == sum(dtype.fields[n][0].itemsize for n in dtype.names)
        assert all(offset % dtype.fields[n][0].base.alignment == 0 for n, (_, offset) in ((n, dtype.fields[n][:2]) for n in dtype.names))


@pytest.mark.parametrize(
    ("slice_", "known", "visible"),
    [
        (5, 500, 6),  # happened and known in slice 5: not before slice 6
        (5, 699, 6),
        (5, 700, 7),  # known at the start of slice 7: its end-of-slice decision has it
        (5, 799, 7),
        (5, 2000, 20),
    ],
)
def test_a_report_is_visible_after_its_slice_and_after_its_latency(slice_, known, visible):
    assert visible_slice(slice_, known, W) == visible


def test_no_decision_uses_what_it_could_not_know():
    for known in range(500, 1500, 7):
        v = visible_slice(5, known, W)
        assert v > 5
        assert known < (v + 1) * W  # known before the decision at the end of slice v
        assert v == 6 or known >= v * W  # and no slice earlier would have done


def test_reports_are_handed_over_by_visibility_then_time_known_then_order():
    r = np.zeros(4, EXECUTION_REPORT)
    r["visible"] = [7, 6, 6, 6]
    r["known_ts_ns"] = [1, 650, 640, 640]
    r["order_n"] = [0, 1, 3, 2]
    assert sort_reports(r)["order_n"].tolist() == [2, 3, 1, 0]


def test_reasons_fit_a_byte():
    assert max(Reason) < 256
