"""Questions to InfluxDB: any Flux, and by name what people ask first.

A named query is asked as `name` or `name argument=value ...`. Times are shown as the server has them, to the nanosecond. "Latest" and
"last" are of event time: what the store holds, not what the clock says, so a recorded tape is asked like a live feed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from influxdb_client import InfluxDBClient

from infra.influx.answers import Row, parsed, time_ns
from infra.influx.connection import connected
from schemas.errors import UsageError
from schemas.settings.sections import InfluxSettings

SECOND_NS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of a question; a row has only some of the columns where tables of several kinds came back."""

    columns: tuple[str, ...]
    rows: list[Row]


class Store:
    """A bucket, asked through influxdb-client."""

    def __init__(self, client: InfluxDBClient, bucket: str) -> None:
        self._api = client.query_api()
        self._bucket = bucket

    def flux(self, text: str) -> list[Row]:
        """The rows of a query in Flux, with the types that the server names."""
        return parsed(self._api.query_raw(text).data.decode())

    def points(self, measurement: str, start: str = "0", stop: str | None = None, **tags: str) -> str:
        """The beginning of a query: points of a measurement with these tags, over a range of time."""
        ends = f", stop: {stop}" if stop else ""
        where = "".join(f" and r.{tag} == {_quoted(value)}" for tag, value in tags.items() if value)
        begin = f"from(bucket: {_quoted(self._bucket)}) |> range(start: {start}{ends})"
        return f'{begin} |> filter(fn: (r) => r._measurement == "{measurement}"{where})'

    def last_ns(self, measurement: str, field_name: str, **tags: str) -> int | None:
        """The time of the latest point that has a field; None where there is none."""
        text = self.points(measurement, **tags) + f' |> filter(fn: (r) => r._field == "{field_name}") |> last() |> keep(columns: ["_time"])'
        return max((time_ns(r["_time"]) for r in self.flux(text)), default=None)

    def first_ns(self, measurement: str, field_name: str, **tags: str) -> int | None:
        """The time of the earliest point that has a field; None where there is none."""
        text = (
            self.points(measurement, **tags) + f' |> filter(fn: (r) => r._field == "{field_name}") |> first() |> keep(columns: ["_time"])'
        )
        return min((time_ns(r["_time"]) for r in self.flux(text)), default=None)


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """`arguments`: name and default of each; `about` and `means` are what `--list` shows."""

    about: str
    ask: Callable[[Store, Mapping[str, str]], Answer]
    arguments: Mapping[str, str] = field(default_factory=dict)
    means: str = ""


def asked(settings: InfluxSettings, question: str, bucket: str | None = None) -> Answer:
    """The answer to Flux or a named query. Raises UsageError for an unknown name or argument, InfluxError for what the server says."""
    named = _named(question)
    with connected(settings) as client:
        store = Store(client, bucket or settings.bucket)
        if named is not None:
            query, arguments = named
            return query.ask(store, arguments)
        rows = store.flux(question)
    shown = [{k: v for k, v in r.items() if k not in ("result", "table")} for r in rows]
    return Answer(tuple(dict.fromkeys(name for r in shown for name in r)), shown)


def _named(question: str) -> tuple[NamedQuery, dict[str, str]] | None:
    """The named query that a question names, with its arguments; None where it is Flux."""
    if "|>" in question or "(" in question:
        return None
    name, *given = shlex.split(question) or [""]
    query = NAMED.get(name)
    if query is None:
        msg = f"--influx {question!r}: neither Flux (from(...) |> ...) nor a named query; there are {', '.join(NAMED)}"
        raise UsageError(msg)
    arguments = dict(query.arguments)
    for text in given:
        key, sep, value = text.partition("=")
        if not sep or key not in arguments:
            allowed = ", ".join(f"{k}={v}" for k, v in query.arguments.items()) or "no arguments"
            msg = f"--influx {question!r}: {text!r} is no argument of {name}; it takes {allowed}"
            raise UsageError(msg)
        arguments[key] = value
    return query, arguments


def _latest_signals(store: Store, given: Mapping[str, str]) -> Answer:
    fields = '|> filter(fn: (r) => r._field == "score" or r._field == "confidence") |> last()'
    rows = _pivoted(store.flux(f"{store.points('signal', symbol=given['symbol'])} {fields}"), ("symbol", "action"))
    newest: dict[str, Row] = {}
    for row in rows:
        newest[row["symbol"]] = row
    return _answer(("symbol", "time", "action", "score", "confidence"), [newest[s] for s in sorted(newest)])


