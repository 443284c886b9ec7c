"""What was refused and left out, and the spikes of a stretch."""

from __future__ import annotations

from flows.report import figures
from flows.report.findings import Findings
from flows.report.html import Cell, Page, heading, note, number, percent, table
from flows.terminal import iso_time
from operators.risk.rules import RULES, RiskRule


def refusals_section(f: Findings, page: Page) -> list[Cell]:
    """Why intents were refused."""
    refusals: dict[str, int] = f.run["refusals"]
    rows = [(rule, number(n), percent(n / f.run["intents"] if f.run["intents"] else None), _refuses(rule)) for rule, n in refusals.items()]
    parts = [table(("rule", "refused", "of intents", "refuses when"), rows, words=(3,))]
    if refusals:
        parts.insert(0, page.figure(figures.refusals(refusals)))
    return parts


def _refuses(rule: str) -> str:
    return RULES[RiskRule[rule]][1].replace("`", "") if rule in RiskRule.__members__ else ""


def left_out_section(f: Findings, _page: Page) -> list[Cell]:
    """What of the tape counted nowhere, or only for some things."""
    dead = [(reason, number(n)) for reason, n in f.run["dead_letters"].items()]
    known = f.tape.instruments.symbols
    rows = [
        (
            known[s], number(c.read), number(c.quotes), number(c.trades), number(c.out_of_session), number(c.locked),
            number(c.off_exchange),
            number(c.no_fill),
        )
        for s, c in sorted(f.market.counts.items())
    ]  # fmt: skip
    columns = ("symbol", "passed", "quotes", "trades", "out of session", "locked quotes", "off-exchange prints", "prints that fill nothing")
    refused = sum(f.run["dead_letters"].values())
    return [
        note(f"{f.run['rows_read']:,} rows read = {f.run['ticks']:,} passed + {refused:,} dead letters; {f.run['late_ticks']:,} late."),
        heading("dead letters"),
        table(("reason", "ticks"), dead),
        *_actions(f),
        heading("quality of the feeds"),
        table(
            ("symbol", "score at the end", "lowest", "at (UTC)", "completeness", "timeliness", "validity", "late", "numbers missing"),
            [
                (
                    symbol, _share(q["score"]), _share(q["lowest"]), iso_time(q["lowest_ts_ns"])[:19], _share(q["completeness"]),
                    _share(q["timeliness"]), _share(q["validity"]), number(q["late"]), number(q["missing"]),
                )
                for symbol, q in f.run.get("quality", {}).items()
            ],
        ),
        note(
            "The score is the product of three running means over about a thousand ticks, from 0 to 1: completeness falls where the "
            "venue's sequence numbers are missing (known only of sources that number their rows), timeliness where ticks are late (worth "
            "nothing at gate.timely_ms), validity where they are refused. By ten seconds of event time: table quality."
        ),
        heading("ticks that passed, but do not count for everything"),
        table(columns, rows),
        note(
            "Out of session: no signals, orders, marks or skill. Off-exchange prints and those with irregular conditions fill no order "
            "(they are among the prints that fill nothing). Locked quotes are valid and fill nothing. What an importer refused stands "
            "in the tape's import_report.json."
        ),
    ]  # fmt: skip


def _actions(f: Findings) -> list[Cell]:
    """Corporate actions in the time that was read; nothing where there is none."""
    actions = f.run.get("corporate_actions", [])
    if not actions:
        return []
    return [
        heading("corporate actions"),
        table(
            ("symbol", "from (UTC)", "kind", "terms", "note"),
            [(a["symbol"], iso_time(a["ts_ns"]), a["kind"], a["terms"], a["note"]) for a in actions],
            words=(4,),
        ),
        note(
            "Prices of the two sides of an action are not compared: sessions are cut there, so that the gate, features, labels, marks and "
            "the venue start anew. Deals are left before, and no order outlives it. A symbol whose action is not stated looks like a jump."
        ),
    ]


def _share(part: float) -> str:
    return f"{part:.3f}"


def spikes_section(f: Findings, page: Page) -> list[Cell]:
    """Spikes of a stretch."""
    if f.raster is None:
        return [note("No stretch to show.")]
    return [
        page.figure(figures.raster(f.raster)),
        note(
            "Each point is a spike: input neurons 0 to 63 (what says where the features stand, then what says that they changed), "
            "hidden neurons 64 to 191 by their time constant. Below: rates of these areas in bins of half a second. Computed anew from "
            "two minutes before the stretch."
        ),
    ]
