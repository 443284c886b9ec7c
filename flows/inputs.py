"""What a replay reads: a tape, or by default the simulated one, which is made once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

from flows.terminal import iso_time
from infra.place import cache_dir
from operators import sources
from operators.sources.tape import Tape
from operators.timeline.stage import ShardPlace
from schemas.errors import TapeError, UsageError
from schemas.settings.sections import ReplaySettings
from schemas.ticks import shard_of

DEFAULT_TICKS = 2_000_000
DEFAULT_SEED = 1


def default_tape(on_ticks: Callable[[int], None], ticks: int = DEFAULT_TICKS, seed: int = DEFAULT_SEED) -> Path:
    """The simulated tape of this release's simulator, made if it is not there or damaged."""
    digest = hashlib.sha256()
    for file in sorted((Path(sources.__file__).parent / "simulator").glob("*.py")):
        digest.update(file.read_bytes())
    path = cache_dir() / "tapes" / f"simulated-{ticks}-{seed}-{digest.hexdigest()[:12]}"
    try:
        Tape.open(path)
    except TapeError:
        from operators.sources.simulator import simulate

        path.parent.mkdir(parents=True, exist_ok=True)
        simulate(path, ticks, seed, progress=on_ticks, overwrite=True)
    return path


def feeds_of(tape: Tape, places: dict[int, ShardPlace]) -> dict[int, tuple[int, ...]]:
    """For each shard the partitions of a tape that hold its symbols; the first shard, which is sent unknown symbols too, has all."""
    names = tape.instruments.symbols
    feeds = {
        shard: tuple(sorted({shard_of(names[s], tape.manifest.shards) % tape.partitions for s in place.symbols}))
        for shard, place in places.items()
    }
    first = next(iter(places))
    return {**feeds, first: tuple(range(tape.partitions))}


def check_symbols(tape: Tape, symbols: tuple[str, ...], option: str = "--symbols") -> None:
    """Raises UsageError where a chosen symbol is not on the tape."""
    unknown = sorted(set(symbols) - set(tape.instruments.symbols))
    if unknown:
        msg = f"{option} {','.join(unknown)}: not on the tape, which has {', '.join(tape.instruments.symbols)}"
        raise UsageError(msg)


def check_speed(speed: float | None) -> None:
    """Raises UsageError where a speed is no multiple of real time; None is as fast as possible."""
    if speed is not None and not (speed > 0 and math.isfinite(speed)):
        msg = f"--speed {speed}: must be a number above 0 (a multiple of real time); leave it out for as fast as possible"
        raise UsageError(msg)


def check_times(tape: Tape, chosen: ReplaySettings) -> None:
    """Raises UsageError where the chosen times leave nothing of a tape that has ticks, naming its own times."""
    first, last = tape.manifest.first_ts_ns, tape.manifest.last_ts_ns
    if first is None or last is None:
        return
    times = f"the tape goes from {iso_time(first)} to {iso_time(last)}"
    if chosen.to_ns is not None and chosen.from_ns is not None and chosen.to_ns <= chosen.from_ns:
        msg = f"--to {iso_time(chosen.to_ns)}: must be after --from {iso_time(chosen.from_ns)}; {times}"
        raise UsageError(msg)
    if chosen.from_ns is not None and chosen.from_ns > last:
        msg = f"--from {iso_time(chosen.from_ns)}: nothing is left to replay, {times}"
        raise UsageError(msg)
    if chosen.to_ns is not None and chosen.to_ns <= first:
        msg = f"--to {iso_time(chosen.to_ns)}: nothing is left to replay, {times}"
        raise UsageError(msg)
