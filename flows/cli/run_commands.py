"""Commands that read runs: query, verify, report, diff."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.influx_commands import print_answer, print_named
from flows.cli.options import Config, Set, settings_of
from flows.terminal import Json, print_json, say, stdout, table
from schemas.errors import LakeError, UsageError

if TYPE_CHECKING:
    from operators.sinks import VerifyReport

Run = Annotated[Path, typer.Argument(help="Run folder.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the application."""
    app.command("query")(query_command)
    app.command("verify")(verify_command)
    app.command("report")(report_command)
    app.command("diff")(diff_command)


def query_command(
    run: Annotated[Path | None, typer.Argument(help="Run folder.", show_default=False)] = None,
    sql: Annotated[str | None, typer.Argument(help="One SELECT over the run's tables.", show_default=False)] = None,
    influx: Annotated[str | None, typer.Option("--influx", help="Flux, or a named query, asked of InfluxDB instead.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show the named queries and their arguments.")] = False,
    bucket: Annotated[str | None, typer.Option("--bucket", help="Bucket to ask, such as a replay's; default influx.bucket.")] = None,
    config: Config = None,
    set_: Set = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: Json = False,
) -> None:
    """Ask SQL of a run, or Flux of InfluxDB.

    Tables of a run: signals, verdicts, orders, executions, positions, equity, dead_letters, statistics, quality, skill.

    Examples:

      spiketape query runs/equity "SELECT symbol, count(*) AS fills, sum(fee) AS fees FROM executions GROUP BY symbol"

      spiketape query --influx latest_signals

      spiketape query --influx "fills day=2013-10-08" --json
    """
    if listed or influx is not None:
        if run is not None or (listed and influx is not None):
            msg = "query: expected a run with SQL, or --influx, or --list, found more than one of them"
            raise UsageError(msg)
        if influx is None:
            print_named(as_json)
        else:
            print_answer(influx, bucket, config, set_, as_json, as_csv)
        return
    if run is None or sql is None:
        msg = 'query: expected a run folder and "SELECT ...", or --influx "..." (--list shows the named queries)'
        raise UsageError(msg)
    from operators.sinks.query import query

    answer = query(run, sql)
    if as_json:
        print_json({"columns": answer.columns, "rows": answer.to_dicts()})
    elif as_csv:
        typer.echo(answer.write_csv(), nl=False)
    else:
        shown = answer.head(200)
        numeric = [i for i, t in enumerate(answer.dtypes) if t.is_numeric()]
        stdout.print(table("", shown.columns, shown.iter_rows(), right=numeric))
        if answer.height > shown.height:
            say(f"{answer.height:,} rows, the first {shown.height} are shown; --csv and --json print all")


def verify_command(
    run: Annotated[Path | None, typer.Argument(help="Run folder; with --kafka: the replay that must have said the same.")] = None,
    kafka: Annotated[bool, typer.Option("--kafka", help="Read the deployment's topics instead of the lake of RUN.")] = False,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Compute the hash of a run anew from its lake or from Kafka, and check that nothing is lost, doubled or changed.

    Examples:

      spiketape verify runs/equity

      spiketape verify runs/equity --kafka --set kafka.bootstrap_servers=localhost:9092
    """
    from operators.sinks import verify

    if kafka:
        report = _verified_topics(run, config, set_)
    elif run is not None:
        report = verify(run)
    else:
        msg = "verify: give a run folder, or --kafka to read the deployment's topics"
        raise UsageError(msg)
    if as_json:
        print_json(report.as_json())
    elif report.ok:
        say(f"{report.run}: {sum(report.rows.values()):,} rows, nothing lost, doubled or changed; output hash {report.output_hash}")
    else:
        for problem in report.problems[:50]:
            place = f"{problem.table}/{problem.key}" + ("" if problem.n is None else f"/{problem.n}")
            say(f"{problem.kind}: {place}: {problem.text}")
        say(f"{report.run}: {len(report.problems):,} problems; recorded hash {report.recorded_hash}, computed {report.output_hash}")
    if not report.ok:
        raise typer.Exit(1)


def _verified_topics(run: Path | None, config: Path | None, overrides: list[str] | None) -> VerifyReport:
    """What the topics hold, compared with a run where one is given."""
    from operators.sinks import RunFolder
    from operators.sinks.kafka.reading import verify_topics
    from operators.sources.kafka.instruments import published

    told = None if run is None else RunFolder(run).read_run()
    if run is not None and told is None:
        msg = f"{run} has no run.json: the run is not finished, or this is no run folder"
        raise LakeError(msg)
    settings = settings_of(config, overrides)
    return verify_topics(settings, published(settings), told)


def report_command(run: Run, as_json: Json = False) -> None:
    """Write the HTML report of a finished run again, and print the report.

    Example: spiketape report runs/equity
    """
    from flows.report import load_run, write_report
    from flows.report.terminal import print_report
    from operators.sinks import RunFolder
    from operators.sources.tape import Tape

    folder = RunFolder(run)
    result = load_run(folder)
    path = write_report(folder, Tape.open(Path(result["tape"])))
    if as_json:
        print_json({"report": str(path), "run": result})
    else:
        print_report(result)
        say(f"written: {path}")


def diff_command(
    a: Run,
    b: Annotated[Path, typer.Argument(help="Another run folder.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show the first slice, table and row in which two runs differ, with both rows, and settings that differ.

    Example: spiketape diff runs/equity runs/equity-again
    """
    from operators.sinks import diff

    found = diff(a, b)
    if as_json:
        print_json(found.as_json())
    else:
        if found.settings:
            stdout.print(table("settings", ("setting", str(a), str(b)), [(k, *v) for k, v in sorted(found.settings.items())]))
        if found.first is None:
            say("the outputs are equal, row by row")
        else:
            f = found.first
            say(f"first difference: slice {f.slice}, table {f.table}, {f.key}, row {f.n}")
            names = sorted({*(f.a or {}), *(f.b or {})})
            stdout.print(table("", ("column", str(a), str(b)), [(n, (f.a or {}).get(n), (f.b or {}).get(n)) for n in names]))
    if not found.same:
        raise typer.Exit(1)
