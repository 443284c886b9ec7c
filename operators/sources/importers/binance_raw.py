"""Binance raw WebSocket captures: a line is the receive time in ns, a blank and the JSON message as it came (hftbacktest's recorder).

| message | rows | ticks | event time |
| --- | --- | --- | --- |
| trade | 1 | trade; `m` true (the buyer was the maker): aggressor sells | T |
| bookTicker | 1 | quote | futures T; spot has none: the last event time before it in the file |
| depthUpdate | 1 for each level | depth level, size 0 removes it | T, on spot E |
| depth snapshot (REST reply among the messages) | 1 for each level | depth level with FLAG_SNAPSHOT | T; on spot the last event time |

The receive time is never used. A depth message without levels is one row, merged. A quote or snapshot on spot before the first event
time is refused, as is everything that is not one of these.

The market is told by the message: spot trades have `M`, spot depth updates and book tickers no `T`; COIN-M names a pair (`ps`, or
an underscore after USD). Symbols are BTCUSDT.SPOT, BTCUSDT.UM, BTCUSD_PERP.CM, so that files of several markets never collide. COIN-M is
inverse and not tradeable.

`gap`: trades by their id; depth by update ids (spot U against the last u, futures pu against the last u: an upper bound, as ids are
shared by symbols there).

What came before is refused as a duplicate, in whichever of the files: a trade by `t`, a book ticker and a depth update by `u`, a snapshot
by `lastUpdateId` (sequences.py). Levels of one message stand and fall together. A message without its id cannot be told from a repeat.

A file is read twice: first for symbols (and decimals, where the registry does not know the symbol), then for ticks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from operators.sources.importers.sequences import VenueSequence
from operators.sources.importers.text import Block, line_blocks
from operators.sources.tape.merge import Feed, FeedChunk, ImportReport
from schemas import registry
from schemas.instruments import Instrument
from schemas.registry import Market
from schemas.ticks import DEPTH, FLAG_SNAPSHOT, QUOTE, TICK_V1, TRADE

LINE: Final = re.compile(rb"(\d{1,20}) (\{.*\})\s*\Z", re.DOTALL)
LINE_START: Final = re.compile(rb"\d{10,20} \{\"")
_EVENT_TIME: Final = re.compile(rb'"([TE])":(\d{10,16})[,}]')
_NAME: Final = re.compile(rb'"s(?:ymbol)?":"([A-Z0-9_]{2,24})"')
_COIN_M: Final = re.compile(r"USD_(PERP|\d{6})$")
_KNOWN_TEXTS: Final = 1 << 18
_JSON: Final = json.JSONDecoder()
_MS: Final = 1_000_000
_NO_TIME: Final = "no event time in the message and none before it in the file"
_SEQUENCE_MAX: Final = 2**32 - 1

Row = tuple[int, int, int, int, int, int, int, int, int]
"""ts_ns, price, size, ask, ask_size, gap, kind, side, flags."""


class RefusedRowError(Exception):
    """Why a message is no tick."""


def open_files(paths: Sequence[Path], report: ImportReport) -> tuple[list[Feed], list[Instrument]]:
    """Feeds (one for each symbol and market, its files in the order given) and instruments."""
    files: dict[tuple[str, Market], list[Path]] = {}
    sights: dict[tuple[str, Market], _Sight] = {}
    only: dict[Path, tuple[str, Market] | None] = {}
    for path in paths:
        seen = _look(path)
        only[path] = next(iter(seen)) if len(seen) == 1 else None
        if not seen:
            _refuse_all(path, report)
        for key, sight in seen.items():
            files.setdefault(key, []).append(path)
            sights.setdefault(key, _Sight()).add(sight)
    names = {registry.binance_name(*key) for key in files}
    feeds, instruments = [], []
    first_use: set[Path] = set()
    for key in sorted(files, key=lambda k: registry.binance_name(*k)):
        perpetual = registry.binance_name(key[0], "UM")
        leader = perpetual if key[1] == "SPOT" and perpetual in names else None
        instrument = _instrument(key, sights[key], leader)
        owned = {p for p in files[key] if p not in first_use}
        first_use |= owned
        instruments.append(instrument)
        read = [_Reading(p, key, only[p] is not None, p in owned) for p in files[key]]
        feeds.append(Feed(instrument.symbol, "binance_raw", partial(_ticks, read, instrument, report)))
    return feeds, instruments


@dataclass(slots=True)
class _Sight:
    """Decimals and sizes seen of a symbol that the registry does not know."""

    price_digits: int = 0
    size_digits: int = 0
    price: Decimal = Decimal(0)
    size: Decimal = Decimal(0)

    def add(self, other: _Sight) -> None:
        self.price_digits = max(self.price_digits, other.price_digits)
        self.size_digits = max(self.size_digits, other.size_digits)
        self.price, self.size = max(self.price, other.price), max(self.size, other.size)

    def see(self, price: str, size: str) -> None:
        p, s = _decimal(price), _decimal(size)
        if p is not None and s is not None:
            self.add(_Sight(_places(p), _places(s), abs(p), abs(s)))


def _decimal(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except (InvalidOperation, TypeError):
        return None
    return value if value.is_finite() else None


def _places(value: Decimal) -> int:
    return max(0, -cast("int", value.normalize().as_tuple().exponent))


def _instrument(key: tuple[str, Market], sight: _Sight, leader: str | None) -> Instrument:
    name = registry.binance_name(*key)
    if registry.is_known(name):
        return registry.binance(*key, leader=leader)
    price, size = int(sight.price.scaleb(sight.price_digits)), int(sight.size.scaleb(sight.size_digits))
    limits = registry.measured(name, sight.price_digits, sight.size_digits, price, size)
    known = registry.binance(*key, digits=(sight.price_digits, sight.size_digits, 1, 1), leader=leader)
    return Instrument.model_validate({**known.model_dump(), "price_max": limits.price_max, "size_max": limits.size_max})


def _look(path: Path) -> dict[tuple[str, Market], _Sight]:
    """Symbols and markets of a file; decimals of those that the registry does not know."""
    seen: dict[tuple[str, Market], _Sight] = {}
    for block in line_blocks(path, None):
        for i in range(block.size):
            line = block.bytes_of(i)
            named = _NAME.search(line)
            if named is None or LINE.match(line) is None:
                continue
            key = (named[1].decode(), _market_of_line(named[1].decode(), line))
            if key not in seen or not registry.is_known(registry.binance_name(*key)):
                sight = seen.setdefault(key, _Sight())
                for price, size in _pairs(line):
                    sight.see(price, size)
    return seen


def _market_of_line(symbol: str, line: bytes) -> Market:
    if _COIN_M.search(symbol):
        return "CM"
    if b'"T":' not in line or b'"M":' in line:
        return "SPOT"
    return "UM"


def _pairs(line: bytes) -> Iterator[tuple[str, str]]:
    try:
        message = json.loads(line[line.index(b" ") + 1 :])
        data = message.get("data", message)
        match data.get("e"):
            case "trade":
                yield data["p"], data["q"]
            case _ if isinstance(data.get("b"), str):
                yield data["b"], data["B"]
                yield data["a"], data["A"]
            case _:
                for side in ("b", "a", "bids", "asks"):
                    yield from data.get(side, ())
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def _refuse_all(path: Path, report: ImportReport) -> None:
    for block in line_blocks(path, report):
        for i in range(block.size):
            report.refuse(block.file, block.first + i, "not a Binance message with a symbol", block.text(i))


@dataclass(frozen=True, slots=True)
class _Reading:
    """A file as read for one symbol. `alone`: it has no other symbol; `owned`: this feed answers for lines that are nobody's."""

    path: Path
    key: tuple[str, Market]
    alone: bool
    owned: bool


