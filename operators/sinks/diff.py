"""Where two runs part: the first row that differs, with both, and the settings that differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from operators.sinks.columns import Ints
from operators.sinks.ledger import canonical
from operators.sinks.reading import KeyRows, LakeReader, TableRows
from operators.sinks.runfolder import RunFolder
from schemas.errors import LakeError
from schemas.tables import HASHED_TABLES, TABLES


@dataclass(frozen=True, slots=True)
class RowDifference:
    """The first row in which two runs differ; `a` and `b` as the lake shows them, None where a run has no such row."""

    slice: int
    table: str
    key: str
    n: int
    a: Mapping[str, Any] | None
    b: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Difference:
    """`first`: None where all hashed tables are equal. `settings`: by dotted name, the values of both (None: not there)."""

    first: RowDifference | None
    settings: Mapping[str, tuple[Any, Any]]

    @property
    def same(self) -> bool:
        """Whether both runs said the same, whatever their settings."""
        return self.first is None

    def as_json(self) -> dict[str, Any]:
        """What `spiketape diff --json` prints."""
        return {"same": self.same, **asdict(self)}


def diff(a: Path, b: Path) -> Difference:
    """Compares two run folders: the smallest (slice, table, key, n) whose rows differ, over the hashed tables in their order.

    Raises LakeError where a lake cannot be read, or a damaged file makes a comparison meaningless.
    """
    readers = LakeReader(RunFolder(a).lake), LakeReader(RunFolder(b).lake)
    firsts = []
    for order, name in enumerate(HASHED_TABLES):
        left, right = (_table(reader, name) for reader in readers)
        found = _first(left, right)
        if found is not None:
            at, key, n = found
            firsts.append((at, order, key, n, left, right))
    first = None
    if firsts:
        at, order, key, n, left, right = min(firsts, key=lambda f: f[:4])
        first = RowDifference(at, HASHED_TABLES[order], key, n, _shown(left, key, n), _shown(right, key, n))
    return Difference(first, _settings(RunFolder(a), RunFolder(b)))


def _table(reader: LakeReader, name: str) -> TableRows | None:
    if name not in reader.names():
        return None
    table = reader.table(name)
    if table.damage:
        msg = f"{reader.path / name} is damaged ({table.damage[0]}); see spiketape verify"
        raise LakeError(msg)
    return table


def _first(left: TableRows | None, right: TableRows | None) -> tuple[int, str, int] | None:
    """The first (slice, key, n) in which two tables differ."""
    keys = {k.key for t in (left, right) if t is not None for k in t.keys}
    found = [f for key in keys if (f := _first_of_key(left, right, key)) is not None]
    return min(found, default=None)


def _first_of_key(left: TableRows | None, right: TableRows | None, key: str) -> tuple[int, str, int] | None:
    a, b = _canonical(left, key), _canonical(right, key)
    common = min(a.size, b.size)
    different = np.flatnonzero(a[:common] != b[:common])
    if different.size:
        i = int(different[0])
        return min(int(a["slice"][i]), int(b["slice"][i])), key, int(a["n"][i])
    if a.size == b.size:
        return None
    longer = a if a.size > common else b
    return int(longer["slice"][common]), key, int(longer["n"][common])


def _canonical(table: TableRows | None, key: str) -> Any:
    rows = _rows(table, key)
    if table is None or rows is None:
        return np.empty(0, [("n", "<i8"), ("slice", "<i8")]) if table is None else np.empty(0, TABLES[table.name])
    return canonical(table.name, table.columns.symbols, rows.rows)


def _rows(table: TableRows | None, key: str) -> KeyRows | None:
    return None if table is None else next((k for k in table.keys if k.key == key), None)


def _shown(table: TableRows | None, key: str, n: int) -> Mapping[str, Any] | None:
    """A row as the lake shows it, without its digest."""
    rows = _rows(table, key)
    if table is None or rows is None:
        return None
    at = np.flatnonzero(rows.rows["n"] == n)[:1]
    if at.size == 0:
        return None
    digest: Ints = rows.digests[at]
    shown: dict[str, Any] = table.columns.table(table.name, [(key, rows.rows[at], digest)]).to_pylist()[0]
    del shown["digest"]
    return shown


def _settings(a: RunFolder, b: RunFolder) -> dict[str, tuple[Any, Any]]:
    left, right = (_flat(folder.read_settings() or {}) for folder in (a, b))
    return {name: (left.get(name), right.get(name)) for name in sorted(set(left) | set(right)) if left.get(name) != right.get(name)}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = value
    return out
