"""Commands that make and read tapes: simulate, import, tape, bars."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import Config, Set, settings_of
from flows.terminal import Json, iso_time, parsed_duration, print_json, progress, say, stdout, table
from schemas.errors import TapeError, UsageError

if TYPE_CHECKING:
    from operators.sources.tape.describe import TapeDescription

Out = Annotated[Path, typer.Option("--out", help="Folder of the new tape.", show_default=False)]
Partitions = Annotated[int, typer.Option(min=1, max=1024, help="Files that the tape is split into, by symbol.")]
Shards = Annotated[int, typer.Option(min=1, max=4096, help="Shards by which symbols are dealt to partitions.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a tape that is already there.")]


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the application."""
    app.command("simulate")(simulate_command)
    app.command("import")(import_command)
    app.command("tape")(tape_command)
    app.command("bars")(bars_command)


def simulate_command(
    out: Out,
    ticks: Annotated[int, typer.Option(min=1, help="Ticks to make.")] = 2_000_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 1,
    symbols: Annotated[int, typer.Option(min=1, help="Symbols of the market.")] = 16,
    edge: Annotated[float, typer.Option(min=0.0, max=1.0, help="How far the next move can be foreseen; 0 is the null tape.")] = 1.0,
    partitions: Partitions = 4,
    shards: Shards = 64,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a simulated tape with its truth beside it.

    Example: spiketape simulate --out tapes/sim --ticks 2000000 --seed 1
    """
    from operators.sources.simulator import simulate

    with progress("simulating", ticks, "ticks") as moved:
        made = simulate(out, ticks, seed, symbols, edge, partitions, shards, moved, overwrite)
    if as_json:
        print_json(asdict(made))
    else:
        say(f"{made.ticks:,} ticks of {made.symbols} symbols over {made.sessions} sessions in {made.out}; the truth is in {made.truth}")


def import_command(
    sources: Annotated[list[Path], typer.Argument(help="Files or folders, of one or several formats.", show_default=False)],
    out: Out,
    format_: Annotated[str, typer.Option("--format", help="auto, lean_equity, lean_forex, binance_raw, lobster or columns.")] = "auto",
    map_: Annotated[
        str | None,
        typer.Option("--map", help="Columns of CSV and Parquet files, as in ts=time,price=px,size=qty,name=AAPL,unit=ms."),
    ] = None,
    actions: Annotated[
        list[Path] | None,
        typer.Option(help="Corporate actions, CSV or JSON (docs/tape.md), or LEAN's factor files or their folder; may be given again."),
    ] = None,
    partitions: Partitions = 4,
    shards: Shards = 64,
    overwrite: Overwrite = False,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Convert recorded data to a tape, once.

    Every row becomes a tick, is merged into one (a bid row and its ask row), or is refused with file, line and reason in the tape's
    import report. Times that cannot be true are judged here, by the settings of `time_guard`; a replay judges them no more.

    Example: spiketape import data/lean_equity_ticks --out tapes/equity
    """
    from operators.sources.importers import import_sources
    from operators.sources.importers.mapping import ColumnMapping

    mapping = None if map_ is None else ColumnMapping.parse(map_)
    guard = settings_of(config, set_).time_guard
    with progress("importing", None, "ticks") as moved:
        report = import_sources(
            sources, out, format_, partitions, shards, mapping, lambda _what, done: moved(done), guard, overwrite, actions or ()
        )
    summary = report.summary()
    if as_json:
        print_json({"out": str(out), **summary})
        return
    parts = f"{report.ticks:,} ticks + {report.rows_merged:,} merged + {report.rows_refused:,} refused"
    say(f"{report.rows_read:,} rows read = {parts}; tape {out}")
    if report.actions:
        outside = f", {report.actions_outside} of them before the first tick or after the last" if report.actions_outside else ""
        say(f"corporate actions: {report.actions:,}{outside}; `spiketape tape {out}` lists them")
    if report.rows_refused:
        say(f"refused rows with file, line and reason: {out / 'rejected.jsonl'}")


def tape_command(
    tape: Annotated[Path, typer.Argument(help="Folder of the tape.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Tell what is on a tape, and check every byte of it.

    Example: spiketape tape tapes/equity
    """
    from operators.sources.tape import Tape
    from operators.sources.tape.describe import describe

    told = describe(Tape.open(tape))
    if as_json:
        print_json(told.model_dump(mode="json"))
    else:
        _show(told)
    if told.damage is not None:
        raise TapeError(told.damage)


def _show(told: TapeDescription) -> None:
    """What is on a tape, in tables that fit 80 columns: one line for each symbol and each partition."""
    what = [
        ("tape", told.path),
        ("time (UTC)", f"{iso_time(told.first_ts_ns)} to {iso_time(told.last_ts_ns)}"),
        ("ticks", f"{told.rows:,} ({', '.join(f'{kind} {n:,}' for kind, n in told.kinds.items())})"),
        ("late", f"{told.late:,} ticks, at most {_milliseconds(told.largest_late_ns)} ms"),
        ("gaps", f"{told.gaps:,}, {told.missing:,} venue sequence numbers missing"),
        ("corporate actions", f"{len(told.actions):,}" if told.actions else "none stated"),
        ("layout", f"version {told.version}, {len(told.partitions)} partitions of {told.shards} shards"),
        ("imported", "-" if told.imported is None else ", ".join(f"{k.replace('_', ' ')} {n:,}" for k, n in told.imported.items())),
        ("hash", told.tape_hash),
        ("checksums", "all fit" if told.damage is None else f"DAMAGED: {told.damage}"),
    ]
    stdout.print(table("", ("", ""), what, header=False))
    kinds = list(told.kinds)
    columns = ("symbol", "first (UTC)", "last", *kinds, "late", "gaps")
    rows = [
        (s.symbol, _minute(s.first_ts_ns), _minute(s.last_ts_ns), *(f"{s.kinds.get(k, 0):,}" for k in kinds), f"{s.late:,}", f"{s.gaps:,}")
        for s in told.symbols
    ]
    stdout.print(table("symbols", columns, rows, right=range(3, len(columns))))
    if told.actions:
        listed = [(a.symbol, iso_time(a.ts_ns), a.kind, a.terms, a.note) for a in told.actions]
        stdout.print(table("corporate actions", ("symbol", "from (UTC)", "kind", "terms", "note"), listed))
    files = [
        (p.file, f"{p.symbols:,}", f"{p.rows:,}", f"{p.bytes / 2**20:,.1f}", _minute(p.first_ts_ns), _minute(p.last_ts_ns))
        for p in told.partitions
    ]
    stdout.print(table("partitions", ("file", "symbols", "ticks", "MiB", "first (UTC)", "last"), files, right=(1, 2, 3)))


def _minute(ts_ns: int | None) -> str:
    return iso_time(ts_ns)[5:16].replace("T", " ") or "-"


def _milliseconds(ns: int) -> str:
    return f"{ns / 1e6:,.3f}".rstrip("0").rstrip(".")


def bars_command(
    tape: Annotated[Path, typer.Argument(help="Folder of the tape.", show_default=False)],
    every: Annotated[str, typer.Option(help="Length of a bar, such as 30s, 5m, 1h.")] = "5m",
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: Json = False,
) -> None:
    """Open, high, low, close and volume by symbol, exact decimals, from the trades that count as volume.

    Example: spiketape bars tapes/btc --every 5m --symbol BTCUSDT.SPOT
    """
    import polars as pl

    from flows.inputs import check_symbols
    from operators.sources.tape import Tape
    from operators.sources.tape.bars import bars

    every_ns = parsed_duration(every, "--every")
    if every_ns == 0:
        msg = f"--every {every!r}: a bar needs a length of at least 1 ns"
        raise UsageError(msg)
    opened = Tape.open(tape)
    if symbol is not None:
        check_symbols(opened, (symbol,), "--symbol")
    made = bars(opened, every_ns)
    if symbol is not None:
        made = made.filter(pl.col("symbol") == symbol)
    if as_json:
        print_json({"every": every, "bars": made.to_dicts()})
    elif as_csv:
        typer.echo(made.write_csv(), nl=False)
    else:
        stdout.print(table(f"bars of {every}", made.columns, made.iter_rows(), right=range(1, len(made.columns))))
