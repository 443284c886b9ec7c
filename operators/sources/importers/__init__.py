"""Recorded data to a tape: LEAN equity and forex ticks, Binance raw captures, LOBSTER, CSV and Parquet with stated columns.

Sources may be files and folders of several formats and symbols at once; they merge into one tape. What a row cannot be read as goes to the
import report with file, line and reason, and the import goes on.
"""

from __future__ import annotations

import filecmp
import hashlib
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from operators.sources.importers import binance_raw, columns, lean_equity, lean_forex, lobster
from operators.sources.importers.actions import with_actions
from operators.sources.importers.detect import FORMATS, files_of, format_of
from operators.sources.importers.mapping import ColumnMapping
from operators.sources.importers.text import corruption
from operators.sources.tape.merge import Feed, ImportReport, Progress, write_feeds
from schemas.calendars import day_ns, resolve
from schemas.errors import UsageError
from schemas.instruments import Instrument, InstrumentList
from schemas.settings.sections import TimeGuardSettings

__all__ = ["FORMATS", "ColumnMapping", "import_sources", "open_sources"]

AUTO: Final = "auto"
_NAMELESS: Final = ("columns", "binance_raw")
"""Formats whose rows say the same whatever the file is called; of the others the name tells symbol and day."""
_DAY_ENDS_NS: Final = 30 * 3600 * 1_000_000_000
"""A day of the wall clocks west of Greenwich that importers know has ended by 06:00 UTC of the next."""


def open_sources(
    paths: Sequence[Path],
    format: str,  # noqa: A002 - the name of the command line's option
    report: ImportReport,
    mapping: ColumnMapping | None = None,
) -> tuple[list[Feed], InstrumentList]:
    """The feeds of files and folders, and their instruments with sessions resolved over the time covered.

    `format`: one of FORMATS for all files, or `auto`: each told by its name and first line, unknown files refused in the report.
    `mapping`: what the columns of CSV and Parquet files mean. Nothing is read for ticks before a feed's `chunks()` is called, each
    once, and all of them for a report that adds up. Raises UsageError where there is nothing to import, a mapping is missing or does
    not fit, or two formats have the same symbol.
    """
    if format != AUTO and format not in FORMATS:
        msg = f"--format must be {AUTO} or one of {', '.join(FORMATS)}, given {format!r}"
        raise UsageError(msg)
    by_format = _sorted_by_format(files_of(paths), format, report)
    feeds: list[Feed] = []
    instruments: list[Instrument] = []
    days: list[date] = []
    span: list[int] = []
    for opener in (lean_equity, lean_forex, lobster):
        files = by_format.get(opener.__name__.rpartition(".")[2])
        if files:
            found, listed, covered = opener.open_files(files, report)
            feeds, instruments, days = feeds + found, instruments + listed, days + covered
    if files := by_format.get("binance_raw"):
        found, listed = binance_raw.open_files(files, report)
        feeds, instruments = feeds + found, instruments + listed
    if files := by_format.get("columns"):
        if mapping is None:
            msg = f"{files[0]}: state what its columns are, for example --map ts=time,unit=ms,price=px,size=qty,name=AAPL"
            raise UsageError(msg)
        found, listed, span = columns.open_files(files, mapping, report)
        feeds, instruments = feeds + found, instruments + listed
    if not feeds:
        reasons = "; ".join(sorted({f"{e['file']}: {e['reason']}" for e in report.summary()["examples"][:3]})) or "no files there"
        msg = f"nothing to import in {', '.join(str(p) for p in paths)}: {reasons}"
        raise UsageError(msg)
    return feeds, _instrument_list(instruments, days, span)


def import_sources(
    sources: Sequence[Path],
    out: Path,
    format: str = AUTO,  # noqa: A002 - the name of the command line's option
    partitions: int = 4,
    shards: int = 64,
    mapping: ColumnMapping | None = None,
    progress: Progress | None = None,
    time_guard: TimeGuardSettings | None = None,
    overwrite: bool = False,
    actions: Sequence[Path] = (),
) -> ImportReport:
    """Imports sources into the tape `out`; the report says what became of each row.

    `actions`: files of corporate actions (actions.py), read before anything is written. Raises what open_sources, with_actions and
    write_feeds raise.
    """
    report = ImportReport()
    feeds, instruments = open_sources(sources, format, report, mapping)
    origin: dict[str, Any] = {"importer": format, "sources": [_origin(p, sources) for p in files_of(sources)]}
    if actions:
        instruments = with_actions(instruments, actions)
        origin["actions"] = [_origin(p, actions) for p in files_of(actions)]
    write_feeds(feeds, out, instruments, partitions, shards, origin, report, progress, time_guard, overwrite)
    return report


def _sorted_by_format(files: Sequence[Path], wanted: str, report: ImportReport) -> dict[str, list[Path]]:
    by_format: dict[str, list[Path]] = {}
    of_size: dict[tuple[str, int], list[Path]] = {}
    for path in files:
        wrong = corruption(path)
        told = format_of(path) if wanted == AUTO else wanted
        if wrong is None and told in _NAMELESS:
            same = of_size.setdefault((told, path.stat().st_size), [])
            if any(filecmp.cmp(path, other, shallow=False) for other in same):
                wrong = "a repeat: a file of the same bytes is imported"
            else:
                same.append(path)
        if wrong is not None or told is None:
            report.read(1)
            report.refuse(str(path), 0, wrong or "the file is of no known format, or empty", "")
        else:
            by_format.setdefault(told, []).append(path)
    return by_format


def _instrument_list(instruments: list[Instrument], days: list[date], span: list[int]) -> InstrumentList:
    listed = sorted(instruments, key=lambda i: i.symbol)
    for a, b in pairwise(listed):
        if a.symbol == b.symbol:
            msg = f"symbol {a.symbol} comes from two formats; import them into two tapes, so that two books are not mixed"
            raise UsageError(msg)
    times = [*span, *(day_ns(d) for d in days), *(day_ns(d) + _DAY_ENDS_NS for d in days)]
    sessions = resolve((i.calendar for i in listed), min(times), max(times)) if times else {}
    return InstrumentList(instruments=tuple(listed), sessions=sessions)


def _origin(path: Path, sources: Sequence[Path]) -> dict[str, str | int]:
    """A source file's name below the folder that was given, its bytes and SHA-256: no path of this machine gets onto a tape."""
    root = next((s for s in sources if s.is_dir() and path.is_relative_to(s)), path.parent)
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    return {"file": str(path.relative_to(root)), "bytes": path.stat().st_size, "sha256": digest}
