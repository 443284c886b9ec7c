"""Commands about what InfluxDB should hold: influx apply, influx show, influx token, influx downsample."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Config, Set, settings_of
from flows.terminal import Json, iso_time, parsed_time, print_json, say, stdout, table
from schemas.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the application."""
    influx = typer.Typer(help="Make or show what InfluxDB should hold: buckets, downsampling tasks, tokens.", no_args_is_help=True)
    influx.command("apply")(apply_command)
    influx.command("show")(show_command)
    influx.command("token")(token_command)
    influx.command("downsample")(downsample_command)
    app.add_typer(influx, name="influx")


def apply_command(
    config: Config = None,
    set_: Set = None,
    shorten: Annotated[bool, typer.Option("--shorten", help="Allow a shorter retention, which deletes points.")] = False,
    as_json: Json = False,
) -> None:
    """Make the organisation, buckets, downsampling tasks and tokens, and mend what differs. Doing it again changes nothing.

    Needs a token that may do everything, such as the one that InfluxDB was set up with.

    Example: SPIKETAPE_INFLUX__TOKEN=... spiketape influx apply --set influx.url=http://localhost:8086
    """
    from infra.influx import applied

    changes = applied(settings_of(config, set_).influx, shorten)
    if as_json:
        print_json({"changes": [asdict(c) for c in changes]})
    elif changes:
        stdout.print(table("", ("what", "name", "done"), [(c.what, c.name, c.done) for c in changes]))
    else:
        say("everything is as declared; nothing was changed")


def show_command(config: Config = None, set_: Set = None, as_json: Json = False) -> None:
    """Show what is declared beside what is there. Ends with 1 where they differ.

    Example: spiketape influx show --json
    """
    from infra.influx import shown

    rows = shown(settings_of(config, set_).influx)
    if as_json:
        print_json({"rows": rows})
    else:
        columns = ("what", "name", "declared", "found")
        stdout.print(table("", columns, [[r[c] for c in columns] for r in rows]))
    if any(r["declared"] != r["found"] for r in rows):
        say("not as declared; `spiketape influx apply` mends it")
        raise typer.Exit(1)


def token_command(
    name: Annotated[str, typer.Argument(help="writer (for flows) or reader (for dashboards and queries).", show_default=False)],
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Print the token with the least rights, for the environment of a flow or a dashboard. It is a secret.

    Example: export SPIKETAPE_INFLUX__TOKEN=$(spiketape influx token writer)
    """
    from infra.influx import token_of
    from infra.influx.declared import TOKENS

    if name not in TOKENS:
        msg = f"influx token {name!r}: there are {' and '.join(TOKENS)}"
        raise UsageError(msg)
    token = token_of(settings_of(config, set_).influx, name)
    if as_json:
        print_json({"name": name, "token": token})
    else:
        typer.echo(token)


def downsample_command(
    from_: Annotated[str, typer.Option("--from", help="Event time, ISO or ns, from which on.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="Event time up to which.", show_default=False)],
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Fill the 1 s, 1 min and 1 h buckets for a stretch of time that the tasks did not see: an old tape, or a long outage.

    Example: spiketape influx downsample --from 2013-10-07T13:00:00 --to 2013-10-07T21:00:00
    """
    from infra.influx import downsample

    first, last = parsed_time(from_, "--from"), parsed_time(to, "--to")
    if first >= last:
        msg = f"--from {from_} --to {to}: the second must be later"
        raise UsageError(msg)
    downsample(settings_of(config, set_).influx, first, last)
    if as_json:
        print_json({"from_ns": first, "to_ns": last})
    else:
        say(f"downsampled from {iso_time(first)} to {iso_time(last)}, widened to whole hours")


SHOWN = 200
"""Rows of an answer that a table shows."""


def print_named(as_json: bool) -> None:
    """The named queries, for `query --list`."""
    from flows.influx_query import NAMED

    if as_json:
        print_json({name: {"about": q.about, "arguments": dict(q.arguments), "means": q.means} for name, q in NAMED.items()})
        return
    rows = [(name, q.about, " ".join(f"{k}={v}" for k, v in q.arguments.items()), q.means) for name, q in NAMED.items()]
    stdout.print(table("", ("name", "answers", "arguments and defaults", ""), rows))


def print_answer(question: str, bucket: str | None, config: Path | None, set_: list[str] | None, as_json: bool, as_csv: bool) -> None:
    """The answer to Flux or a named query, for `query --influx`."""
    from flows.influx_query import asked

    answer = asked(settings_of(config, set_).influx, question, bucket)
    rows = [[r.get(c) for c in answer.columns] for r in answer.rows]
    if as_json:
        print_json({"columns": answer.columns, "rows": answer.rows})
    elif as_csv:
        import csv
        import sys

        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerows([answer.columns, *rows])
    else:
        numeric = [i for i in range(len(answer.columns)) if rows and all(isinstance(r[i], int | float) for r in rows)]
        stdout.print(table("", answer.columns, rows[:SHOWN], right=numeric))
        if len(rows) > SHOWN:
            say(f"{len(rows):,} rows, the first {SHOWN} are shown; --csv and --json print all")
