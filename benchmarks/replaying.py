"""Replays of whole tapes to be measured, each in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.place import in_fresh_process, plain_settings
from flows.replay import Execution, replay
from operators.sources.tape import Tape

STAGES = ("gate", "features", "encode", "infer", "decode", "account")
"""The steps whose work is the product's own: everything else of a run is reading, Bytewax, recovery and the lake."""


def replay_once(tape: Path, out: Path, workers: int = 1, lake: bool = True) -> dict[str, Any]:
    """The run object of a fresh replay, made in a new process. Everything on, default settings and model."""
    return in_fresh_process(_replayed, tape, out, workers, lake)


def _replayed(tape: Path, out: Path, workers: int, lake: bool) -> dict[str, Any]:
    outcome = replay(Tape.open(tape), plain_settings(), None, out, Execution(workers=workers, lake=lake), fresh=True)
    assert outcome.run is not None
    return outcome.run


def stage_seconds(run: dict[str, Any]) -> float:
    """CPU seconds of all stages' steps."""
    return float(sum(run["stages"][s]["cpu_s"] for s in STAGES))


def breakdown(run: dict[str, Any]) -> str:
    """Where a run's CPU time went, ns per tick: source, each stage, and the rest (Bytewax, recovery, lake)."""
    ticks = run["rows_this_attempt"]
    parts = {name: m["cpu_s"] for name, m in run["stages"].items()}
    parts["rest"] = run["cpu_s"] - sum(parts.values())
    return ", ".join(f"{name} {1e9 * s / ticks:.0f}" for name, s in parts.items())
