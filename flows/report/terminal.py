"""The report in the terminal: what was run, how good the signals were, where the money went, what it cost to compute."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flows.terminal import stdout, table

HEADLINE_DELAY_MS = "150"
SYMBOLS_SHOWN = 20


def print_report(run: dict[str, Any]) -> None:
    """Prints the tables of a finished run to standard output."""
    stdout.print(table("run", ("", ""), _what(run)))
    if run["skill"]:
        stdout.print(_skill(run))
    stdout.print(_money(run))
    stdout.print(table("orders", ("", "number"), _orders(run), right=(1,)))
    stdout.print(_stages(run))


def _what(run: dict[str, Any]) -> list[tuple[str, str]]:
    rate = run["ticks_per_cpu_s"]
    return [
        ("tape", run["tape"]),
        ("event time (UTC)", f"{moment(run['first_ts_ns'])} to {moment(run['last_ts_ns'])}"),
        ("rows read", f"{run['rows_read']:,}: {run['ticks']:,} ticks passed, {sum(run['dead_letters'].values()):,} dead letters"),
        ("speed", "-" if rate is None else f"{rate:,} ticks per CPU second ({run['workers']} worker(s), {run['wall_s']:.1f} s wall)"),
        ("memory", f"{run['peak_rss_mb']:,} MB at the peak"),
        ("model", run["model"][:16]),
        ("output hash", run["output_hash"]),
        ("run folder", run["out"]),
    ]


def moment(ts_ns: int | None) -> str:
    """Event time as people read it, UTC, to the second."""
    return "-" if ts_ns is None else datetime.fromtimestamp(ts_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def percent(value: float | None) -> str:
    """A fraction in percent, one place."""
    return "-" if value is None else f"{100 * value:.1f}%"


def span(cell: dict[str, Any], name: str = "accuracy") -> str:
    """A share with its 95% interval."""
    return "-" if cell[name] is None else f"{percent(cell[name])} [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]"


def _skill(run: dict[str, Any]) -> Any:
    rows = []
    for symbol, by_delay in list(run["skill"].items())[:SYMBOLS_SHOWN]:
        if HEADLINE_DELAY_MS not in by_delay:
            continue
        for share in ("0.1", "1.0"):
            cell = by_delay[HEADLINE_DELAY_MS][share]
            other = run["skill_imbalance"][symbol][HEADLINE_DELAY_MS][share]
            gap = run["skill_difference"][symbol][HEADLINE_DELAY_MS][share]
            better = "-" if gap["low"] is None else "yes" if gap["low"] > 0 else "no"
            rows.append((symbol, share, cell["n"], span(cell), span(other), better))
    title = "skill: next change of the mid after 150 ms, by spells, 95% intervals (chance is 50%)"
    return table(title, ("symbol", "share", "n", "network", "imbalance", "better"), rows, right=(2,))


def _money(run: dict[str, Any]) -> Any:
    pnl = {k: Decimal(v) for k, v in run["pnl"].items()}
    fees = Decimal(run["fees"])
    gross = pnl["net"] + fees
    rows = [
        ("spread captured", pnl["spread_captured"]),
        ("adverse selection (10 s after a fill)", pnl["adverse_selection"]),
        ("rest of holding", gross - pnl["spread_captured"] - pnl["adverse_selection"]),
        ("gross", gross),
        ("fees", -fees),
        ("net", pnl["net"]),
    ]
    shown = [(name, f"{value:,.2f}") for name, value in rows]
    shown.append(("largest drawdown", f"{100 * float(run['max_drawdown']):.3f}%"))
    return table("profit and loss", ("part", "money"), shown, right=(1,))


def _orders(run: dict[str, Any]) -> list[tuple[str, str]]:
    account = run["account"]
    rows = [
        ("signals", run["signals"]),
        ("intents", run["intents"]),
        ("orders", run["orders"]),
        ("cancels", account["cancels"]),
        ("fills", run["fills"]),
        ("of these as maker", account["maker_fills"]),
        ("round trips", account["trips"]),
        *((f"refused: {rule}", n) for rule, n in run["refusals"].items()),
        *((f"dead letters: {reason}", n) for reason, n in run["dead_letters"].items()),
    ]
    return [(name, f"{n:,}") for name, n in rows]


def _stages(run: dict[str, Any]) -> Any:
    whole = sum(s["cpu_s"] for s in run["stages"].values())
    rows = [
        (
            name,
            f"{s['cpu_s']:.2f}",
            percent(s["cpu_s"] / whole if whole else None),
            f"{1e9 * s['cpu_s'] / s['items']:.0f}" if s["items"] else "-",
        )
        for name, s in run["stages"].items()
    ]
    rows.append(("all stages", f"{whole:.2f}", "", ""))
    rows.append(("whole process", f"{run['cpu_s']:.2f}", "", ""))
    return table("where the CPU time went", ("stage", "s", "share", "ns per tick"), rows, right=(1, 2, 3))
