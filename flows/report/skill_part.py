"""Skill: network beside the imbalance rule, by symbol, delay and share; confidence against hit rate."""

from __future__ import annotations

from typing import Any

from flows.report import figures
from flows.report.findings import Findings
from flows.report.html import Cell, Page, heading, note, number, percent, table
from flows.report.measures import calibration
from flows.report.skill import FEW_PREDICTIONS


def skill_section(f: Findings, page: Page) -> list[Cell]:
    """Skill by symbol, delay and share; network beside the imbalance rule."""
    parts = [
        note(
            "Share of right predictions of the next change of the mid, one per spell of an unchanged mid, at the threshold of each "
            "share that is frozen in the model. Headline: 150 ms (one slice and the median order latency). Brackets: 95% intervals, "
            "bootstrap of 5-minute blocks, 1,000 draws; a block that the end of the tape cuts is left out. Chance is 50%. "
            "“Better”: the interval of the difference on the same blocks lies "
            "above zero."
        )
    ]
    plots = [
        page.figure(figures.skill_by_share({p: f.skill[p][d] for p in ("network", "imbalance")}, f"Skill by share, all symbols, {d} ms"))
        for d in sorted(f.skill["network"], key=int, reverse=True)
    ]
    if plots:
        parts.append(Cell(f'<div class="pair">{"".join(plots)}</div>'))
    for delay in sorted(f.skill["network"], key=int, reverse=True):
        parts += [heading(f"at {delay} ms"), _skill_table(f, delay)]
    bins = calibration(f.signals, f.labels)
    if bins:
        parts += [
            heading("confidence against hit rate"),
            page.figure(figures.calibration(bins)),
            note(
                "Signals that took a side, by the confidence they said, against the share that was right 150 ms later. Neighbouring "
                "signals are not independent, so these intervals are too narrow. Points below the dotted line: the network says more "
                "than it knows."
            ),
        ]
    parts.append(
        note(
            "Reversal, majority, logistic regression, boosted trees and the placebo under the same rule: spiketape evaluate MODEL TAPE "
            "(those that learn do so on the tape itself, by halves; with --train-tape on another one)."
        )
    )
    return parts


def _skill_table(f: Findings, delay: str) -> Cell:
    run = f.run
    groups: list[tuple[str, Any, Any, Any]] = [
        ("all", f.skill["network"][delay], f.skill["imbalance"][delay], f.skill["network_less_imbalance"][delay])
    ]
    groups += [
        (s, run["skill"][s][delay], run["skill_imbalance"][s][delay], run["skill_difference"][s][delay])
        for s in run["skill"]
        if delay in run["skill"][s]
    ]
    rows = []
    for name, network, imbalance, gap in groups:
        for share in network:
            a, b, d = network[share], imbalance[share], gap[share]
            few = min(a["n"], b["n"]) < FEW_PREDICTIONS
            better = Cell('<span class="faint">too few</span>') if few or d["low"] is None else Cell("yes") if d["low"] > 0 else Cell("no")
            rows.append(
                (
                    name, share, number(a["n"]), percent(a["selected"]), _span(a), _span(b), number(b["n"]),
                    _span(d, "difference", 100), better, number(a["expired"]), percent(a["tick_weighted"]),
                )
            )  # fmt: skip
    columns = (
        "symbol",
        "share",
        "n",
        "spoke on",
        "network",
        "imbalance rule",
        "its n",
        "difference, points",
        "better",
        "expired",
        "by ticks",
    )
    return table(columns, rows)


def _span(cell: dict[str, Any], name: str = "accuracy", scale: int = 100) -> Cell:
    if cell[name] is None:
        return number(None)
    unit = "%" if name == "accuracy" else ""
    shown = f"{scale * cell[name]:.1f}{unit} <span class='faint'>[{scale * cell['low']:.1f}, {scale * cell['high']:.1f}]</span>"
    return Cell(shown.replace("-", "−"))