class _Fixed(dict[str, int]):
    """Decimal texts in fixed point, exactly; each is worked out once. A text that cannot be held raises RefusedRowError."""

    def __init__(self, exponent: int) -> None:
        super().__init__()
        self._exponent = exponent

    def __missing__(self, text: str) -> int:
        value = _decimal(text) if isinstance(text, str) else None
        if value is None:
            raise RefusedRowError("a price or size is not a number")
        if abs(value.adjusted()) > 40:
            raise RefusedRowError("a price or size is too large for 64 bits in fixed point, or too small")
        scaled = value.scaleb(self._exponent)
        whole = int(scaled)
        if whole != scaled:
            raise RefusedRowError("a price or size is finer than the instrument's fixed point")
        if abs(whole) >= 2**62:
            raise RefusedRowError("a price or size is too large for 64 bits in fixed point")
        if len(self) >= _KNOWN_TEXTS:
            self.clear()
        self[text] = whole
        return whole


@dataclass(slots=True)
class _State:
    """What is carried from line to line: last event time, last ids, fixed-point numbers by their text."""

    prices: _Fixed
    sizes: _Fixed
    time_ns: int = 0
    trade_id: int = -1
    update_id: int = -1
    seen: dict[str, VenueSequence] = field(default_factory=dict)

    def refuse_repeat(self, what: str, ident: int) -> None:
        """Raises RefusedRowError where a message of this kind and id came before."""
        if not -(2**63) <= ident < 2**63:
            raise RefusedRowError("an id does not fit 64 bits")
        if not self.seen.setdefault(what, VenueSequence()).take(np.array([ident], np.int64))[0]:
            raise RefusedRowError(f"a duplicate: a {what} of this id came before")


