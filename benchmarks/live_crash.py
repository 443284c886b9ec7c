"""Kill the processes of a deployment and its servers again and again while a tape is produced, and compare with an undisturbed replay.

    python -m benchmarks.live_crash TAPE --kills 100 --seed 1

Members: the producer, the signals processes (one and two, moved from one to the other meanwhile), book, venue, the Kafka broker, InfluxDB.
Prints one JSON object. Exits 1 if the topics' output hash differs from the replay's, an id is missing or doubled, a point in InfluxDB is
missing or has another value, most restarts did not resume in the middle, or a server or flow was never killed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.points import points_of
from flows.live.deployment import Deployment
from infra.local import InfluxServer, KafkaServer

SPLITS: Final = (("0-3",), ("0-1", "2-3"))
"""How the tick partitions are dealt to signals processes, in turn."""
SERVERS: Final = ("broker", "influxd")
FLOWS: Final = ("signals", "book", "venue")
"""What the names of the flows that must be killed begin with."""


@dataclass
class LiveCrashReport:
    """What happened. `killed`: by member, `spared`: servers and flows that never were; `moves`: rescales; `starts`: of flows, `resumed`
    those that went on from a recovery point.
    """

    killed: dict[str, int] = field(default_factory=dict)
    spared: list[str] = field(default_factory=list)
    moves: int = 0
    starts: int = 0
    resumed: int = 0
    replay_hash: str = ""
    hash: str = ""
    problems: list[str] = field(default_factory=list)
    points: int = 0
    points_missing: int = 0
    points_other: int = 0
    wall_s: float = 0.0

    @property
    def ok(self) -> bool:
        same = self.hash == self.replay_hash and not self.problems and not self.spared
        return same and self.points > 0 and not (self.points_missing or self.points_other) and self.resumed * 2 > self.starts


def live_crash_trial(
    tape: Path,
    folder: Path,
    kills: int,
    moves: int,
    seed: int,
    speed: float,
    epoch_s: float = 0.2,
    pause_s: tuple[float, float] = (0.3, 2.0),
    say: Callable[[str], None] = lambda _: None,
) -> LiveCrashReport:
    """One deployment between own servers, disturbed `kills` times and rescaled `moves` times, then left to come to its end.

    The first victims are each server and flow once, in the seed's order; then all, the producer among them, at random.
    """
    report = LiveCrashReport()
    began = time.monotonic()
    rng = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    with KafkaServer(folder / "kafka") as kafka, InfluxServer(folder / "influx") as influx:
        deployment = Deployment(folder / "run", tape, kafka.bootstrap, influx, epoch_s=epoch_s)
        deployment.call("influx", "apply")
        whole = deployment.call("replay", str(tape), "--out", str(folder / "whole"), "--sink", "lake,influx", "--no-report")
        report.replay_hash = whole["output_hash"]
        deployment.call("topics", "apply")
        deployment.add_producer(speed).start()
        deployment.await_instruments(60)
        deployment.add_flows(SPLITS[0])
        try:
            deployment.start()
            events = ["kill"] * kills + ["move"] * moves
            rng.shuffle(events)
            first = rng.sample([*SERVERS, *FLOWS], len(SERVERS) + len(FLOWS))
            for number, event in enumerate(events, 1):
                time.sleep(rng.uniform(*pause_s))
                deployment.tend()
                if event == "move":
                    report.moves += 1
                    deployment.rescale(SPLITS[report.moves % len(SPLITS)])
                else:
                    kind = first.pop() if first else ""
                    while not _killed(deployment, victim := _victim(deployment, rng, kind), kafka, influx):
                        kind = ""
                    report.killed[victim] = report.killed.get(victim, 0) + 1
                say(f"{number} of {len(events)}: {event}")
            _hurry(deployment)
            deployment.wait(900)
        finally:
            deployment.stop()
        report.spared = [kind for kind in (*SERVERS, *FLOWS) if not any(name.startswith(kind) for name in report.killed)]
        starts = deployment.starts()
        report.starts, report.resumed = len(starts), sum(s["resumed"] for s in starts)
        told = deployment.call("verify", "--kafka")
        report.hash, report.problems = told["output_hash"], list(told["problems"])
        _compare_points(report, influx, whole["influx"]["bucket"], "spiketape")
    report.wall_s = round(time.monotonic() - began, 1)
    return report


def _victim(deployment: Deployment, rng: random.Random, kind: str) -> str:
    """One of the servers and members whose name begins with `kind`."""
    return rng.choice([name for name in (*deployment.members, *SERVERS) if name.startswith(kind)])


def _killed(deployment: Deployment, victim: str, kafka: KafkaServer, influx: InfluxServer) -> bool:
    """SIGKILL to a member or a server; a server is started again at once. False where the member had ended already."""
    if victim == "broker":
        kafka.kill()
        kafka.start()
        return True
    if victim == "influxd":
        influx.kill()
        influx.start()
        return True
    member = deployment.members[victim]
    member.await_begin()
    if not member.running:
        return False
    member.end(signal.SIGKILL)
    member.start()
    return True


def _hurry(deployment: Deployment) -> None:
    """The rest of the tape as fast as possible."""
    producer = deployment.members["produce"]
    if producer.running:
        producer.end(signal.SIGKILL)
        deployment.add_producer(None).start()


def _compare_points(report: LiveCrashReport, influx: InfluxServer, expected: str, found: str) -> None:
    """Every point of the replay's bucket must be in the live one, with the same values, and no other."""
    a, b = (points_of(influx.url, influx.token, influx.org, bucket) for bucket in (expected, found))
    report.points = len(a)
    report.points_missing = len(a.keys() - b.keys()) + len(b.keys() - a.keys())
    report.points_other = sum(1 for k in a.keys() & b.keys() if a[k] != b[k])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tape", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--moves", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=2.0, help="multiple of real time at which the tape is produced meanwhile")
    parser.add_argument("--folder", type=Path, default=Path("runs/live-crash"))
    given = parser.parse_args()
    report = live_crash_trial(
        given.tape, given.folder.resolve(), given.kills, given.moves, given.seed, given.speed, say=lambda text: print(text, file=sys.stderr)
    )
    answer: dict[str, Any] = {**asdict(report), "ok": report.ok}
    print(json.dumps(answer, indent=1))
    sys.exit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
