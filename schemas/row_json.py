"""Rows as JSON messages and back, by whole columns: the same bytes as by the models of schemas/messages.py, at a sixth of the cost."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.instruments import InstrumentList
from schemas.messages import CODES, MESSAGES, PRICES, SCALES, SIZES, field_of
from schemas.tables import NO_SYMBOL, TABLES, DeadLetterReason, Rows

Structured = npt.NDArray[np.void]
Texts = list[str]

_SYMBOL_FIELDS: Final = ("symbol", "symbol_id")
_CODES: Final = {("dead_letters", "reason"): DeadLetterReason, **{("", name): codes for name, codes in CODES.items()}}
"""What numbers mean, by table (empty: any) and column."""
_TEXTS: Final = {place: {int(c): f'"{c.name.lower()}"' for c in codes} for place, codes in _CODES.items()}
_NUMBERS: Final = {place: {c.name.lower(): int(c) for c in codes} for place, codes in _CODES.items()}


class RowJson:
    """The JSON of a deployment's rows. `instruments`: the list that the rows' symbol ids are places of."""

    def __init__(self, deployment: str, instruments: InstrumentList) -> None:
        self._deployment = deployment
        self._ids = {i.symbol: n for n, i in enumerate(instruments.instruments)}
        self._names = {n: f'"{i.symbol}"' for n, i in enumerate(instruments.instruments)}
        self._price_places = {n: i.price_exponent for n, i in enumerate(instruments.instruments)}
        self._size_places = {n: i.size_exponent for n, i in enumerate(instruments.instruments)}

    def row_id(self, table: str, key: str, n: int) -> str:
        """The id of a row."""
        return f"{self._deployment}/{table}/{key}/{n}"

    def encoded(self, rows: Rows) -> list[bytes]:
        """One message a row. Raises KeyError for a table without messages or a code without a name, ValueError for an unknown symbol."""
        table, a = rows.table, rows.a
        fields = MESSAGES[table].model_fields
        columns = {field_of(name): name for name in TABLES[table].names or ()}
        symbols: list[int] = a["symbol"].tolist() if "symbol" in columns else []
        made: list[Texts] = []
        parts: list[str] = []
        for field in fields:
            if field == "id":
                parts.append(f'"id":"{self._deployment}/{table}/{rows.key}/%s"')
                made.append(list(map(str, a["n"].tolist())))
            elif field == "account":
                parts.append(f'"account":"{rows.key}"')
            else:
                parts.append(f'"{field}":%s')
                made.append(self._texts(table, field, columns.get(field, ""), a, symbols))
        template = "{" + ",".join(parts) + "}"
        return [(template % texts).encode() for texts in zip(*made, strict=True)]

    def decoded(self, table: str, trees: Sequence[Mapping[str, Any]]) -> Structured:
        """The rows of parsed messages of one table, in their order. Raises KeyError, ValueError, TypeError, AttributeError or OverflowError
        where one is no message of the table; whether its bytes are those of the row, only `encoded` can say."""
        names = [n for n in TABLES[table].names or () if n != "pad"]
        out = np.zeros(len(trees), TABLES[table])
        symbols = [self._id_of(table, t) for t in trees] if "symbol" in names else []
        for name in names:
            out[name] = symbols if name == "symbol" else self._stored(table, name, [t[field_of(name)] for t in trees], symbols)
        return out

    def _texts(self, table: str, field: str, name: str, a: Structured, symbols: list[int]) -> Texts:
        """The JSON of one field, row by row."""
        if field in _SYMBOL_FIELDS:
            return list(map(str, symbols)) if field == "symbol_id" else self._symbol_names(table, symbols)
        if field == "record":
            raw = np.ascontiguousarray(a[name]).tobytes()
            return [f'"{base64.b64encode(raw[i : i + 72]).decode()}"' for i in range(0, len(raw), 72)]
        values: list[int] = a[name].tolist()
        if field == "approved":
            return ["true" if v else "false" for v in values]
        codes = _TEXTS.get((table, name)) or _TEXTS.get(("", name))
        if codes is not None:
            return [codes[v] for v in values]
        places = self._places(name, symbols)
        if places is None:
            return list(map(str, values))
        if isinstance(places, int):
            return [_plain(v, places) for v in values]
        return [_plain(v, p) for v, p in zip(values, places, strict=True)]

    def _symbol_names(self, table: str, symbols: list[int]) -> Texts:
        if table == "dead_letters":
            return [self._names.get(s, "null") for s in symbols]
        known = self._names | {NO_SYMBOL: "null"}
        unknown = [s for s in symbols if s not in known]
        if unknown:
            msg = f"table {table}: symbol id {unknown[0]} is not in the list of {len(self._names)} instruments"
            raise ValueError(msg)
        return [known[s] for s in symbols]

    def _places(self, name: str, symbols: list[int]) -> int | list[int] | None:
        """Decimal places of a column: one number, one for each row, or None where it holds integers."""
        for suffix, places in SCALES.items():
            if name.endswith(suffix):
                return places
        if name not in PRICES | SIZES:
            return None
        by_symbol = self._price_places if name in PRICES else self._size_places
        return [by_symbol.get(s, 0) for s in symbols]

    def _id_of(self, table: str, tree: Mapping[str, Any]) -> int:
        if table == "dead_letters":
            return int(tree["symbol_id"])
        symbol = tree["symbol"]
        return NO_SYMBOL if symbol is None else self._ids[symbol]

    def _stored(self, table: str, name: str, values: list[Any], symbols: list[int]) -> Any:
        if name == "record":
            return np.frombuffer(b"".join(base64.b64decode(v, validate=True) for v in values), "V72")
        if name == "approved":
            return [bool(v) for v in values]
        codes = _NUMBERS.get((table, name)) or _NUMBERS.get(("", name))
        if codes is not None:
            return [codes[v] for v in values]
        if self._places(name, symbols) is None:
            return values
        return [int(v.replace(".", "", 1)) for v in values]


def parsed(value: bytes) -> dict[str, Any]:
    """The JSON object in a message. ValueError for anything else."""
    tree = json.loads(value)
    if not isinstance(tree, dict):
        msg = f"expected a JSON object, found {type(tree).__name__}"
        raise ValueError(msg)  # noqa: TRY004
    return tree


def _plain(value: int, places: int) -> str:
    """A fixed-point integer as a JSON text in plain notation."""
    if places == 0:
        return f'"{value}"'
    digits = f"{abs(value):0{places + 1}d}"
    return f'"{"-" if value < 0 else ""}{digits[:-places]}.{digits[-places:]}"'
