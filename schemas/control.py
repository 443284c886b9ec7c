"""Control messages: signed commands to an account, what becomes of them, and the log of those that were accepted.

On the topic `control` a message is one JSON object `{"version": 1, "message": {...}, "signature": "..."}`: a ControlMessage
(schemas/messages.py) without `effective_slice`, and the HMAC-SHA256, in hexadecimal, of its canonical JSON (keys sorted, no spaces)
after the words `spiketape control 1` and the name of the deployment, each ended by a zero byte. The key is the setting `control.key`. A
message for one deployment is therefore none for another, even under the same key; a message is accepted once, by its id.

On the topic `audit` there is one JSON object for each message that was judged (`audit_line`): `control_accepted` with the slice from
which it is effective, or `control_refused` with the reason. The accepted ones are the log that a replay repeats.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from schemas.errors import UsageError
from schemas.messages import ControlMessage
from schemas.settings import Settings
from schemas.settings.sections import RiskSettings

CONTENT_CONTROL: Final = "application/vnd.spiketape.control"
CONTROL_VERSION: Final = 1
MOST_BYTES: Final = 16_384
LEAST_KEY_BYTES: Final = 16

ACCEPTED: Final = "control_accepted"
REFUSED: Final = "control_refused"

LIMITS: Final = ("max_position_fraction", "max_gross_fraction", "max_drawdown", "max_daily_loss_fraction", "max_open_orders")
"""Limits that a message may change: settings of the section `risk`, with their bounds."""
_ARGUMENTS: Final = {"exclude_partition": {"partition"}, "change_limit": {"limit", "value"}}
_DECIMAL: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,8})?")
_PARTITION: Final = re.compile(r"[0-9]{1,4}")


class Refusal(StrEnum):
    """Why a control message was refused; nothing has changed then."""

    NO_KEY = "no_key"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    UNKNOWN_KIND = "unknown_kind"
    SIGNATURE = "signature"
    REPEATED = "repeated"
    OTHER_ACCOUNT = "other_account"
    ARGUMENTS = "arguments"
    OUT_OF_BOUNDS = "out_of_bounds"
    NOT_ALLOWED = "not_allowed"


REFUSALS: Final[dict[Refusal, str]] = {
    Refusal.NO_KEY: "this deployment has no `control.key`, so nothing can be verified",
    Refusal.TOO_LARGE: f"the message has more than {MOST_BYTES} bytes",
    Refusal.MALFORMED: "it is not a signed control message in JSON",
    Refusal.UNKNOWN_KIND: "its kind is none that there is",
    Refusal.SIGNATURE: "the signature is not that of this key, deployment and content",
    Refusal.REPEATED: "a message of this id has been accepted before",
    Refusal.OTHER_ACCOUNT: "it is for another account",
    Refusal.ARGUMENTS: "its arguments are not those of its kind",
    Refusal.OUT_OF_BOUNDS: "a limit outside the bounds of its setting, or a partition that the deployment does not have",
    Refusal.NOT_ALLOWED: "the account's mode does not allow it, or the partition is excluded already",
}


class ControlRefusedError(Exception):
    """A control message that is refused, with its reason; `detail` says what was expected and found. Never leaves a stage."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Command:
    """A message as it came from the topic `control`: not yet looked at."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that was accepted, effective from `slice` on (`message.effective_slice` says the same)."""

    slice: int
    message: ControlMessage


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was refused. `id`: what it calls itself, empty where that cannot be read."""

    id: str
    reason: Refusal
    detail: str


class SignedControl(BaseModel):
    """What stands on the topic `control`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    message: ControlMessage
    signature: str


def sign(message: ControlMessage, key: SecretStr, deployment: str) -> bytes:
    """The signed form of a message. UsageError for a key that is too short, or a message that is already stamped."""
    secret = _secret(key)
    if len(secret) < LEAST_KEY_BYTES:
        msg = f"control.key must have at least {LEAST_KEY_BYTES} bytes, given {len(secret)}; set SPIKETAPE_CONTROL__KEY"
        raise UsageError(msg)
    if message.effective_slice is not None:
        msg = "effective_slice is stamped by the book on acceptance, not by the sender"
        raise UsageError(msg)
    signed = SignedControl(version=1, message=message, signature=_signature(message, secret, deployment))
    return signed.model_dump_json().encode()


