"""Calendars against published dates: sessions, holidays, early closes, changes of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import pytest

from schemas.calendars import day_ns, resolve, sessions, us_equity_hours
from schemas.errors import InstrumentError


def at(text: str) -> int:
    """ns of an ISO time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def test_three_days_of_october_2013_open_at_1330_utc_and_close_at_2000() -> None:
    found = sessions("us_equity", at("2013-10-07T00:00"), at("2013-10-09T23:59"))
    assert found == tuple((at(f"2013-10-0{d}T13:30"), at(f"2013-10-0{d}T20:00")) for d in (7, 8, 9))


@pytest.mark.parametrize(
    ("day", "opens"),
    [
        ("2013-03-08", "14:30"),
        ("2013-03-11", "13:30"),
        ("2013-11-01", "13:30"),
        ("2013-11-04", "14:30"),
        ("2024-03-08", "14:30"),
        ("2024-03-11", "13:30"),
    ],
)
def test_the_open_moves_in_utc_when_new_york_changes_its_clock(day: str, opens: str) -> None:
    ((first, _),) = sessions("us_equity", at(f"{day}T00:00"), at(f"{day}T23:00"))
    assert first == at(f"{day}T{opens}")


@pytest.mark.parametrize(
    "day",
    [
        "2013-03-29",  # Good Friday
        "2013-07-04",
        "2013-11-28",  # Thanksgiving
        "2012-10-29",  # hurricane Sandy
        "2012-10-30",
        "2018-12-05",  # mourning for President Bush
        "2021-12-24",  # Christmas on a Saturday
        "2022-06-20",  # Juneteenth on a Sunday
        "2025-01-09",  # mourning for President Carter
        "2013-10-05",  # a Saturday
    ],
)
def test_new_york_is_closed_on(day: str) -> None:
    assert us_equity_hours(date.fromisoformat(day)) is None


@pytest.mark.parametrize("day", ["2013-07-03", "2013-11-29", "2013-12-24", "2018-07-03", "2019-11-29", "2024-12-24", "2025-07-03"])
def test_new_york_closes_early_on(day: str) -> None:
    assert us_equity_hours(date.fromisoformat(day)) == (time(9, 30), time(13))


@pytest.mark.parametrize("day", ["2015-07-02", "2022-12-23", "2014-12-26", "2013-11-22", "2010-12-31", "2013-10-14"])
def test_new_york_closes_at_four_on(day: str) -> None:
    assert us_equity_hours(date.fromisoformat(day)) == (time(9, 30), time(16))


def test_forex_week_runs_from_sunday_to_friday_1700_new_york() -> None:
    assert sessions("forex", at("2014-05-01T00:00"), at("2014-05-07T00:00")) == (
        (at("2014-04-27T21:00"), at("2014-05-02T21:00")),
        (at("2014-05-04T21:00"), at("2014-05-09T21:00")),
    )


def test_forex_week_with_a_clock_change_in_it_is_shifted_at_its_end() -> None:
    ((opens, closes),) = sessions("forex", at("2014-03-12T00:00"), at("2014-03-12T01:00"))
    assert (opens, closes) == (at("2014-03-09T21:00"), at("2014-03-14T21:00"))
    ((opens, closes),) = sessions("forex", at("2014-03-05T00:00"), at("2014-03-05T01:00"))
    assert (opens, closes) == (at("2014-03-02T22:00"), at("2014-03-07T22:00"))


def test_a_session_that_touches_the_range_is_whole() -> None:
    middle = at("2013-10-07T15:00")
    assert sessions("us_equity", middle, middle) == ((at("2013-10-07T13:30"), at("2013-10-07T20:00")),)
    assert sessions("us_equity", at("2013-10-07T20:00"), at("2013-10-07T23:00")) == ()


def test_calendars_that_never_close_are_left_out() -> None:
    assert list(resolve(["always", "us_equity", "us_equity"], at("2013-10-07T00:00"), at("2013-10-08T00:00"))) == ["us_equity"]
    assert sessions("always", 0, 1) == ()


def test_sim_takes_the_intervals_given_and_refuses_overlap() -> None:
    assert sessions("sim", 0, 100, [(0, 10), (10, 20), (200, 300)]) == ((0, 10), (10, 20))
    with pytest.raises(InstrumentError, match="without overlap"):
        sessions("sim", 0, 100, [(0, 10), (9, 20)])
    with pytest.raises(InstrumentError, match="no calendar 'lunar'; there are always"):
        sessions("lunar", 0, 1)


def test_day_ns_is_midnight_utc() -> None:
    assert day_ns(date(2013, 10, 7)) == at("2013-10-07T00:00")
