"""Rows of tables to points: each row that was not there before becomes one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.sinks.influx.lines import INTEGER, Lines, SeriesBook, series_prefix
from operators.sinks.influx.measurements import MEASUREMENTS, NO_SYMBOL_TAG, Measurement, Scale
from schemas.errors import InfluxError
from schemas.instruments import InstrumentList
from schemas.tables import NO_SYMBOL, Rows

Ints = npt.NDArray[np.int64]


class RowPoints:
    """The lines of rows. Takes rows in the order of their n, by table and key; what it had before is left out.

    `codebook`: names of the flow's own codes by kind (`rule`); a code without a name reads as its number.
    """

    def __init__(self, instruments: InstrumentList, codebook: Mapping[str, Mapping[int, str]]) -> None:
        listed = instruments.instruments
        self._symbols = instruments.symbols
        self._price = np.array([*(i.price_exponent for i in listed), 0], np.int64)
        self._size = np.array([*(i.size_exponent for i in listed), 0], np.int64)
        self._codebook = codebook
        self._series = SeriesBook()
        self._next: dict[tuple[str, str], int] = {}

    def take(self, rows: Rows) -> Lines | None:
        """The lines of new rows; None where there are none, or the table has no measurement. Raises InfluxError where rows are missing."""
        measurement = MEASUREMENTS.get(rows.table)
        if measurement is None or rows.a.size == 0:
            return None
        a = self._new(rows)
        if a.size == 0:
            return None
        symbol = np.minimum(a["symbol"], np.uint32(len(self._symbols))).astype(np.int64) if measurement.by_symbol else None
        series = self._numbered(measurement, rows.key, a)
        fields = measurement.fields
        values = np.empty((a.size, len(fields)), np.int64)
        places = np.empty((a.size, len(fields)), np.int64)
        for f, field in enumerate(fields):
            values[:, f] = a[field.source]
            places[:, f] = self._places(field.scale, symbol)
        return self._series.lines(series, [f.name for f in fields], values, places, self._series.times(series, a["ts_ns"]))

    def _new(self, rows: Rows) -> npt.NDArray[np.void]:
        place = (rows.table, rows.key)
        first = int(rows.a["n"][0])
        expected = self._next.get(place, first)
        if first > expected:
            msg = (
                f"table {rows.table}, key {rows.key}: rows {expected} to {first - 1} are missing, the next piece begins at n = {first}; "
                "the stage that made them is at fault"
            )
            raise InfluxError(msg)
        self._next[place] = max(expected, first + rows.a.size)
        return rows.a[expected - first :]

    def _numbered(self, measurement: Measurement, key: str, a: npt.NDArray[np.void]) -> Ints:
        """The series of each row: found once for each combination of tags in the piece."""
        sources = (["symbol"] if measurement.by_symbol else []) + [tag for tag, _ in measurement.codes]
        if not sources:
            return np.full(a.size, self._series.number(series_prefix(measurement.name, [("account", key)])), np.int64)
        combined = np.zeros(a.size, np.int64)
        for source in sources:
            combined = combined * (1 << 16) + a[source].astype(np.int64)
        _, first, which = np.unique(combined, return_index=True, return_inverse=True)
        numbers = np.empty(first.size, np.int64)
        for i in np.argsort(first).tolist():
            numbers[i] = self._series.number(self._prefix(measurement, key, a[int(first[i])]))
        return numbers[which]

    def _prefix(self, measurement: Measurement, key: str, row: np.void) -> bytes:
        tags: list[tuple[str, str]] = []
        if measurement.by_account:
            tags.append(("account", key))
        if measurement.by_symbol:
            tags.append(("symbol", self._symbol(int(row["symbol"]))))
        for tag, codes in measurement.codes:
            code = int(row[tag])
            if codes is None:
                tags.append((tag, self._codebook.get(tag, {}).get(code, str(code))))
            else:
                known = code in codes.__members__.values()
                tags.append((tag, codes(code).name.lower() if known else str(code)))
        return series_prefix(measurement.name, tags)

    def _symbol(self, number: int) -> str:
        if number < len(self._symbols):
            return self._symbols[number]
        return NO_SYMBOL_TAG if number == NO_SYMBOL else f"#{number}"

    def _places(self, scale: Scale, symbol: Ints | None) -> Ints | int:
        if scale is Scale.INTEGER:
            return INTEGER
        if scale is Scale.PRICE or scale is Scale.SIZE:
            assert symbol is not None
            return (self._price if scale is Scale.PRICE else self._size)[symbol]
        return int(scale.value)

    def snapshot(self) -> dict[str, Any]:
        """What is known of earlier rows, as plain values."""
        return {"next": dict(self._next), "series": self._series.snapshot()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Puts a snapshot back."""
        self._next = dict(state["next"])
        self._series.restore(state["series"])
