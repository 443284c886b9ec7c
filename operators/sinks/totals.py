"""Totals of a run, gathered from its rows as they pass: what `run.json` counts, without reading the lake again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from operators.sinks.layout import NO_SYMBOL, OWN_CODES, Codebook
from schemas.tables import OrderState

Counts = dict[int, int]
_STATISTICS = ("ticks", "dead", "late", "input_spikes", "hidden_spikes")


@dataclass
class _Sums:
    """The counters themselves; plain Python numbers, so that nothing overflows."""

    rows: dict[str, int] = field(default_factory=dict)
    ticks: int = 0
    dead: int = 0
    late: int = 0
    input_spikes: int = 0
    hidden_spikes: int = 0
    max_late_ns: int = 0
    first_slice: int | None = None
    last_slice: int | None = None
    first_ts_ns: int | None = None
    last_ts_ns: int | None = None
    dead_letters: Counts = field(default_factory=dict)
    signals: Counts = field(default_factory=dict)
    intents: Counts = field(default_factory=dict)
    refusals: Counts = field(default_factory=dict)
    order_states: Counts = field(default_factory=dict)
    fills: int = 0
    volume_e10: int = 0
    fees_e10: int = 0
    max_drawdown_e8: int = 0
    positions: dict[tuple[str, int], tuple[int, int, int, int]] = field(default_factory=dict)
    equity: dict[str, tuple[int, int]] = field(default_factory=dict)
    quality: dict[str, tuple[int, ...]] = field(default_factory=dict)
    repeated: int = 0


class Totals:
    """Sums over all rows so far. `repeated`: rows that came a second time and were left out."""

    def __init__(self, notional_scale: Sequence[int]) -> None:
        self._scale = tuple(notional_scale)
        self._sums = _Sums()

    @property
    def repeated(self) -> int:
        return self._sums.repeated

    @repeated.setter
    def repeated(self, count: int) -> None:
        self._sums.repeated = count

    def add(self, table: str, key: str, a: Any) -> None:
        """Adds new rows of one table and key."""
        s = self._sums
        s.rows[table] = s.rows.get(table, 0) + a.size
        if table == "statistics":
            for name in _STATISTICS:
                setattr(s, name, getattr(s, name) + int(a[name].sum()))
            s.max_late_ns = max(s.max_late_ns, int(a["max_late_ns"].max()))
            self._span(a)
        elif table == "quality":
            s.quality[key] = _with_quality(s.quality.get(key), a)
        elif table == "dead_letters":
            _count(s.dead_letters, a["reason"])
            self._span(a)
        elif table == "signals":
            _count(s.signals, a["action"])
        elif table == "verdicts":
            _count(s.intents, a["intent"])
            _count(s.refusals, a["rule"][a["approved"] == 0])
        elif table == "orders":
            _count(s.order_states, a["state"])
        elif table == "executions":
            s.fills += a.size
            s.fees_e10 += int(a["fee_e10"].sum())
            for price, quantity, symbol in zip(a["price"].tolist(), a["quantity"].tolist(), a["symbol"].tolist(), strict=True):
                s.volume_e10 += price * abs(quantity) * self._scale[symbol]
        elif table == "positions":
            fields = ("symbol", "quantity", "average_cost_e10", "realised_e10", "unrealised_e10")
            for symbol, *numbers in zip(*(a[f].tolist() for f in fields), strict=True):
                quantity, cost, realised, unrealised = numbers
                s.positions[key, symbol] = (quantity, cost, realised, unrealised)
        elif table == "equity":
            s.equity[key] = (int(a["equity_e10"][-1]), int(a["cash_e10"][-1]))
            s.max_drawdown_e8 = max(s.max_drawdown_e8, int(a["drawdown_e8"].max()))

    def _span(self, a: Any) -> None:
        s = self._sums
        first, last = int(a["slice"][0]), int(a["slice"][-1])
        s.first_slice = first if s.first_slice is None else min(s.first_slice, first)
        s.last_slice = last if s.last_slice is None else max(s.last_slice, last)
        begin, end = int(a["ts_ns"].min()), int(a["ts_ns"].max())
        s.first_ts_ns = begin if s.first_ts_ns is None else min(s.first_ts_ns, begin)
        s.last_ts_ns = end if s.last_ts_ns is None else max(s.last_ts_ns, end)

    @property
    def sums(self) -> _Sums:
        """The counters, codes as numbers; `positions` and `equity` are the last row of each (account, symbol) and account."""
        return self._sums

    def named(self, symbols: Sequence[str], codebook: Codebook) -> dict[str, Any]:
        """The counters as plain JSON values with names for codes, in the words of `run.json`.

        `ticks` is what passed the gate, `rows_read` that and the dead letters; `slices` the number from the first to the last;
        first and last time are slice ends of `statistics` and times of dead letters; money stays in units of 1e-10. `quality` by symbol:
        ticks read, dead, late and missing, the means and the score at the end, the lowest score and the end of its ten seconds.
        """
        s = self._sums
        names = {**codebook, **OWN_CODES}
        positions = {
            f"{account}/{'' if symbol == NO_SYMBOL else symbols[symbol]}": dict(
                zip(("quantity", "average_cost_e10", "realised_e10", "unrealised_e10"), row, strict=True)
            )
            for (account, symbol), row in sorted(s.positions.items())
        }
        return {
            "rows": dict(sorted(s.rows.items())),
            "rows_read": s.ticks + s.dead,
            "ticks": s.ticks,
            "dead_letters": _named(s.dead_letters, names["dead_letter"]),
            "quality": {key: _named_quality(told) for key, told in sorted(s.quality.items())},
            "late_ticks": s.late,
            "max_late_ns": s.max_late_ns,
            "input_spikes": s.input_spikes,
            "hidden_spikes": s.hidden_spikes,
            "slices": 0 if s.first_slice is None or s.last_slice is None else s.last_slice - s.first_slice + 1,
            "first_ts_ns": s.first_ts_ns,
            "last_ts_ns": s.last_ts_ns,
            "signals": sum(s.signals.values()),
            "signals_by_action": _named(s.signals, names["action"]),
            "intents": sum(s.intents.values()),
            "intents_by_kind": _named(s.intents, names["intent"]),
            "refusals": _named(s.refusals, names.get("rule", {})),
            "orders": s.order_states.get(int(OrderState.NEW), 0),
            "order_transitions": _named(s.order_states, names["state"]),
            "fills": s.fills,
            "volume_e10": s.volume_e10,
            "fees_e10": s.fees_e10,
            "realised_e10": sum(row[2] for row in s.positions.values()),
            "unrealised_e10": sum(row[3] for row in s.positions.values()),
            "max_drawdown_e8": s.max_drawdown_e8,
            "positions": positions,
            "equity_e10": {account: row[0] for account, row in sorted(s.equity.items())},
            "repeated_rows": s.repeated,
        }

    def snapshot(self) -> dict[str, Any]:
        """The counters as a plain value."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self._sums).items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Puts a snapshot back."""
        self._sums = _Sums()
        for name, value in state.items():
            setattr(self._sums, name, dict(value) if isinstance(value, dict) else value)


