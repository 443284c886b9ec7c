"""What shards say, summed up by second of event time: quotes, spikes and the pipeline's own points.

| measurement | tags | fields (integers marked i) |
| --- | --- | --- |
| quote | symbol | bid, ask, mid, spread, imbalance (-1 to 1, rounded to 1e-9): the last quote of the second |
| spikes | symbol, area (input, hidden) | count i: spikes in the second; rate: spikes a second and neuron, rounded to 1e-6 |
| pipeline | flow, shard | ticks i, dead i, late i; lateness: the largest, s; lag: see below, s |

`lag` is event time, from the end of the shard's last slice that had a tick to the end of the second: how long it was silent. The second
of a slice is the one in which it begins. A point stands at the last nanosecond of its second: not before all of it was known, and still
inside the window that it belongs to. A second has a point of a symbol or shard only if something was there, and it is written when the
shard's range has passed it, so nothing depends on how ranges are cut. Spikes are counted by shard, so a shard of several symbols names
them all in the tag, joined by `+`. `flow` is the deployment, so that one process and many write the same points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.sinks.influx.kernels import NONE, SECOND_NS, close_quotes, sample_quotes, sum_statistics
from operators.sinks.influx.lines import INTEGER, Lines, SeriesBook, series_prefix
from schemas.instruments import InstrumentList
from schemas.ranges import SliceOut
from schemas.settings import Settings
from schemas.ticks import shard_key, shard_of

QUOTE_FIELDS: Final = ("bid", "ask", "mid", "spread", "imbalance")
SPIKE_FIELDS: Final = ("rate", "count")
PIPELINE_FIELDS: Final = ("ticks", "lateness", "lag", "late", "dead")
AREAS: Final = ("input", "hidden")
_COUNTS: Final = ("ticks", "dead", "late", "max_late_ns", "input_spikes", "hidden_spikes")
_NS_PLACES: Final = 9
_RATE_PLACES: Final = 6
_KEPT: Final = len(_COUNTS) + 1
_NOTHING_SENT: Final = -(2**62)

Ints = npt.NDArray[np.int64]


class SecondPoints:
    """The lines of seconds. Takes the ranges of each shard in their order; what it had before is left out.

    `neurons`: how many each area has for one symbol.
    """

    def __init__(self, instruments: InstrumentList, settings: Settings, neurons: Mapping[str, int]) -> None:
        symbols = instruments.symbols
        owner = np.array([shard_of(s, settings.shards) for s in symbols], np.int64)
        self._owned: dict[int, Ints] = {int(s): np.flatnonzero(owner == s) for s in np.unique(owner)}
        self._slice_ns = settings.slice_ns
        self._price = np.array([i.price_exponent for i in instruments.instruments], np.int64)
        self._series = SeriesBook()
        self._quote = np.array([self._series.number(series_prefix("quote", [("symbol", s)])) for s in symbols], np.int64)
        self._spikes = {s: self._spike_series([symbols[i] for i in owned]) for s, owned in self._owned.items()}
        self._pipeline = {
            s: self._series.number(series_prefix("pipeline", [("flow", settings.deployment), ("shard", shard_key(s))])) for s in self._owned
        }
        self._neurons = {s: [neurons[a] * owned.size for a in AREAS] for s, owned in self._owned.items()}
        self._at: dict[int, int] = {}
        self._quote_second = np.full(len(symbols), NONE, np.int64)
        self._quotes = np.zeros((len(symbols), 4), np.int64)
        self._second = {s: np.full(1, NONE, np.int64) for s in self._owned}
        self._sums = {s: np.zeros(_KEPT, np.int64) for s in self._owned}

    def _spike_series(self, symbols: list[str]) -> list[int]:
        named = "+".join(symbols)
        return [self._series.number(series_prefix("spikes", [("symbol", named), ("area", a)])) for a in AREAS]

    def take(self, out: SliceOut) -> list[Lines]:
        """The lines of the seconds that this range completes."""
        at = self._at.get(out.shard, _NOTHING_SENT)
        if out.lo < at:
            rest = out.cut(at)[1]
            if rest is None:
                return []
            out = rest
        self._at[out.shard] = out.hi
        before = min(out.hi * self._slice_ns // SECOND_NS, 2**62)
        return [*self._sampled(out, before), *self._summed(out, before)]

    def _sampled(self, out: SliceOut, before: int) -> list[Lines]:
        quotes, owned = out.quotes, self._owned[out.shard]
        if quotes.size == 0 and not (self._quote_second[owned] != NONE).any():
            return []
        room = quotes.size + owned.size
        symbol, second, values = np.empty(room, np.int64), np.empty(room, np.int64), np.empty((room, 4), np.int64)
        made = 0
        if quotes.size:
            given = np.stack([quotes[name] for name in ("bid", "ask", "bid_size", "ask_size")], axis=1)
            slices, symbols = np.ascontiguousarray(quotes["slice"]), quotes["symbol"].astype(np.int64)
            kept = self._quote_second, self._quotes
            made = sample_quotes(slices, symbols, given, self._slice_ns, *kept, symbol, second, values)
        made += close_quotes(owned, before, self._quote_second, self._quotes, symbol[made:], second[made:], values[made:])
        if made == 0:
            return []
        symbol, (bid, ask, bid_size, ask_size) = symbol[:made], values[:made].T
        both = bid_size + ask_size
        share = (bid_size - ask_size) / np.where(both > 0, both, 1)
        imbalance = np.rint(np.where(both > 0, share, 0.0) * 1e9).astype(np.int64)
        fields = np.stack([bid, ask, 5 * (bid + ask), ask - bid, imbalance], axis=1)
        p = self._price[symbol]
        places = np.stack([p, p, p + 1, p, np.full(made, _NS_PLACES)], axis=1)
        return [self._series.lines(self._quote[symbol], QUOTE_FIELDS, fields, places, (second[:made] + 1) * SECOND_NS - 1)]

    def _summed(self, out: SliceOut, before: int) -> list[Lines]:
        second, sums = self._second[out.shard], self._sums[out.shard]
        pieces = [r.a for r in out.rows if r.table == "statistics" and r.a.size]
        if not pieces and (second[0] == NONE or second[0] >= before):
            return []
        a = pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else None
        room = 1 + (0 if a is None else a.size)
        seconds, values = np.empty(room, np.int64), np.empty((room, _KEPT), np.int64)
        made = 0
        if a is not None:
            counts = np.stack([a[name] for name in _COUNTS], axis=1)
            made = sum_statistics(np.ascontiguousarray(a["slice"]), counts, self._slice_ns, second, sums, seconds, values)
        if second[0] != NONE and second[0] < before:
            seconds[made], values[made] = second[0], sums
            second[0] = NONE
            made += 1
        return self._written(out.shard, (seconds[:made] + 1) * SECOND_NS, values[:made]) if made else []

    def _written(self, shard: int, ends: Ints, values: Ints) -> list[Lines]:
        times = ends - 1
        ticks, dead, late, lateness, *spikes, last = values.T
        lines = []
        for series, neurons, count in zip(self._spikes[shard], self._neurons[shard], spikes, strict=True):
            rate = (2 * count * 10**_RATE_PLACES + neurons) // (2 * neurons)
            lines.append(self._points(series, SPIKE_FIELDS, (rate, count), (_RATE_PLACES, INTEGER), times))
        lag = np.maximum(ends - (last + 1) * self._slice_ns, 0)
        fields = (ticks, lateness, lag, late, dead)
        places = (INTEGER, _NS_PLACES, _NS_PLACES, INTEGER, INTEGER)
        lines.append(self._points(self._pipeline[shard], PIPELINE_FIELDS, fields, places, times))
        return lines

    def _points(self, series: int, names: tuple[str, ...], fields: tuple[Ints, ...], places: tuple[int, ...], times: Ints) -> Lines:
        numbers = np.full(times.size, series, np.int64)
        return self._series.lines(numbers, names, np.stack(fields, axis=1), np.tile(np.array(places, np.int64), (times.size, 1)), times)

    def snapshot(self) -> dict[str, Any]:
        """The seconds under way, as plain values."""
        return {
            "at": dict(self._at),
            "quote_second": self._quote_second.copy(),
            "quotes": self._quotes.copy(),
            "second": {s: int(v[0]) for s, v in self._second.items()},
            "sums": {s: v.copy() for s, v in self._sums.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Puts a snapshot back."""
        self._at = dict(state["at"])
        self._quote_second = state["quote_second"].copy()
        self._quotes = state["quotes"].copy()
        self._second = {s: np.full(1, v, np.int64) for s, v in state["second"].items()}
        self._sums = {s: v.copy() for s, v in state["sums"].items()}
