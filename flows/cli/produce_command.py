"""Plays a tape into Kafka: produce."""

from __future__ import annotations

import signal
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Config, Set, settings_of
from flows.terminal import Json, print_json, progress, say


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("produce")(produce_command)


def produce_command(
    tape: Annotated[Path, typer.Argument(help="Folder of the tape.", show_default=False)],
    speed: Annotated[float | None, typer.Option(help="Multiple of real time; default as fast as possible.")] = None,
    batch_ticks: Annotated[int, typer.Option(help="Ticks in a message at most.")] = 512,
    form: Annotated[str, typer.Option(help="Form of the messages: packed, arrow or json.")] = "packed",
    no_end: Annotated[bool, typer.Option("--no-end", help="Do not say that the stream ends: flows that read it wait for more.")] = False,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Play a tape into Kafka: topics, instruments, ticks in packed batches, heartbeats while a partition is idle, and the end.

    Cut short at any moment, the same command goes on where the log ends: no tick is missing, none is there twice.

    Example: spiketape produce tapes/equity --speed 10 --set kafka.bootstrap_servers=localhost:9092
    """
    from flows.produce import Playing, produce
    from operators.sources.tape import Tape
    from operators.timeline.control import Drain

    playing = Playing(batch_ticks, form, speed, not no_end)
    settings = settings_of(config, set_)
    opened = Tape.open(tape)
    drain = Drain()
    with drain.on_signals(), progress(f"producing {tape.name}", opened.manifest.rows, "ticks") as moved:
        done = produce(opened, settings, playing, drain, moved)
    if as_json:
        print_json({"tape": str(tape), **asdict(done), "ticks_per_s": round(done.ticks_per_s)})
    elif done.finished:
        before = f", {done.there_before:,} were there before" if done.there_before else ""
        end = "" if done.ended else "; the stream goes on (--no-end)"
        say(f"{done.sent:,} ticks of {done.rows:,} sent to {done.topic} in {done.wall_s:.1f} s{before}{end}")
        for partition, ticks in done.left_out.items():
            say(f"partition {partition} was left out by control exclude-partition: {ticks:,} ticks of the tape are not sent")
    if not done.finished:
        assert drain.signal is not None
        name = signal.Signals(drain.signal).name
        say(f"{name}: drained after {done.sent:,} ticks. Go on with the same command; it looks where the log ends.")
        raise typer.Exit(128 + drain.signal)
