"""LEAN's day files: date from the name, wall clock in milliseconds since midnight to nanoseconds UTC."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from operators.sources.importers.text import member_name
from operators.sources.tape.merge import ImportReport
from schemas.calendars import utc_ns
from schemas.ticks import Ints

_NAME: Final = re.compile(r"(\d{8})_(quote|trade)", re.IGNORECASE)
_HOURS: Final = 25
_HOUR_MS: Final = 3_600_000


def day_and_kind(path: Path) -> tuple[date, str] | None:
    """`20131007_quote.zip` -> (2013-10-07, "quote"); None for another name."""
    found = _NAME.match(path.name)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], "%Y%m%d").date(), found[2].lower()
    except ValueError:
        return None


def symbol_of(path: Path) -> str:
    """The symbol, upper case: from the archive's member (`20131007_ibm_Quote_Tick.csv`), or the folder where it has none."""
    parts = member_name(path).split("_")
    return (parts[1] if len(parts) >= 4 else path.resolve().parent.name).upper()


def first_of_day(days: dict[date, Path], day: date, path: Path, report: ImportReport) -> None:
    """Enters a day's file; a further one of the same day is refused, because its rows have no number by which a repeat could be told."""
    if days.setdefault(day, path) != path:
        report.read(1)
        report.refuse(str(path), 0, "a repeat: another file of this symbol, kind and day is imported", "")


class WallClock:
    """Milliseconds since midnight of one day in a zone to ns UTC, by the offset in force at each hour of that wall clock."""

    def __init__(self, day: date, zone: ZoneInfo | timedelta) -> None:
        midnight = utc_ns(day, datetime.min.time(), ZoneInfo("UTC"))
        self._hours = np.empty(_HOURS, np.int64)
        for h in range(_HOURS):
            at = datetime.combine(day, datetime.min.time()) + timedelta(hours=h)
            offset = zone if isinstance(zone, timedelta) else at.replace(tzinfo=zone).utcoffset()
            if offset is None:
                msg = f"zone {zone} has no offset at {at}"
                raise ValueError(msg)
            self._hours[h] = midnight - int(offset.total_seconds()) * 1_000_000_000

    def outside(self, ms: Ints) -> npt.NDArray[np.bool_]:
        """Where a time is not of that day."""
        return (ms < 0) | (ms >= (_HOURS - 1) * _HOUR_MS)

    def ns(self, ms: Ints) -> Ints:
        """ns UTC, int64, of milliseconds within the day."""
        return self._hours[ms // _HOUR_MS] + ms * 1_000_000
