"""Rows in integers to the columns of the lake, and back without loss.

`Columns` knows the instruments, the deployment's name and the codebook; it works on whole tables at a time. Going back is what
`verify` and `diff` stand on: every integer of a row can be rebuilt from the lake.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.sinks.decimals import from_decimals, to_decimals
from operators.sinks.kernels import CHUNK, MAX_DIGITS, write_ids
from operators.sinks.layout import LAYOUTS, NO_SYMBOL, OWN_CODES, SCALE, Codebook, Column, KeyColumn, Kind
from schemas.errors import LakeError
from schemas.instruments import Instrument, InstrumentList
from schemas.tables import HASHED_TABLES, TABLES
from schemas.ticks import rows_joined, shard_key, shard_of

FORM_VERSION: Final = 1
UNKNOWN_SYMBOL: Final = "#"
"""A symbol id that no instrument has reads `#<id>`; no symbol may begin with this sign."""

Structured = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]
Group = tuple[str, Structured, Ints]
"""Rows of one key: the key, the rows, and for a hashed table the digest column (else an empty array)."""


def symbol_names(symbols: Sequence[str], ids: npt.NDArray[np.uint32]) -> tuple[list[str | None], npt.NDArray[np.int64]]:
    """Names of the distinct ids among `ids`, and for each row which of them it has. None for NO_SYMBOL."""
    distinct, place = np.unique(ids, return_inverse=True)
    names: list[str | None] = [
        symbols[i] if i < len(symbols) else None if i == NO_SYMBOL else f"{UNKNOWN_SYMBOL}{i}" for i in distinct.tolist()
    ]
    return names, place.astype(np.int64)


class Columns:
    """The form that a deployment's rows have in the lake.

    `symbols`, `price_exponents`, `size_exponents`: by symbol id. `codebook`: names of codes by kind; a code without a name
    reads as its number. Raises LakeError where two codes of a kind share a name, because that could not be read back.
    """

    def __init__(
        self,
        deployment: str,
        shards: int,
        symbols: Sequence[str],
        price_exponents: Sequence[int],
        size_exponents: Sequence[int],
        codebook: Codebook,
    ) -> None:
        self.deployment = deployment
        self.shards = shards
        self.symbols = tuple(symbols)
        self._price = np.array([*price_exponents, 0], np.int64)
        self._size = np.array([*size_exponents, 0], np.int64)
        self._codes = {kind: dict(names) for kind, names in {**codebook, **OWN_CODES}.items()}
        self._numbers = {kind: {name: code for code, name in names.items()} for kind, names in self._codes.items()}
        for kind, names in self._codes.items():
            if len(self._numbers[kind]) != len(names) or any(n.lstrip("-").isdigit() for n in names.values()):
                msg = f"codebook {kind!r}: names must be distinct and no numbers, given {names}"
                raise LakeError(msg)

    @classmethod
    def of(cls, instruments: InstrumentList | Iterable[Instrument], deployment: str, shards: int, codebook: Codebook) -> Columns:
        """The form for a tape's instruments."""
        listed = instruments.instruments if isinstance(instruments, InstrumentList) else tuple(instruments)
        return cls(
            deployment,
            shards,
            [i.symbol for i in listed],
            [i.price_exponent for i in listed],
            [i.size_exponent for i in listed],
            codebook,
        )

    def described(self, table: str) -> str:
        """The form as JSON: it stands in the Delta table's description, so that a lake can be read back by itself."""
        return json.dumps(
            {
                "form": FORM_VERSION,
                "table": table,
                "deployment": self.deployment,
                "shards": self.shards,
                "symbols": self.symbols,
                "price_exponents": self._price[:-1].tolist(),
                "size_exponents": self._size[:-1].tolist(),
                "codebook": {kind: {str(c): n for c, n in names.items()} for kind, names in self._codes.items() if kind not in OWN_CODES},
            }
        )

    @classmethod
    def from_description(cls, text: str, where: str) -> Columns:
        """The form that `described` wrote. Raises LakeError where it is none."""
        try:
            d = json.loads(text)
            if d["form"] != FORM_VERSION:
                msg = f"{where}: the lake has form version {d['form']}, this code reads {FORM_VERSION}; use the release that wrote it"
                raise LakeError(msg)
            codebook = {kind: {int(c): n for c, n in names.items()} for kind, names in d["codebook"].items()}
            return cls(d["deployment"], d["shards"], d["symbols"], d["price_exponents"], d["size_exponents"], codebook)
        except (ValueError, KeyError, TypeError) as e:
            msg = f"{where}: the table's description does not say what form it has ({e!r}); it was not written by spiketape"
            raise LakeError(msg) from e

    def id_prefix(self, table: str, key: str) -> str:
        """A row's id is this and its n."""
        return f"{self.deployment}/{table}/{key}/"

    def schema(self, table: str) -> Any:
        """The Arrow schema of a table. The first call also loads what is compiled, so a lake that is open is ready."""
        return self.table(table, ()).schema

    def table(self, table: str, groups: Sequence[Group]) -> Any:
        """One Arrow table of the rows of `groups`, in their order."""
        layout = LAYOUTS[table]
        parts = [a for _, a, _ in groups]
        rows = parts[0] if len(parts) == 1 else rows_joined([np.empty(0, TABLES[table]), *map(np.ascontiguousarray, parts)])
        counts = np.array([a.size for a in parts], np.int64)
        keys = [key for key, _, _ in groups]
        columns: dict[str, Any] = {"id": self._ids(table, keys, counts, rows["n"])}
        place = np.repeat(np.arange(len(keys)), counts)
        if layout.key is KeyColumn.SYMBOL:
            known = set(self.symbols)
            columns["shard"] = _taken([shard_key(shard_of(k, self.shards)) if k in known else None for k in keys], place)
        else:
            columns[layout.key.value] = _taken(keys, place)
        symbol = np.empty(0, np.int64)
        if layout.by_symbol:
            names, which = symbol_names(self.symbols, rows["symbol"])
            columns["symbol"] = _taken(names, which)
            symbol = np.minimum(rows["symbol"], np.uint32(len(self.symbols))).astype(np.int64)
        for name in ("n", "slice", "ts_ns"):
            columns[name] = pa.array(np.ascontiguousarray(rows[name]))
        for column in layout.columns:
            if column.kind is Kind.ORDER_ID:
                columns[column.name] = _numbered([f"{self.deployment}-{key}-" for key in keys], counts, rows[column.field])
            else:
                columns[column.name] = self._shown(table, column, rows[column.field], symbol)
        if table in HASHED_TABLES:
            columns["digest"] = pa.array(np.concatenate([np.empty(0, np.int64), *(d for _, _, d in groups)]))
        return pa.table(columns)

    def rows(self, table: str, read: Any) -> tuple[list[str], Structured, Ints, Ints]:
        """The integer rows of an Arrow table as it was read: keys, rows, for each row which key it has, and its digest column.

        Raises LakeError naming the column where something is missing, or is no form of an integer row.
        """
        layout = LAYOUTS[table]
        rows = np.zeros(read.num_rows, TABLES[table])
        where = f"table {table}"
        schema = self.schema(table)
        missing = [n for n in schema.names if n not in read.column_names]
        if missing:
            msg = f"{where}: columns {missing} are missing"
            raise LakeError(msg)
        try:
            read = read.select(schema.names).cast(schema)  # other writers store strings in other forms
        except pa.ArrowException as e:
            msg = f"{where}: the columns are not of the types they were written in ({str(e).splitlines()[0]})"
            raise LakeError(msg) from e
        for name in ("n", "slice", "ts_ns"):
            rows[name] = _integers(read, name, where)
        symbol = np.empty(0, np.int64)
        if layout.by_symbol:
            rows["symbol"] = self._symbol_ids(read, where)
            symbol = np.minimum(rows["symbol"], np.uint32(len(self.symbols))).astype(np.int64)
        for column in layout.columns:
            if column.kind is not Kind.ORDER_ID:
                rows[column.field] = self._number(column, read, symbol, f"{where}, column {column.name}")
        keys, which = self._keys(table, read, rows["n"])
        digests = _integers(read, "digest", where) if table in HASHED_TABLES else np.empty(0, np.int64)
        return keys, rows, which, digests

    def _ids(self, table: str, keys: Sequence[str], counts: Ints, n: Ints) -> Any:
        return _numbered([self.id_prefix(table, key) for key in keys], counts, n)

    def _exponent(self, column: Column, symbol: Ints) -> Ints | int:
        if column.kind is Kind.PRICE:
            return self._price[symbol]
        return self._size[symbol]

    def _shown(self, table: str, column: Column, a: npt.NDArray[Any], symbol: Ints) -> Any:
        kind = column.kind
        if kind is Kind.INTEGER:
            return pa.array(np.ascontiguousarray(a))
        if kind in (Kind.PRICE, Kind.SIZE):
            return to_decimals(a, self._exponent(column, symbol), SCALE)
        if kind is Kind.DECIMAL:
            return to_decimals(a, int(column.argument), int(column.argument))
        if kind is Kind.CODE:
            distinct, which = np.unique(a, return_inverse=True)
            names = self._codes.get(column.argument, {})
            return _taken([names.get(c, str(c)) for c in distinct.tolist()], which)
        if kind is Kind.FLAG:
            if a.size and int(a.max()) > 1:
                msg = f"table {table}, column {column.name}: expected 0 or 1, found {int(a.max())}"
                raise LakeError(msg)
            return pa.array(a.astype(np.bool_))
        if kind is Kind.UNSIGNED:
            words = np.zeros((a.size, 2), np.uint64)
            words[:, 0] = a
            return pa.Array.from_buffers(pa.decimal128(20, 0), a.size, [None, pa.py_buffer(words)])
        if kind is Kind.HEX:
            distinct, which = np.unique(a, return_inverse=True)
            return _taken([f"{v:016x}" for v in distinct.tolist()], which)
        return _records(a)

    def _number(self, column: Column, read: Any, symbol: Ints, where: str) -> Any:
        kind = column.kind
        if kind is Kind.INTEGER:
            return _integers(read, column.name, where)
        values = read.column(column.name).combine_chunks()
        if kind in (Kind.PRICE, Kind.SIZE):
            return from_decimals(values, self._exponent(column, symbol), where)
        if kind is Kind.DECIMAL:
            return from_decimals(values, int(column.argument), where)
        if values.null_count:
            msg = f"{where}: {values.null_count} values are missing; the lake was changed from outside"
            raise LakeError(msg)
        if kind is Kind.CODE:
            numbers = self._numbers.get(column.argument, {})
            return _mapped(values, lambda name: numbers[name] if name in numbers else int(name), where)
        if kind is Kind.FLAG:
            return np.asarray(values.cast(pa.uint8()))
        if kind is Kind.UNSIGNED:
            words = np.frombuffer(values.buffers()[1], np.uint64).reshape(-1, 2)[values.offset : values.offset + len(values)]
            return words[:, 0]
        if kind is Kind.HEX:
            return _mapped(values, lambda text: int(text, 16), where)
        size = TABLES["dead_letters"]["record"].itemsize
        joined = b"".join(values.to_pylist())
        if len(joined) != size * len(values):
            msg = f"{where}: records of other than {size} bytes"
            raise LakeError(msg)
        return np.frombuffer(joined, f"V{size}")

    def _symbol_ids(self, read: Any, where: str) -> Any:
        ids = {name: i for i, name in enumerate(self.symbols)}

        def number(name: str | None) -> int:
            if name is None:
                return NO_SYMBOL
            return ids[name] if name in ids else int(name.removeprefix(UNKNOWN_SYMBOL))

        return _mapped(read.column("symbol").combine_chunks(), number, f"{where}, column symbol")

    def _keys(self, table: str, read: Any, n: Ints) -> tuple[list[str], Ints]:
        """Keys, from the ids, each of which must say the deployment, the table and the row's n as well."""
        layout = LAYOUTS[table]
        if layout.key is not KeyColumn.SYMBOL:
            column = read.column(layout.key.value).combine_chunks().dictionary_encode()
            keys = column.dictionary.to_pylist()
            which = np.asarray(column.indices.cast(pa.int64()))
        else:
            texts = [str(text).rsplit("/", 1)[0] for text in read.column("id").to_pylist()]
            numbered: dict[str, int] = {}
            which = np.array([numbered.setdefault(t, len(numbered)) for t in texts], np.int64)
            keys = [t.removeprefix(f"{self.deployment}/{table}/") for t in numbered]
        order = np.argsort(which, kind="stable")
        counts = np.bincount(which, minlength=len(keys)).astype(np.int64)
        expected = self._ids(table, keys, counts, n[order])
        found = read.column("id").combine_chunks().take(pa.array(order))
        if not found.equals(expected):
            at = next(i for i in range(len(expected)) if found[i].as_py() != expected[i].as_py())
            msg = f"table {table}: a row has the id {found[at].as_py()!r} where {expected[at].as_py()!r} was expected"
            raise LakeError(msg)
        return keys, which


