"""How orders fared: mark-outs, fills, round trips and inventory."""

from __future__ import annotations

from flows.report import figures
from flows.report.findings import Findings
from flows.report.html import Cell, Page, heading, note, number, percent, quantity, signed, table
from flows.report.measures import inventories, mark_outs, orders_by_type


def mark_out_section(f: Findings, page: Page) -> list[Cell]:
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
            "Side times (mid after the fill less price of the fill): as long as the mid stands, a maker has gained half the spread and "
            "a taker has paid it; a maker who is traded through has already lost. Plus is good. A horizon that the session's close cuts "
            "ends with the last mid before it."
        ),
        page.figure(figures.mark_outs(found)),
        table(("liquidity", "after", "fills", unit, "ticks per share", "cut by close"), rows),
    ]


def fills_section(f: Findings, _page: Page) -> list[Cell]:
    """How orders fared."""
    orders = [
        (
            o.type, number(o.sent), number(o.touched), percent(o.touched / o.sent), number(o.filled), percent(o.quantity_share),
            number(o.cancelled),
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
        share = percent(float(s["quantity"]) / float(volume) if volume else None, 4)
        shares.append((name, number(s["fills"]), number(s["maker_fills"]), quantity(s["quantity"]), quantity(volume), share))
    columns = (
        "type", "sent", "any fill", "fill rate", "filled whole", "mean share filled", "cancelled", "rejected, expired",
        "s to first fill, median", "90%",
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


def trades_section(f: Findings, _page: Page) -> list[Cell]:
    """Round trips, turnover, holding, inventory."""
    account = f.run["account"]
    capital = float(account["capital"])
    rows = [
        (
            x.symbol, number(x.trips), number(account["symbols"][x.symbol]["won"]), number(x.mean_s, 1), number(x.median_trip_s, 1),
            quantity(x.largest_quantity), number(x.largest, 2), percent(float(x.largest) / capital, 2), number(x.overnights),
            quantity(x.overnight_quantity),
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
