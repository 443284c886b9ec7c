"""Ticks per CPU second of a replay of the recorded equity tape: all stages, lake and recovery on, one worker.

CPU seconds are those of all threads, from the first tick read to the last commit; imports and compilation are not in them.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import nautilus_peer
from benchmarks.figure import Figure, figure
from benchmarks.place import in_fresh_process, recorded_equity, workplace
from benchmarks.replaying import breakdown, replay_once
from benchmarks.run import main

NAME = "replay"
GOAL = 1_500_000
RUNS = 3


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark. The first run may still compile kernels and is not counted."""
    tape = recorded_equity(say)
    with workplace(NAME) as place:
        runs = [replay_once(tape, place / "run") for _ in range(RUNS + 1)][1:]
    runs.sort(key=lambda r: r["ticks_per_cpu_s"])
    middle = runs[RUNS // 2]
    version = nautilus_peer.installed()
    peer_value, beside = None, "nautilus_trader is not installed (pip install --group peers)"
    if version is not None:
        say(f"nautilus_trader {version} over the same tape")
        peer_value = in_fresh_process(nautilus_peer.ticks_per_cpu_s, tape)
        beside = f"nautilus_trader {version}: its first {nautilus_peer.TICKS:,} ticks, a strategy that does nothing, nothing stored"
    note = (
        f"{middle['rows_this_attempt']:,} ticks in {middle['cpu_s']:.2f} CPU s, {middle['wall_s']:.2f} s of wall time; CPU ns per tick: "
        f"{breakdown(middle)}. {beside}; its figures in GOALS, from another machine: 1.221 268,000 with an empty strategy and 211,000 with "
        "orders, 2.0rc7 724,000 and 571,000"
    )
    rates = [r["ticks_per_cpu_s"] for r in runs]
    return {NAME: figure(rates, "ticks/CPU s", "over", GOAL, note, "nautilus_trader", peer_value)}


if __name__ == "__main__":
    main(NAME)