def _ticks(files: list[_Reading], instrument: Instrument, report: ImportReport) -> Iterator[FeedChunk]:
    state = _State(_Fixed(instrument.price_exponent), _Fixed(instrument.size_exponent))
    for reading in files:
        state.time_ns = 0
        for block in line_blocks(reading.path, report if reading.owned else None, count_lines=False):
            yield _chunk(block, reading, state, report)


def _chunk(block: Block, reading: _Reading, state: _State, report: ImportReport) -> FeedChunk:
    rows: list[Row] = []
    lines: list[int] = []
    read = merged = 0
    for i in range(block.size):
        line = block.bytes_of(i)
        if not reading.alone and not _is_ours(line, reading):
            _advance_time(line, state)
            continue
        time_ns = state.time_ns
        try:
            matched = LINE.match(line)
            if matched is None:
                raise RefusedRowError("not a receive time, a blank and a JSON object")
            made = _rows_of(_JSON.decode(matched[2].decode()), reading, state)
        except RefusedRowError as e:
            read += 1
            state.time_ns = time_ns
            report.refuse(block.file, block.first + i, str(e), block.text(i))
            continue
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            read += 1
            state.time_ns = time_ns
            report.refuse(
                block.file,
                block.first + i,
                "not a Binance message: broken JSON, or a field that is missing or of another type",
                block.text(i),
            )
            continue
        read += max(1, len(made))
        merged += not made
        rows.extend(made)
        lines.extend([block.first + i] * len(made))
    report.read(read)
    report.merged(merged)
    return FeedChunk(_array(rows), np.array(lines, np.int64), block.file)


def _array(rows: list[Row]) -> np.ndarray:  # type: ignore[type-arg]
    ticks = np.zeros(len(rows), TICK_V1)
    if rows:
        columns = np.array(rows, np.int64)
        for j, name in enumerate(("ts_ns", "price", "size", "ask", "ask_size", "gap", "kind", "side", "flags")):
            ticks[name] = columns[:, j]
    return ticks


