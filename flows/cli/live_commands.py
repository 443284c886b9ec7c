"""Flows that run until they are told to stop: `spiketape run`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import Config, Set, settings_of
from flows.terminal import Json, print_json, progress, say
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.live.process import Ended, Process, Wired

Out = Annotated[Path | None, typer.Option(help="Run folder; default runs/<deployment>-<flow>.")]
Model = Annotated[Path | None, typer.Option(help="Model file; default the one in the package.")]
From = Annotated[str, typer.Option("--start", help="Where a new run begins: resume, earliest, latest, an offset, 0:12,1:15 or a time.")]
Epoch = Annotated[float, typer.Option(help="Seconds between two recovery points.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Delete what the run folder holds and start over.")]
Sinks = Annotated[str, typer.Option(help="Where results go: any of kafka, influx, lake, separated by commas.")]

DEMONSTRATED_TICKS = 60_000

app = typer.Typer(
    name="run",
    help=(
        "Run a flow live until it is told to stop (SIGTERM drains it) or its stream ends. Start with: spiketape servers up, "
        "spiketape produce TAPE, spiketape run trading"
    ),
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def add_to(main: typer.Typer) -> None:
    """Adds `run` and its flows, and the demonstration, to the application."""
    main.add_typer(app)
    main.command("live")(live_command)


def live_command(
    tape: Annotated[Path | None, typer.Argument(help="A tape; left out: 60,000 simulated ticks.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of servers, runs and logs; an earlier demonstration there is deleted.")] = Path(
        "runs/live"
    ),
    partitions: Annotated[str, typer.Option(help="Tick partitions of each signals process, as in 0-1/2-3.")] = "0-1/2-3",
    speed: Annotated[float | None, typer.Option(help="Multiple of real time; default as fast as possible.")] = None,
    within_s: Annotated[float, typer.Option(help="Give up after so many seconds.")] = 1800.0,
    as_json: Json = False,
) -> None:
    """Show a whole deployment on this machine: servers of its own, a tape into Kafka, signals, book and venue as processes, points arriving
    in InfluxDB, and at the end the topics read back and compared with a replay.

    Venue and book go slice by slice while orders are alive, so take a short tape.

    Example:

      spiketape live --speed 20
    """
    import shutil
    from dataclasses import asdict

    from flows.inputs import default_tape
    from flows.live.demonstration import demonstrate

    if tape is None:
        tape = default_tape(lambda _done: None, DEMONSTRATED_TICKS)
    if (out / "kafka").is_dir():
        shutil.rmtree(out)
    elif out.exists() and any(out.iterdir()):
        msg = f"--out {out}: is there and holds no demonstration; give another folder"
        raise UsageError(msg)
    signal.signal(signal.SIGTERM, _ended_by)  # so that nothing of the deployment outlives this process
    shown = demonstrate(tape.resolve(), out.resolve(), tuple(partitions.split("/")), speed, within_s, say)
    if as_json:
        print_json({**asdict(shown), "same": shown.same})
    else:
        say(f"{sum(shown.rows.values()):,} rows in the topics, output hash {shown.output_hash}")
        say("the replay says the same" if shown.same else f"the replay says {shown.replay_hash}: this is a defect")
    if not shown.same:
        raise typer.Exit(1)


@app.command("trading")
def trading_command(
    sink: Sinks = "kafka",
    out: Out = None,
    start: From = "resume",
    model: Model = None,
    epoch_s: Epoch = 1.0,
    config: Config = None,
    set_: Set = None,
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """All stages in one process: the topic ticks in; signals, verdicts, orders, executions, positions and equity out.

    Example:

      spiketape run trading --sink kafka,influx,lake
    """
    from flows.live.process import digest_of
    from flows.live.trading import Options, wire

    options = Options(_sinks(sink), model, _start(start))
    digest = digest_of(settings_of(config, set_), model)
    _run("trading", out, config, set_, epoch_s, fresh, as_json, digest, lambda process: wire(process, options))


@app.command("signals")
def signals_command(
    partitions: Annotated[str | None, typer.Option(help="Tick partitions of this process, as in 0-3 or 0,2; default all.")] = None,
    out: Out = None,
    start: From = "resume",
    model: Model = None,
    epoch_s: Epoch = 1.0,
    config: Config = None,
    set_: Set = None,
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Ticks of some partitions in, what their shards say out (topics slices, signals, dead-letters). Beside it run book and venue.

    Example:

      spiketape run signals --partitions 0-1 --out runs/signals-a
    """
    from flows.live.process import digest_of
    from flows.signals import Options, parsed_partitions, wire

    settings = settings_of(config, set_)
    chosen = parsed_partitions(partitions or f"0-{settings.partitions - 1}", settings.partitions)
    options = Options(chosen, model, _start(start))
    whole = len(chosen) == settings.partitions
    if not whole and out is None:
        out = Path("runs") / f"{settings.deployment}-signals-{partitions}"
    _run("signals", out, config, set_, epoch_s, fresh, as_json, digest_of(settings, model), lambda process: wire(process, options))


