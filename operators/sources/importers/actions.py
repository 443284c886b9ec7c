"""Corporate actions from files, for `import --actions`: CSV or JSON with stated columns, and LEAN's factor files (lean_factors.py).

| column | meaning |
| --- | --- |
| symbol | as on the tape |
| effective | ISO time (UTC without an offset), ns since 1970, or a bare date: that day's session start by the instrument's calendar |
| kind | split, dividend, other |
| ratio | of a split: units after to units before, `4:1`; empty otherwise |
| amount | of a dividend: money per whole unit in the instrument's currency, `0.47`; empty otherwise |
| note | may be left out |

Times are whole milliseconds. A file is taken whole or not at all: the first field that cannot be used is named with file, line and what
was expected.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final, NoReturn

from pydantic import ValidationError

from operators.sources.importers import lean_factors
from schemas.actions import CorporateAction
from schemas.calendars import session_start
from schemas.errors import UsageError
from schemas.instruments import InstrumentList

COLUMNS: Final = ("symbol", "effective", "kind", "ratio", "amount", "note")
NEEDED: Final = ("symbol", "effective", "kind")
KINDS: Final = ("split", "dividend", "other")
_TERMS: Final = {"split": "ratio", "dividend": "amount"}
_BYTES_MAX: Final = 64 * 1024 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Stated:
    """A row of a file: where it stands, and its fields as text."""

    file: Path
    line: int
    fields: Mapping[str, str]

    def refuse(self, field: str, expected: str) -> NoReturn:
        """UsageError with the place, what was found and what was expected."""
        msg = f"{self.file}, line {self.line}, {field} {self.fields.get(field, '')!r}: expected {expected}; nothing was imported"
        raise UsageError(msg)


def with_actions(listed: InstrumentList, paths: Sequence[Path]) -> InstrumentList:
    """The instruments with the corporate actions of files; of a folder the LEAN factor files of symbols that are listed.

    Raises UsageError for a file that is not there or cannot be used, a symbol that is not listed, and two actions of one symbol at one
    time, whose order would not be known.
    """
    found: list[tuple[CorporateAction, str]] = []
    for path in paths:
        if path.is_dir():
            for symbol in listed.symbols:
                factors = path / f"{symbol.lower()}.csv"
                if factors.is_file():
                    found += _of_factors(factors, _text_of(factors), listed)
        else:
            found += _of_file(path, listed)
    found.sort(key=lambda x: (x[0].symbol, x[0].ts_ns))
    for (a, at), (b, again) in pairwise(found):
        if (a.symbol, a.ts_ns) == (b.symbol, b.ts_ns):
            msg = (
                f"{b.symbol} has two corporate actions at {b.ts_ns} ns: {a.kind} ({at}) and {b.kind} ({again}); state which comes first "
                "by a time 1 ms apart, or leave one out"
            )
            raise UsageError(msg)
    return listed.with_actions(a for a, _ in found)


def _of_file(path: Path, listed: InstrumentList) -> list[tuple[CorporateAction, str]]:
    text = _text_of(path)
    if lean_factors.is_factor_file(text):
        return _of_factors(path, text, listed)
    rows = _json_rows(path, text) if text.lstrip()[:1] in ("[", "{") else _csv_rows(path, text)
    return [(_action(row, listed), f"{path}, line {row.line}") for row in rows]


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _BYTES_MAX:
            msg = f"{path} has more than {_BYTES_MAX} bytes and is no list of corporate actions"
            raise UsageError(msg)
        return path.read_text("utf-8-sig")
    except OSError as e:
        msg = f"the corporate actions {path} cannot be read: {e.strerror}"
        raise UsageError(msg) from e
    except UnicodeDecodeError as e:
        msg = f"{path} is not UTF-8 text; save the corporate actions as CSV or JSON in UTF-8"
        raise UsageError(msg) from e


def _of_factors(path: Path, text: str, listed: InstrumentList) -> list[tuple[CorporateAction, str]]:
    symbol = path.stem.upper()
    if symbol not in listed.symbols:
        msg = f"{path}: its name says symbol {symbol}, which is not imported; there are {', '.join(listed.symbols)}"
        raise UsageError(msg)
    return [(action, f"{path}, line {line}") for line, action in lean_factors.actions_of(text, symbol, path)]


def _csv_rows(path: Path, text: str) -> Iterator[_Stated]:
    lines = text.splitlines()
    header = [name.strip().lower() for name in next(csv.reader(lines[:1]), [])]
    _check_columns(path, header)
    reader = csv.reader(lines[1:], strict=True)
    try:
        for values in reader:
            if not any(v.strip() for v in values):
                continue
            if len(values) != len(header):
                msg = f"{path}, line {reader.line_num + 1}: {len(values)} fields, the header has {len(header)}; nothing was imported"
                raise UsageError(msg)
            yield _Stated(path, reader.line_num + 1, {k: v.strip() for k, v in zip(header, values, strict=True)})
    except csv.Error as e:
        msg = f"{path}, line {reader.line_num + 1}: not readable as CSV ({e}); nothing was imported"
        raise UsageError(msg) from e


def _json_rows(path: Path, text: str) -> Iterator[_Stated]:
    """Of a JSON file the line of a row is its place in the list, from 1."""
    try:
        tree = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as e:
        msg = f"{path} is not valid JSON: {e}; nothing was imported"
        raise UsageError(msg) from e
    if not isinstance(tree, list) or not all(isinstance(row, dict) for row in tree):
        msg = f"{path}: expected a list of objects with {', '.join(NEEDED)} and ratio or amount; nothing was imported"
        raise UsageError(msg)
    for n, row in enumerate(tree, 1):
        _check_columns(path, row)
        stated = _Stated(path, n, {k: "" if v is None else str(v).strip() for k, v in row.items()})
        for k, v in row.items():
            if v is not None and not isinstance(v, str):
                stated.refuse(k, "text or a number")
        yield stated


def _check_columns(path: Path, names: Iterable[str]) -> None:
    given = list(names)
    missing = [n for n in NEEDED if n not in given]
    wrong = [n for n in given if n not in COLUMNS or given.count(n) > 1]
    if missing or wrong:
        what = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(repr(n) for n in wrong)} unknown or twice"
        msg = f"{path} {what}: its columns must be {', '.join(COLUMNS)} (the last three where needed); nothing was imported"
        raise UsageError(msg)


def _action(row: _Stated, listed: InstrumentList) -> CorporateAction:
    symbol, kind = row.fields["symbol"], row.fields["kind"].lower()
    if symbol not in listed.symbols:
        row.refuse("symbol", f"one that is imported: {', '.join(listed.symbols)}")
    if kind not in KINDS:
        row.refuse("kind", f"one of {', '.join(KINDS)}")
    terms: dict[str, int] = {}
    if kind == "split":
        terms = _ratio(row)
    elif row.fields.get("ratio"):
        row.refuse("ratio", f"nothing: a {kind} has none")
    if kind == "dividend":
        terms = _amount(row)
    elif row.fields.get("amount"):
        row.refuse("amount", f"nothing: a {kind} has none")
    ts_ns = _effective(row, listed.instruments[listed.id_of(symbol)].calendar)
    try:
        return CorporateAction.model_validate({"symbol": symbol, "ts_ns": ts_ns, "kind": kind, "note": row.fields.get("note", ""), **terms})
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        field = {"ts_ns": "effective", "note": "note"}.get(str((*first["loc"], "")[0]), _TERMS.get(kind, "kind"))
        row.refuse(field, first["msg"].removeprefix("Input should be "))


def _effective(row: _Stated, calendar: str) -> int:
    text = row.fields["effective"]
    try:
        if text.removeprefix("-").isdecimal():
            return int(text)
        if len(text) == len("2014-06-09"):
            start = session_start(calendar, date.fromisoformat(text))
            if start is None:
                row.refuse("effective", f"a date on which a session of calendar {calendar} begins; on this one none does, give a time")
            return start
        moment = datetime.fromisoformat(text)
    except ValueError:
        row.refuse("effective", "a date such as 2014-06-09, an ISO time such as 2014-06-09T09:30:00-04:00, or ns since 1970")
    since = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def _ratio(row: _Stated) -> dict[str, int]:
    after, colon, before = row.fields.get("ratio", "").partition(":")
    if not colon or not after.strip().isdecimal() or not before.strip().isdecimal() or not int(after) or not int(before):
        row.refuse("ratio", "units after to units before in whole numbers above 0, such as 4:1, or 1:10 for a reverse split")
    ratio = Fraction(int(after), int(before))
    if ratio == 1:
        row.refuse("ratio", "one that changes something, not 1:1")
    return {"numerator": ratio.numerator, "denominator": ratio.denominator}


def _amount(row: _Stated) -> dict[str, int]:
    try:
        amount = Decimal(row.fields.get("amount", ""))
    except InvalidOperation:
        row.refuse("amount", "money per unit as a decimal above 0, such as 0.47")
    if not amount.is_finite() or amount <= 0:
        row.refuse("amount", "money per unit as a decimal above 0, such as 0.47")
    exponent = max(0, -int(amount.as_tuple().exponent))
    return {"amount": int(amount.scaleb(exponent)), "amount_exponent": exponent}
