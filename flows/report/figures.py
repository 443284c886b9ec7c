"""The plots of the page, as plain Plotly figures (data and layout) that the page draws when they come into view."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flows.report.market import Path
from flows.report.measures import Bin, MarkOut, Split
from flows.report.raster import Raster
from schemas.instruments import Instrument
from schemas.tables import Liquidity
from schemas.ticks import Ints

Figure = dict[str, Any]
INK: Final = "#1c2733"
BLUE, ORANGE, GREEN, RED, GREY = "#1f6fb2", "#d9822b", "#1a8a4c", "#c23b3b", "#8a97a3"
POINTS: Final = 3000
"""A line is drawn with at most about this many points, each bucket's lowest and highest kept."""
MARKERS: Final = 4000


def moments(ts_ns: Ints) -> list[str]:
    """UTC times as Plotly reads them, to the millisecond."""
    return [str(t).replace("T", " ") for t in ts_ns.astype("datetime64[ns]").astype("datetime64[ms]").tolist()]


def moment(ts_ns: int) -> str:
    """One UTC time, to the second."""
    return datetime.fromtimestamp(ts_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def thinned(values: npt.NDArray[Any], points: int = POINTS) -> Ints:
    """Places that keep a line's shape: lowest and highest of each bucket, first and last."""
    n = values.size
    if n <= points:
        return np.arange(n)
    edges = np.linspace(0, n, points // 2 + 1).astype(int)
    kept = {0, n - 1}
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        kept |= {a + int(values[a:b].argmin()), a + int(values[a:b].argmax())}
    return np.array(sorted(kept))


def figure(data: list[Figure], title: str, height: int = 320, **layout: Any) -> Figure:
    """A figure with the page's look."""
    base: Figure = {
        "title": {"text": title, "font": {"size": 14}, "x": 0, "xref": "paper"},
        "height": height,
        "margin": {"l": 60, "r": 16, "t": 44, "b": 44},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "plot_bgcolor": "#fff",
        "paper_bgcolor": "#fff",
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        "hovermode": "closest",
    }
    for axis in ("xaxis", "yaxis", "yaxis2"):
        if axis in ("xaxis", "yaxis") or axis in layout:
            base[axis] = {"gridcolor": "#e6eaee", "zeroline": False, "automargin": True} | layout.pop(axis, {})
    return {"data": data, "layout": base | layout}


def line(name: str, x: list[Any], y: list[Any], colour: str) -> Figure:
    """A value that holds until it changes."""
    shape = {"color": colour, "shape": "hv", "width": 1.2}
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": shape}


def skill_by_share(cells: dict[str, dict[str, Any]], title: str) -> Figure:
    """Accuracy by share with intervals; `cells`: {predictor: {share: cell}}."""
    data = []
    for name, colour in (("network", BLUE), ("imbalance", ORANGE)):
        shown = [(s, c) for s, c in cells[name].items() if c["accuracy"] is not None]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [s for s, _ in shown],
                "y": [100 * c["accuracy"] for _, c in shown],
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * (c["high"] - c["accuracy"]) for _, c in shown],
                    "arrayminus": [100 * (c["accuracy"] - c["low"]) for _, c in shown],
                },
                "line": {"color": colour},
                "text": [f"n = {c['n']:,}" for _, c in shown],
                "hovertemplate": "%{y:.1f}% (%{text})<extra>" + name + "</extra>",
            }
        )
    return figure(
        data,
        title,
        xaxis={"type": "category", "title": {"text": "share of spells spoken on (threshold frozen in the model)"}},
        yaxis={"title": {"text": "right, %"}},
        shapes=[_chance()],
    )


def _chance() -> Figure:
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 50, "y1": 50, "line": {"color": GREY, "dash": "dot"}}


