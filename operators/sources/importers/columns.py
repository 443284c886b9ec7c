"""CSV and Parquet files whose columns the user has stated (mapping.py).

A file is read twice: first for its symbols, decimals, largest numbers and times, then for ticks. Numbers are read from their text
(floats of a Parquet file to 15 significant digits, which is what a double holds of any decimal), so no binary fraction comes in.
Refused are rows whose numbers cannot be held - text, NaN, infinity, finer than the exponent, beyond 64 bits -, that are neither a
trade nor a quote, or whose sequence number came before. Negative or crossed prices can be held: they become ticks, and the quality gate
refuses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from operators.sources.importers import kernels as k
from operators.sources.importers.fields import Layout, Reading, read_block, refuse_where
from operators.sources.importers.mapping import UNITS, ColumnMapping
from operators.sources.importers.sequences import VenueSequence
from operators.sources.importers.text import BLOCK_LINES, Block, line_blocks, opening
from operators.sources.tape.merge import Feed, FeedChunk, ImportReport
from schemas import registry
from schemas.errors import UsageError
from schemas.instruments import Instrument
from schemas.ticks import QUOTE, TICK_V1, TRADE, Ints

_FINEST: Final = 10
"""Decimals looked for in the first reading."""
_SIDES: Final = {"buy": 1, "b": 1, "1": 1, "+1": 1, "sell": -1, "s": -1, "-1": -1, "": 0, "0": 0, "unknown": 0, "u": 0}
_MAKER: Final = {"true": -1, "1": -1, "false": 1, "0": 1, "": 0}
_NO_SIDE: Final = -2
_PRICES: Final = ("price", "bid", "ask")
_SIZES: Final = ("size", "bid_size", "ask_size")
_GAP_MAX: Final = 2**32 - 1
_UNIT: Final = "\x1f"
"""Separator of the lines that Parquet columns are written as: the unit separator of ASCII."""


@dataclass(slots=True)
class _Sight:
    """What the first reading finds of a symbol: decimals, largest numbers in 1e-10, first and last time."""

    price_digits: int = 0
    size_digits: int = 0
    price: int = 0
    size: int = 0
    quoted: bool = False
    files: list[Path] = field(default_factory=list)


def open_files(paths: Sequence[Path], mapping: ColumnMapping, report: ImportReport) -> tuple[list[Feed], list[Instrument], list[int]]:
    """A feed for each symbol, its files in the order given; instruments; first and last time found, ns UTC."""
    sights: dict[str, _Sight] = {}
    span: list[int] = []
    for path in paths:
        _look(path, mapping, sights, span)
    instruments = [_instrument(s, sights[s], mapping) for s in sorted(sights)]
    first_use: set[Path] = set()
    feeds = []
    for instrument in instruments:
        files = [(p, p not in first_use) for p in sights[instrument.symbol].files]
        first_use |= {p for p, _ in files}
        feeds.append(Feed(instrument.symbol, "columns", partial(_ticks, files, instrument, mapping, report)))
    for path in paths:
        if path not in first_use:
            _refuse_file(path, mapping, report)
    return feeds, instruments, span


def _layout(path: Path, mapping: ColumnMapping, price_scale: int, size_scale: int) -> tuple[Layout, int]:
    """The layout of a text file by its header, and the header's lines to skip."""
    first = opening(path, 1 << 16).split(b"\n")[0].rstrip(b"\r").decode("utf-8-sig", "replace")
    names = [n.strip().strip('"') for n in first.split(mapping.delimiter)]
    numbered = all(v.startswith("#") for v in mapping.columns.values())
    if numbered:
        names = [f"#{i + 1}" for i in range(len(names))]
    missing = [f"{key}={name}" for key, name in mapping.columns.items() if name not in names]
    if missing:
        raise UsageError(f"--map: {path} has no column for {', '.join(missing)}; its columns are {', '.join(names)}")
    return _layout_of(names, mapping, price_scale, size_scale, mapping.delimiter), 0 if numbered else 1


def _layout_of(names: Sequence[str], mapping: ColumnMapping, price_scale: int, size_scale: int, delimiter: str) -> Layout:
    meaning = {name: key for key, name in mapping.columns.items()}
    both = "price" in mapping.columns and "bid" in mapping.columns
    number = k.OPTIONAL if both else k.NUMBER
    fields = []
    for name in names:
        key = meaning.get(name)
        if key is None:
            fields.append((name, k.SKIP, 0))
        elif key == "ts":
            fields.append((key, k.TIME, 0) if mapping.unit == "iso" else (key, k.NUMBER, UNITS[mapping.unit]))
        elif key in _PRICES:
            fields.append((key, number, price_scale))
        elif key in _SIZES:
            fields.append((key, number, size_scale))
        elif key in ("conditions", "sequence"):
            fields.append((key, k.OPTIONAL, 0))
        elif key == "venue":
            fields.append((key, k.LETTER, 0))
        else:
            fields.append((key, k.TEXT, 0))
    return Layout(tuple(fields), delimiter)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as f:
        return f.read(4) == b"PAR1"