@app.command("book")
def book_command(
    sink: Sinks = "kafka",
    out: Out = None,
    epoch_s: Epoch = 1.0,
    config: Config = None,
    set_: Set = None,
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """The account: what shards say and what the venue reports in, decisions out, slice by slice through Kafka.

    Example:

      spiketape run book --sink kafka,influx
    """
    from flows.book import Options, wire

    options = Options(_sinks(sink))
    _run("book", out, config, set_, epoch_s, fresh, as_json, "", lambda process: wire(process, options))


@app.command("venue")
def venue_command(
    out: Out = None,
    start: From = "resume",
    epoch_s: Epoch = 1.0,
    config: Config = None,
    set_: Set = None,
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """The paper venue: ticks and orders in, executions out.

    Example:

      spiketape run venue
    """
    from flows.venue import Options, wire

    options = Options(_start(start))
    _run("venue", out, config, set_, epoch_s, fresh, as_json, "", lambda process: wire(process, options))


@app.command("record")
def record_command(
    out: Annotated[Path, typer.Option(help="Folder of the tape to make.", show_default=False)],
    until_end: Annotated[bool, typer.Option("--until-end", help="Only the whole stream makes a tape.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a tape that is there.")] = False,
    epoch_s: Epoch = 1.0,
    config: Config = None,
    set_: Set = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what OUT.recording holds and start over.")] = False,
    as_json: Json = False,
) -> None:
    """The topic ticks to a tape that replay reads back to the same hash. Told to stop, it ends the tape where all partitions have come to.

    Killed, or told to stop with --until-end, it goes on with the same command; until then ticks are kept in OUT.recording, which --fresh
    deletes first.

    Example:

      spiketape run record --out tapes/today --until-end
    """
    from flows.record import Options, record

    with progress(f"recording {out.name}", None, "ticks") as moved:
        made = record(settings_of(config, set_), Options(out, until_end, overwrite, fresh, moved), epoch_s=epoch_s)
    if as_json:
        print_json(made.ended.summary)
    elif made.manifest is None:
        say(f"stopped before the end of the stream; {out} is not made yet. The same command goes on")
    else:
        say(f"{made.manifest.rows:,} ticks in {out}; messages that could not be read: {made.poison:,}")
    if made.ended.drained_by is not None:
        raise typer.Exit(128 + made.ended.drained_by)


def _ended_by(signum: int, _frame: object) -> None:
    raise typer.Exit(128 + signum)


def _sinks(text: str) -> tuple[str, ...]:
    from flows.live.outlets import CHOICES

    chosen = tuple(dict.fromkeys(s.strip() for s in text.split(",") if s.strip()))
    unknown = [s for s in chosen if s not in CHOICES]
    if unknown or not chosen:
        msg = f"--sink {text!r}: allowed are {', '.join(CHOICES)}, separated by commas"
        raise UsageError(msg)
    return chosen


def _start(text: str) -> Any:
    from operators.sources.kafka import Start

    return Start.parsed(text)


def _run(
    name: str,
    out: Path | None,
    config: Path | None,
    set_: list[str] | None,
    epoch_s: float,
    fresh: bool,
    as_json: bool,
    model: str,
    wire: Callable[[Process], Wired],
) -> None:
    from flows.live.process import Process, run, run_folder
    from operators.sinks import RunFolder

    if not 0 <= epoch_s <= 86_400:
        msg = f"--epoch-s {epoch_s}: must be from 0 to 86400"
        raise UsageError(msg)
    settings = settings_of(config, set_)
    folder = RunFolder(run_folder(settings, name, out))
    try:
        ended: Ended = run(Process(name, settings, folder), model, wire, epoch_s, fresh)
    except KeyboardInterrupt:
        say(f"interrupted at once; what was committed is kept. Go on with the same command; the run folder is {folder.path}.")
        raise typer.Exit(128 + signal.SIGINT) from None
    if as_json:
        print_json(ended.summary)
    if ended.drained_by is not None:
        raise typer.Exit(128 + ended.drained_by)
