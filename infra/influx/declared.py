"""What there should be in InfluxDB, made of the settings alone.

| bucket | holds | kept for |
| --- | --- | --- |
| `<bucket>` | points as the sink writes them | influx.retention_days |
| `<bucket>-1s`, `<bucket>-1m`, `<bucket>-1h` | the same by second, minute, hour | influx.downsampled_days |
| influx.replay_bucket, one for each replay | points of one replay | for ever; made by `replay`, not here |

| token | may |
| --- | --- |
| `<bucket> writer` | write to `<bucket>`: what a flow needs |
| `<bucket> reader` | read all four: what dashboards and `query` need |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.influx.downsampling import RESOLUTIONS, bucket_name, task_flux
from schemas.settings.sections import InfluxSettings

DAY_S: Final = 86_400
TOKENS: Final = ("writer", "reader")


@dataclass(frozen=True, slots=True)
class Bucket:
    """`retention_s`: seconds of event time that are kept; 0: for ever."""

    name: str
    retention_s: int
    holds: str


@dataclass(frozen=True, slots=True)
class DownsamplingTask:
    """A task and its Flux."""

    name: str
    flux: str


@dataclass(frozen=True, slots=True)
class TokenRights:
    """A token by its description, and the buckets that it may read and write."""

    description: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Declared:
    """All of it."""

    org: str
    buckets: tuple[Bucket, ...]
    tasks: tuple[DownsamplingTask, ...]
    tokens: tuple[TokenRights, ...]


def token_description(settings: InfluxSettings, name: str) -> str:
    """What the token `writer` or `reader` is called in the server."""
    return f"{settings.bucket} {name}"


def declared(settings: InfluxSettings) -> Declared:
    """What the settings ask for."""
    raw = settings.bucket
    downsampled = [Bucket(bucket_name(raw, r), settings.downsampled_days * DAY_S, f"points of {raw} by {r.name}") for r in RESOLUTIONS]
    buckets = (Bucket(raw, settings.retention_days * DAY_S, "points as the flows write them"), *downsampled)
    names = tuple(b.name for b in buckets)
    return Declared(
        settings.org,
        buckets,
        tuple(DownsamplingTask(bucket_name(raw, r), task_flux(settings, r)) for r in RESOLUTIONS),
        (
            TokenRights(token_description(settings, "writer"), (), (raw,)),
            TokenRights(token_description(settings, "reader"), names, ()),
        ),
    )
