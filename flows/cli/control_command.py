"""Commands to a running account: `spiketape control`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from flows.cli.options import Config, Set, settings_of
from flows.terminal import Json, print_json, say
from schemas.errors import UsageError

if TYPE_CHECKING:
    from schemas.control import Accepted, Refused
    from schemas.messages import ControlMessage
    from schemas.settings import Settings

Reason = Annotated[str, typer.Option(help="Why, for the audit.", show_default=False)]
Account = Annotated[str | None, typer.Option(help="The account it is for; left out: every account of the deployment.")]
WaitS = Annotated[float, typer.Option(help="Seconds to wait for the book's answer; 0: do not wait.")]
Id = Annotated[str | None, typer.Option("--id", help="Its id, of which only one message is accepted; default a new one.")]

app = typer.Typer(
    name="control",
    help=(
        "Sign and send a control message to the running book. The key is the setting control.key (SPIKETAPE_CONTROL__KEY). "
        'Example: spiketape control pause --reason "news at noon" --wait-s 10'
    ),
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def add_to(main: typer.Typer) -> None:
    """Adds `control` and its messages to the application."""
    main.add_typer(app)


def _mode_command(kind: str, says: str, example: str) -> None:
    """Adds the command that asks for a mode of the account."""

    def command(
        reason: Reason,
        account: Account = None,
        wait_s: WaitS = 0.0,
        id_: Id = None,
        config: Config = None,
        set_: Set = None,
        as_json: Json = False,
    ) -> None:
        _send(kind, {}, reason, account, wait_s, id_, config, set_, as_json)

    app.command(kind, help=f'{says}\n\nExample: spiketape control {kind} --reason "{example}"')(command)


_mode_command("pause", "No new entries; positions, stops and exits go on. Also the way out of an emergency.", "news at noon")
_mode_command("reduce", "No new entries; positions are left one after the other.", "end of the month")
_mode_command("emergency", "Every order is cancelled, every position left at the market at once, nothing new.", "the model is wrong")
_mode_command("resume", "Back to normal, from paused or reduced.", "news are out")


@app.command("exclude-partition")
def exclude_partition_command(
    partition: Annotated[int, typer.Argument(help="The silent partition.", show_default=False)],
    reason: Reason,
    account: Account = None,
    wait_s: Annotated[float, typer.Option(help="Seconds to wait for the book's answer; nothing is left out before it.")] = 30.0,
    id_: Id = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """A silent partition is waited for no longer: when the book has accepted it, the partition's stream ends after what is in it, for good.

    Cut short, or not answered in time, the same command goes on where it was.

    Example: spiketape control exclude-partition 3 --reason "its venue is down"
    """
    from flows.control import exclude

    settings = settings_of(config, set_)
    if wait_s <= 0:
        msg = f"--wait-s {wait_s}: the partition is ended when the book has accepted that, so it must be waited for"
        raise UsageError(msg)
    message = _message(settings, "exclude_partition", {"partition": str(partition)}, reason, account, id_)
    accepted, tail = exclude(settings, message, _seconds(wait_s))
    ended = {"partition": partition, "records": tail.next, "late_records": tail.late}
    if as_json:
        print_json({"id": accepted.message.id, "judged": _told(accepted), **ended})
    else:
        _say_accepted(accepted)
        say(f"partition {partition} ends after {tail.next:,} records")
    if tail.late:
        say(f"{tail.late:,} records came after that and become dead letters: somebody still produces into partition {partition}")


@app.command("change-limit")
def change_limit_command(
    limit: Annotated[str, typer.Argument(help="A setting of the section risk, such as max_drawdown.", show_default=False)],
    value: Annotated[str, typer.Argument(help="Its new value, a decimal with at most 8 places.", show_default=False)],
    reason: Reason,
    account: Account = None,
    wait_s: WaitS = 0.0,
    id_: Id = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Another limit for risk's checks, within the bounds of the setting.

    Example: spiketape control change-limit max_position_fraction 0.01 --reason "thin market"
    """
    _send("change_limit", {"limit": limit, "value": value}, reason, account, wait_s, id_, config, set_, as_json)


@app.command("log")
def log_command(
    out: Annotated[Path, typer.Option(help="File to write, for replay --control.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Write what the account has accepted so far to a file, so that a replay repeats it.

    Example: spiketape control log --out control.log
    """
    from flows.control import write_log

    messages = write_log(settings_of(config, set_), out, overwrite)
    if as_json:
        print_json({"out": str(out), "messages": messages})
    else:
        say(f"{messages:,} accepted messages in {out}")


def _send(
    kind: str,
    arguments: dict[str, str],
    reason: str,
    account: str | None,
    wait_s: float,
    id_: str | None,
    config: Path | None,
    set_: list[str] | None,
    as_json: bool,
) -> None:
    from flows.control import refused, send, unanswered
    from schemas.control import Accepted, Refused

    settings = settings_of(config, set_)
    message = _message(settings, kind, arguments, reason, account, id_)
    judged = send(settings, message, _seconds(wait_s))
    if as_json:
        print_json({"id": message.id, "judged": None if judged is None else _told(judged)})
    elif isinstance(judged, Accepted):
        _say_accepted(judged)
    elif judged is None and not wait_s:
        say(f"{kind} {message.id}: sent; the topic audit tells what becomes of it")
    if judged is None and wait_s:
        raise unanswered(message, wait_s)
    if isinstance(judged, Refused):
        raise refused(message, judged)


def _message(settings: Settings, kind: str, arguments: dict[str, str], reason: str, account: str | None, id_: str | None) -> ControlMessage:
    """The message that the options ask for. UsageError for a value that no message can have."""
    from pydantic import ValidationError

    from schemas.messages import ControlMessage

    values = {"id": id_ or f"{settings.deployment}/{uuid4().hex}", "account": account, "reason": reason}
    try:
        return ControlMessage.model_validate({**values, "kind": kind, "arguments": arguments})
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        msg = f"--{first['loc'][0]} {first['input']!r}: {first['msg']}"
        raise UsageError(msg) from e


def _seconds(wait_s: float) -> float:
    if not 0 <= wait_s <= 3600:
        msg = f"--wait-s {wait_s}: must be from 0 to 3600"
        raise UsageError(msg)
    return wait_s


def _say_accepted(accepted: Accepted) -> None:
    say(f"{accepted.message.kind} {accepted.message.id}: accepted, effective from slice {accepted.slice}")


def _told(judged: Accepted | Refused) -> dict[str, object]:
    from schemas.control import Accepted

    if isinstance(judged, Accepted):
        return {"accepted": True, "slice": judged.slice}
    return {"accepted": False, "reason": str(judged.reason), "detail": judged.detail}
