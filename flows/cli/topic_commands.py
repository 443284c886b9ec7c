"""Commands about the Kafka topics: topics apply, topics show."""

from __future__ import annotations

from dataclasses import asdict

import typer

from flows.cli.options import Config, Set, settings_of
from flows.terminal import Json, print_json, say, stdout, table


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the application."""
    topics = typer.Typer(help="Make or show the Kafka topics of the deployment.", no_args_is_help=True)
    topics.command("apply")(apply_command)
    topics.command("show")(show_command)
    app.add_typer(topics, name="topics")


def apply_command(config: Config = None, set_: Set = None, as_json: Json = False) -> None:
    """Make the topics that are missing, and bring the others to what the settings say. Doing it again changes nothing.

    Example: spiketape topics apply --set kafka.bootstrap_servers=localhost:9092
    """
    from infra.topics import apply

    done = apply(settings_of(config, set_))
    if as_json:
        print_json({"topics": [a.as_json() for a in done]})
        return
    rows = [(a.topic.name, a.topic.partitions, a.topic.cleanup, _kept(a.topic.retention_ms), a.done, "; ".join(a.changes)) for a in done]
    stdout.print(table("", ("topic", "partitions", "cleanup", "kept", "", "changes"), rows, right=[1]))


def show_command(config: Config = None, set_: Set = None, as_json: Json = False) -> None:
    """Show the declared topics, whether they are there, and what differs. Ends with 1 where a topic is missing or cannot be used.

    Example: spiketape topics show --json
    """
    from infra.topics import show

    found = show(settings_of(config, set_))
    rows = []
    for f in found:
        state = "missing" if f.partitions == 0 else "unusable" if f.mismatches else "differs" if f.changes else "ok"
        differs = [*f.mismatches, *(f"{name}: {before} -> {after}" for name, (before, after) in f.changes.items() if f.partitions)]
        rows.append((f.topic, state, differs))
    if as_json:
        print_json({"topics": [{**asdict(topic), "state": state, "differs": differs} for topic, state, differs in rows]})
    else:
        shown = [(t.name, t.partitions, t.cleanup, _kept(t.retention_ms), state, "; ".join(differs)) for t, state, differs in rows]
        stdout.print(table("", ("topic", "partitions", "cleanup", "kept", "", "differs"), shown, right=[1]))
    bad = [topic.name for topic, state, _ in rows if state in ("missing", "unusable")]
    if bad:
        say(f"{len(bad)} topics are missing or cannot be used; spiketape topics apply makes the missing ones")
        raise typer.Exit(1)


def _kept(retention_ms: int) -> str:
    return "for ever" if retention_ms < 0 else f"{retention_ms // 3_600_000} h"
