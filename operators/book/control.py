"""Control of an account: what it accepts, and when it takes effect. Pure steps on the book's state.

A message that is accepted is effective from the first slice that has not yet been decided. It takes hold when that slice is decided,
after the kill switch and before signals: so a replay that reads the log does the same at the same place, however its input is cut.
Before a shard has said anything, nothing is decided: a message that is effective earlier takes hold in the first slice with a quote
or a signal.

`state["control"]`:

| field | meaning |
| --- | --- |
| ids | by id of each message accepted: the slice from which it is effective |
| due | messages that have not taken hold: (effective slice, JSON), in the order of their acceptance |
| log | digest of the log that has been taken over |
| first | the first slice in which a shard said anything, NOTHING_SAID before |
| excluded | by partition that is left out: from which slice on |

`state["limits"]`: limits that were changed, by name, as decimals in words; all others are the settings'.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Final

from operators.book.columns import NOTHING_SAID
from operators.risk import E8, Mode, RiskLimits, RiskRule, next_mode, risk_limits
from operators.timeline.stage import State
from schemas.control import (
    Accepted,
    Command,
    ControlLog,
    ControlRefusedError,
    Refusal,
    Refused,
    called,
    check_bare,
    limit_of,
    partition_of,
    verified,
)
from schemas.errors import RefusedError, StateMismatchError, UsageError
from schemas.messages import ControlMessage
from schemas.settings import Settings
from schemas.settings.sections import RiskSettings

MODES: Final = {"pause": Mode.PAUSED, "reduce": Mode.REDUCED, "emergency": Mode.EMERGENCY, "resume": Mode.NORMAL}
"""The mode that each kind of message asks for."""

LIMIT_RULES: Final = {
    "max_position_fraction": RiskRule.MAX_POSITION,
    "max_gross_fraction": RiskRule.MAX_GROSS,
    "max_drawdown": RiskRule.DRAWDOWN,
    "max_daily_loss_fraction": RiskRule.DAILY_LOSS,
    "max_open_orders": RiskRule.OPEN_ORDERS,
}
"""The rule that a limit belongs to: it stands in the verdict that records the change."""


class ControlDesk:
    """Judges control messages for one account. Immutable.

    `log`: messages accepted before, by this account or by the live run that is repeated; they take hold where it says. `not_before`:
    no message is effective before this slice, because what was said of earlier ones is already committed.
    """

    def __init__(self, settings: Settings, log: ControlLog, not_before: int) -> None:
        self._settings = settings
        self._log = log
        self._not_before = not_before

    @staticmethod
    def start() -> State:
        """Nothing accepted yet."""
        return {"ids": {}, "due": [], "log": "", "first": NOTHING_SAID, "excluded": {}}

    def join_log(self, state: State, at: int) -> None:
        """Takes over what of the log the account at slice `at` does not know yet.

        Raises StateMismatchError for a message that should have taken hold before, UsageError for one that the settings do not allow.
        """
        control = state["control"]
        if control["log"] == self._log.digest:
            return
        for message in self._log.messages:
            if message.id in control["ids"]:
                continue
            effective = message.effective_slice or 0
            try:
                self._check_arguments(message)
            except ControlRefusedError as e:
                msg = f"control log: message {message.id} does not fit these settings: {e.detail}"
                raise UsageError(msg) from e
            if effective < at:
                msg = (
                    f"control log: message {message.id} is effective from slice {effective}, but account {self._settings.account.id} "
                    f"stands at slice {at} and does not know it; the log is not this account's, or was added to: start over with --fresh"
                )
                raise StateMismatchError(msg)
            self._enter(control, message, effective)
        control["due"].sort(key=_slice_of)
        control["log"] = self._log.digest

    def accept(self, state: State, command: Command, at: int) -> Accepted | Refused:
        """Judges a message that comes when `at` is the first slice not yet decided (-1: none was given yet)."""
        try:
            message = verified(command.content, self._settings.control.key, self._settings.deployment)
            self._check(state, message)
        except ControlRefusedError as e:
            return Refused(called(command.content), e.reason, e.detail)
        control = state["control"]
        effective = int(max(at, self._not_before, 0, *(k for k, _ in control["due"][-1:])))
        stamped = message.model_copy(update={"effective_slice": effective})
        self._enter(control, stamped, effective)
        return Accepted(effective, stamped)

    def _enter(self, control: State, message: ControlMessage, effective: int) -> None:
        control["ids"][message.id] = effective
        control["due"].append((effective, message.model_dump_json()))
        if message.kind == "exclude_partition":
            control["excluded"][partition_of(message, self._settings)] = effective

    def _check(self, state: State, message: ControlMessage) -> None:
        control = state["control"]
        if message.id in control["ids"]:
            raise ControlRefusedError(Refusal.REPEATED, f"message {message.id} is effective from slice {control['ids'][message.id]}")
        account = self._settings.account.id
        if message.account not in (None, account):
            raise ControlRefusedError(Refusal.OTHER_ACCOUNT, f"message {message.id} is for account {message.account}, this is {account}")
        self._check_arguments(message)
        if message.kind in MODES:
            try:
                next_mode(expected_mode(state), MODES[message.kind])
            except RefusedError as e:
                raise ControlRefusedError(Refusal.NOT_ALLOWED, str(e)) from e
        elif message.kind == "exclude_partition":
            since = control["excluded"].get(partition_of(message, self._settings))
            if since is not None:
                raise ControlRefusedError(Refusal.NOT_ALLOWED, f"the partition is left out from slice {since} on")

    def _check_arguments(self, message: ControlMessage) -> None:
        if message.kind in MODES:
            check_bare(message)
        elif message.kind == "change_limit":
            limit_of(message, self._settings.risk)
        else:
            partition_of(message, self._settings)


def expected_mode(state: State) -> Mode:
    """The account's mode once everything that was accepted has taken hold, if nothing else happens before."""
    mode = Mode(state["mode"])
    for _, text in state["control"]["due"]:
        mode = MODES.get(ControlMessage.model_validate_json(text).kind, mode)
    return mode


