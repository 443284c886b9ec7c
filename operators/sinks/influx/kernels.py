"""Compiled parts of the InfluxDB sink: line protocol from columns, times without ties, and what is kept of each second."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

NUMBER_BYTES = 24
"""Longest form of an int64 with a decimal point in it, with room to spare."""
SECOND_NS = 1_000_000_000
NONE = -(2**62)
"""No second is kept."""

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@njit(nogil=True, cache=True)
def _write_digits(out: Bytes, at: int, value: int, places: int, integer: bool) -> int:
    """Writes value * 10**-places, exact, without needless zeros behind the point; `integer`: with the `i` that makes it an integer."""
    if value < 0:
        out[at] = 45
        at += 1
        rest = np.uint64(-(value + 1)) + np.uint64(1)
    else:
        rest = np.uint64(value)
    ten = np.uint64(10)
    while places > 0 and rest % ten == np.uint64(0):
        rest //= ten
        places -= 1
    digits = 1
    shifted = rest // ten
    while shifted > np.uint64(0):
        shifted //= ten
        digits += 1
    digits = max(digits, places + 1)
    end = at + digits + (1 if places > 0 else 0)
    i = end - 1
    for d in range(digits):
        if places > 0 and d == places:
            out[i] = 46
            i -= 1
        out[i] = np.uint8(np.uint64(48) + rest % ten)
        rest //= ten
        i -= 1
    if integer:
        out[end] = 105
        end += 1
    return end


@njit(nogil=True, cache=True)
def write_lines(
    prefixes: Bytes, prefix_ends: Ints, series: Ints, names: Bytes, name_ends: Ints, values: Ints, places: Ints, times: Ints, out: Bytes
) -> int:
    """Writes a line for each point and returns how many bytes were written.

    `prefixes`: measurement and tags of each series, joined, the s-th ending at `prefix_ends[s]`; `series` (m,): of each point;
    `names`: `field=` of each field, joined likewise; `values` int64 (m, fields); `places` int64 (m, fields): decimal places of a
    float field, -1 for an integer field; `times` (m,) ns; `out` is long enough.
    """
    at = 0
    for row in range(series.size):
        s = series[row]
        for i in range(prefix_ends[s - 1] if s > 0 else 0, prefix_ends[s]):
            out[at] = prefixes[i]
            at += 1
        begin = 0
        for f in range(name_ends.size):
            out[at] = 32 if f == 0 else 44
            at += 1
            for i in range(begin, name_ends[f]):
                out[at] = names[i]
                at += 1
            begin = name_ends[f]
            p = places[row, f]
            at = _write_digits(out, at, values[row, f], max(p, 0), p < 0)
        out[at] = 32
        at = _write_digits(out, at + 1, times[row], 0, False)
        out[at] = 10
        at += 1
    return at


@njit(nogil=True, cache=True)
def point_times(series: Ints, ts_ns: Ints, used: Ints, count: Ints, horizon: Ints, out: Ints) -> None:
    """The time of each point, unique within its series (see lines.py for the rule).

    `used` int64 (series, kept): the last times of each series, the oldest overwritten first; `count`: times given so far; `horizon`:
    the largest time of a series that is no longer in `used`. All three go on from call to call.
    """
    kept = used.shape[1]
    for i in range(series.size):
        s = series[i]
        held = min(count[s], kept)
        t = ts_ns[i]
        if t <= horizon[s]:
            t = horizon[s] + 1
        taken = True
        while taken:
            taken = False
            for j in range(held):
                if used[s, j] == t:
                    taken = True
                    t += 1
                    break
        place = count[s] % kept
        if held == kept:
            horizon[s] = max(horizon[s], used[s, place])
        used[s, place] = t
        count[s] += 1
        out[i] = t


@njit(nogil=True, cache=True)
def sample_quotes(
    slices: Ints, symbols: Ints, quotes: Ints, slice_ns: int, second: Ints, kept: Ints, out_symbol: Ints, out_second: Ints, out: Ints
) -> int:
    """Takes quotes in order of slices and returns how many samples became final: those of a symbol that has one of a later second.

    `quotes` (m, 4): bid, ask and their sizes; `second`, `kept` (symbols, 4): the last quote of each symbol and its second.
    """
    made = 0
    for i in range(slices.size):
        symbol = symbols[i]
        now = slices[i] * slice_ns // SECOND_NS
        if second[symbol] != NONE and second[symbol] != now:
            out_symbol[made] = symbol
            out_second[made] = second[symbol]
            out[made] = kept[symbol]
            made += 1
        second[symbol] = now
        kept[symbol] = quotes[i]
    return made


@njit(nogil=True, cache=True)
def close_quotes(symbols: Ints, before: int, second: Ints, kept: Ints, out_symbol: Ints, out_second: Ints, out: Ints) -> int:
    """Takes away the samples of `symbols` in seconds before `before` and returns how many."""
    made = 0
    for symbol in symbols:
        if second[symbol] != NONE and second[symbol] < before:
            out_symbol[made] = symbol
            out_second[made] = second[symbol]
            out[made] = kept[symbol]
            made += 1
            second[symbol] = NONE
    return made


@njit(nogil=True, cache=True)
def sum_statistics(slices: Ints, counts: Ints, slice_ns: int, second: Ints, kept: Ints, out_second: Ints, out: Ints) -> int:
    """Sums the statistics of a shard by second and returns how many seconds became final.

    `counts` (m, 6): ticks, dead, late, max_late_ns, input and hidden spikes; `second` (1,); `kept` (7,): the same, the fourth being
    a largest value and not a sum, then the last slice.
    """
    made = 0
    for i in range(slices.size):
        now = slices[i] * slice_ns // SECOND_NS
        if second[0] != now:
            if second[0] != NONE:
                out_second[made] = second[0]
                out[made] = kept
                made += 1
            second[0] = now
            kept[:] = 0
        for c in range(6):
            if c == 3:
                kept[c] = max(kept[c], counts[i, c])
            else:
                kept[c] += counts[i, c]
        kept[6] = slices[i]
    return made
