"""What the account would have made under other assumptions, at other fees, with other signals."""

from __future__ import annotations

from typing import Any, Final

from flows.report.findings import Findings
from flows.report.html import Cell, Page, heading, note, number, percent, signed, table
from flows.report.measures import Split, ceilings, splits
from flows.report.profit_part import SPLIT_COLUMNS, split_row
from flows.report.variants import BASE, HEADLINE_DELAY_NS, ORACLE, RANDOM_RUNS, RIGHT


def _variant_lines(f: Findings, names: list[tuple[str, str]]) -> list[tuple[str, Split, dict[str, Any]]]:
    assert f.variants is not None
    accounts = f.variants["accounts"]
    return [(shown, splits(accounts[name], f.tape.instruments)[0], accounts[name]) for shown, name in names if name in accounts]


_VARIANT_COLUMNS: Final = (*SPLIT_COLUMNS, "orders", "turnover", "largest drawdown")


def _variant_table(lines: list[tuple[str, Split, dict[str, Any]]]) -> Cell:
    rows = [(*split_row(s, shown), number(a["orders"]), number(s.volume, 0), percent(float(a["max_drawdown"]), 3)) for shown, s, a in lines]
    return table(_VARIANT_COLUMNS, rows, first=True)


def _cover(f: Findings) -> Cell:
    assert f.variants is not None
    v = f.variants
    if v["whole"]:
        return note(
            f"Over the whole tape ({v['ticks']:,} ticks). The account computed anew for this table equals the run's to the last digit."
        )
    return note(
        f"Over the first {v['ticks']:,} of {f.run['rows_read']:,} ticks only. The account computed anew up to there has the same fills "
        "and fees as the run. Positions still open then are marked to market."
    )


def _not_computed() -> list[Cell]:
    return [note("Not computed; the reason stands at the top of the page.")]


def variants_section(f: Findings, _page: Page) -> list[Cell]:
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
            "touch: a limit order fills when the market reaches its price (optimistic); queue: when it is traded through, or the size "
            "ahead of it on the shown exchange is used up; trade_through: only when it is traded through (strict). Other fill rules "
            "change which orders are still open, and so what is traded later. Latency x 0: a message arrives when it is sent; W still "
            "delays each decision."
        ),
    ]


def break_even_section(f: Findings, _page: Page) -> list[Cell]:
    """The fee at which the run would come out even."""
    rows = [
        (s.name, number(s.break_even_per_share, 5), number(s.paid_per_share, 5), number(s.break_even_bps, 3), number(s.paid_bps, 3))
        for s in splits(f.run["account"], f.tape.instruments)
    ]
    unit = f.settings.account.currency
    columns = ("", f"break-even, {unit}/share", f"paid, {unit}/share", "break-even, bps", "paid, bps")
    return [
        note("The fee at which net profit would be zero, at the same fills. Below zero: a rebate would be needed."),
        table(columns, rows, first=True),
    ]


def controls_section(f: Findings, _page: Page) -> list[Cell]:
    """Random signals and oracles through the same book; the oracle that leaves at the change."""
    parts: list[Cell] = []
    if f.variants is None:
        parts += _not_computed()
    else:
        names = [("as run", BASE), *((f"random {i + 1}", f"random {i + 1}") for i in range(RANDOM_RUNS))]
        names += [("right at these moments", RIGHT)]
        names += [("oracle", ORACLE)]
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
                "Random: the run's signals at their own times, each stretch from flat to flat mirrored or not by a seeded coin: a "
                "direction that knows nothing. Its orders fill at other rates, so its turnover differs; the second table scales money "
                "to the run's turnover. Right at these moments: the run's signals with the side of the next change of the mid after 150 "
                "ms. Oracle: that side at every change of the mid. All go through the same book: same order types, holding times and "
                "limits. A passive order in the right direction often does not fill."
            ),
        ]
    rows = [
        (c.symbol, number(c.changes), signed(c.mid), signed(c.taker), signed(c.chosen), percent(c.chosen_share))
        for c in ceilings(f.market, f.tape.instruments, HEADLINE_DELAY_NS)
    ]
    parts += [
        heading("ceiling: an oracle that acts 150 ms after each change and leaves at the next"),
        note(
            "Ticks per share and round trip, before fees, over the whole tape. No taker at this horizon can do better than the last two "
            "columns."
        ),
        table(("symbol", "changes", "mid to mid", "as taker", "as taker, those that pay", "share that pays"), rows),
    ]
    return parts


def _at(value: Any, s: Split, base: Split) -> Any:
    return value * base.volume / s.volume if s.volume else None
