"""The report in the terminal: what was run, how good the signals were, where the money went, what it cost to compute."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from flows.report.figures import moment
from flows.report.skill import FEW_PREDICTIONS, HEADLINE_MS, pooled
from flows.terminal import stdout, table
from operators.sinks import LakeReader, RunFolder

SHARES_SHOWN = ("0.1", "1.0")
SYMBOLS_SHOWN = 20


def print_report(run: dict[str, Any]) -> None:
    """Prints the tables of a finished run to standard output."""
    stdout.print(table("run", ("", ""), _what(run)))
    if run["skill"]:
        stdout.print(_skill(run))
    else:
        stdout.print("skill: nothing to tell; no block of five minutes was closed within the run, or there is no lake")
    stdout.print(_money(run))
    stdout.print(table("orders", ("", "number"), _orders(run), right=(1,)))
    stdout.print(_stages(run))


def _what(run: dict[str, Any]) -> list[tuple[str, str]]:
    rate = run["ticks_per_cpu_s"]
    return [
        ("tape", run["tape"]),
        ("event time (UTC)", _times(run)),
        ("rows read", f"{run['rows_read']:,}: {run['ticks']:,} ticks passed, {sum(run['dead_letters'].values()):,} dead letters"),
        *([("corporate actions", _actions(run))] if run.get("corporate_actions") else []),
        ("speed", "-" if rate is None else f"{rate:,} ticks per CPU second ({run['workers']} worker(s), {run['wall_s']:.1f} s wall)"),
        ("memory", f"{run['peak_rss_mb']:,} MB at the peak"),
        ("model", run["model"][:16]),
        ("output hash", run["output_hash"]),
        ("run folder", run["out"]),
        ("page", str(RunFolder(Path(run["out"])).report_html)),
    ]


def _actions(run: dict[str, Any]) -> str:
    """How many there were, and what was held over one."""
    suspended = run["account"].get("suspended", [])
    return f"{len(run['corporate_actions']):,}" + (f"; suspended: {', '.join(suspended)}" if suspended else "")


def _times(run: dict[str, Any]) -> str:
    return "no ticks" if run["first_ts_ns"] is None else f"{moment(run['first_ts_ns'])} to {moment(run['last_ts_ns'])}"


def percent(value: float | None) -> str:
    """A fraction in percent, one place."""
    return "-" if value is None else f"{100 * value:.1f}%"


def span(cell: dict[str, Any]) -> str:
    """An accuracy in percent with its 95% interval, as wide as any."""
    if cell["accuracy"] is None:
        return "-"
    return f"{100 * cell['accuracy']:.1f} [{100 * cell['low']:5.1f},{100 * cell['high']:5.1f}]"


def _skill(run: dict[str, Any]) -> Any:
    rows: list[tuple[str, ...]] = []
    whole = _pooled(run)
    if whole is not None:
        rows += _skill_rows("all", whole["network"], whole["imbalance"], whole["network_less_imbalance"])
    for symbol, by_delay in list(run["skill"].items())[:SYMBOLS_SHOWN]:
        if HEADLINE_MS in by_delay:
            rows += _skill_rows(symbol, by_delay, run["skill_imbalance"][symbol], run["skill_difference"][symbol])
    more = len(run["skill"]) - SYMBOLS_SHOWN
    title = f"skill: the next change of the mid after {HEADLINE_MS} ms, 95% intervals; chance is 50%"
    if more > 0:
        title += f" ({more} more symbols in report.html)"
    return table(title, ("symbol", "share", "n", "network, %", "imbalance rule, %", "better"), rows, right=(2, 3, 4))


def _pooled(run: dict[str, Any]) -> dict[str, Any] | None:
    """Skill over all symbols, from the run's lake; None where there is none to ask."""
    lake = RunFolder(Path(run["out"])).lake
    found = pooled(LakeReader(lake)) if lake.is_dir() else None
    return found if found is not None and HEADLINE_MS in found["network"] else None


def _skill_rows(name: str, network: dict[str, Any], imbalance: dict[str, Any], gap: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for share in SHARES_SHOWN:
        a, b, d = (x[HEADLINE_MS][share] for x in (network, imbalance, gap))
        few = min(a["n"], b["n"]) < FEW_PREDICTIONS
        better = "too few" if few or d["low"] is None else "yes" if d["low"] > 0 else "no"
        rows.append((name, share, f"{a['n']:,}", span(a), span(b), better))
    return rows


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
    shares = sum(Decimal(x["quantity"]) for x in run["account"]["symbols"].values())
    if shares:
        shown.append(("gross, net per share traded", f"{gross / shares:,.5f}, {pnl['net'] / shares:,.5f}"))
    return table("profit and loss, in the account's currency", ("part", "money"), shown, right=(1,))


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