def _equity(store: Store, given: Mapping[str, str]) -> Answer:
    account = given["account"]
    most = _number(given, "points", 2, 10_000)
    first, last = store.first_ns("equity", "equity", account=account), store.last_ns("equity", "equity", account=account)
    if first is None or last is None:
        return _answer(("account", "time", "equity", "drawdown", "exposure"), [])
    every_s = max(1, -(-(last - first) // (most * SECOND_NS)))
    points = store.points("equity", _time(first), _time(last + 1), account=account)
    window = f"aggregateWindow(every: {every_s}s, fn: %s, createEmpty: false)"
    rows = store.flux(
        f'{points} |> filter(fn: (r) => r._field == "equity" or r._field == "exposure") |> {window % "last"} |> yield(name: "last")\n'
        f'{points} |> filter(fn: (r) => r._field == "drawdown") |> {window % "max"} |> yield(name: "max")'
    )
    return _answer(("account", "time", "equity", "drawdown", "exposure"), _pivoted(rows, ("account",)))


def _fills(store: Store, given: Mapping[str, str]) -> Answer:
    columns = ("time", "account", "symbol", "side", "price", "quantity", "fee")
    if given["day"]:
        try:
            begin = datetime.strptime(given["day"], "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError as e:
            msg = f"--influx fills day={given['day']}: expected a date such as 2013-10-08 (UTC)"
            raise UsageError(msg) from e
    else:
        last = store.last_ns("execution", "price", account=given["account"], symbol=given["symbol"])
        if last is None:
            return _answer(columns, [])
        begin = datetime.fromtimestamp(last // SECOND_NS, UTC).replace(hour=0, minute=0, second=0)
    day = (f"{t:%Y-%m-%dT00:00:00Z}" for t in (begin, begin + timedelta(days=1)))
    wanted = '|> filter(fn: (r) => r._field == "price" or r._field == "quantity" or r._field == "fee")'
    kept = '|> keep(columns: ["_time", "_field", "_value", "account", "symbol", "side"])'
    rows = store.flux(f"{store.points('execution', *day, account=given['account'], symbol=given['symbol'])} {wanted} {kept}")
    return _answer(columns, _pivoted(rows, ("account", "symbol", "side")))


def _spike_rates(store: Store, given: Mapping[str, str]) -> Answer:
    last = store.last_ns("spikes", "rate")
    columns = ("area", "symbol", "rate", "count", "seconds")
    if last is None:
        return _answer(columns, [])
    start = last - _number(given, "minutes", 1, 10**6) * 60 * SECOND_NS
    points = store.points("spikes", _time(start), _time(last + 1), area=given["area"])
    rows = store.flux(
        f'{points} |> filter(fn: (r) => r._field == "rate") |> mean() |> yield(name: "rate")\n'
        f'{points} |> filter(fn: (r) => r._field == "count") |> sum() |> yield(name: "count")\n'
        f'{points} |> filter(fn: (r) => r._field == "count") |> count() |> yield(name: "seconds")'
    )
    by_place: dict[tuple[str, str], Row] = {}
    for r in rows:
        place = by_place.setdefault((r["area"], r["symbol"]), {"area": r["area"], "symbol": r["symbol"]})
        place[r["result"]] = r["_value"]
    return _answer(columns, [by_place[p] for p in sorted(by_place)])


def _lag(store: Store, given: Mapping[str, str]) -> Answer:
    rows = store.flux(store.points("pipeline", shard=given["shard"]) + " |> last()")
    latest = _pivoted(rows, ("flow", "shard"))
    newest = max((time_ns(r["time"]) for r in latest), default=0)
    now = datetime.now(UTC)
    now_ns = round((now - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000
    for r in latest:
        r["behind_newest_s"] = (newest - time_ns(r["time"])) / SECOND_NS
        r["behind_clock_s"] = (now_ns - time_ns(r["time"])) / SECOND_NS
    latest.sort(key=lambda r: (-r["behind_newest_s"], r["shard"]))
    return _answer(("flow", "shard", "time", "behind_newest_s", "behind_clock_s", "lag", "lateness", "ticks"), latest)


NAMED: Final[dict[str, NamedQuery]] = {
    "latest_signals": NamedQuery("the latest signal of each symbol", _latest_signals, {"symbol": ""}),
    "equity": NamedQuery(
        "equity, drawdown and exposure over time",
        _equity,
        {"account": "", "points": "200"},
        "in at most about so many steps: the last equity and exposure of each, the largest drawdown",
    ),
    "fills": NamedQuery(
        "the fills of a day", _fills, {"day": "", "account": "", "symbol": ""}, "day in UTC; without one the day of the last fill"
    ),
    "spike_rates": NamedQuery(
        "spike rates by area and symbol",
        _spike_rates,
        {"area": "", "minutes": "60"},
        "rate: spikes a second and neuron, mean over the last minutes of event time; count: spikes; seconds: those that had ticks",
    ),
    "lag": NamedQuery(
        "how far behind each shard is",
        _lag,
        {"shard": ""},
        "behind_newest_s: behind the shard that is furthest; behind_clock_s: behind the time of day, for live feeds",
    ),
}


def _answer(columns: tuple[str, ...], rows: Iterable[Row]) -> Answer:
    return Answer(columns, [{c: r.get(c) for c in columns} for r in rows])


def _pivoted(rows: Iterable[Row], tags: Sequence[str]) -> list[Row]:
    """One row for each point, in the order of time, from one row for each of its fields.

    Times of the server sort as text without their last letter: 00Z, 00.5Z, 01Z.
    """
    points: dict[tuple[str, ...], Row] = {}
    for r in rows:
        place = (r["_time"][:-1], *(r[t] for t in tags))
        if place not in points:
            points[place] = {"time": r["_time"], **{t: r[t] for t in tags}}
        points[place][r["_field"]] = r["_value"]
    return [points[place] for place in sorted(points)]


def _number(given: Mapping[str, str], name: str, least: int, most: int) -> int:
    text = given[name]
    if not text.isdecimal() or not least <= int(text) <= most:
        msg = f"--influx: {name}={text}: expected a whole number from {least} to {most}"
        raise UsageError(msg)
    return int(text)


def _quoted(text: str) -> str:
    """A string of Flux."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${") + '"'


def _time(ns: int) -> str:
    return f"time(v: {ns})"