def _is_ours(line: bytes, reading: _Reading) -> bool:
    """In a file of several symbols: whether the line is this one's, or nobody's and this feed answers for it."""
    named = _NAME.search(line)
    if named is None:
        return reading.owned
    symbol = named[1].decode()
    return (symbol, _market_of_line(symbol, line)) == reading.key


def _advance_time(line: bytes, state: _State) -> None:
    found = {m[1]: int(m[2]) for m in _EVENT_TIME.finditer(line)}
    if found:
        state.time_ns = found.get(b"T", found.get(b"E", 0)) * _MS


def _rows_of(message: dict[str, Any], reading: _Reading, state: _State) -> list[Row]:
    """A message's ticks; raises RefusedRowError, or what the standard library raises for a message of another shape."""
    data = message.get("data", message)
    event = data.get("e")
    if "lastUpdateId" in data:
        if not reading.alone and "symbol" not in data:
            raise RefusedRowError("a snapshot that names no symbol, in a file of several")
        rows = _levels(data["bids"], data["asks"], _time(data, state), FLAG_SNAPSHOT, state)
        state.refuse_repeat("snapshot", int(data["lastUpdateId"]))
        return rows
    if data.get("s") != reading.key[0]:
        raise RefusedRowError("no symbol, or another one than in the rest of the file")
    if event == "trade":
        return _trade(data, state)
    if event == "depthUpdate":
        return _depth(data, state)
    if event == "bookTicker" or (event is None and "B" in data and "A" in data):
        ts = _time(data, state)
        prices, sizes = state.prices, state.sizes
        row = (ts, prices[data["b"]], sizes[data["B"]], prices[data["a"]], sizes[data["A"]], 0, QUOTE, 0, 0)
        if "u" in data:
            state.refuse_repeat("book ticker", int(data["u"]))
        return [row]
    raise RefusedRowError("event is none of trade, bookTicker, depthUpdate")


def _time(data: dict[str, Any], state: _State) -> int:
    """Event time in ns: T, else E, else the last one in the file."""
    ms = data.get("T", data.get("E"))
    if ms is not None:
        if not isinstance(ms, int) or not 0 < ms < 2**62 // _MS:
            raise RefusedRowError("event time is not in milliseconds since 1970")
        state.time_ns = ms * _MS
    if state.time_ns == 0:
        raise RefusedRowError(_NO_TIME)
    return state.time_ns


def _trade(data: dict[str, Any], state: _State) -> list[Row]:
    price, size = state.prices[data["p"]], state.sizes[data["q"]]
    ident = int(data["t"])
    if not isinstance(data["m"], bool):
        raise RefusedRowError("m is neither true nor false")
    ts = _time(data, state)
    state.refuse_repeat("trade", ident)
    gap = max(0, ident - state.trade_id - 1) if state.trade_id >= 0 else 0
    state.trade_id = max(state.trade_id, ident)
    return [(ts, price, size, 0, 0, min(gap, _SEQUENCE_MAX), TRADE, -1 if data["m"] else 1, 0)]


def _depth(data: dict[str, Any], state: _State) -> list[Row]:
    first, last = int(data["U"]), int(data["u"])
    before = int(data.get("pu", first - 1))
    rows = _levels(data["b"], data["a"], _time(data, state), 0, state)
    state.refuse_repeat("depth update", last)
    gap = max(0, before - state.update_id) if state.update_id >= 0 else 0
    state.update_id = max(state.update_id, last)
    if rows and gap:
        rows[0] = (*rows[0][:5], min(gap, _SEQUENCE_MAX), *rows[0][6:])
    return rows


def _levels(bids: list[list[str]], asks: list[list[str]], ts: int, flags: int, state: _State) -> list[Row]:
    prices, sizes = state.prices, state.sizes
    return [
        (ts, prices[level[0]], sizes[level[1]], 0, 0, 0, DEPTH, side, flags) for side, levels in ((1, bids), (-1, asks)) for level in levels
    ]
