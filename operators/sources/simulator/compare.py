"""Stylised facts of a symbol's quotes and trades, so that simulated symbols can be laid beside recorded ones.

`python -m operators.sources.simulator.compare FOLDER` prints them for the simulation and for the LEAN equity ticks in FOLDER
(`<symbol>/<day>_quote.zip` and `_trade.zip`; format: LEAN's equity tick files, prices times 10,000, ms since midnight New York).
"""

from __future__ import annotations

import io
import sys
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.sources.simulator.generation import generate
from operators.sources.simulator.model import FIRST_OPEN_NS, OFF_EXCHANGE, SESSION_MS, parameters, symbol_names
from schemas.ticks import QUOTE, TRADE, Ints, Ticks

REGULAR_MS = (34_260_000, 57_540_000)
"""Regular hours less their first and last minute, ms since midnight New York."""


@dataclass(frozen=True, slots=True)
class StylisedFacts:
    """Facts of one symbol over a stretch of continuous trading; the mid is the one at the end of each millisecond.

    `updates_per_s`, `updates_per_change`: quote updates; `spread_1`, `locked`: share of updates at one tick and none;
    `mean_spread`: ticks; `reversals`: share of mid changes against the one before; `half_ticks`: share of mid changes by half a
    tick; `same_ms`: share of updates in the millisecond of the one before; `change_p50_s`, `change_p90_s`: quantiles of the time
    between mid changes; `trade_share`: trades among quotes and trades; `off_exchange`: share of trades; `reroutes`: share of updates
    that show another exchange; `imbalance_hits`: how often the sign of the queue imbalance is the sign of the next change, by update.
    """

    updates_per_s: float
    updates_per_change: float
    spread_1: float
    locked: float
    mean_spread: float
    reversals: float
    half_ticks: float
    same_ms: float
    change_p50_s: float
    change_p90_s: float
    trade_share: float
    off_exchange: float
    reroutes: float
    imbalance_hits: float


def stylised_facts(
    ms: Ints,
    bid: Ints,
    ask: Ints,
    bid_size: Ints,
    ask_size: Ints,
    venue: npt.NDArray[np.uint8],
    trade_venue: npt.NDArray[np.uint8],
    tick: int,
) -> StylisedFacts:
    """Facts from columns of quotes, shape (n,), times in ms never decreasing, and the venues of the trades, shape (m,)."""
    last = np.r_[np.diff(ms) > 0, True]
    mid2, at = (bid + ask)[last], ms[last]
    step = np.diff(mid2)
    change = np.flatnonzero(step) + 1
    sign = np.sign(step[change - 1])
    wait_s = np.diff(at[change]) / 1000.0
    spread = (ask - bid) // tick
    following = np.searchsorted(change, np.arange(len(mid2)), side="right")
    imbalance = np.sign((bid_size - ask_size)[last])
    fair = (following < len(change)) & (spread[last] > 0) & (imbalance != 0)
    return StylisedFacts(
        updates_per_s=len(ms) / ((ms[-1] - ms[0]) / 1000.0),
        updates_per_change=len(ms) / len(change),
        spread_1=float(np.mean(spread == 1)),
        locked=float(np.mean(spread == 0)),
        mean_spread=float(np.mean(spread)),
        reversals=float(np.mean(sign[1:] != sign[:-1])),
        half_ticks=float(np.mean(np.abs(step[change - 1]) == tick)),
        same_ms=float(np.mean(np.diff(ms) == 0)),
        change_p50_s=float(np.median(wait_s)),
        change_p90_s=float(np.quantile(wait_s, 0.9)),
        trade_share=len(trade_venue) / (len(trade_venue) + len(ms)),
        off_exchange=float(np.mean(trade_venue == OFF_EXCHANGE)),
        reroutes=float(np.mean(venue[1:] != venue[:-1])),
        imbalance_hits=float(np.mean(imbalance[fair] == sign[following[fair]])),
    )


def simulated_facts(ticks: Ticks, symbol: int) -> StylisedFacts:
    """Facts of one symbol in the first session of a simulation, less its first and last minute."""
    begin, end = FIRST_OPEN_NS + 60_000_000_000, FIRST_OPEN_NS + (SESSION_MS - 60_000) * 1_000_000
    own = ticks[(ticks["symbol"] == symbol) & (ticks["ts_ns"] >= begin) & (ticks["ts_ns"] < end)]
    q = own[own["kind"] == QUOTE]
    return stylised_facts(
        q["ts_ns"] // 1_000_000, q["price"], q["ask"], q["size"], q["ask_size"], q["venue"], own["venue"][own["kind"] == TRADE], 100
    )


def recorded_facts(folder: Path, day: str) -> StylisedFacts:
    """Facts of one LEAN equity symbol and day, regular hours."""
    quotes = _lean(folder / f"{day}_quote.zip", ("ms", "bid", "bid_size", "ask", "ask_size", "venue"))
    sides = quotes.with_columns(
        pl.when(pl.col(c).cast(pl.Int64) > 0).then(pl.col(c).cast(pl.Int64)).forward_fill().alias(c)
        for c in ("bid", "bid_size", "ask", "ask_size")
    ).with_columns(pl.col("ms").cast(pl.Int64), published=quotes["ask"].cast(pl.Int64) > 0)
    q = sides.filter(pl.col("published"), pl.col("bid").is_not_null(), pl.col("ms").is_between(*REGULAR_MS))
    trades = _lean(folder / f"{day}_trade.zip", ("ms", "price", "size", "venue")).filter(
        pl.col("ms").cast(pl.Int64).is_between(*REGULAR_MS)
    )
    ms, bid, ask, bid_size, ask_size = (q[c].to_numpy() for c in ("ms", "bid", "ask", "bid_size", "ask_size"))
    return stylised_facts(ms, bid, ask, bid_size, ask_size, _letters(q["venue"]), _letters(trades["venue"]), 100)


def _letters(venue: pl.Series) -> npt.NDArray[np.uint8]:
    return np.array([ord(v[0]) if v else 0 for v in venue.to_list()], np.uint8)


def _lean(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    with zipfile.ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0])
    frame = pl.read_csv(io.BytesIO(text), has_header=False, infer_schema_length=0, columns=list(range(len(columns))))
    return frame.rename(dict(zip(frame.columns, columns, strict=True))).with_columns(
        pl.col(c).replace("", None).fill_null("0") for c in columns
    )


def table(rows: dict[str, StylisedFacts]) -> str:
    """The facts as a table, one column a symbol."""
    lines = [f"{'':20}" + "".join(f"{name:>10}" for name in rows)]
    lines += [f"{f.name:20}" + "".join(f"{getattr(facts, f.name):10.3f}" for facts in rows.values()) for f in fields(StylisedFacts)]
    return "\n".join(lines)


def main(folder: Path | None, symbols: int = 6) -> str:
    """The comparison as text: `symbols` simulated symbols of one session, then every recorded symbol with quotes in `folder`."""
    ticks = np.concatenate([rows for rows, _ in generate(int(150_000 * symbols * 0.6), symbols=symbols)])
    rows = {name: simulated_facts(ticks, i) for i, name in enumerate(symbol_names(len(parameters(symbols))))}
    if folder is not None:
        for quotes in sorted(folder.glob("*/*_quote.zip")):
            day = quotes.name.split("_")[0]
            rows[f"{quotes.parent.name}-{day[-4:]}"] = recorded_facts(quotes.parent, day)
    return table(rows)


if __name__ == "__main__":
    print(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
