"""The application: its commands, how errors end it, and its exit codes."""

from __future__ import annotations

import sys
from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

import flows.cli.control_command as control_command
import flows.cli.influx_commands as influx_commands
import flows.cli.live_commands as live_commands
import flows.cli.model_commands as model_commands
import flows.cli.other_commands as other_commands
import flows.cli.produce_command as produce_command
import flows.cli.recovery_commands as recovery_commands
import flows.cli.replay_command as replay_command
import flows.cli.run_commands as run_commands
import flows.cli.server_commands as server_commands
import flows.cli.tape_commands as tape_commands
import flows.cli.topic_commands as topic_commands
from flows.terminal import stderr
from schemas.errors import SpiketapeError

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong use, 3 refused because of what is already there, 4 fenced by a newer instance, "
    "5 state in the store does not fit the flow, 6 no progress, 130 and 143 drained after a signal."
)


class _Commands(TyperGroup):
    """The commands. A wrong option value is told with what was given, which typer leaves out."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as e:
            if isinstance(e.__cause__, ValidationError):
                e.message += f" (given: {e.__cause__.errors()[0]['input']!r})"
            raise


app = typer.Typer(
    name="spiketape",
    cls=_Commands,
    help="A streaming trading pipeline whose brain is a spiking neural network. Start with: spiketape replay",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
tape_commands.add_to(app)
replay_command.add_to(app)
live_commands.add_to(app)
control_command.add_to(app)
model_commands.add_to(app)
run_commands.add_to(app)
produce_command.add_to(app)
recovery_commands.add_to(app)
topic_commands.add_to(app)
influx_commands.add_to(app)
server_commands.add_to(app)
other_commands.add_to(app)


def main() -> None:
    """Runs a command. An error that a user can mend is one clear line, never a traceback."""
    try:
        app()
    except SpiketapeError as e:
        stderr.print(f"[red]error:[/red] {type(e).__name__}: ", end="", markup=True, highlight=False)
        stderr.print(str(e), markup=False, highlight=False, soft_wrap=True)
        for note in getattr(e, "__notes__", ()):
            stderr.print(f"  {note}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(e.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as e:
        stderr.print("[red]error:[/red] ", end="", highlight=False)
        stderr.print(f"{e}. Mend this and run the same command again", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
