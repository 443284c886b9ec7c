"""Trading calendars: when an instrument's continuous session is open, as intervals of UTC nanoseconds.

| calendar | continuous session |
| --- | --- |
| always | without a break (crypto); has no intervals |
| us_equity | Monday to Friday 09:30 to 16:00 New York but for NYSE holidays; 13:00 on early closes |
| forex | Sunday 17:00 to Friday 17:00 New York, one interval a week; bank holidays are not modelled |
| sim | the intervals that the maker of the tape gives |

Early closes by NYSE Rule 7.2 as in force since 2013: 3 July when it falls on Monday to Thursday, the Friday after Thanksgiving,
24 December when it falls on Monday to Thursday. Holidays and unscheduled closures (funerals, storms) come from the `holidays` package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import holidays

from schemas.errors import InstrumentError

CALENDARS: Final = ("always", "us_equity", "forex", "sim")
Interval = tuple[int, int]

_NEW_YORK: Final = ZoneInfo("America/New_York")
_DAY: Final = timedelta(days=1)
_MONDAY, _THURSDAY, _FRIDAY, _SUNDAY = 0, 3, 4, 6
_FX_TURN: Final = time(17)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def utc_ns(day: date, at: time, zone: ZoneInfo) -> int:
    """Nanoseconds since 1970 UTC of a wall-clock time in a zone; of a repeated hour the first, of a skipped one as if it existed."""
    moment = datetime.combine(day, at, zone).astimezone(UTC) - _EPOCH
    return (moment.days * 86_400 + moment.seconds) * 1_000_000_000 + moment.microseconds * 1000


def day_ns(day: date) -> int:
    """Midnight UTC of a day, ns since 1970."""
    return utc_ns(day, time(0), ZoneInfo("UTC"))


def session_start(calendar: str, day: date) -> int | None:
    """When the continuous session of a day begins, ns UTC, on the venue's own date; None where none begins on it.

    `always`: midnight UTC. `sim`: None, its sessions lie where the maker of the tape put them.
    """
    match calendar:
        case "always":
            return day_ns(day)
        case "us_equity":
            hours = us_equity_hours(day)
            return None if hours is None else utc_ns(day, hours[0], _NEW_YORK)
        case "forex":
            return utc_ns(day, _FX_TURN, _NEW_YORK) if day.weekday() == _SUNDAY else None
        case _:
            return None


def us_equity_hours(day: date) -> tuple[time, time] | None:
    """Open and close of the New York Stock Exchange's continuous session on a day, wall clock in New York; None when closed."""
    if day.weekday() > _FRIDAY or day in holidays.financial_holidays("NYSE", years=day.year):  # type: ignore[attr-defined]
        return None
    return time(9, 30), time(13) if _closes_early(day) else time(16)


def _closes_early(day: date) -> bool:
    if (day.month, day.day) in ((7, 3), (12, 24)):
        return _MONDAY <= day.weekday() <= _THURSDAY
    return day.month == 11 and day.weekday() == _FRIDAY and 23 <= day.day <= 29


def sessions(calendar: str, first_ns: int, last_ns: int, given: Sequence[Interval] = ()) -> tuple[Interval, ...]:
    """Continuous sessions of a calendar that touch [first_ns, last_ns], sorted (open, close), close exclusive, ns UTC.

    `given`: the intervals of calendar `sim`. Calendar `always` has none: it is left out of `InstrumentList.sessions`. Raises
    InstrumentError for an unknown calendar, or for intervals that overlap or are out of order.
    """
    found: Iterable[Interval]
    match calendar:
        case "always":
            return ()
        case "us_equity":
            found = _us_equity(first_ns, last_ns)
        case "forex":
            found = _forex(first_ns, last_ns)
        case "sim":
            found = _checked(given)
        case _:
            msg = f"no calendar {calendar!r}; there are {', '.join(CALENDARS)}"
            raise InstrumentError(msg)
    return tuple((opens, closes) for opens, closes in found if closes > first_ns and opens <= last_ns)


def resolve(calendars: Iterable[str], first_ns: int, last_ns: int) -> dict[str, tuple[Interval, ...]]:
    """`InstrumentList.sessions` for the calendars of a tape that covers [first_ns, last_ns]; those that never close are left out."""
    return {name: sessions(name, first_ns, last_ns) for name in sorted(set(calendars)) if name != "always"}


def _days(first_ns: int, last_ns: int) -> Iterator[date]:
    day = (_EPOCH + timedelta(microseconds=first_ns // 1000)).date() - _DAY
    end = (_EPOCH + timedelta(microseconds=last_ns // 1000)).date() + _DAY
    while day <= end:
        yield day
        day += _DAY


def _us_equity(first_ns: int, last_ns: int) -> Iterator[Interval]:
    for day in _days(first_ns, last_ns):
        hours = us_equity_hours(day)
        if hours is not None:
            yield utc_ns(day, hours[0], _NEW_YORK), utc_ns(day, hours[1], _NEW_YORK)


def _forex(first_ns: int, last_ns: int) -> Iterator[Interval]:
    week = 7 * 86_400 * 1_000_000_000
    for day in _days(first_ns - week, last_ns):
        if day.weekday() == _SUNDAY:
            yield utc_ns(day, _FX_TURN, _NEW_YORK), utc_ns(day + 5 * _DAY, _FX_TURN, _NEW_YORK)


def _checked(given: Sequence[Interval]) -> Sequence[Interval]:
    end = None
    for opens, closes in given:
        if opens >= closes or (end is not None and opens < end):
            msg = f"sessions must be sorted without overlap, each opening before it closes; found ({opens}, {closes}) after {end}"
            raise InstrumentError(msg)
        end = closes
    return given
