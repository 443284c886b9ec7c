"""Which format a file has, told by its name and its first line; and which files a folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from operators.sources.importers import binance_raw, lean_forex, lobster
from operators.sources.importers.lean_days import day_and_kind
from operators.sources.importers.text import opening
from schemas.errors import UsageError

FORMATS: Final = ("lean_equity", "lean_forex", "binance_raw", "lobster", "columns")
_COLUMN_SUFFIXES: Final = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz", ".csv.xz", ".csv.zip")
_FOREX_FIELDS: Final = 3


def files_of(sources: Sequence[Path]) -> list[Path]:
    """Every file of the sources, folders with all that is below them, hidden files left out; sorted and each once.

    Raises UsageError for a source that does not exist or cannot be listed.
    """
    found: set[Path] = set()
    for source in sources:
        if source.is_dir():
            found |= {p for p in source.rglob("*") if p.is_file() and not any(q.startswith(".") for q in p.relative_to(source).parts)}
        elif source.is_file():
            found.add(source)
        else:
            msg = f"there is no file or folder {source} to import"
            raise UsageError(msg)
    return sorted(found)


def format_of(path: Path) -> str | None:
    """One of FORMATS, or None for a file of no known format. A damaged file is told by its name."""
    if lobster.NAME.match(path.name):
        return "lobster"
    if day_and_kind(path) is not None:
        first = opening(path).split(b"\n")[0]
        if first:
            return "lean_forex" if first.count(b",") + 1 == _FOREX_FIELDS else "lean_equity"
        return "lean_equity" if lean_forex.broker_of(path) is None else "lean_forex"
    if path.name.lower().endswith(_COLUMN_SUFFIXES):
        return "columns"
    if binance_raw.LINE_START.match(opening(path)):
        return "binance_raw"
    return None
