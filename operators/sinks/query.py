"""SQL over the tables of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl
from polars.exceptions import PolarsError

from operators.sinks.columns import Columns
from operators.sinks.reading import LakeReader
from operators.sinks.runfolder import RunFolder
from schemas.errors import LakeError, UsageError
from schemas.tables import TABLES

READING: Final = ("SELECT", "WITH", "FROM", "SHOW", "EXPLAIN")
"""First words of SQL that only reads."""


def query(run: Path, sql: str) -> pl.DataFrame:
    """The answer to one SELECT over the tables of spec/interface.md; only the columns that it needs are read.

    A table that a run in progress has not written yet is empty. Raises UsageError for SQL that polars does not take, naming the
    tables there are; LakeError where the lake cannot be read.
    """
    verb = sql.lstrip("( \t\r\n").partition(" ")[0].split("\n")[0].upper()
    if verb not in READING:
        msg = f"the query must begin with one of {', '.join(READING)}, given {sql[:40]!r}"
        raise UsageError(msg)
    reader = LakeReader(RunFolder(run).lake)
    there = set(reader.names())
    empty = Columns("", 1, (), (), (), {})
    frames = {
        name: pl.scan_delta(str(reader.path / name)) if name in there else pl.DataFrame(empty.table(name, ())).lazy() for name in TABLES
    }
    try:
        answer: pl.DataFrame = pl.SQLContext(frames=frames, eager=False).execute(sql, eager=True)
    except (PolarsError, ValueError, TypeError) as e:
        columns = sorted({c for f in frames.values() for c in f.collect_schema().names()}) if "column" in str(e).lower() else []
        listed = f"\ncolumns of all tables: {', '.join(columns)}" if columns else ""
        msg = f"the query failed: {str(e).splitlines()[0]}\ntables: {', '.join(TABLES)}{listed}"
        raise UsageError(msg) from e
    except OSError as e:
        msg = f"{reader.path} cannot be read: {e}"
        raise LakeError(msg) from e
    return answer