def _readings(path: Path, mapping: ColumnMapping, price_scale: int, size_scale: int, report: ImportReport | None) -> Iterator[Reading]:
    if not _is_parquet(path):
        layout, skip = _layout(path, mapping, price_scale, size_scale)
        yield from (read_block(block, layout) for block in line_blocks(path, report, skip))
        return
    names = list(mapping.columns.values())
    layout = _layout_of(names, mapping, price_scale, size_scale, _UNIT)
    yield from (read_block(block, layout) for block in _parquet_blocks(path, mapping, names, report))


def _parquet_blocks(path: Path, mapping: ColumnMapping, names: list[str], report: ImportReport | None) -> Iterator[Block]:
    """A Parquet file's rows as lines of text, so that one reader serves both; a damaged file ends with a refusal."""
    row = 1
    try:
        with pq.ParquetFile(path) as file:
            missing = [n for n in names if n not in file.schema_arrow.names]
            if missing:
                raise UsageError(f"--map: {path} has no column {', '.join(missing)}; its columns are {', '.join(file.schema_arrow.names)}")
            for batch in file.iter_batches(BLOCK_LINES, columns=names):
                columns = [_as_text(batch.column(n), n == mapping.columns["ts"]) for n in names]
                lines = pc.binary_join_element_wise(*columns, _UNIT).to_pylist()
                text = np.frombuffer("\n".join([*lines, ""]).encode(), np.uint8)
                ends = np.flatnonzero(text == 10)
                starts = np.concatenate([[0], ends[:-1] + 1])
                if report is not None:
                    report.read(len(lines))
                yield Block(str(path), row, text, starts, ends)
                row += len(lines)
    except (pa.ArrowException, OSError, ValueError) as e:
        if report is not None:
            report.read(1)
            report.refuse(str(path), row, f"the file is damaged, rows from this one on are missing: {e}", "")


