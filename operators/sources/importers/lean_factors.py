"""Corporate actions out of LEAN's factor files of US equities, such as `factor_files/aapl.csv`.

A line is: date, price factor, split factor[, reference price]. A row's factors hold up to its date, the last trading day before an action
takes effect; the next row's hold after it. So where the split factors of two rows that follow one another differ, there was a split at
the next session's start, and where the price factors differ, a distribution of `reference price * (1 - ratio of the factors)`, which LEAN
itself rounds to cents (QuantConnect/Lean, Common/Data/Auxiliary/CorporateFactorRow.cs).

The file holds rounded factors, not the terms. A split's ratio is taken where whole numbers up to 100 give it within that rounding, an
amount where the reference price is there; otherwise the action is of kind `other`, with the factors in its note.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from schemas.actions import CorporateAction
from schemas.calendars import session_start
from schemas.errors import UsageError

_FIRST_LINE: Final = re.compile(r"\d{8},[0-9.eE+-]+,[0-9.eE+-]+(,[^,]*){0,2}\s*$")
_DAY: Final = timedelta(days=1)
_LARGEST_PART: Final = 100
_MS: Final = 1_000_000
_CENT: Final = Decimal("0.01")
_FIELDS: Final = (3, 4, 5)


class _Row(NamedTuple):
    line: int
    day: date
    price_factor: Decimal
    split_factor: Decimal
    reference: Decimal


def is_factor_file(text: str) -> bool:
    """Whether a file's text begins as a factor file's does: eight digits of a date, two factors."""
    return _FIRST_LINE.match(text.partition("\n")[0]) is not None


def actions_of(text: str, symbol: str, path: Path) -> list[tuple[int, CorporateAction]]:
    """The actions of a factor file, each with the line after which it comes. UsageError names a line that cannot be read.

    A dividend and a split of one day stand 1 ms apart: the dividend is per share before the split.
    """
    rows = sorted((r for r in (_row(n, line, path) for n, line in enumerate(text.splitlines(), 1)) if r is not None), key=lambda r: r.day)
    found: list[tuple[int, CorporateAction]] = []
    for row, following in pairwise(rows):
        if row.day == following.day:
            msg = f"{path}, line {following.line}: a second row of {following.day}; nothing was imported"
            raise UsageError(msg)
        opens = _next_session(row.day)
        pays, splits = row.price_factor != following.price_factor, row.split_factor != following.split_factor
        if pays:
            found.append((row.line, _distribution(symbol, opens - (_MS if splits else 0), row, following)))
        if splits:
            found.append((row.line, _split(symbol, opens, row, following)))
    return found


def _row(n: int, line: str, path: Path) -> _Row | None:
    """A line; None for an empty one and one whose factor is infinite or without its last digits, which LEAN skips too."""
    fields = line.strip().split(",")
    if fields == [""] or "inf" in line.lower() or "e+" in line.lower():
        return None
    try:
        if len(fields) not in _FIELDS:
            raise ValueError
        day = date(int(fields[0][:4]), int(fields[0][4:6]), int(fields[0][6:]))
        numbers = [Decimal(f) for f in (*fields[1:3], fields[3] if len(fields) > 3 else "0")]
        if not all(x.is_finite() for x in numbers) or min(numbers) < 0 or 0 in numbers[:2]:
            raise ValueError
    except (ValueError, InvalidOperation) as e:
        msg = f"{path}, line {n} {line[:80]!r}: expected yyyymmdd, price factor, split factor[, reference price]; nothing was imported"
        raise UsageError(msg) from e
    return _Row(n, day, *numbers)


def _next_session(day: date) -> int:
    """The start of the first session after a day."""
    while True:
        day += _DAY
        opens = session_start("us_equity", day)
        if opens is not None:
            return opens


def _split(symbol: str, ts_ns: int, row: _Row, following: _Row) -> CorporateAction:
    """Units grow as the factor of older prices falls short of the next one."""
    shrinks = Fraction(row.split_factor) / Fraction(following.split_factor)
    slack = _rounding(row.split_factor) / Fraction(row.split_factor) + _rounding(following.split_factor) / Fraction(following.split_factor)
    best = min(
        (Fraction(before, after) for after in range(1, _LARGEST_PART + 1) for before in _near(shrinks * after)),
        key=lambda f: (abs(f - shrinks) > slack * shrinks, f.numerator + f.denominator),
    )
    if best == 1 or abs(best - shrinks) > slack * shrinks:
        note = f"LEAN split factor {row.split_factor} to {following.split_factor}"
        return CorporateAction(symbol=symbol, ts_ns=ts_ns, kind="other", note=note)
    return CorporateAction(symbol=symbol, ts_ns=ts_ns, kind="split", numerator=best.denominator, denominator=best.numerator)


def _near(x: Fraction) -> tuple[int, ...]:
    """The whole numbers up to 100 next to x."""
    return tuple(n for n in (int(x), int(x) + 1) if 1 <= n <= _LARGEST_PART)


def _rounding(factor: Decimal) -> Fraction:
    """Half a unit of the last of six digits that count, or of the last one written where that is coarser."""
    exponent = int(factor.as_tuple().exponent)
    return Fraction(Decimal(1).scaleb(max(factor.adjusted() - 5, exponent if exponent < 0 else -99))) / 2


def _distribution(symbol: str, ts_ns: int, row: _Row, following: _Row) -> CorporateAction:
    amount = (row.reference * (1 - row.price_factor / following.price_factor)).quantize(_CENT, ROUND_HALF_EVEN)
    if amount <= 0:
        note = f"LEAN price factor {row.price_factor} to {following.price_factor}"
        return CorporateAction(symbol=symbol, ts_ns=ts_ns, kind="other", note=note)
    return CorporateAction(symbol=symbol, ts_ns=ts_ns, kind="dividend", amount=int(amount.scaleb(2)), amount_exponent=2)
