"""The benchmarks by name: runs them, checks the names, keeps the results.

spiketape bench [NAME...]          python -m benchmarks.replay
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.figure import Figure
from benchmarks.place import OUT
from schemas.errors import SpiketapeError, UsageError

PARTS: dict[str, tuple[str, ...]] = {
    "replay": (),
    "framework_share": (),
    "two_workers": (),
    "start": ("commit", "row"),
    "memory_growth": (),
    "epoch_cost": (),
    "tick_batch": (),
    "tick_call": ("p50", "p99"),
    "lif_step": ("1k", "10k", "100k", "1M"),
    "kafka_to_kafka": (),
    "order_latency": ("p50", "p99", "committed_p50", "committed_p99"),
    "control_message": ("p50", "p99"),
    "influx_points": (),
    "influx_query": ("latest_signals", "equity", "fills", "spike_rates", "lag"),
    "transaction": ("1_p50", "1_p90", "20_p50", "20_p90", "200_p50", "200_p90"),
}
"""Each benchmark is the module of its name with `measure(say) -> {NAME or NAME.part: Figure}`; here the parts of each."""

COLUMNS = ("value", "unit", "goal", "met", "spread", "peer", "peer_value", "ratio", "note")
Say = Callable[[str], None]


def figure_names(name: str) -> tuple[str, ...]:
    """The figures that a benchmark gives."""
    return tuple(f"{name}.{part}" for part in PARTS[name]) or (name,)


def chosen(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The benchmarks to run and the figures wanted of each; no names: all. Raises UsageError for a name that there is not."""
    known = {f: name for name in PARTS for f in figure_names(name)}
    unknown = [n for n in names if n not in PARTS and n not in known]
    if unknown:
        parts = [f for f in known if f not in PARTS]
        msg = f"bench {' '.join(unknown)}: no such benchmark; there are {', '.join(PARTS)} and their parts {', '.join(parts)}"
        raise UsageError(msg)
    wanted: dict[str, list[str]] = {}
    for n in names or PARTS:
        name = n if n in PARTS else known[n]
        figures = figure_names(name) if n in PARTS else (n,)
        wanted.setdefault(name, []).extend(f for f in figures if f not in wanted.get(name, []))
    return {name: tuple(figures) for name, figures in wanted.items()}


def run_benchmarks(names: Sequence[str], say: Say) -> dict[str, dict[str, Any]]:
    """Runs benchmarks (no names: all) and returns `{NAME: {value, unit, goal, met, spread, peer, peer_value, ratio, note}}`.

    Each result also goes into benchmarks/out/results.json and results.md as soon as it is there, beside those of other names from
    earlier. Raises UsageError for an unknown name, before anything is run, and where a benchmark lacks its input.
    """
    results: dict[str, dict[str, Any]] = {}
    for name, figures in chosen(names).items():
        say(f"bench {name}")
        found: dict[str, Figure] = importlib.import_module(f"benchmarks.{name}").measure(say)
        load = f"; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        results |= {f: {**found[f].as_dict(), "note": found[f].note + load} for f in figures}
        keep(results)
    return results


def keep(results: dict[str, dict[str, Any]]) -> None:
    """Puts results into the stored ones and writes these, whole or not at all."""
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / "results.json"
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError):
        stored = {}
    order = [f for name in PARTS for f in figure_names(name)]
    stored = {f: (stored | results)[f] for f in order if f in stored | results}
    for target, text in ((path, json.dumps(stored, indent=1) + "\n"), (OUT / "results.md", as_table(stored))):
        part = target.with_suffix(".part")
        part.write_text(text)
        part.replace(target)


def as_table(results: dict[str, dict[str, Any]]) -> str:
    """The results as a table in Markdown."""
    rows = [("name", *COLUMNS), ("---",) * (len(COLUMNS) + 1)]
    rows += [(name, *("" if r[c] is None else str(r[c]) for c in COLUMNS)) for name, r in results.items()]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def main(name: str) -> None:
    """The command `python -m benchmarks.NAME`: one JSON object on standard output, the rest on standard error."""
    try:
        results = run_benchmarks([name], lambda text: print(text, file=sys.stderr))
    except SpiketapeError as e:
        print(e, file=sys.stderr)
        sys.exit(e.exit_code)
    print(json.dumps(results, indent=1))
