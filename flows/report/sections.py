"""The sections of the page, in order. Each takes the findings and the page (for its figures) and returns its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from flows.report import figures
from flows.report.assumptions import model_section, venue_section
from flows.report.findings import Findings
from flows.report.glance import SHARPE_DAYS
from flows.report.html import Cell, Page, heading, note, number, percent, signed, table
from flows.report.measures import (
    Split,
    buy_and_hold,
    calibration,
    ceilings,
    days_of,
    inventories,
    mark_outs,
    orders_by_type,
    splits,
)
from flows.report.skill import FEW_PREDICTIONS
from flows.report.variants import BASE, HEADLINE_DELAY_NS, RANDOM_RUNS
from operators.risk.rules import RULES, RiskRule

Parts = list[Cell]
PRICED: Final = 3
"""Symbols whose price is drawn: the most traded ones."""


def skill_section(f: Findings, page: Page) -> Parts:
    """Skill by symbol, delay and share; network beside the imbalance rule."""
    parts = [
        note(
            "Share of right predictions of the next change of the mid, one per spell of an unchanged mid, at the threshold of each share that "
            "is frozen in the model. Headline: 150 ms (one slice and the median order latency). Brackets: 95% intervals, bootstrap of "
            "5-minute blocks, 1,000 draws. Chance is 50%. “Better”: the interval of the difference on the same blocks lies above zero."
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
                "Signals that took a side, by the confidence they said, against the share that was right 150 ms later. Neighbouring signals are "
                "not independent, so these intervals are too narrow. Points below the dotted line: the network says more than it knows."
            ),
        ]
    parts.append(
        note("Reversal, majority, logistic regression, boosted trees and the placebo under the same rule: spiketape evaluate MODEL TAPE.")
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


_SPLIT_COLUMNS: Final = (
    "", "fills", "shares", "spread captured", "adverse selection", "rest of holding", "gross", "fees", "net", "gross, ticks/share",
    "net, ticks/share",
)  # fmt: skip


def _split_row(s: Split, name: str | None = None) -> tuple[Any, ...]:
    return (
        name or s.name, number(s.fills), number(s.shares), signed(s.spread), signed(s.adverse), signed(s.rest), signed(s.gross),
        signed(-s.fees), signed(s.net), signed(s.gross_ticks), signed(s.net_ticks),
    )  # fmt: skip


def profit_section(f: Findings, page: Page) -> Parts:
    """Profit by part and by symbol, equity, prices with fills."""
    lines = splits(f.run["account"], f.tape.instruments)
    currency = f.settings.account.currency
    parts = [
        note(
            f"In {currency}. Spread captured: mid before the fill against the fill's price. Adverse selection: what the mid did in the 10 s after "
            "a fill (a minus is against the account). Rest of holding: all other moves of the mid while a position was held, beyond and between these "
            "10 s. The three add up to gross; gross less fees is net. Per share traded: a round trip of one share counts two."
        ),
        table(_SPLIT_COLUMNS, [_split_row(s) for s in lines], first=True),
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
                f"All capital ({capital:,} {currency}) in equal parts on {len(holds)} symbols, bought at the first ask and sold at the last bid, no "
                "fees. It carries the whole market's risk overnight; the run holds at most a small part of its capital, mostly for seconds."
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


def _variant_lines(f: Findings, names: list[tuple[str, str]]) -> list[tuple[str, Split, dict[str, Any]]]:
    assert f.variants is not None
    accounts = f.variants["accounts"]
    return [(shown, splits(accounts[name], f.tape.instruments)[0], accounts[name]) for shown, name in names if name in accounts]


_VARIANT_COLUMNS: Final = (*_SPLIT_COLUMNS, "orders", "turnover", "largest drawdown")


def _variant_table(lines: list[tuple[str, Split, dict[str, Any]]]) -> Cell:
    rows = [
        (*_split_row(s, shown), number(a["orders"]), number(s.volume, 0), percent(float(a["max_drawdown"]), 3)) for shown, s, a in lines
    ]
    return table(_VARIANT_COLUMNS, rows, first=True)


def _cover(f: Findings) -> Cell:
    assert f.variants is not None
    v = f.variants
    if v["whole"]:
        return note(
            f"Over the whole tape ({v['ticks']:,} ticks). The account computed anew for this table equals the run's to the last digit."
        )
    return note(
        f"Over the first {v['ticks']:,} of {f.run['rows_read']:,} ticks only. The account computed anew up to there has the same fills and fees "
        "as the run. Positions still open then are marked to market."
    )


def _not_computed() -> Parts:
    return [note("Not computed; the reason stands at the top of the page.")]


def variants_section(f: Findings, _page: Page) -> Parts:
    """Fill rules, latencies, slices."""
    if f.variants is None:
        return _not_computed()
    rule, scale, w = f.settings.venue.fill_rule, f.settings.venue.latency_scale, f.settings.slice_ms
    as_run = (f"as run: {rule}, latency x {scale:g}, W {w} ms", BASE)
    names = [as_run]
    names += [(f"fill rule {r}", f"fill rule {r}") for r in ("touch", "queue", "trade_through")]
    names += [(f"latency x {x}", f"latency x {x}") for x in (0, 3)]
    names += [(f"W {x} ms", f"W {x} ms") for x in (10, 100, 500)]
    return [
        _cover(f),
        _variant_table(_variant_lines(f, names)),
        note(
            "touch: a limit order fills when the market reaches its price (optimistic); queue: when it is traded through, or the size ahead of it "
            "on the shown exchange is used up; trade_through: only when it is traded through (strict). Other fill rules change which orders are "
            "still open, and so what is traded later. Latency x 0: a message arrives when it is sent; W still delays each decision."
        ),
    ]


def break_even_section(f: Findings, _page: Page) -> Parts:
    """The fee at which the run would come out even."""
    rows = []
    for s in splits(f.run["account"], f.tape.instruments):
        rows.append(
            (s.name, number(s.break_even_per_share, 5), number(s.paid_per_share, 5), number(s.break_even_bps, 3), number(s.paid_bps, 3))
        )
    unit = f.settings.account.currency
    columns = ("", f"break-even, {unit}/share", f"paid, {unit}/share", "break-even, bps", "paid, bps")
    return [
        note("The fee at which net profit would be zero, at the same fills. Below zero: a rebate would be needed."),
        table(columns, rows, first=True),
    ]


def controls_section(f: Findings, _page: Page) -> Parts:
    """Random signals and oracles through the same book; the oracle that leaves at the change."""
    parts: Parts = []
    if f.variants is None:
        parts += _not_computed()
    else:
        names = [("as run", BASE), *((f"random {i + 1}", f"random {i + 1}") for i in range(RANDOM_RUNS))]
        names += [("right at these moments", "right at these moments")]
        names += [(f"oracle, {e} entry", f"oracle, {e}") for e in ("passive", "market")]
        lines = _variant_lines(f, names)
        base = lines[0][1]
        scaled = [
            (shown, number(s.volume / base.volume, 2) if base.volume else None, signed(_at(s.gross, s, base)), signed(_at(s.net, s, base)))
            for shown, s, _ in lines
        ]
        columns = ("at the turnover of the run", "turnover / run's", "gross", "net")
        parts += [
            _cover(f),
            _variant_table(lines),
            table(columns, scaled, first=True),
            note(
                "Random: the run's signals at their own times, each stretch from flat to flat mirrored or not by a seeded coin: a direction that "
                "knows nothing. Its orders fill at other rates, so its turnover differs; the second table scales money to the run's turnover. Right at "
                "these moments: the run's signals with the side of the next change of the mid after 150 ms. Oracle: that side at every change of the mid. "
                "All go through the same book: same order types, holding times and limits. A passive order in the right direction often does not fill."
            ),
        ]
    rows = [
        (c.symbol, number(c.changes), signed(c.mid), signed(c.taker), signed(c.chosen), percent(c.chosen_share))
        for c in ceilings(f.market, f.tape.instruments, HEADLINE_DELAY_NS)
    ]
    columns = ("symbol", "changes", "mid to mid", "as taker", "as taker, those that pay", "share that pays")
    parts += [
        heading("ceiling: an oracle that acts 150 ms after each change and leaves at the next"),
        note(
            "Ticks per share and round trip, before fees, over the whole tape. No taker at this horizon can do better than the last two columns."
        ),
        table(columns, rows),
    ]
    return parts


def _at(value: Any, s: Split, base: Split) -> Any:
    return value * base.volume / s.volume if s.volume else None


def mark_out_section(f: Findings, page: Page) -> Parts:
    """What the mid did after fills."""
    found = mark_outs(f.executions, f.market, f.tape.instruments)
    rows = [
        (name, horizon, number(m.fills), signed(m.total), signed(m.ticks_per_share, 3), number(m.cut))
        for name, by in found.items()
        for horizon, m in by.items()
    ]
    unit = f.settings.account.currency
    return [
        note(
            "Side times (mid after the fill less price of the fill), so a maker starts with half the spread and a taker without it. Plus is good. "
            "A horizon that the session's close cuts ends with the last mid before it."
        ),
        page.figure(figures.mark_outs(found)),
        table(("liquidity", "after", "fills", unit, "ticks per share", "cut by close"), rows),
    ]


def fills_section(f: Findings, _page: Page) -> Parts:
    """How orders fared."""
    orders = [
        (
            o.type, number(o.sent), number(o.touched), percent(o.touched / o.sent), number(o.filled), percent(o.quantity_share), number(o.cancelled),
            number(o.refused), number(o.median_s, 2), number(o.slow_s, 2),
        )
        for o in orders_by_type(f.orders, f.executions)
    ]  # fmt: skip
    known = f.tape.instruments
    shares = []
    for name, s in f.run["account"]["symbols"].items():
        if not s["fills"]:
            continue
        i = known.id_of(name)
        volume = known.instruments[i].size(f.market.counts[i].volume)
        shares.append((name, number(s["fills"]), number(s["maker_fills"]), s["quantity"], number(volume), percent(float(s["quantity"]) / float(volume) if volume else None, 4)))  # fmt: skip
    columns = (
        "type", "sent", "any fill", "fill rate", "filled whole", "mean share filled", "cancelled", "rejected, expired", "s to first fill, median",
        "90%",
    )  # fmt: skip
    return [
        table(columns, orders),
        note(
            "Seconds from sending to the first fill at the venue, the order's latency included: the time in the queue of those that filled."
        ),
        heading("fills as share of the market's volume"),
        table(("symbol", "fills", "as maker", "shares", "market, shares", "share"), shares),
        note("Market: regular prints in session. A fill of this venue moves no market; a real one of a large share would."),
    ]


def trades_section(f: Findings, _page: Page) -> Parts:
    """Round trips, turnover, holding, inventory."""
    account = f.run["account"]
    capital = float(account["capital"])
    rows = [
        (
            x.symbol, number(x.trips), number(account["symbols"][x.symbol]["won"]), number(x.mean_s, 1), number(x.median_trip_s, 1),
            number(x.largest_quantity), number(x.largest, 2), percent(float(x.largest) / capital, 2), number(x.overnights), number(x.overnight_quantity),
        )
        for x in inventories(f.executions, f.tape.instruments, f.run["last_ts_ns"] or 0)
    ]  # fmt: skip
    exposure = int(f.equity["exposure_e10"].max()) / 1e10 if f.equity.size else 0.0
    unit = f.settings.account.currency
    columns = (
        "symbol", "round trips", "won", "mean holding, s", "median flat to flat, s", "largest, shares", f"largest, {unit}", "of capital",
        "closes carried over", "largest overnight",
    )  # fmt: skip
    overnight = "allowed" if f.settings.book.hold_overnight else "closed before the session ends"
    facts = [
        ("signals", number(f.run["signals"])),
        ("intents", number(f.run["intents"])),
        ("orders", number(f.run["orders"])),
        ("fills", number(f.run["fills"])),
        ("round trips, of these won (after fees)", f"{account['trips']:,}, {account['won']:,}"),
        (f"turnover, {unit}", number(float(account["volume"]), 2)),
        ("turnover / capital", number(float(account["volume"]) / capital, 3)),
        (f"largest exposure, {unit}", number(exposure, 2)),
        ("overnight positions", overnight),
    ]
    return [table(("", ""), facts), table(columns, rows), note("Won: the trip's realised profit was above zero.")]


def refusals_section(f: Findings, page: Page) -> Parts:
    """Why intents were refused."""
    refusals: dict[str, int] = f.run["refusals"]
    rows = [(rule, number(n), percent(n / f.run["intents"] if f.run["intents"] else None), _refuses(rule)) for rule, n in refusals.items()]
    parts = [table(("rule", "refused", "of intents", "refuses when"), rows, words=(3,))]
    if refusals:
        parts.insert(0, page.figure(figures.refusals(refusals)))
    return parts


def _refuses(rule: str) -> str:
    return RULES[RiskRule[rule]][1].replace("`", "") if rule in RiskRule.__members__ else ""


def left_out_section(f: Findings, _page: Page) -> Parts:
    """What of the tape counted nowhere, or only for some things."""
    dead = [(reason, number(n)) for reason, n in f.run["dead_letters"].items()]
    known = f.tape.instruments.symbols
    rows = [
        (
            known[s], number(c.read), number(c.quotes), number(c.trades), number(c.out_of_session), number(c.locked), number(c.off_exchange),
            number(c.no_fill),
        )
        for s, c in sorted(f.market.counts.items())
    ]  # fmt: skip
    columns = ("symbol", "passed", "quotes", "trades", "out of session", "locked quotes", "off-exchange prints", "prints that fill nothing")
    return [
        note(f"{f.run['rows_read']:,} rows read = {f.run['ticks']:,} passed + {sum(f.run['dead_letters'].values()):,} dead letters; {f.run['late_ticks']:,} came late."),
        heading("dead letters"),
        table(("reason", "ticks"), dead),
        heading("ticks that passed, but do not count for everything"),
        table(columns, rows),
        note(
            "Out of session: no signals, orders, marks or skill. Off-exchange prints and those with irregular conditions fill no order (they are among "
            "the prints that fill nothing). Locked quotes are valid and fill nothing. What an importer refused stands in the tape's import_report.json."
        ),
    ]  # fmt: skip


def spikes_section(f: Findings, page: Page) -> Parts:
    """Spikes of a stretch."""
    if f.raster is None:
        return [note("No stretch to show.")]
    return [
        page.figure(figures.raster(f.raster)),
        note(
            "Each point is a spike: input neurons 0 to 63 (what says where the features stand, then what says that they changed), hidden neurons 64 to 191 by "
            "their time constant. Below: rates of these areas in bins of half a second. Computed anew from two minutes before the stretch."
        ),
    ]


SECTIONS: Final[tuple[tuple[str, str, Callable[[Findings, Page], Parts]], ...]] = (
    ("skill", "Skill", skill_section),
    ("profit", "Profit and loss", profit_section),
    ("variants", "Other fill rules, latencies, slices", variants_section),
    ("break-even", "Break-even fee", break_even_section),
    ("controls", "Random control and oracle", controls_section),
    ("mark-outs", "Mark-outs", mark_out_section),
    ("fills", "Orders and fills", fills_section),
    ("trades", "Trades and inventory", trades_section),
    ("refusals", "Refusals by rule", refusals_section),
    ("left-out", "Data left out", left_out_section),
    ("venue", "What the venue assumes", venue_section),
    ("model", "Model", model_section),
    ("spikes", "Spikes", spikes_section),
)
