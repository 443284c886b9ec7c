"""Take the broker away, then InfluxDB, then let InfluxDB be busy until there is no more room, while a tape is produced and traded.

    python -m benchmarks.outages TAPE --broker-s 60 --spool-mb 4

`run trading` between an own broker and an own InfluxDB. The broker is killed and stays away so long; then InfluxDB is killed, and stays
away until so much waits in the spool; then it answers 429, while the rest of the tape comes as fast as it can, until the spool may not grow
any more and the flow waits. At the end topics and points are compared with those of an undisturbed replay.

Prints one JSON object: what /ready said, how long it took to catch up afterwards, and whether all is the same. Exits 1 where it is not,
where /ready did not say what is missing, where the process ended meanwhile, or where the tape was over before so much waited.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.gate import Gate
from benchmarks.points import points_of
from flows.live.deployment import Deployment
from infra.local import InfluxServer, KafkaServer

NAME: Final = "outages"
LOOK_S: Final = 0.1
WITHIN_S: Final = 900.0
SENT_PART: Final = 0.1
"""What is left in the spool when all of the outage is sent: what came just now. Segments are deleted when they are sent."""


@dataclass
class OutageReport:
    """What happened. `..._said`: what /ready told meanwhile; `..._back_s`: from when the server answers again until everything was caught
    up with; `full_mb`: what waited when there was no more room; `refused`: requests that the busy server did not take."""

    broker_away_s: float = 0.0
    broker_said: str = ""
    broker_back_s: float = 0.0
    influx_away_s: float = 0.0
    influx_said: str = ""
    influx_back_s: float = 0.0
    spool_mb: float = 0.0
    spool_wanted_mb: float = 0.0
    busy_said: str = ""
    full_said: str = ""
    full_mb: float = 0.0
    refused: int = 0
    busy_back_s: float = 0.0
    codes: list[int] = field(default_factory=list)
    replay_hash: str = ""
    hash: str = ""
    problems: int = 0
    points: int = 0
    points_differ: int = 0
    wall_s: float = 0.0

    @property
    def ok(self) -> bool:
        told = self.broker_said.startswith("kafka") and self.influx_said.startswith("influx") and " 429" in self.busy_said
        told = told and "the flow waits" in self.full_said
        same = self.hash == self.replay_hash and not self.problems and self.points > 0 and not self.points_differ
        return told and same and not self.codes and self.spool_mb >= self.spool_wanted_mb


def outage_trial(
    tape: Path,
    folder: Path,
    broker_s: float,
    spool_mb: float,
    speed: float,
    room: Sequence[str],
    run: Path | None = None,
    fill: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda _: None,
) -> OutageReport:
    """One deployment, disturbed three times, then left to come to its end.

    `speed`: multiple of real time at which the tape is produced; `room`: settings that say how much may wait; `run`: another run folder of
    the flow, such as one on a small disk, which `fill` makes fuller when InfluxDB begins to be busy.
    """
    report, began = OutageReport(spool_wanted_mb=spool_mb), time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    with KafkaServer(folder / "kafka") as kafka, InfluxServer(folder / "influx") as influx, Gate(influx) as gate:
        d = Deployment(folder / "run", tape, kafka.bootstrap, influx, name=NAME, epoch_s=0.5)
        d.call("influx", "apply")
        whole = d.call("replay", str(tape), "--out", str(folder / "whole"), "--sink", "influx", "--no-report")
        report.replay_hash = whole["output_hash"]
        d.call("topics", "apply")
        d.add_producer(speed).start()
        d.await_instruments(WITHIN_S)
        settings = [part for given in (f"influx.url={gate.url}", *room) for part in ("--set", given)]
        out = folder / "run" / "trading" if run is None else run
        trading = d.add("trading", *d.flow("trading", str(out)), "--sink", "kafka,influx", *settings)
        trading.start()
        try:
            trading.until(lambda told: told["standing"] == "moving" and _fine(told, "influx"), WITHIN_S)
            kafka.kill()
            gone = time.monotonic()
            report.broker_said = _said(trading.until(lambda told: bool(_said(told, "kafka")), WITHIN_S), "kafka")
            say(f"the broker is away: {report.broker_said}")
            time.sleep(max(0.0, broker_s - (time.monotonic() - gone)))
            report.broker_away_s = round(time.monotonic() - gone, 1)
            back = time.monotonic()
            kafka.start()
            trading.until(lambda told: told["ready"] and told["standing"] == "moving", WITHIN_S)
            report.broker_back_s = round(time.monotonic() - back, 1)
            say(f"it is back, and everything moves after {report.broker_back_s} s")
            influx.kill()
            gone = time.monotonic()
            report.influx_said = _said(trading.until(lambda told: bool(_said(told, "influx")), WITHIN_S), "influx")
            say(f"InfluxDB is away: {report.influx_said}")
            while report.spool_mb < spool_mb and d.members["produce"].running:
                time.sleep(LOOK_S)
                report.spool_mb = round(trading.metric("spool_bytes") / 2**20, 2)
            report.influx_away_s = round(time.monotonic() - gone, 1)
            say(f"{report.spool_mb} MiB wait in the spool after {report.influx_away_s} s")
            back = time.monotonic()
            influx.start()
            trading.until(lambda told: told["ready"], WITHIN_S)
            while trading.running and trading.metric("spool_bytes") > SENT_PART * report.spool_mb * 2**20:
                if time.monotonic() - back > WITHIN_S:
                    msg = f"the spool is not sent {WITHIN_S:.0f} s after InfluxDB is back: {trading.metric('spool_bytes'):,.0f} bytes wait"
                    raise RuntimeError(msg)
                time.sleep(LOOK_S)
            report.influx_back_s = round(time.monotonic() - back, 1)
            say(f"it is back, and all of that is sent after {report.influx_back_s} s")
            gate.busy = True
            fill()
            if d.members["produce"].running:
                d.members["produce"].end(signal.SIGKILL)
                d.add_producer(None).start()  # the rest as fast as possible
            report.busy_said = _said(trading.until(lambda told: bool(_said(told, "influx:")), WITHIN_S), "influx:")
            say(f"InfluxDB is busy: {report.busy_said}")
            full = trading.until(lambda told: bool(_said(told, "influx-spool")) or _over(told), WITHIN_S)
            report.full_said = _said(full, "influx-spool")
            report.full_mb = round(trading.metric("spool_bytes") / 2**20, 2)
            say(f"{report.full_mb} MiB wait: {report.full_said}")
            back = time.monotonic()
            gate.busy, report.refused = False, gate.refused
            d.wait(WITHIN_S)
            report.busy_back_s = round(time.monotonic() - back, 1)
            say(f"it takes points again, and the rest of the tape is through after {report.busy_back_s} s")
            report.codes = trading.codes
        finally:
            d.stop()
        told = d.call("verify", "--kafka")
        report.hash, report.problems = told["output_hash"], len(told["problems"])
        live, replayed = (points_of(influx.url, influx.token, influx.org, b) for b in (NAME, whole["influx"]["bucket"]))
        report.points = len(replayed)
        report.points_differ = len(live.items() ^ replayed.items())
    report.wall_s = round(time.monotonic() - began, 1)
    return report


def _over(told: dict[str, Any]) -> bool:
    """Whether the stream has ended, so that nothing more comes into the spool."""
    return any("the flow has ended" in reason for reason in told["reasons"])


def _fine(told: dict[str, Any], component: str) -> bool:
    """Whether /ready is content, and has met a component."""
    return bool(told["ready"]) and told["components"].get(component, {}).get("status") == "ok"


def _said(told: dict[str, Any], component: str) -> str:
    """The reason that /ready gives which names a component; empty where it gives none."""
    return next((str(r) for r in told["reasons"] if r.startswith(component)), "") if not told["ready"] else ""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tape", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/outages"), help="working folder, made anew")
    parser.add_argument("--broker-s", type=float, default=60.0, help="seconds without a broker")
    parser.add_argument("--spool-mb", type=float, default=4.0, help="MiB that wait before InfluxDB comes back")
    parser.add_argument("--full-mb", type=int, default=8, help="MiB that may wait (influx.spool_max_mb), more than --spool-mb")
    parser.add_argument("--speed", type=float, default=20.0, help="multiple of real time at which the tape is produced")
    given = parser.parse_args()
    room = (f"influx.spool_max_mb={given.full_mb}",)
    report = outage_trial(given.tape, given.out, given.broker_s, given.spool_mb, given.speed, room, say=lambda s: print(s, file=sys.stderr))
    print(json.dumps({**asdict(report), "ok": report.ok}, indent=1))
    sys.exit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