def _as_text(column: pa.Array, is_time: bool) -> pa.Array:
    kind = column.type
    if is_time and pa.types.is_timestamp(kind):
        zone = "Z" if kind.tz is not None else ""
        wall = pc.strftime(column.cast(pa.timestamp("ns", kind.tz and "UTC")), "%Y-%m-%dT%H:%M:%S")
        return pc.fill_null(pc.binary_join_element_wise(wall, pa.scalar(zone), ""), "")
    if pa.types.is_floating(kind):
        values = [("" if v is None else f"{v:.15g}") for v in column.to_pylist()]
        return pa.array(values, pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        text = pc.fill_null(column.cast(pa.string()), "")
        return pc.replace_substring_regex(text, "[\n\r\x1f]", " ")
    try:
        return pc.fill_null(column.cast(pa.string()), "")
    except pa.ArrowException as e:
        raise UsageError(f"--map: a column of type {kind} cannot be read as numbers or text") from e


def _names(reading: Reading, mapping: ColumnMapping) -> npt.NDArray[np.object_] | None:
    """The symbol of each row, or None where the file has one name."""
    return _texts(reading, "symbol") if "symbol" in mapping.columns else None


def _texts(reading: Reading, column: str) -> npt.NDArray[np.object_]:
    data, packed = reading.block.data.tobytes(), reading.column(column)
    starts, lengths = packed >> k.TEXT_BITS, packed & ((1 << k.TEXT_BITS) - 1)
    good = reading.status == k.OK
    out = np.full(good.size, "", object)
    for i in np.flatnonzero(good):
        out[i] = data[starts[i] : starts[i] + lengths[i]].decode("utf-8", "replace")
    return out


def _look(path: Path, mapping: ColumnMapping, sights: dict[str, _Sight], span: list[int]) -> None:
    for reading in _readings(path, mapping, _FINEST, _FINEST, None):
        good = reading.status == k.OK
        names = _names(reading, mapping)
        for symbol in [mapping.name] if names is None else sorted(set(names[good])):
            if not symbol or not _may_be_symbol(symbol):
                continue
            mine = good if names is None else good & (names == symbol)
            if not mine.any():
                continue
            sight = sights.setdefault(symbol, _Sight())
            if path not in sight.files:
                sight.files.append(path)
            for column in (c for c in (*_PRICES, *_SIZES) if c in mapping.columns):
                values = reading.column(column)[mine]
                digits, largest = _digits_and_largest(values[values != k.MISSING])
                if column in _PRICES:
                    sight.price_digits, sight.price = max(sight.price_digits, digits), max(sight.price, largest)
                else:
                    sight.size_digits, sight.size = max(sight.size_digits, digits), max(sight.size, largest)
            if "bid" in mapping.columns:
                sight.quoted |= bool((reading.column("bid")[mine] != k.MISSING).any())
        if good.any():
            ts = _utc(reading, mapping)[0][good]
            span[:] = [min([*span[:1], int(ts.min())]), max([*span[1:], int(ts.max())])]


def _may_be_symbol(text: str) -> bool:
    return text.isascii() and 0 < len(text) <= 32 and all(c.isalnum() or c in "_.:/-" for c in text)


def _digits_and_largest(values: Ints) -> tuple[int, int]:
    """Decimals that numbers in 1e-10 need, and the largest of them."""
    if not values.size:
        return 0, 0
    digits = _FINEST
    while digits and not (values % 10 ** (_FINEST - digits + 1)).any():
        digits -= 1
    return digits, int(np.abs(values).max())


def _instrument(symbol: str, sight: _Sight, mapping: ColumnMapping) -> Instrument:
    price_digits = _kept(mapping.price_exponent, sight.price_digits, mapping.tick_size)
    size_digits = _kept(mapping.size_exponent, sight.size_digits, mapping.lot_size)
    return registry.measured(
        symbol,
        price_digits,
        size_digits,
        sight.price // 10 ** (_FINEST - price_digits) + 1,
        sight.size // 10 ** (_FINEST - size_digits) + 1,
        tick_size=_units("tick_size", mapping.tick_size, price_digits),
        lot_size=_units("lot_size", mapping.lot_size, size_digits),
        currency=mapping.currency,
        calendar=mapping.calendar,
        sized=mapping.sized,
        quoted=sight.quoted,
        tradeable=sight.quoted and mapping.tradeable,
    )


def _kept(stated: int | None, found: int, step: Decimal | None) -> int:
    """Decimals kept: those stated, else those found or needed by the stated tick or lot."""
    if stated is not None:
        return stated
    return found if step is None else max(found, -int(step.normalize().as_tuple().exponent))


def _units(key: str, amount: Decimal | None, digits: int) -> int:
    if amount is None:
        return 1
    scaled = amount.scaleb(digits)
    if scaled != int(scaled):
        raise UsageError(f"--map: {key} {amount} is finer than the {digits} decimals kept; state more (price_exponent, size_exponent)")
    return int(scaled)


def _refuse_file(path: Path, mapping: ColumnMapping, report: ImportReport) -> None:
    """A file in which no row could be read: every row into the report."""
    for reading in _readings(path, mapping, _FINEST, _FINEST, report):
        good = reading.refuse_unreadable(report)
        refuse_where(good, reading.block, report, "symbol has other characters than A-Z a-z 0-9 _ . : / - or more than 32")


def _utc(reading: Reading, mapping: ColumnMapping) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Times in ns UTC, and where a wall clock reading does not exist in the zone (a skipped hour); a repeated hour is its first."""
    ts = reading.column("ts")
    skipped = np.zeros(ts.size, np.bool_)
    naive = (reading.status == k.OK) & (reading.zoned == 0)
    if mapping.unit != "iso" or mapping.zone == "UTC" or not naive.any():
        return ts, skipped
    wall = pl.Series(ts[naive]).cast(pl.Datetime("ns"))
    real = wall.dt.replace_time_zone(mapping.zone, ambiguous="earliest", non_existent="null")
    ts = ts.copy()
    ts[naive] = real.dt.timestamp("ns").fill_null(0).to_numpy()
    skipped[naive] = real.is_null().to_numpy()
    return ts, skipped


_Seen = tuple[VenueSequence, VenueSequence]
"""What came of the sequences of trades and of quotes."""


def _ticks(files: list[tuple[Path, bool]], instrument: Instrument, mapping: ColumnMapping, report: ImportReport) -> Iterator[FeedChunk]:
    seen = VenueSequence(), VenueSequence()
    for path, owned in files:
        if mapping.sequence_restarts:
            seen = VenueSequence(), VenueSequence()
        for reading in _readings(path, mapping, instrument.price_exponent, instrument.size_exponent, report if owned else None):
            yield _chunk(reading, instrument, mapping, report, owned, seen)


def _chunk(reading: Reading, instrument: Instrument, mapping: ColumnMapping, report: ImportReport, owned: bool, seen: _Seen) -> FeedChunk:
    """The rows of one symbol. `owned`: this feed is the file's first and answers for rows that are no symbol's."""
    block = reading.block
    good = reading.status == k.OK
    mine = np.ones(block.size, np.bool_)
    names = _names(reading, mapping)
    if names is not None:
        mine = names == instrument.symbol
        if owned:
            nobody = good & np.array([not _may_be_symbol(n) for n in names], np.bool_)
            refuse_where(nobody, block, report, "symbol has other characters than A-Z a-z 0-9 _ . : / - or more than 32")
    if owned:
        reading.refuse_unreadable(report)
    good = good & mine
    ts, skipped = _utc(reading, mapping)
    refuse_where(good & skipped, block, report, f"the clock in {mapping.zone} never showed this time")
    good &= ~skipped
    side, unknown = _side(reading, mapping, good)
    refuse_where(good & unknown, block, report, "side is none of buy, sell, b, s, 1, -1")
    good &= ~unknown

    trade = good & _present(reading, mapping, ("price", "size"))
    quote = good & ~trade & _present(reading, mapping, ("bid", "bid_size", "ask", "ask_size"))
    refuse_where(good & ~trade & ~quote, block, report, "neither a whole trade nor a whole quote")
    gap = np.zeros(block.size, np.int64)
    if "sequence" in mapping.columns:
        for of_kind, numbers in zip((trade, quote), seen, strict=True):
            _leave_out_repeats(of_kind, gap, reading, numbers, mapping, report)
    keep = np.flatnonzero(trade | quote)
    is_trade = trade[keep]
    ticks = np.zeros(keep.size, TICK_V1)
    ticks["ts_ns"] = ts[keep]
    ticks["kind"] = np.where(is_trade, TRADE, QUOTE)
    ticks["side"] = np.where(is_trade, side[keep], 0)
    ticks["gap"] = gap[keep]
    for target, of_trade, of_quote in (
        ("price", "price", "bid"),
        ("size", "size", "bid_size"),
        ("ask", "", "ask"),
        ("ask_size", "", "ask_size"),
    ):
        ticks[target] = np.where(is_trade, _values(reading, mapping, of_trade)[keep], _values(reading, mapping, of_quote)[keep])
    conditions = _values(reading, mapping, "conditions")[keep]
    ticks["conditions"] = np.where(conditions == k.MISSING, 0, conditions & 0xFFFFFFFF)
    ticks["venue"] = _values(reading, mapping, "venue")[keep]
    return FeedChunk(ticks, reading.lines()[keep], block.file)


def _leave_out_repeats(
    rows: npt.NDArray[np.bool_], gap: Ints, reading: Reading, seen: VenueSequence, mapping: ColumnMapping, report: ImportReport
) -> None:
    """Refuses those of `rows` (n,) that came before, and clears them there. A row without a number cannot be told and stays.

    Writes to `gap` (n,) how many numbers are missing before each row, where the numbers run up by one.
    """
    numbers = reading.column("sequence")
    numbered = np.flatnonzero(rows & (numbers != k.MISSING))
    missing = seen.missing_before(numbers[numbered]) if mapping.sequence_gaps else np.zeros(numbered.size, np.int64)
    new = seen.take(numbers[numbered])
    repeated = np.zeros(rows.size, np.bool_)
    repeated[numbered[~new]] = True
    refuse_where(repeated, reading.block, report, "a repeat: this sequence number came before")
    rows &= ~repeated
    gap[numbered] = np.minimum(missing, _GAP_MAX)


def _values(reading: Reading, mapping: ColumnMapping, key: str) -> Ints:
    return reading.column(key) if key in mapping.columns else np.zeros(reading.block.size, np.int64)


def _present(reading: Reading, mapping: ColumnMapping, keys: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Where all of the stated ones of these columns have a value; nowhere if the first is not stated."""
    if keys[0] not in mapping.columns:
        return np.zeros(reading.block.size, np.bool_)
    stated = [reading.column(key) != k.MISSING for key in keys if key in mapping.columns]
    present: npt.NDArray[np.bool_] = np.logical_and.reduce(stated)
    return present


def _side(reading: Reading, mapping: ColumnMapping, good: npt.NDArray[np.bool_]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Aggressor of each row, and where it cannot be told from the text."""
    side = np.zeros(reading.block.size, np.int64)
    for key, words in (("side", _SIDES), ("buyer_maker", _MAKER)):
        if key in mapping.columns:
            texts = _texts(reading, key)
            for text in sorted(set(texts[good])):
                side[texts == text] = words.get(text.lower(), _NO_SIDE)
    return side, side == _NO_SIDE
