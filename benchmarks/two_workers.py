"""Wall time of a replay with one worker over that with two, on the simulated tape of 16 symbols.

Beside it, in the same run, stands what the machine gives at all: a compiled loop without the interpreter's lock, run twice one after
the other and on two plain threads.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

from benchmarks.figure import Figure, figure
from benchmarks.lif_step import PARAMETERS, population_of
from benchmarks.place import simulated, workplace
from benchmarks.replaying import replay_once
from benchmarks.run import main
from operators.spiking.lif import LifPopulation

NAME = "two_workers"
GOAL = 1.7
TICKS = 2_000_000
RUNS = 3
KERNEL_NEURONS = 10_000
KERNEL_STEPS = 200_000


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark after a run that may still compile kernels. One and two workers take turns, so that both see the same machine."""
    tape = simulated(TICKS, say)
    ones, twos, limits = [], [], []
    with workplace(NAME) as place:
        replay_once(tape, place / "run")
        for _ in range(RUNS):
            ones.append(replay_once(tape, place / "run", workers=1))
            twos.append(replay_once(tape, place / "run", workers=2))
            limits.append(thread_speed_up())
    one, two = (statistics.median(r["wall_s"] for r in runs) for runs in (ones, twos))
    one_cpu, two_cpu = (statistics.median(r["cpu_s"] for r in runs) for runs in (ones, twos))
    busiest = max(ones[-1]["stages"].items(), key=lambda kv: kv[1]["cpu_s"])
    note = (
        f"wall {one:.2f} s with one worker, {two:.2f} s with two (CPU {one_cpu:.2f} and {two_cpu:.2f} s); wall time of a shared machine; "
        f"on one worker the busiest step is {busiest[0]} with {busiest[1]['cpu_s']:.2f} CPU s, and account, which is one key, takes "
        f"{ones[-1]['stages']['account']['cpu_s']:.2f} s"
    )
    ratios = [a["wall_s"] / b["wall_s"] for a, b in zip(ones, twos, strict=True)]
    peer = "a compiled loop on two plain threads"
    return {NAME: figure(ratios, "x", "at least", GOAL, note, peer, statistics.median(limits))}


def thread_speed_up(steps: int = KERNEL_STEPS) -> float:
    """How much faster two plain threads do two equal pieces of compiled work than one thread does both."""
    pieces = [population_of(KERNEL_NEURONS, seed) for seed in (1, 2)]
    population = LifPopulation(PARAMETERS)
    work = [threading.Thread(target=population.run, args=(p, steps)) for p in pieces]
    for p in pieces:
        population.run(p, 1)
    began = time.perf_counter()
    for p in pieces:
        population.run(p, steps)
    alone = time.perf_counter() - began
    began = time.perf_counter()
    for w in work:
        w.start()
    for w in work:
        w.join()
    return alone / (time.perf_counter() - began)


if __name__ == "__main__":
    main(NAME)
