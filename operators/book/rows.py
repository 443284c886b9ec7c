"""Rows of an account's tables as they arise in a step, numbered without gaps per table."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.portfolio import INT64_MAX, Position, average_cost_e10, realised, row_money, unrealised2
from operators.risk import share_e8
from schemas.tables import TABLES, Rows

NUMBERED_HERE: Final = ("verdicts", "executions", "positions", "equity")
"""The ledger of orders numbers its own."""

_PAD2: Final = bytes(2)
_PAD4: Final = bytes(4)


def clipped(value: int) -> int:
    """A recorded number that may be without bound (a fraction of almost nothing), held within 64 bits."""
    return max(-INT64_MAX, min(INT64_MAX, value))


class RowBook:
    """The rows of one step of an account. `next_n` is part of the account's state: the next number of each table."""

    def __init__(self, key: str, next_n: dict[str, int]) -> None:
        self._key = key
        self._n = next_n
        self._made: dict[str, list[tuple[Any, ...]]] = {t: [] for t in NUMBERED_HERE}
        self._taken_over: list[Rows] = []

    def _add(self, table: str, *fields: Any) -> None:
        n = self._n[table]
        self._made[table].append((n, *fields))
        self._n[table] = n + 1

    def verdict(
        self,
        k: int,
        ts_ns: int,
        symbol: int,
        intent: int,
        approved: bool,
        rule: int,
        value_e8: int,
        limit_e8: int,
        quantity: int,
        largest: int,
    ) -> None:
        """An intent that was approved or refused, or a change of mode (no symbol)."""
        self._add("verdicts", k, ts_ns, clipped(value_e8), clipped(limit_e8), quantity, clipped(largest), symbol, intent, approved, rule)

    def take_over(self, rows: Rows) -> None:
        """Rows that were numbered elsewhere."""
        if rows.a.size:
            self._taken_over.append(rows)

    def execution(
        self,
        k: int,
        ts_ns: int,
        order_n: int,
        quantity: int,
        price: int,
        fee: int,
        queue_ahead: int,
        symbol: int,
        side: int,
        liquidity: int,
    ) -> None:
        """A fill, at the venue's time `ts_ns`, in the slice in which the book learnt of it."""
        self._add("executions", k, ts_ns, order_n, quantity, price, row_money(fee, "a fee"), queue_ahead, symbol, side, liquidity, _PAD2)

    def position(self, k: int, ts_ns: int, symbol: int, p: Position, mark2: int, scale: int, size_exponent: int) -> None:
        """A position after a change, its open profit at the mark of the slice's end (rounded down to 1e-10)."""
        self._add(
            "positions",
            k,
            ts_ns,
            p["quantity"],
            row_money(average_cost_e10(p, size_exponent), "an average cost"),
            row_money(realised(p), "realised profit"),
            row_money(unrealised2(p, mark2, scale) // 2, "unrealised profit"),
            symbol,
            _PAD4,
        )

    def equity(self, seconds: npt.NDArray[np.int64], slice_ns: int) -> None:
        """Seconds that the scan closed (scan_kernels.py, `seconds`): halves of 1e-10 are rounded down."""
        for k, equity2, base2, exposure2, fallen2, peak2 in seconds.tolist():
            drawdown = share_e8(fallen2, peak2) if fallen2 else 0
            self._add("equity", k, (k + 1) * slice_ns, equity2 // 2, base2 // 2, drawdown, exposure2 // 2)

    def take(self) -> tuple[Rows, ...]:
        """What was made, tables in their order; empty tables are left out."""
        made = [Rows(t, self._key, np.array(rows, TABLES[t])) for t, rows in self._made.items() if rows]
        return (*made, *self._taken_over)
