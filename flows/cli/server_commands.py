"""Commands about the servers of this machine: servers fetch, up, down, status."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import Json, print_json, say, stdout, table

Only = Annotated[str | None, typer.Option("--only", help="Servers with commas between them: kafka, influx, prometheus. Default all.")]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of their data. Default: in the user's cache.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the application."""
    servers = typer.Typer(help="Local Kafka, InfluxDB and Prometheus without Docker.", no_args_is_help=True)
    servers.command("fetch")(fetch_command)
    servers.command("up")(up_command)
    servers.command("down")(down_command)
    servers.command("status")(status_command)
    app.add_typer(servers, name="servers")


def fetch_command(
    only: Only = None,
    where_possible: Annotated[
        bool,
        typer.Option("--where-possible", help="Go on without those that cannot be made here; an error with CI set."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch or build the servers into the user's cache, once: Kafka's jars from Maven, influxd from its sources, Debian's Prometheus.

    Example: spiketape servers fetch --only kafka
    """
    from infra.local import FetchError
    from infra.local.standing import RECIPES, chosen

    places = {}
    for name in chosen(only):
        try:
            places[name] = str(RECIPES[name].fetched(say))
        except FetchError as e:
            if not where_possible or os.environ.get("CI"):
                raise
            say(str(e))
    if as_json:
        print_json(places)
    else:
        stdout.print(table("servers", ("server", "place"), places.items()))


def up_command(
    only: Only = None,
    data: Data = None,
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            "--watch", help="Run folder whose process Prometheus asks; may be repeated. Default: those in runs/ of the deployment."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start servers on free ports, wait until they answer, and print the settings with which spiketape uses them.

    They outlive the terminal; a folder keeps its data and, where it is free, its port.

    Example: eval "$(spiketape servers up --only kafka,influx)"
    """
    from infra.local.standing import chosen, default_data, default_runs, settings_to_use, up, variable
    from schemas.settings import load_settings

    runs = watch if watch else default_runs(load_settings().deployment)
    started = up(chosen(only), data or default_data(), say, runs)
    settings = {key: value for server in started for key, value in settings_to_use(server).items()}
    if as_json:
        told = {s.name: {"port": s.port, "data": str(s.data)} for s in started}
        print_json({"servers": told, "settings": settings, "environment": {variable(k): v for k, v in settings.items()}})
        return
    for key, value in settings.items():
        typer.echo(f"export {variable(key)}={value}")


def down_command(only: Only = None, data: Data = None, as_json: Json = False) -> None:
    """Stop the servers that `up` has started, with all their children. Their data stays.

    Example: spiketape servers down
    """
    from infra.local.standing import chosen, default_data, down

    stopped = down(chosen(only), data or default_data(), say)
    if as_json:
        print_json({"stopped": stopped})
    elif not stopped:
        say("none of them was running")


def status_command(only: Only = None, data: Data = None, as_json: Json = False) -> None:
    """Tell which servers are fetched, which run, whether they answer, and at which port. Exit code 1 where one that runs does not answer.

    Example: spiketape servers status --json
    """
    from infra.local.standing import RECIPES, chosen, default_data, standing

    told = {}
    for name in chosen(only):
        server = standing(name, data or default_data())
        there = server.identity
        told[name] = {
            "version": RECIPES[name].version,
            "fetched": RECIPES[name].finished,
            "running": there is not None,
            "answers": there is not None and server.healthy(),
            "port": there and there.ports["port"],
            "pid": there and there.pid,
            "data": str(server.data),
        }
    if as_json:
        print_json(told)
    else:
        columns = ("version", "fetched", "running", "answers", "port", "pid", "data")
        stdout.print(table("servers", ("server", *columns), [(name, *(t[c] for c in columns)) for name, t in told.items()]))
    if any(t["running"] and not t["answers"] for t in told.values()):
        raise typer.Exit(1)