def _taken(names: Sequence[str | None], which: Ints) -> Any:
    """A string column: for each row one of `names`."""
    return pa.array(names, pa.string()).take(pa.array(which))


def _numbered(texts: Sequence[str], counts: Ints, n: Ints) -> Any:
    """A string column: for as many rows as `counts` says of each text, the text and the row's n >= 0."""
    prefixes = [text.encode() for text in texts]
    ends = np.cumsum([len(p) for p in prefixes], dtype=np.int64)
    room = int(np.dot([len(p) + MAX_DIGITS for p in prefixes], counts)) if prefixes else 0
    offsets = np.zeros(n.size + 1, np.int32)
    out = np.empty(room + CHUNK, np.uint8)
    joined = np.frombuffer(b"".join(prefixes), np.uint8)
    used = write_ids(joined, ends, np.cumsum(counts), np.ascontiguousarray(n), offsets, out)
    return pa.Array.from_buffers(pa.string(), n.size, [None, pa.py_buffer(offsets), pa.py_buffer(out[:used])])


def _records(a: npt.NDArray[Any]) -> Any:
    size = a.dtype.itemsize
    offsets = np.arange(a.size + 1, dtype=np.int32) * size
    return pa.Array.from_buffers(pa.binary(), a.size, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(a))])


def _integers(read: Any, name: str, where: str) -> Ints:
    column = read.column(name).combine_chunks()
    if column.null_count:
        msg = f"{where}, column {name}: {column.null_count} values are missing; the lake was changed from outside"
        raise LakeError(msg)
    out: Ints = np.asarray(column)
    return out


def _mapped(values: Any, number: Any, where: str) -> Any:
    """Numbers of a string column by a function of each distinct string."""
    encoded = values.dictionary_encode(null_encoding="encode")
    try:
        numbers = [number(name) for name in encoded.dictionary.to_pylist()]
    except ValueError as e:
        msg = f"{where}: no code has the name it holds ({e})"
        raise LakeError(msg) from e
    return np.array(numbers, object)[np.asarray(encoded.indices)] if len(values) else np.empty(0, np.int64)
