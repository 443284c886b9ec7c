"""Downsampling: Flux that sums up raw points by second, minute and hour, as tasks of the server and over a stretch of time by hand.

A point of a downsampled bucket stands at the beginning of its window and has the tags of the raw points.

| aggregate | fields |
| --- | --- |
| last | quote, position (all); signal score, confidence; equity equity, exposure |
| largest | equity drawdown; pipeline lateness, lag |
| mean | spikes rate |
| sum | spikes count; pipeline ticks, late, dead; execution quantity, fee; verdict approved |
| number of points, as `count` | verdict, order, execution |

The minute and the hour are made of seconds, so all are exact but for the rate, which is the mean over seconds that had ticks. Tasks look
back over a stretch that is longer than their period and begin at a whole window: a window is always written whole, and writing it again
changes nothing. What reaches the server later than that (a spool after a long outage), and tapes recorded long ago, are
downsampled by `spiketape influx downsample --from T --to T`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from infra.influx.answers import parsed
from infra.influx.connection import connected
from schemas.settings.sections import InfluxSettings


@dataclass(frozen=True, slots=True)
class Resolution:
    """`name`: of the window, also in the names of bucket and task; `every`, `offset`: when the task runs; `back`: how far it looks back."""

    name: str
    window: str
    every: str
    offset: str
    back: str


RESOLUTIONS: Final = (
    Resolution("1s", "1s", "10s", "2s", "2m"),
    Resolution("1m", "1m", "1m", "15s", "15m"),
    Resolution("1h", "1h", "10m", "30s", "6h"),
)

LAST: Final = {
    "quote": ("bid", "ask", "mid", "spread", "imbalance"),
    "signal": ("score", "confidence"),
    "position": ("quantity", "average_cost", "realised", "unrealised"),
    "equity": ("equity", "exposure"),
    "quality": ("score", "completeness", "timeliness", "validity"),
}
LARGEST: Final = {"equity": ("drawdown",), "pipeline": ("lateness", "lag")}
MEAN: Final = {"spikes": ("rate",)}
SUM: Final = {
    "spikes": ("count",),
    "pipeline": ("ticks", "late", "dead"),
    "quality": ("read", "dead", "late", "missing"),
    "execution": ("quantity", "fee"),
    "verdict": ("approved",),
}
COUNTED: Final = ("verdict", "order", "execution")


def bucket_name(bucket: str, resolution: Resolution) -> str:
    """The bucket of a resolution: the raw bucket's name with the window behind it."""
    return f"{bucket}-{resolution.name}"


def source_of(bucket: str, resolution: Resolution) -> str:
    """What a resolution is made of: raw points for seconds, seconds for the others."""
    return bucket if resolution is RESOLUTIONS[0] else bucket_name(bucket, RESOLUTIONS[0])


def task_flux(settings: InfluxSettings, resolution: Resolution) -> str:
    """The text of the task of a resolution."""
    r = resolution
    return (
        f'import "date"\n\noption task = {{name: "{bucket_name(settings.bucket, r)}", every: {r.every}, offset: {r.offset}}}\n\n'
        + f"start = date.truncate(t: -{r.back}, unit: {r.window})\nstop = date.truncate(t: now(), unit: {r.window})\n"
        + _body(settings, r)
    )


def downsample(settings: InfluxSettings, from_ns: int, to_ns: int) -> None:
    """Downsamples what lies in [from_ns, to_ns), widened to whole hours, into all resolutions. Raises InfluxError."""
    hour = 3600 * 10**9
    first, last = from_ns // hour * hour, -(-to_ns // hour) * hour
    with connected(settings) as client:
        for r in RESOLUTIONS:
            parsed(client.query_api().query_raw(f"start = {_time(first)}\nstop = {_time(last)}\n" + _body(settings, r)).data.decode())


def _time(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _body(settings: InfluxSettings, r: Resolution, after: str = "") -> str:
    """Reads between `start` and `stop`, sums up, and writes; `after` is done with what was written."""
    counted = dict.fromkeys(COUNTED, ("count",))
    sums = {m: (*SUM.get(m, ()), *counted.get(m, ())) for m in dict.fromkeys((*SUM, *COUNTED))}
    from_raw = r is RESOLUTIONS[0]
    parts = [
        _aggregate(r, "last", LAST),
        _aggregate(r, "max", LARGEST),
        _aggregate(r, "mean", MEAN),
        _aggregate(r, "sum", SUM if from_raw else sums),
    ]
    if from_raw:
        parts.append(_aggregate(r, "count", dict.fromkeys(COUNTED, ("n",)), '\n    |> set(key: "_field", value: "count")'))
    target = f'    |> to(bucket: "{bucket_name(settings.bucket, r)}", org: "{settings.org}"){after}\n'
    head = f'points = from(bucket: "{source_of(settings.bucket, r)}") |> range(start: start, stop: stop)\n'
    return head + "".join(f"\n{part}\n{target}" for part in parts)


def _aggregate(r: Resolution, function: str, fields: Mapping[str, tuple[str, ...]], after: str = "") -> str:
    chosen = " or ".join(
        f'(r._measurement == "{m}" and (' + " or ".join(f'r._field == "{name}"' for name in names) + "))" for m, names in fields.items()
    )
    window = f'aggregateWindow(every: {r.window}, fn: {function}, createEmpty: false, timeSrc: "_start")'
    return f"points\n    |> filter(fn: (r) => {chosen})\n    |> {window}{after}"