_SUMMED = ("read", "dead", "late", "missing")
_MEANS = ("completeness", "timeliness", "validity", "score")


def _with_quality(told: tuple[int, ...] | None, a: Any) -> tuple[int, ...]:
    """What is kept of a symbol's quality - sums, last means in 1e-6, lowest score and its time - with further rows."""
    sums = [int(a[name].sum()) + (told[i] if told else 0) for i, name in enumerate(_SUMMED)]
    at = int(a["score_e6"].argmin())
    lowest = (int(a["score_e6"][at]), int(a["ts_ns"][at]))
    if told and told[-2] <= lowest[0]:
        lowest = told[-2], told[-1]
    return (*sums, *(int(a[f"{name}_e6"][-1]) for name in _MEANS), *lowest)


def _named_quality(told: tuple[int, ...]) -> dict[str, int | float]:
    *counts, lowest, lowest_ts_ns = told
    means = {name: e6 / 1e6 for name, e6 in zip(_MEANS, counts[len(_SUMMED) :], strict=True)}
    sums = dict(zip(_SUMMED, counts[: len(_SUMMED)], strict=True))
    return {**sums, **means, "lowest": lowest / 1e6, "lowest_ts_ns": lowest_ts_ns}


def _count(counts: Counts, codes: Any) -> None:
    for code, n in zip(*(x.tolist() for x in np.unique(codes, return_counts=True)), strict=True):
        counts[code] = counts.get(code, 0) + n


def _named(counts: Mapping[int, int], names: Mapping[int, str]) -> dict[str, int]:
    return {names.get(code, str(code)): n for code, n in sorted(counts.items())}