def next_control(state: State) -> int | None:
    """The slice in which the next message takes hold; None where there is none, or where nothing was said yet."""
    control = state["control"]
    if not control["due"] or control["first"] == NOTHING_SAID:
        return None
    effective: int = control["due"][0][0]
    first: int = control["first"]
    return max(effective, first)


def take_due(state: State, k: int) -> list[ControlMessage]:
    """Takes out the messages that take hold in slice `k`."""
    control = state["control"]
    if control["first"] > k or control["first"] == NOTHING_SAID:
        return []
    due = [text for effective, text in control["due"] if effective <= k]
    del control["due"][: len(due)]
    return [ControlMessage.model_validate_json(text) for text in due]


@lru_cache(maxsize=64)
def changed_limits(risk: RiskSettings, changes: tuple[tuple[str, str], ...]) -> RiskLimits:
    """The limits of the settings with those changed that `changes` names."""
    values = {name: Decimal(value) for name, value in changes}
    return risk_limits(RiskSettings.model_validate({**risk.model_dump(), **values}))


def values_e8(limits: RiskLimits) -> dict[str, int]:
    """Limits by name, times 1e8, as verdicts record them."""
    return {
        "max_position_fraction": limits.position.e8,
        "max_gross_fraction": limits.gross.e8,
        "max_drawdown": limits.drawdown.e8,
        "max_daily_loss_fraction": limits.daily_loss.e8,
        "max_open_orders": limits.open_orders * E8,
    }


def from_version_1(book: State, at: int) -> State:
    """The book's state of an account of version 1, which no flow could control."""
    book = {k: v for k, v in book.items() if k != "wanted_mode"}
    return {**book, "control": {**ControlDesk.start(), "first": max(at, NOTHING_SAID) if at != -1 else NOTHING_SAID}, "limits": {}}


def _slice_of(due: tuple[int, str]) -> int:
    return due[0]
