"""What a trader sees first: what was run, a row of numbers, and what must be known before they are believed."""

from __future__ import annotations

from decimal import Decimal

from flows.report.figures import moment
from flows.report.findings import Findings
from flows.report.html import NOTHING, Cell, number, signed, tile, warning
from flows.report.measures import days_of, splits
from flows.report.skill import FEW_BLOCKS, HEADLINE_MS

SHARPE_DAYS = 60


def subtitle(f: Findings) -> str:
    """What was run, in a line."""
    run = f.run
    span = f"{moment(run['first_ts_ns'])} to {moment(run['last_ts_ns'])} UTC" if run["first_ts_ns"] is not None else "no ticks"
    return (
        f"{run['ticks']:,} ticks of {len(run['symbols'])} symbols, {span} · slices of {run['slice_ms']} ms · profile {f.settings.profile}"
    )


def glance(f: Findings) -> list[Cell]:
    """The numbers, then the warnings."""
    whole = splits(f.run["account"], f.tape.instruments)[0]
    currency = f.settings.account.currency
    per_share = NOTHING if whole.net_ticks is None else signed(whole.net_ticks)
    tiles = [
        tile("net profit", signed(whole.net), f"{currency}, after {whole.fees:,.2f} of fees"),
        tile("gross profit", signed(whole.gross), f"{currency}, before fees"),
        tile("net per share traded", per_share, "ticks"),
        _skill_tile(f),
        tile("fills", number(f.run["fills"]), f"{whole.maker_fills:,} as maker, of {f.run['orders']:,} orders"),
        tile("largest drawdown", f"{100 * Decimal(f.run['max_drawdown']):.3f}%", "of peak equity"),
    ]
    return [Cell(f'<div class="tiles">{"".join(tiles)}</div>'), *(warning(w) for w in warnings(f))]


def _skill_tile(f: Findings) -> Cell:
    cell = f.skill["network"].get(HEADLINE_MS, {}).get("1.0")
    if cell is None or cell["accuracy"] is None:
        return tile(f"skill, {HEADLINE_MS} ms", NOTHING, "no predictions")
    other = f.skill["imbalance"][HEADLINE_MS]["1.0"]["accuracy"]
    beside = NOTHING if other is None else f"{100 * other:.1f}%"
    under = f"[{100 * cell['low']:.1f}, {100 * cell['high']:.1f}], imbalance rule {beside}, all spells"
    return tile(f"skill, {HEADLINE_MS} ms", f"{100 * cell['accuracy']:.1f}%", under)


def warnings(f: Findings) -> list[str]:
    """What must be known before the numbers are believed."""
    found = []
    if f.model is not None:
        if f.model.manifest.get("tape_hash") == f.tape.manifest.tape_hash:
            found.append("The model was trained on this very tape: its skill here is not skill on unseen data.")
        elif set(f.model.symbols) & set(f.run["symbols"]) and _overlaps(f):
            found.append(
                "The model was trained on a tape with these symbols and times (of another content). If both come from one recording, "
                "its skill here is not skill on unseen data."
            )
    if f.skill["blocks"] < FEW_BLOCKS:
        found.append(f"Only {f.skill['blocks']} blocks of five minutes: the intervals of skill are too narrow to be trusted.")
    days = days_of(f.market)
    if days < SHARPE_DAYS:
        counted = f"{days} day{'s' if days != 1 else ''} of market"
        found.append(f"{counted}: no Sharpe ratio is given below {SHARPE_DAYS} days, and a profit or loss over so few says little.")
    suspended = f.run["account"].get("suspended", [])
    if suspended:
        found.append(
            f"Held over a corporate action, because it could not be left before: {', '.join(suspended)}. It is valued at the last quote "
            "before the action and no longer traded."
        )
    if f.variants is not None and not f.variants["whole"]:
        found.append(f"Variants and controls (sections 3 and 5) cover the first {f.variants['ticks']:,} ticks of the tape, not all of it.")
    if f.without is not None:
        found.append(f"Left out of this page: variants, controls or spikes, because {f.without}.")
    return found


def _overlaps(f: Findings) -> bool:
    split = f.model.manifest.get("split", {}) if f.model is not None else {}
    first, last = f.run["first_ts_ns"], f.run["last_ts_ns"]
    if first is None or "first_ns" not in split or "last_ns" not in split:
        return False
    return bool(split["first_ns"] <= last and first <= split["last_ns"])
