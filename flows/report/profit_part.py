"""Profit and loss: by part and symbol, equity, prices with fills, buy and hold."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from flows.report import figures
from flows.report.findings import Findings
from flows.report.glance import SHARPE_DAYS
from flows.report.html import Cell, Page, heading, note, number, percent, quantity, signed, table
from flows.report.measures import Split, buy_and_hold, days_of, splits

PRICED: Final = 3
"""Symbols whose price is drawn: the most traded ones."""

SPLIT_COLUMNS: Final = (
    "", "fills", "shares", "spread captured", "adverse selection", "rest of holding", "gross", "fees", "net", "gross, ticks/share",
    "net, ticks/share",
)  # fmt: skip


def split_row(s: Split, name: str | None = None) -> tuple[Any, ...]:
    """A line of profit by part, under SPLIT_COLUMNS."""
    return (
        name or s.name, number(s.fills), quantity(s.shares), signed(s.spread), signed(s.adverse), signed(s.rest), signed(s.gross),
        signed(-s.fees), signed(s.net), signed(s.gross_ticks), signed(s.net_ticks),
    )  # fmt: skip


def profit_section(f: Findings, page: Page) -> list[Cell]:
    """Profit by part and by symbol, equity, prices with fills."""
    lines = splits(f.run["account"], f.tape.instruments)
    currency = f.settings.account.currency
    parts = [
        note(
            f"In {currency}. Spread captured: mid before the fill against the fill's price. Adverse selection: what the mid did in the "
            "10 s after a fill (a minus is against the account). Rest of holding: all other moves of the mid while a position was held, "
            "beyond and between these 10 s. The three add up to gross; gross less fees is net. Per share traded: a round trip of one "
            "share counts two."
        ),
        table(SPLIT_COLUMNS, [split_row(s) for s in lines], first=True),
    ]
    if len(lines) > 1:
        parts.append(page.figure(figures.money_by_symbol(lines[1:], currency)))
    if f.equity.size:
        parts.append(page.figure(figures.equity(f.equity, currency)))
    if f.executions.size:
        counts = np.bincount(f.executions["symbol"])
        for symbol in np.argsort(-counts, kind="stable")[:PRICED].tolist():
            if counts[symbol]:
                mine = f.executions[f.executions["symbol"] == symbol]
                mine = mine[np.argsort(mine["ts_ns"], kind="stable")]
                parts.append(page.figure(figures.price(f.tape.instruments.instruments[symbol], f.market.paths[symbol], mine)))
        parts.append(note("Prices of the most traded symbols; closed hours are cut out. Zoom by dragging, double-click to go back."))
    holds = buy_and_hold(f.market, f.tape.instruments)
    if holds:
        mean = sum(h.share for h in holds) / len(holds)
        capital = f.settings.account.capital
        parts += [
            heading("beside it: buy and hold"),
            note(
                f"All capital ({capital:,} {currency}) in equal parts on {len(holds)} symbols, bought at the first ask and sold at the "
                "last bid, no fees; splits and dividends counted. It carries the whole market's risk overnight; the run holds at most a "
                "small part of its capital, mostly for seconds."
            ),
            table(
                ("", "share of what was paid", currency),
                [
                    ("all", percent(mean, 2), signed(mean * float(capital))),
                    *((h.symbol, percent(h.share, 2), signed(h.share * float(capital) / len(holds))) for h in holds),
                ],
                first=True,
            ),
        ]
    days = days_of(f.market)
    if days < SHARPE_DAYS:
        parts.append(note(f"No annualised Sharpe ratio: {days} of the {SHARPE_DAYS} days that it would need."))
    return parts
