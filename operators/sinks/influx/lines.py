"""Line protocol from columns, and the times of points.

A line is `measurement,tag=value,... field=value,... time`. Tags stand in alphabetical order and are always all there; so are the
fields. A field has one type for good: InfluxDB has no decimals, so whatever has a fraction is a float, written with the exact decimal
digits of the integer row - the server reads the nearest double of that decimal, never one of a rounded intermediate - and what counts
is an integer (`n`, `count`, `ticks`, ...).

The time of a point is its row's `ts_ns`. A point is its measurement, tags and time, and a second one there would overwrite the first; so
rows of a series (measurement and tags) that share a time are told apart in the order of their `n`: each takes the first nanosecond from its
`ts_ns` on that none of the last TIMES_KEPT points of its series has and that lies after all points before those. The rule looks at
rows only: written again, a row has the same time, and rewriting it changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.sinks.influx.kernels import NONE, NUMBER_BYTES, point_times, write_lines

TIMES_KEPT: Final = 16
INTEGER: Final = -1
"""Decimal places of an integer field."""

Ints = npt.NDArray[np.int64]

_ESCAPED: Final = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})


def escaped(text: str) -> str:
    """A tag's key or value, or a field's key, as it stands in a line. ValueError where line protocol has no form for it."""
    if not text or text.endswith("\\") or any(c < " " for c in text):
        msg = f"{text!r} cannot be a tag or a field in line protocol: it must not be empty, end with a backslash or hold control characters"
        raise ValueError(msg)
    return text.translate(_ESCAPED)


def series_prefix(measurement: str, tags: Sequence[tuple[str, str]]) -> bytes:
    """Measurement and tags, sorted by key, as a line begins."""
    parts = [measurement.replace(",", "\\,").replace(" ", "\\ "), *(f"{escaped(k)}={escaped(v)}" for k, v in sorted(tags))]
    return ",".join(parts).encode()


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive lines, each ended by a newline."""

    count: int
    content: bytes


class SeriesBook:
    """The series that were written so far, by number, with the times their last points have."""

    def __init__(self) -> None:
        self._number: dict[bytes, int] = {}
        self._prefixes = np.empty(0, np.uint8)
        self._ends = np.empty(0, np.int64)
        self._used = np.empty((0, TIMES_KEPT), np.int64)
        self._count = np.empty(0, np.int64)
        self._horizon = np.empty(0, np.int64)

    def number(self, prefix: bytes) -> int:
        """The number of a series, a new one where it is new."""
        number = self._number.get(prefix)
        if number is None:
            number = self._number[prefix] = len(self._number)
            self._prefixes = np.concatenate([self._prefixes, np.frombuffer(prefix, np.uint8)])
            self._ends = np.append(self._ends, self._prefixes.size)
            self._used = np.concatenate([self._used, np.zeros((1, TIMES_KEPT), np.int64)])
            self._count = np.append(self._count, 0)
            self._horizon = np.append(self._horizon, NONE)
        return number

    def times(self, series: Ints, ts_ns: Ints) -> Ints:
        """The time of each point, by the rule above. Points come in the order of their rows."""
        out = np.empty(series.size, np.int64)
        point_times(series, np.ascontiguousarray(ts_ns), self._used, self._count, self._horizon, out)
        return out

    def lines(self, series: Ints, fields: Sequence[str], values: Ints, places: Ints, times: Ints) -> Lines:
        """A line for each point: `values` and `places` int64 (points, fields); places INTEGER for an integer field."""
        names = [f"{escaped(name)}=".encode() for name in fields]
        longest = int(np.diff(self._ends, prepend=0).max()) if self._ends.size else 0
        room = series.size * (longest + sum(len(n) + NUMBER_BYTES for n in names) + NUMBER_BYTES + 2)
        out = np.empty(room, np.uint8)
        ends = np.cumsum([len(n) for n in names], dtype=np.int64)
        joined = np.frombuffer(b"".join(names), np.uint8)
        used = write_lines(self._prefixes, self._ends, series, joined, ends, values, places, times, out)
        return Lines(series.size, out[:used].tobytes())

    def snapshot(self) -> dict[str, Any]:
        """Series and the times of their last points, as plain values."""
        return {
            "prefixes": list(self._number),
            "used": self._used.copy(),
            "count": self._count.copy(),
            "horizon": self._horizon.copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Puts a snapshot back."""
        prefixes = list(state["prefixes"])
        self._number = {prefix: i for i, prefix in enumerate(prefixes)}
        self._prefixes = np.frombuffer(b"".join(prefixes), np.uint8)
        self._ends = np.cumsum([len(p) for p in prefixes], dtype=np.int64)
        self._used, self._count, self._horizon = state["used"].copy(), state["count"].copy(), state["horizon"].copy()


def cut(lines: Lines, most: int) -> list[Lines]:
    """The same lines in pieces of at most `most`."""
    if lines.count <= most:
        return [lines] if lines.count else []
    ends = np.flatnonzero(np.frombuffer(lines.content, np.uint8) == 10) + 1
    out = []
    begin = 0
    for first in range(0, lines.count, most):
        last = min(first + most, lines.count)
        end = int(ends[last - 1])
        out.append(Lines(last - first, lines.content[begin:end]))
        begin = end
    return out