def calibration(bins: Sequence[Bin]) -> Figure:
    """Confidence against hit rate."""
    low = min([50.0, *(100 * b.low for b in bins)])
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": "signals",
        "x": [100 * b.confidence for b in bins],
        "y": [100 * b.hits for b in bins],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (b.high - b.hits) for b in bins],
            "arrayminus": [100 * (b.hits - b.low) for b in bins],
        },
        "marker": {"color": BLUE, "size": 9},
        "text": [f"n = {b.n:,}" for b in bins],
        "hovertemplate": "said %{x:.1f}%, right %{y:.1f}% (%{text})<extra></extra>",
    }
    honest = {"type": "scatter", "mode": "lines", "name": "as said", "x": [50, 100], "y": [50, 100], "line": {"color": GREY, "dash": "dot"}}
    return figure(
        [honest, points],
        "Confidence against hit rate, 150 ms (95% Wilson intervals)",
        xaxis={"title": {"text": "confidence said, %"}, "range": [50, 100]},
        yaxis={"title": {"text": "right, %"}, "range": [low - 2, 100]},
    )


def money_by_symbol(splits: Sequence[Split], currency: str) -> Figure:
    """Parts of profit by symbol, stacked."""
    names = [s.name for s in splits]
    parts: list[tuple[str, list[Decimal], str]] = [
        ("spread captured", [s.spread for s in splits], GREEN),
        ("adverse selection", [s.adverse for s in splits], ORANGE),
        ("rest of holding", [s.rest for s in splits], BLUE),
        ("fees", [-s.fees for s in splits], GREY),
    ]
    data: list[Figure] = [
        {"type": "bar", "name": n, "x": names, "y": [float(v) for v in values], "marker": {"color": c}} for n, values, c in parts
    ]
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "net",
            "x": names,
            "y": [float(s.net) for s in splits],
            "marker": {"color": INK, "symbol": "line-ew-open", "size": 18, "line": {"width": 3}},
        }
    )
    return figure(data, "Profit and loss by symbol and part", barmode="relative", yaxis={"title": {"text": currency}}, height=360)


def equity(rows: npt.NDArray[np.void], currency: str) -> Figure:
    """Equity and drawdown over event time."""
    value = rows["equity_e10"] / 1e10
    fallen = -rows["drawdown_e8"] / 1e6
    a, b = thinned(value), thinned(fallen)
    data = [
        line("equity", moments(rows["ts_ns"][a]), value[a].round(4).tolist(), BLUE),
        line("drawdown", moments(rows["ts_ns"][b]), fallen[b].round(6).tolist(), RED) | {"yaxis": "y2", "fill": "tozeroy"},
    ]
    return figure(
        data,
        "Equity and drawdown (event time, UTC)",
        height=380,
        yaxis={"title": {"text": f"equity, {currency}"}, "domain": [0.38, 1], "tickformat": ",.2f"},
        yaxis2={"title": {"text": "drawdown, %"}, "domain": [0, 0.3]},
        xaxis={"anchor": "y2"},
    )


