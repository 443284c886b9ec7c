"""Reading a lake back: its tables file by file, as integer rows by key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from operators.sinks.columns import Columns, Ints, Structured
from operators.sinks.delta import Token, committed_token, failure
from schemas.errors import LakeError
from schemas.tables import TABLES


@dataclass(frozen=True, slots=True)
class KeyRows:
    """All rows of one table and key in the order of n (a row that is there twice stands twice), with the digest column."""

    key: str
    rows: Structured
    digests: Ints


@dataclass(frozen=True, slots=True)
class TableRows:
    """A whole table: rows by key in sorted order; what the log says about the last n; what could not be read."""

    name: str
    columns: Columns
    token: Token | None
    keys: tuple[KeyRows, ...]
    damage: tuple[str, ...]

    @property
    def count(self) -> int:
        return sum(k.rows.size for k in self.keys)


class LakeReader:
    """The tables of a lake. Raises LakeError where the folder is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            msg = f"{path} is not there: give the run's folder, as spiketape replay printed it"
            raise LakeError(msg)

    def names(self) -> tuple[str, ...]:
        """The tables that exist, in the order of schemas.tables."""
        return tuple(name for name in TABLES if (self.path / name / "_delta_log").is_dir())

    def tables(self) -> Iterator[TableRows]:
        """Each table in turn, so that only one is in memory."""
        for name in self.names():
            yield self.table(name)

    def table(self, name: str) -> TableRows:
        """One table. What cannot be read stands in `damage`, by file; the other files are read all the same.

        Raises LakeError where the table's log cannot be read.
        """
        path = self.path / name
        try:
            delta = DeltaTable(str(path))
            files = sorted(delta.file_uris())
            token = committed_token(delta)
        except TableNotFoundError as e:
            msg = f"{path} is no Delta table: its log is missing or damaged"
            raise LakeError(msg) from e
        except (DeltaError, OSError, ValueError) as e:
            raise failure(path, "read", e) from e
        columns = Columns.from_description(delta.metadata().description or "", str(path))
        damage: list[str] = []
        read: list[Any] = []
        for file in files:
            piece = _file(Path(file.removeprefix("file://")), name, columns, damage)
            if piece is not None:
                read.append(piece)
        if not read:
            return TableRows(name, columns, token, (), tuple(damage))
        merged: dict[str, list[tuple[Structured, Ints]]] = {}
        for keys, rows, which, digests in read:
            for i, key in enumerate(keys):
                place = np.flatnonzero(which == i) if len(keys) > 1 else slice(None)
                merged.setdefault(key, []).append((rows[place], digests[place] if digests.size else digests))
        ordered = []
        for key, parts in sorted(merged.items()):
            rows = np.concatenate([r for r, _ in parts])
            digests = np.concatenate([d for _, d in parts])
            order = np.argsort(rows["n"], kind="stable")
            ordered.append(KeyRows(key, rows[order], digests[order] if digests.size else digests))
        return TableRows(name, columns, token, tuple(ordered), tuple(damage))


def _file(path: Path, name: str, columns: Columns, damage: list[str]) -> Any:
    """The rows of one Parquet file, or None and a line in `damage`."""
    try:
        read = pq.ParquetFile(path).read()
        read.validate(full=True)
        return columns.rows(name, read)
    except LakeError as e:
        damage.append(f"{path.name}: {e}")
    except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError, MemoryError) as e:
        text = str(e).splitlines()[0] if str(e) else type(e).__name__
        damage.append(f"{path.name} cannot be read: {text}")
    return None
