"""Kill a replay again and again, change the workers between attempts, and compare what comes out with an undisturbed run.

    python -m benchmarks.crash TAPE --kills 30 --terms 10 --seed 1

Prints one JSON object; exits 1 if the hash differs, the lake has a gap or a double, most attempts did not resume in the
middle, or of many attempts none found the lake ahead of its recovery point (epochs are short, so that some do).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from operators.sinks import verify

MANY = 20
"""Of so many attempts one at least must have been killed between the lake's commit and the recovery point (one in ten is)."""


@dataclass
class CrashReport:
    """What happened. `resumed`: starts that went on from a slice above the first; `skipping`: those that found the lake ahead of the
    recovery point, with `rows_skipped` rows in all; `exit_codes` of the attempts that were asked to drain."""

    kills: int = 0
    terms: int = 0
    attempts: int = 0
    resumed: int = 0
    skipping: int = 0
    rows_skipped: int = 0
    exit_codes: list[int] = field(default_factory=list)
    undisturbed_hash: str = ""
    hash: str = ""
    problems: int = 0

    @property
    def ok(self) -> bool:
        same = self.hash == self.undisturbed_hash and self.problems == 0
        drained = all(code in (0, 128 + signal.SIGTERM) for code in self.exit_codes)
        ended = self.kills + self.terms
        return same and drained and self.resumed * 2 > ended and (self.rows_skipped > 0 or ended < MANY)


def replay_command(tape: Path, out: Path, speed: float | None, workers: int, epoch_s: float, extra: list[str]) -> list[str]:
    """The command line of one attempt."""
    throttle = [] if speed is None else ["--speed", str(speed)]
    options = ["--workers", str(workers), "--epoch-s", str(epoch_s), "--batch-ticks", "2000", "--no-report", "--json"]
    return [sys.executable, "-m", "flows", "replay", str(tape), "--out", str(out), *options, *throttle, *extra]


def crash_trial(
    tape: Path, folder: Path, kills: int, terms: int, seed: int, speed: float, epoch_s: float = 0.05, extra: list[str] | None = None
) -> CrashReport:
    """Runs a tape once undisturbed and once with `kills` SIGKILLs and `terms` SIGTERMs at random moments, in random order."""
    report = CrashReport()
    rng = random.Random(seed)
    extra = extra or []
    quiet, disturbed = folder / "undisturbed", folder / "disturbed"
    for path in (quiet, disturbed):
        shutil.rmtree(path, ignore_errors=True)
    whole = subprocess.run(replay_command(tape, quiet, None, 1, 5.0, extra), capture_output=True, text=True, check=True)
    report.undisturbed_hash = json.loads(whole.stdout)["output_hash"]
    ends = [signal.SIGKILL] * kills + [signal.SIGTERM] * terms
    rng.shuffle(ends)
    for end in ends:
        begun = _starts(disturbed)
        attempt = subprocess.Popen(
            replay_command(tape, disturbed, speed, rng.choice((1, 2, 3)), epoch_s, extra),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        report.attempts += 1
        _wait_for_start(attempt, disturbed, begun)
        time.sleep(rng.uniform(0.0, 1.2))
        attempt.send_signal(end)
        code = attempt.wait(timeout=120)
        if end == signal.SIGTERM:
            report.terms += 1
            report.exit_codes.append(code)
        elif code == -signal.SIGKILL:
            report.kills += 1
        if (disturbed / "run.json").exists():
            msg = f"the run was finished after {report.attempts} attempts of {len(ends)}; take a longer tape or a smaller --speed"
            raise RuntimeError(msg)
    last = subprocess.run(replay_command(tape, disturbed, None, 2, 5.0, extra), capture_output=True, text=True, check=True)
    report.attempts += 1
    report.hash = json.loads(last.stdout)["output_hash"]
    notes = _notes(disturbed)
    report.resumed = resumed_in(notes)
    ahead = [n["lake_ahead_rows"] for n in notes if n.get("lake_ahead_rows")]
    report.skipping, report.rows_skipped = len(ahead), sum(ahead)
    report.problems = len(verify(disturbed).problems)
    return report


def resumed_in(notes: list[dict[str, Any]]) -> int:
    """How many starts went on from a slice above the first start's. Rows that were read say less: the first slice may be read twice."""
    slices = [n["slice"] for n in notes if "slice" in n]
    return sum(1 for k in slices if k > slices[0])


def _notes(run: Path) -> list[dict[str, Any]]:
    path = run / "recovery" / "attempts.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def _wait_for_start(attempt: subprocess.Popen[bytes], run: Path, begun: int) -> None:
    """Waits until the flow has begun, as it notes, so that the signals fall into the run and not into its imports."""
    until = time.monotonic() + 60
    while attempt.poll() is None and time.monotonic() < until and _starts(run) <= begun:
        time.sleep(0.02)


def _starts(run: Path) -> int:
    return sum(1 for n in _notes(run) if "rows" in n)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tape", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--terms", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=10.0, help="multiple of real time at which the disturbed run goes")
    parser.add_argument("--folder", type=Path, default=Path("runs/crash"))
    given = parser.parse_args()
    report = crash_trial(given.tape, given.folder, given.kills, given.terms, given.seed, given.speed)
    print(json.dumps({**asdict(report), "ok": report.ok}, indent=1))
    sys.exit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
