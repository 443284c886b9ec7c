"""Commands for models: train, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.terminal import Json, parsed_time, print_json, say, stdout, table


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the application."""
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)


def train_command(
    tape: Annotated[Path, typer.Argument(help="Tape to learn from.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Model file to write.", show_default=False)],
    validate_from: Annotated[
        str | None,
        typer.Option(help="From this time on validates, calibrates, sets thresholds; before it trains. Default: at 80% of the ticks."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Look at nothing from this time on: keeps the rest of the tape for evaluate.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and tape give the same file.")] = 1,
    as_json: Json = False,
) -> None:
    """Make a model: train the read-out of the spiking network on a tape.

    Example: spiketape train tapes/equity --out equity.safetensors --validate-from 2013-10-08 --to 2013-10-09
    """
    from operators.sources.tape import Tape
    from operators.spiking.training import train

    start = None if validate_from is None else parsed_time(validate_from, "--validate-from")
    end = None if to is None else parsed_time(to, "--to")
    manifest = train(Tape.open(tape), out, start, seed, progress=say, to_ns=end)
    if as_json:
        print_json({"out": str(out), "manifest": manifest})
    else:
        say(f"model written: {out}")
        stdout.print(table("model", ("", ""), [(k, v) for k, v in manifest.items() if not isinstance(v, (dict, list))]))


def evaluate_command(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    tape: Annotated[Path, typer.Argument(help="Another tape than the model was trained on.", show_default=False)],
    train_tape: Annotated[Path | None, typer.Option(help="Tape on which the trained baselines learn; default: none of those.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Measure from this time on.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Measure before this time.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a model's skill on a tape beside its baselines, by the definition in docs/skill.md.

    Example: spiketape evaluate models/equity.safetensors tapes/equity --from 2013-10-09T00:00:00
    """
    from operators.sources.tape import Tape
    from operators.spiking import load_model
    from operators.spiking.training import evaluate

    report: dict[str, Any] = evaluate(
        load_model(model),
        Tape.open(tape),
        None if train_tape is None else Tape.open(train_tape),
        None if from_ is None else parsed_time(from_, "--from"),
        None if to is None else parsed_time(to, "--to"),
        progress=say,
    )
    if as_json:
        print_json(report)
    else:
        _show(report)


def _show(report: dict[str, Any]) -> None:
    for symbol, delays in report["skill"].items():
        for delay, predictors in delays.items():
            rows = []
            for predictor, shares in predictors.items():
                rows.append((predictor, *map(_cell, shares.values())))
            if rows:
                stdout.print(table(f"{symbol}, {delay} ms: accuracy %", ("predictor", *next(iter(predictors.values()))), rows))


def _cell(s: dict[str, Any]) -> str:
    if s["accuracy"] is None:
        return "-"
    interval = "" if s.get("low") is None else f"{100 * s['low']:.1f}-{100 * s['high']:.1f}, "
    return f"{100 * s['accuracy']:.1f} ({interval}n {s['n']})"
