"""Commands about a flow's state: savepoint, restore, rescale."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import Json, print_json, say


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the application."""
    app.command("savepoint")(savepoint_command)
    app.command("restore")(restore_command)
    app.command("rescale")(rescale_command)


def savepoint_command(
    run: Annotated[Path, typer.Argument(help="Run folder, of a flow that runs or one that has ended.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder of savepoints; default RUN-savepoints, beside it.", show_default=False)] = None,
    keep: Annotated[int, typer.Option(help="How many of this run's savepoints are kept there; older ones are removed.")] = 5,
    no_lake: Annotated[bool, typer.Option("--no-lake", help="Without the lake: can be put back only where the lake is.")] = False,
    as_json: Json = False,
) -> None:
    """Copy a flow's state as of one moment, while it runs or after it was drained.

    Example: spiketape savepoint runs/trading --out /backup/trading
    """
    from flows.savepoint import save

    made, gone = save(run, out or run.with_name(run.name + "-savepoints"), keep, not no_lake)
    if as_json:
        print_json({**made.as_json(), "removed": [str(p) for p in gone]})
        return
    say(f"{made.path}: {len(made.files)} files, {made.size_bytes / 2**20:.1f} MiB, epoch {made.epoch}" + ("" if made.lake else ", no lake"))
    for path in gone:
        say(f"removed: {path}")


def restore_command(
    savepoint: Annotated[Path, typer.Argument(help="A savepoint, or a folder of them: its latest.", show_default=False)],
    to: Annotated[Path, typer.Option(help="Run folder: a new one, or one of the same job, not in use.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Also one of another release; its state is migrated at the start.")] = False,
    as_json: Json = False,
) -> None:
    """Put a savepoint into a run folder. Start the flow there with the command it was started with.

    Example: spiketape restore /backup/trading --to runs/trading
    """
    from flows.savepoint import opened, restore

    found = opened(savepoint)
    put = restore(found, to, force)
    if as_json:
        print_json({**found.as_json(), "to": str(to), "restored": list(put)})
    else:
        say(f"{to}: restored {', '.join(put)} from {found.path}, epoch {found.epoch}")


def rescale_command(
    from_: Annotated[list[Path], typer.Option("--from", help="Run folder of a `signals` process that has ended; may be repeated.")],
    to: Annotated[list[str], typer.Option(help="A new run folder and its tick partitions; may be repeated.")],
    as_json: Json = False,
) -> None:
    """Split or merge the state of `signals` processes into new run folders, by tick partition.

    Stop the old processes first (kill -TERM). Afterwards start one for each new folder; the old folders start no more.

    Example: spiketape rescale --from runs/signals --to runs/signals-a=0-1 --to runs/signals-b=2-3
    """
    from flows.rescale import Plan, parsed_target, rescale
    from schemas.errors import UsageError

    targets = [parsed_target(text) for text in to]
    if len({path for path, _ in targets}) < len(targets):
        msg = "--to: each new folder is named once, with all its partitions, as in runs/signals-a=0-1,5"
        raise UsageError(msg)
    plan = Plan(tuple(from_), dict(targets))
    anew = rescale(plan)
    if as_json:
        print_json({**plan.as_json(), "committed_before": not anew})
        return
    for path, parts in plan.targets.items():
        say(f"{path}: partitions {', '.join(map(str, parts))}")
    if not anew:
        say("this was committed before; what was left of it is done now")
