"""The main job: replay."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import Config, Set, settings_of
from flows.terminal import Json, parsed_duration, parsed_time, print_json, progress, say
from schemas.errors import UsageError

if TYPE_CHECKING:
    from schemas.control import ControlLog
    from schemas.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("replay")(replay_command)


def replay_command(
    tape: Annotated[Path | None, typer.Argument(help="A tape; left out: the built-in simulation of two million ticks.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; default runs/<tape>-<short hash of settings>, with --model, --forget and --control in it."),
    ] = None,
    symbols: Annotated[str | None, typer.Option(help="Only these symbols, as in AIG,IBM (their leading symbols are read along).")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Decide from this time on: ISO time (UTC by default) or ns.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Stop before this time.")] = None,
    warm_up: Annotated[str, typer.Option(help="How long before --from ticks move state but decide nothing, as in 5m.")] = "0s",
    speed: Annotated[float | None, typer.Option(help="Multiple of real time; default as fast as possible.")] = None,
    workers: Annotated[int, typer.Option(help="Worker threads.")] = 1,
    batch_ticks: Annotated[int, typer.Option(help="Ticks read at once.")] = 262_144,
    epoch_s: Annotated[float, typer.Option(help="Seconds between two recovery points; 0: after each batch.")] = 5.0,
    slice_ms: Annotated[int | None, typer.Option(help="Length of a slice, W.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model file; default the one in the package.")] = None,
    profile: Annotated[str | None, typer.Option(help="research: expected value is recorded; strict: it refuses.")] = None,
    config: Config = None,
    sink: Annotated[str, typer.Option(help="lake, influx, both as lake,influx, or none: compute and hash, store nothing.")] = "lake",
    control: Annotated[Path | None, typer.Option(help="Log of accepted control messages (lines of the topic audit), obeyed again.")] = None,
    set_: Set = None,
    forget: Annotated[bool, typer.Option("--forget", help="The network forgets at each tick: shows what its memory is worth.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what the run folder holds and start over.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Do not write report.html.")] = False,
    as_json: Json = False,
) -> None:
    """Run the trading flow over a tape, write the run folder, print the report.

    A run folder that holds an unfinished run of the same job is gone on with; one that holds a finished run is reported, not run
    again. Workers, batches, epochs and speed never change what comes out.

    Examples:

      spiketape replay

      spiketape replay tapes/equity --symbols AIG,IBM --workers 2 --out runs/equity
    """
    from flows.inputs import DEFAULT_TICKS, default_tape
    from flows.replay import Execution, replay
    from operators.sources.tape import Tape
    from schemas.control import NO_LOG, ControlLog

    sinks = {s.strip() for s in sink.split(",")}
    if not sinks <= {"lake", "influx"} and sinks != {"none"}:
        msg = f"--sink {sink}: allowed are lake, influx, lake,influx and none"
        raise UsageError(msg)
    base: dict[str, Any] = {"slice_ms": slice_ms, "profile": profile}
    base["replay.symbols"] = None if symbols is None else tuple(s.strip() for s in symbols.split(",") if s.strip())
    if symbols is not None and not base["replay.symbols"]:
        msg = f"--symbols {symbols!r}: expected names of symbols, as in AIG,IBM"
        raise UsageError(msg)
    base["replay.from_ns"] = None if from_ is None else parsed_time(from_, "--from")
    base["replay.to_ns"] = None if to is None else parsed_time(to, "--to")
    base["replay.warm_up_ns"] = parsed_duration(warm_up, "--warm-up") or None
    if base["replay.warm_up_ns"] and from_ is None:
        msg = f"--warm-up {warm_up}: needs --from, the time from which on there are decisions"
        raise UsageError(msg)
    settings = settings_of(config, set_, {k: v for k, v in base.items() if v is not None})
    log = NO_LOG if control is None else ControlLog.read(control)
    execution = Execution(workers, batch_ticks, epoch_s, speed, "lake" in sinks, "influx" in sinks)
    if tape is None:
        with progress("simulating the default tape", DEFAULT_TICKS, "ticks") as moved:
            tape = default_tape(moved)
    opened = Tape.open(tape)
    out = out or default_folder(tape, settings, model, forget, log)
    try:
        with progress(f"replaying {tape.name}", opened.manifest.rows, "ticks") as moved:
            outcome = replay(opened, settings, model, out, execution, fresh, forget, lambda done, _total: moved(done), log)
    except KeyboardInterrupt:
        say(f"interrupted at once; what was committed is kept. Go on with the same command; the run folder is {out}.")
        raise typer.Exit(128 + signal.SIGINT) from None
    if outcome.drained_by is not None:
        name = signal.Signals(outcome.drained_by).name
        say(f"{name}: drained. Go on with the same command; the run folder {out} knows where it was.")
        raise typer.Exit(128 + outcome.drained_by)
    assert outcome.run is not None
    if outcome.already:
        say(f"{out} holds this run already, finished; --fresh runs it again.")
    if not no_report and execution.lake and (not outcome.already or not outcome.folder.report_html.exists()):
        from flows.report import write_report

        write_report(outcome.folder, opened)
    if as_json:
        print_json(outcome.run)
    else:
        from flows.report.terminal import print_report

        print_report(outcome.run)


def default_folder(tape: Path, settings: Settings, model: Path | None, forget: bool, log: ControlLog) -> Path:
    """Where a run goes that was told no folder: another one for each job, so that none is refused because of another."""
    from flows.replay import short_hash
    from operators.spiking import load_model

    learned = "" if model is None else f"-model-{load_model(model).digest.hex()[:8]}"
    steered = f"-control-{log.digest[:8]}" if log.messages else ""
    return Path("runs") / f"{tape.name}-{short_hash(settings)}{learned}{'-forget' if forget else ''}{steered}"
