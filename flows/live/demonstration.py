"""One command that shows a whole deployment: real servers, a tape into Kafka, signals, book and venue as processes, points arriving in
InfluxDB, and at the end the proof that the topics hold what a replay of the tape says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flows.influx_query import asked
from flows.live.deployment import Deployment, Influx
from infra.local import InfluxServer, KafkaServer
from schemas.errors import SpiketapeError
from schemas.settings import load_settings
from schemas.settings.sections import InfluxSettings

MEASUREMENTS: Final = {"signal": "score", "verdict": "value", "order": "quantity", "execution": "price", "equity": "equity"}
"""What is counted while it arrives, with a field that every point of it has."""
EVERY_S: Final = 2.0
NAME: Final = "demo"


class DemonstrationError(SpiketapeError):
    """The deployment did not come to its end, or the topics do not hold what the replay says."""


@dataclass(frozen=True)
class Shown:
    """What the demonstration came to. `points`: by measurement, in InfluxDB at the end."""

    output_hash: str
    replay_hash: str
    rows: dict[str, int]
    points: dict[str, int]
    wall_s: float

    @property
    def same(self) -> bool:
        return self.output_hash == self.replay_hash


def demonstrate(
    tape: Path,
    folder: Path,
    partitions: tuple[str, ...],
    speed: float | None,
    within_s: float,
    say: Callable[[str], None],
) -> Shown:
    """Runs the whole deployment over a tape, in `folder`, between servers of its own which end with it.

    `partitions`: of each signals process; `speed`: multiple of real time at which the tape is produced, None for as fast as possible.
    `say` is told what happens. Raises DemonstrationError after `within_s`, or where a process will not go on.
    """
    began = time.monotonic()
    with KafkaServer(folder / "kafka") as kafka, InfluxServer(folder / "influx") as influx:
        say(f"Kafka at {kafka.bootstrap}, InfluxDB at {influx.url}")
        deployment = Deployment(folder, tape, kafka.bootstrap, influx, name=NAME)
        try:
            deployment.call("topics", "apply")
            deployment.call("influx", "apply")
            deployment.add_producer(speed).start()
            deployment.await_instruments(within_s)
            deployment.add_flows(partitions)
            deployment.start()
            say("started: " + ", ".join(deployment.members))
            settings = _influx_settings(influx)
            until = time.monotonic() + within_s
            while not deployment.over():
                deployment.tend()
                say(_counts_line(counts(settings)))
                if time.monotonic() > until:
                    msg = f"not at the end of the tape after {within_s:.0f} s; take a shorter tape"
                    raise DemonstrationError(msg)
                time.sleep(EVERY_S)
            points = counts(settings)
            say(_counts_line(points))
            say("reading the topics back, committed messages only")
            told = deployment.call("verify", "--kafka")
        except RuntimeError as e:
            raise DemonstrationError(str(e)) from e
        finally:
            deployment.stop()
        say("replaying the tape, to compare")
        whole = deployment.call("replay", str(tape), "--out", str(folder / "replay"), "--no-report", "--fresh")
    return Shown(told["output_hash"], whole["output_hash"], told["rows"], points, round(time.monotonic() - began, 1))


def counts(settings: InfluxSettings) -> dict[str, int]:
    """Points of each measurement in the bucket, now."""
    return {name: _count(settings, name, field) for name, field in MEASUREMENTS.items()}


def _count(settings: InfluxSettings, measurement: str, field: str) -> int:
    flux = (
        f'from(bucket: "{settings.bucket}") |> range(start: 0) '
        f'|> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "{field}") |> group() |> count()'
    )
    return sum(int(row["_value"]) for row in asked(settings, flux).rows)


def _counts_line(points: dict[str, int]) -> str:
    return "in InfluxDB: " + ", ".join(f"{n:,} {name}" for name, n in points.items())


def _influx_settings(influx: Influx) -> InfluxSettings:
    base: dict[str, Any] = {"influx.url": influx.url, "influx.token": influx.token, "influx.org": influx.org, "influx.bucket": NAME}
    return load_settings(env={}, base=base).influx
