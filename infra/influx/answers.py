"""What InfluxDB answers to a query: annotated CSV, read with the types that the server names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from schemas.errors import InfluxError

SECOND_NS: Final = 10**9
Row = dict[str, Any]
"""A row of an answer: values by column; times as text, to the nanosecond (`time_ns`)."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def time_ns(text: str) -> int:
    """A time as the server writes it (RFC 3339, UTC), in nanoseconds. ValueError for another form."""
    found = _TIME.fullmatch(text)
    if found is None:
        msg = f"expected a time such as 2013-10-08T13:30:00.5Z, found {text!r}"
        raise ValueError(msg)
    since = datetime.fromisoformat(found[1]).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND_NS + int((found[2] or "0").ljust(9, "0"))


_READ: Final[dict[str, Callable[[str], Any]]] = {
    "long": int,
    "unsignedLong": int,
    "double": float,
    "boolean": lambda text: text == "true",
}


def parsed(text: str) -> list[Row]:
    """The rows of annotated CSV. Raises InfluxError for an error that the server tells there."""
    rows: list[Row] = []
    types: list[str] = []
    given: list[str] = []
    columns: list[tuple[str, Callable[[str], Any], Any]] | None = None
    for cells in csv.reader(io.StringIO(text)):
        if not cells:
            columns = None
        elif cells[0] == "#datatype":
            types, columns = cells[1:], None
        elif cells[0] == "#default":
            given = cells[1:]
        elif cells[0].startswith("#"):
            continue
        elif columns is None:
            read = [_READ.get(t, str) for t in types]
            defaults = [r(d) if d else None for r, d in zip(read, given, strict=True)]
            columns = list(zip(cells[1:], read, defaults, strict=True))
        elif columns[0][0] == "error":
            msg = f"InfluxDB ended the query with an error: {cells[1]}"
            raise InfluxError(msg)
        else:
            del cells[0]
            rows.append({name: read_one(c) if c else default for c, (name, read_one, default) in zip(cells, columns, strict=True)})
    return rows
