"""What each command may do at a broker that asks for rights (ACLs): no more than this, and with any of it missing it ends with an error
that names the right.

Topics are named without `kafka.topic_prefix`. Consumer groups and transactional ids begin with the deployment and what stands here, so
their rights are given for all names that begin so (`--resource-pattern-type prefixed`). No group is ever joined: librdkafka asks for the
coordinator of one all the same. tests/infra/test_rights.py tries all of it on a broker.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from schemas.topics import (
    AUDIT,
    CONTROL,
    DEAD_LETTERS,
    INSTRUMENTS,
    PARTITIONED,
    REPORTS,
    REQUESTS,
    SLICES,
    TICKS,
    TOKENS,
    TOPIC_OF_TABLE,
)

Operation = Literal["READ", "WRITE", "DESCRIBE", "CREATE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"]


@dataclass(frozen=True, slots=True)
class Right:
    """One right. `name`: of a topic without prefix; of a group or transactional id what follows the deployment, as its beginning."""

    operation: Operation
    kind: Literal["topic", "group", "transactional id"]
    name: str


TOPICS: Final = tuple(sorted(PARTITIONED | {INSTRUMENTS, REQUESTS, REPORTS, CONTROL, AUDIT, TOKENS}))
_GROUP: Final = (Right("DESCRIBE", "group", "."),)


def _topics(operation: Operation, *names: str) -> tuple[Right, ...]:
    return tuple(Right(operation, "topic", name) for name in sorted(names))


def _flow(reads: Iterable[str], sink: str, writes: Iterable[str]) -> tuple[Right, ...]:
    """A flow with a sink: beside its topics it reads and writes tokens, and tells the audit that it has begun."""
    ids = (Right("WRITE", "transactional id", f".{sink}."),)
    return (*_topics("READ", INSTRUMENTS, TOKENS, *reads), *_topics("WRITE", AUDIT, TOKENS, DEAD_LETTERS, *writes), *_GROUP, *ids)


_ROWS: Final = frozenset(TOPIC_OF_TABLE.values()) - {DEAD_LETTERS}
_COMMAND: Final = (*_topics("READ", AUDIT), *_topics("WRITE", CONTROL))
_TO_APPLY: Final[tuple[Operation, ...]] = ("DESCRIBE", "CREATE", "ALTER_CONFIGS")
_SHOWN: Final = (*_topics("DESCRIBE", *TOPICS), *_topics("DESCRIBE_CONFIGS", *TOPICS))

RIGHTS: Final[dict[str, tuple[Right, ...]]] = {
    "run trading": _flow((TICKS, CONTROL, AUDIT), "rows", {REQUESTS, *_ROWS}),
    "run signals": _flow((TICKS,), "signals", (SLICES, TOPIC_OF_TABLE["signals"])),
    "run book": _flow((SLICES, REPORTS, CONTROL, AUDIT), "rows", {REQUESTS, *_ROWS - {TOPIC_OF_TABLE["signals"]}}),
    "run venue": _flow((TICKS, REQUESTS), "venue", (REPORTS,)),
    "run record": (*_topics("READ", TICKS, INSTRUMENTS), *_GROUP),
    "produce": (*_topics("READ", TICKS, INSTRUMENTS, AUDIT), *_topics("WRITE", TICKS, INSTRUMENTS), *_SHOWN, *_GROUP),
    "control": _COMMAND,
    "control exclude-partition": (*_COMMAND, *_topics("READ", TICKS, INSTRUMENTS), *_topics("WRITE", TICKS), *_GROUP),
    "control log": (*_topics("READ", AUDIT), *_GROUP),
    "verify --kafka": (*_topics("READ", INSTRUMENTS, DEAD_LETTERS, *_ROWS), *_GROUP),
    "topics show": _SHOWN,
    "topics apply": tuple(r for operation in _TO_APPLY for r in _topics(operation, *TOPICS)),
}
"""By command what it needs. `control` reads the audit only with `--wait-s`; `produce` needs the rights of `topics apply` too where topics
are not made yet, or are to be changed."""


def rights_table() -> list[tuple[str, str, str, str]]:
    """By command: topics to read, topics to write, and the rest in words."""
    return [(f"`{c}`", _in_words(c, "READ"), _in_words(c, "WRITE"), _in_words(c, "")) for c in RIGHTS]


def _in_words(command: str, operation: str) -> str:
    rights = RIGHTS[command]
    if operation:
        return ", ".join(r.name for r in rights if r.kind == "topic" and r.operation == operation) or "-"
    words = []
    for other in ("DESCRIBE", "DESCRIBE_CONFIGS", "CREATE", "ALTER_CONFIGS"):
        named = {r.name for r in rights if r.kind == "topic" and r.operation == other}
        assert named in (set(), set(TOPICS))
        words += [other] * bool(named)
    topics = [f"{', '.join(words)} on all topics"] * bool(words)
    others = [f"{r.operation} on {r.kind}s `<deployment>{r.name}*`" for r in rights if r.kind != "topic"]
    return "; ".join([*topics, *others]) or "-"