def verified(content: bytes, key: SecretStr, deployment: str) -> ControlMessage:
    """The message in signed bytes. ControlRefusedError for anything else; its arguments are not looked at."""
    secret = _secret(key)
    if len(secret) < LEAST_KEY_BYTES:
        raise ControlRefusedError(Refusal.NO_KEY, f"control.key has {len(secret)} bytes, at least {LEAST_KEY_BYTES} are needed")
    if len(content) > MOST_BYTES:
        raise ControlRefusedError(Refusal.TOO_LARGE, f"{len(content)} bytes, at most {MOST_BYTES} are read")
    try:
        signed = SignedControl.model_validate_json(content)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(p) for p in first["loc"]) or "the top"
        reason = Refusal.UNKNOWN_KIND if where == "message.kind" else Refusal.MALFORMED
        raise ControlRefusedError(reason, f"at {where}: {first['msg']}") from e
    if not hmac.compare_digest(_signature(signed.message, secret, deployment).encode(), signed.signature.encode()):
        raise ControlRefusedError(Refusal.SIGNATURE, f"message {signed.message.id} is not signed with the key of deployment {deployment}")
    if signed.message.effective_slice is not None:
        raise ControlRefusedError(Refusal.MALFORMED, "effective_slice is stamped on acceptance, not by the sender")
    return signed.message


