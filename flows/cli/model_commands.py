"""Commands for models: train, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import Config, Set, settings_of
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
    seed: Annotated[int, typer.Option(min=0, help="The same seed, tape and settings give the same file.")] = 1,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Make a model: train the read-out of the spiking network on a tape.

    The settings of gate and features with which it is trained go into the file; it runs with these and no others.

    Example: spiketape train tapes/equity --out equity.safetensors --validate-from 2013-10-08 --to 2013-10-09
    """
    from operators.sources.tape import Tape
    from operators.spiking.training import train

    start = None if validate_from is None else parsed_time(validate_from, "--validate-from")
    end = None if to is None else parsed_time(to, "--to")
    manifest = train(Tape.open(tape), out, start, seed, settings_of(config, set_), progress=say, to_ns=end)
    if as_json:
        print_json({"out": str(out), "manifest": manifest})
    else:
        say(f"model written: {out}")
        stdout.print(table("model", ("", ""), [(k, v) for k, v in manifest.items() if not isinstance(v, (dict, list))]))


def evaluate_command(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    tape: Annotated[Path, typer.Argument(help="Another tape than the model was trained on.", show_default=False)],
    train_tape: Annotated[
        Path | None,
        typer.Option(
            help="Tape on which majority, logistic and trees learn; default: the measured one by halves, each judged by the other."
        ),
    ] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Measure from this time on.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Measure before this time.")] = None,
    no_learners: Annotated[bool, typer.Option("--no-learners", help="Leave out majority, logistic and trees, which take minutes.")] = False,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Measure a model's skill on a tape beside its baselines, by the definition in docs/skill.md.

    Example: spiketape evaluate models/equity.safetensors tapes/equity --from 2013-10-09T00:00:00
    """
    from flows.model import model_for
    from operators.sources.tape import Tape
    from operators.spiking.training import evaluate

    settings = settings_of(config, set_)
    report: dict[str, Any] = evaluate(
        model_for(settings, model),
        Tape.open(tape),
        None if train_tape is None else Tape.open(train_tape),
        None if from_ is None else parsed_time(from_, "--from"),
        None if to is None else parsed_time(to, "--to"),
        settings,
        progress=say,
        learners=not no_learners,
    )
    if as_json:
        print_json(report)
    else:
        _show(report)


def _show(report: dict[str, Any]) -> None:
    """All symbols together, then each; under what each predictor says, by how much the network is better."""
    if not report["skill"]:
        say("no tick in this stretch is eligible (a quote in session less its first and last minute): nothing is measured")
    for name, skill, gaps in (
        ("all symbols", report["all"], report["all_differences"]),
        *((s, skill, report["differences"][s]) for s, skill in report["skill"].items()),
    ):
        for delay, predictors in skill.items():
            shares = tuple(next(iter(predictors.values())))
            rows = [(p, *(_cell(c) for c in by_share.values())) for p, by_share in predictors.items()]
            stdout.print(table(f"{name}, {delay} ms: accuracy %, 95% interval", ("predictor", *shares), rows))
            rows = [(p, *(_gap(c) for c in by_share.values())) for p, by_share in gaps[delay].items()]
            stdout.print(table(f"{name}, {delay} ms: network less predictor, points", ("predictor", *shares), rows))
    if report["learned_on"] == "halves" and not report["not_measured"]:
        say("majority, logistic and trees learned on this tape, each half judged by the other one: better than they would be live")
    for predictor, why in report["not_measured"].items():
        say(f"{predictor} is not measured: {why}")


def _cell(s: dict[str, Any]) -> str:
    return "-" if s["accuracy"] is None else f"{100 * s['accuracy']:.1f} ({100 * s['low']:.1f}-{100 * s['high']:.1f}, n {s['n']})"


def _gap(s: dict[str, Any]) -> str:
    return "-" if s["difference"] is None else f"{100 * s['difference']:+.1f} ({100 * s['low']:+.1f} to {100 * s['high']:+.1f})"