def price(instrument: Instrument, path: Path, executions: npt.NDArray[np.void]) -> Figure:
    """The mid of a symbol with its fills, sessions side by side. Triangles point the way of the trade; hollow ones leave a position."""
    scale = 10.0**instrument.price_exponent
    xs: list[str | None] = []
    ys: list[float | None] = []
    numbers = np.unique(path.session)
    for k in numbers.tolist():
        mine = np.flatnonzero(path.session == k)
        at = mine[thinned(path.mid2[mine], POINTS // max(numbers.size, 1))]
        xs += [*moments(path.ts_ns[at]), None]
        ys += [*(path.mid2[at] / 2 / scale).tolist(), None]
    data: list[Figure] = [line("mid", xs, ys, GREY) | {"hoverinfo": "skip"}]
    held = np.cumsum(executions["side"].astype(np.int64) * executions["quantity"])
    before = held - executions["side"].astype(np.int64) * executions["quantity"]
    entering = before * executions["side"] >= 0
    shown = np.arange(executions.size)[:MARKERS]
    for side, name, colour, symbol in ((1, "buy", GREEN, "triangle-up"), (-1, "sell", RED, "triangle-down")):
        for enters, what in ((True, "enter"), (False, "leave")):
            rows = executions[shown][(executions["side"][shown] == side) & (entering[shown] == enters)]
            sizes = (rows["quantity"] / 10**instrument.size_exponent).tolist()
            kinds = ["maker" if kind == Liquidity.MAKER else "taker" for kind in rows["liquidity"].tolist()]
            if rows.size:
                data.append(
                    {
                        "type": "scatter",
                        "mode": "markers",
                        "name": f"{name} to {what}",
                        "x": moments(rows["ts_ns"]),
                        "y": (rows["price"] / scale).tolist(),
                        "text": [f"{size:g} as {kind}" for size, kind in zip(sizes, kinds, strict=True)],
                        "hovertemplate": "%{x}<br>%{y} x %{text}<extra>" + f"{name} to {what}" + "</extra>",
                        "marker": {"color": colour, "size": 8, "symbol": symbol + ("" if enters else "-open")},
                    }
                )
    pairs = zip(numbers[:-1].tolist(), numbers[1:].tolist(), strict=True)
    edges = [(int(path.sessions[a, 1]), int(path.sessions[b, 0])) for a, b in pairs]
    closed = [(moment(closes), moment(opens)) for closes, opens in edges if closes < opens]
    return figure(
        data,
        f"{instrument.symbol}: mid, entries and exits ({executions.size:,} "
        f"fills{'' if executions.size <= MARKERS else f', the first {MARKERS:,} shown'})",
        height=360,
        xaxis={"type": "date", "rangebreaks": [{"bounds": list(c)} for c in closed]},
        yaxis={"title": {"text": instrument.currency}},
    )


def mark_outs(found: dict[str, dict[str, MarkOut]]) -> Figure:
    """Mark-outs by horizon, maker and taker apart."""
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": list(by),
            "y": [m.ticks_per_share for m in by.values()],
            "line": {"color": colour},
        }
        for (name, by), colour in zip(found.items(), (BLUE, ORANGE), strict=True)
    ]
    return figure(
        data,
        "Mark-outs: what the mid did for a fill",
        yaxis={"title": {"text": "ticks per share"}, "rangemode": "tozero", "zeroline": True, "zerolinecolor": GREY},
        xaxis={"type": "category", "title": {"text": "after the fill"}},
    )


def raster(r: Raster) -> Figure:
    """Spikes, and the rates of areas below them."""
    seconds = (r.ts_ns - r.from_ns) / 1e9
    data: list[Figure] = []
    palette = (BLUE, ORANGE, GREEN, RED, "#7a52a8", "#3c9ea3", "#9c6b30", INK)
    bins = (np.arange(r.rates.shape[1]) + 0.5) * (r.to_ns - r.from_ns) / 1e9 / r.rates.shape[1]
    for i, (name, a, b) in enumerate(r.areas):
        mine = (r.neuron >= a) & (r.neuron < b)
        colour = palette[i % len(palette)]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "legendgroup": name,
                "x": seconds[mine].round(3).tolist(),
                "y": r.neuron[mine].tolist(),
                "marker": {"color": colour, "size": 2.5},
                "hoverinfo": "skip",
            }
        )
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "legendgroup": name,
                "showlegend": False,
                "x": bins.tolist(),
                "y": r.rates[i].round(3).tolist(),
                "yaxis": "y2",
                "line": {"color": colour, "width": 1.5},
            }
        )
    return figure(
        data,
        f"Spikes of {r.symbol} from {moment(r.from_ns)} UTC",
        height=520,
        yaxis={"title": {"text": "neuron"}, "domain": [0.36, 1], "range": [-2, 194]},
        yaxis2={"title": {"text": "spikes / neuron / s"}, "domain": [0, 0.28]},
        xaxis={"anchor": "y2", "title": {"text": "s"}},
        legend={"orientation": "h", "y": -0.16, "x": 0},
    )


def refusals(by_rule: dict[str, int]) -> Figure:
    """Refusals by rule."""
    names = sorted(by_rule, key=lambda r: by_rule[r])
    data = [{"type": "bar", "orientation": "h", "x": [by_rule[n] for n in names], "y": names, "marker": {"color": BLUE}}]
    return figure(data, "Refusals by rule", height=100 + 28 * len(names), xaxis={"title": {"text": "intents"}})