def called(content: bytes) -> str:
    """What a refused message calls itself, for the audit; empty where that cannot be read."""
    if len(content) > MOST_BYTES:
        return ""
    try:
        name = json.loads(content)["message"]["id"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ""
    return name[:128] if isinstance(name, str) else ""


def partition_of(message: ControlMessage, settings: Settings) -> int:
    """The partition that an `exclude_partition` names. ControlRefusedError where it is none of the deployment's."""
    _check_arguments(message)
    given = message.arguments["partition"]
    if not _PARTITION.fullmatch(given) or int(given) >= settings.partitions:
        raise ControlRefusedError(Refusal.OUT_OF_BOUNDS, f"partition {given[:20]!r}: there are 0 to {settings.partitions - 1}")
    return int(given)


def limit_of(message: ControlMessage, risk: RiskSettings) -> tuple[str, Decimal]:
    """The limit that a `change_limit` names and its new value, exact. ControlRefusedError for another limit or a value out of bounds."""
    _check_arguments(message)
    name, given = message.arguments["limit"], message.arguments["value"]
    if name not in LIMITS:
        raise ControlRefusedError(Refusal.ARGUMENTS, f"limit {name[:40]!r}: may be changed: {', '.join(LIMITS)}")
    if not _DECIMAL.fullmatch(given):
        raise ControlRefusedError(Refusal.OUT_OF_BOUNDS, f"{name}: expected a decimal with at most 8 places, given {given[:40]!r}")
    try:
        RiskSettings.model_validate({**risk.model_dump(), name: Decimal(given)})
    except ValidationError as e:
        said = e.errors(include_url=False, include_input=False)[0]["msg"]
        raise ControlRefusedError(Refusal.OUT_OF_BOUNDS, f"{name} of {given}: {said}") from e
    return name, Decimal(given)


def check_bare(message: ControlMessage) -> None:
    """ControlRefusedError for a message whose kind has no arguments, with some."""
    _check_arguments(message)


def audit_line(judged: Accepted | Refused, run: str = "") -> bytes:
    """What the topic `audit` says of a message: one line of JSON. `run`: the id of the process's start, left out where there is none."""
    if isinstance(judged, Accepted):
        line: dict[str, Any] = {"event": ACCEPTED, "slice": judged.slice, "message": judged.message.model_dump(mode="json")}
    else:
        line = {"event": REFUSED, "id": judged.id, "reason": str(judged.reason), "detail": judged.detail}
    if run:
        line["run"] = run
    return json.dumps({"version": CONTROL_VERSION, **line}, separators=(",", ":")).encode()


def judged_in(line: bytes | str) -> Accepted | Refused | None:
    """What a line of the topic `audit` says of a message, the inverse of `audit_line`; None where it tells of another event.

    Raises ValueError for anything else.
    """
    try:
        told = json.loads(line)
        version, event = told["version"], told["event"]
        if version != CONTROL_VERSION or not isinstance(event, str):
            msg = f"version {version!r}, event {event!r}"
            raise ValueError(msg)
        if event == REFUSED:
            return Refused(str(told["id"]), Refusal(told["reason"]), str(told["detail"]))
        if event != ACCEPTED:
            return None
        message = ControlMessage.model_validate(told["message"])
        if message.effective_slice is None or message.effective_slice != told["slice"]:
            msg = f"slice {told['slice']!r} beside effective_slice {message.effective_slice!r}"
            raise ValueError(msg)
    except (KeyError, TypeError, RecursionError) as e:
        msg = f"{type(e).__name__}: {e}"
        raise ValueError(msg) from e
    return Accepted(message.effective_slice, message)


@dataclass(frozen=True)
class ControlLog:
    """Accepted messages in the order of their acceptance, each with its `effective_slice`, which never decreases."""

    messages: tuple[ControlMessage, ...] = ()

    def __post_init__(self) -> None:
        before = None
        ids = set()
        for m in self.messages:
            if m.effective_slice is None or (before is not None and m.effective_slice < before):
                msg = f"control log: message {m.id} is effective from slice {m.effective_slice}, after one of slice {before}"
                raise UsageError(msg)
            if m.id in ids:
                msg = f"control log: message {m.id} stands in it twice"
                raise UsageError(msg)
            ids.add(m.id)
            before = m.effective_slice

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the log does: its messages in canonical JSON."""
        return hashlib.sha256(b"\n".join(canonical(m) for m in self.messages)).hexdigest()

    @classmethod
    def of_lines(cls, lines: Iterable[bytes | str], where: str) -> ControlLog:
        """The log in lines of the topic `audit`; what tells of other events is passed over.

        `where` is for errors. A message that is told of twice in the same words counts once. UsageError, with the line's number, for a
        line that cannot be read.
        """
        found: dict[str, ControlMessage] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                judged = judged_in(line)
            except ValueError as e:
                msg = f"{where}, line {number}: expected a line of the topic audit (version {CONTROL_VERSION}): {e}"
                raise UsageError(msg) from e
            if not isinstance(judged, Accepted):
                continue
            message = judged.message
            if found.setdefault(message.id, message) != message:
                msg = f"{where}, line {number}: message {message.id} was accepted before, in other words"
                raise UsageError(msg)
        return cls(tuple(found.values()))

    @classmethod
    def read(cls, path: Path) -> ControlLog:
        """The log in a file. UsageError where it cannot be read."""
        try:
            return cls.of_lines(path.read_bytes().splitlines(), str(path))
        except OSError as e:
            msg = f"--control {path}: cannot be read: {e.strerror}"
            raise UsageError(msg) from e


NO_LOG: Final = ControlLog()


def canonical(message: ControlMessage) -> bytes:
    """The JSON of a message that is signed and hashed: keys sorted, no spaces."""
    return json.dumps(message.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()


def _secret(key: SecretStr) -> bytes:
    return key.get_secret_value().encode()


def _signature(message: ControlMessage, secret: bytes, deployment: str) -> str:
    signed = b"spiketape control 1\0" + deployment.encode() + b"\0" + canonical(message)
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()


def _check_arguments(message: ControlMessage) -> None:
    expected = _ARGUMENTS.get(message.kind, set())
    if set(message.arguments) != expected:
        wanted = ", ".join(sorted(expected)) or "none"
        raise ControlRefusedError(Refusal.ARGUMENTS, f"{message.kind}: expected arguments {wanted}, given {sorted(message.arguments)[:5]}")
