"""The Kafka sink as a Bytewax sink: one transactional id, one token and one thread for each part.

`signals` has a part for each tick partition that the process owns, named by its number, so that a rescale fences the old owner of a
partition and nobody else. `rows` (the book, or everything in one process) and `venue` have the part `main`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from typing import Any, Final, Literal

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.sinks.kafka.outgoing import Item, Outgoing
from operators.sinks.kafka.token import TOKEN_VERSION, Token, identity_of
from operators.sinks.kafka.transactions import Transactions
from operators.timeline.control import Drain
from operators.timeline.live import Live
from operators.timeline.seal import sealed, unsealed
from schemas.errors import StateMismatchError, UsageError
from schemas.instruments import InstrumentList
from schemas.order_wire import BookTurn, VenueTurn
from schemas.refused_point import Refusals
from schemas.settings import Settings
from schemas.topics import AUDIT, DEAD_LETTERS, REPORTS, REQUESTS, SLICES, SYMBOL_TABLES, TOPIC_OF_TABLE

MAIN: Final = "main"
ENDED: Final = "ended"
DRAINED: Final = "drained"
ACCOUNT_TABLES: Final = frozenset(TOPIC_OF_TABLE) - SYMBOL_TABLES
SinkName = Literal["signals", "rows", "venue"]

_RANGES: Final = {"signals": SLICES, "rows": REQUESTS, "venue": REPORTS}
_SHARD: Final = re.compile(r"s([0-9]+)")
_PARTITION: Final = re.compile(r"(?:p|.*/)([0-9]+)")


class KafkaPart(StatefulSinkPartition[Item, bytes]):
    """One part. An epoch is complete only after `snapshot` has returned, and `snapshot` has committed everything before.

    So Kafka is never behind the recovery store; where it is ahead, what comes again is left out by the token. A part outlives its flow:
    `finish` still writes after Bytewax has closed it.
    """

    def __init__(
        self,
        transactions: Transactions,
        outgoing: Outgoing,
        live: Live,
        name: str,
        refusals: Refusals | None,
        *,
        turns_at_once: bool = False,
    ) -> None:
        self._transactions = transactions
        self._outgoing = outgoing
        self._live = live
        self._name = name
        self._writes = live.write_s(name)
        self._refusals = refusals
        self._turns_at_once = turns_at_once

    def write_batch(self, values: list[Item]) -> None:
        began_s = time.monotonic()
        records = self._outgoing.take(values)
        if self._refusals is not None:
            records += self._outgoing.refused(self._refusals)
        if records:
            at_once = self._turns_at_once and any(isinstance(v, BookTurn | VenueTurn) for v in values)
            self._transactions.put(records, self._outgoing.token, at_once=at_once)
        self._writes.observe(time.monotonic() - began_s)

    def snapshot(self) -> bytes:
        """Everything before is committed when this returns. The truth stands in Kafka; this is to notice where that was lost."""
        self._tell_refused()
        self._transactions.flush()
        self._outgoing.tell_letters()
        reached = self._outgoing.token.slices
        self._live.tell("debug", "committed", id=self._name, slice=min(reached.values(), default=None))
        return sealed(state_of(self._outgoing.token))

    def finish(self, how: str) -> None:
        """After the flow: commits what was refused since its last item, tells the audit how the process has ended, and ends the thread."""
        self._tell_refused()
        self._outgoing.tell_letters(last=True)
        _tell_audit(self._transactions, self._outgoing, self._live, how, self._name)
        self.end()

    def end(self) -> None:
        """Ends the thread: what is not committed by then never is."""
        self._transactions.end()

    def _tell_refused(self) -> None:
        if self._refusals is not None:
            while records := self._outgoing.refused(self._refusals):
                self._transactions.put(records, self._outgoing.token)


class KafkaSink(FixedPartitionedSink[Item, bytes]):
    """Takes `(key, Item)` and writes it exactly once (docs/delivery.md).

    `partitions`: the tick partitions of a `signals` process, whose parts they are; the other sinks have one part. `tables`: those whose
    rows are written; by default a sink of signals writes signals and dead letters, one of rows all tables (a book beside `signals`
    processes is given ACCOUNT_TABLES), one of the venue none. `refusals`: points that another sink could not place; they go to the dead
    letters with the next write, and those that come after the last one in `finish`, which follows after the flow.

    `drain`: of the process; asked while the broker is away, what waits for the broker raises DrainedError. `turns_at_once`: whether another
    process waits for each turn of the book or the venue; it is committed at once then, with all that was written before it.

    The part of an item is that of its key: a shard key (`s07`), `p<partition>` or `topic/<partition>`.
    """

    version: Final = TOKEN_VERSION

    def __init__(
        self,
        settings: Settings,
        instruments: InstrumentList,
        sink: SinkName,
        partitions: Iterable[int] = (),
        tables: Iterable[str] | None = None,
        live: Live | None = None,
        refusals: Refusals | None = None,
        drain: Drain | None = None,
        turns_at_once: bool = False,
    ) -> None:
        by_default = {"signals": SYMBOL_TABLES, "rows": frozenset(TOPIC_OF_TABLE), "venue": frozenset[str]()}[sink]
        self._settings = settings
        self._instruments = instruments
        self._sink = sink
        self._partitions = tuple(sorted(partitions))
        self._tables = by_default if tables is None else frozenset(tables)
        self._live = live or Live()
        self._drain = drain
        self._turns_at_once = turns_at_once
        self._identity = identity_of(settings, instruments)
        self._refusals = refusals
        self._parts: list[KafkaPart] = []
        self._begun: dict[str, Transactions] = {}
        if (sink == "signals") != bool(self._partitions):
            msg = f"the sink {sink}: expected partitions for signals and none for others, given {list(self._partitions)}"
            raise UsageError(msg)

    def list_parts(self) -> list[str]:
        return [f"{p:04d}" for p in self._partitions] or [MAIN]

    def part_fn(self, item_key: str) -> int:
        if not self._partitions:
            return 0
        shard, partition = _SHARD.fullmatch(item_key), _PARTITION.fullmatch(item_key)
        if shard is not None:
            owner = int(shard[1]) % self._settings.partitions
        elif partition is not None:
            owner = int(partition[1])
        else:
            owner = -1
        if owner not in self._partitions:
            msg = f"an item of key {item_key!r} came to the Kafka sink of partitions {list(self._partitions)}"
            raise UsageError(msg)
        return self._partitions.index(owner)

    def transactional_id(self, part: str) -> str:
        """`<deployment>.<sink>.<part>`."""
        return f"{self._settings.deployment}.{self._sink}.{part if part == MAIN else int(part)}"

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> KafkaPart:
        """Fences the predecessor, reads the token, and claims the part by a transaction of its own, which the topic `audit` tells of.

        Raises StateMismatchError where Kafka holds less than the recovery store knows of, and what `Transactions.start` raises.
        """
        name = self.transactional_id(for_part)
        transactions = self._transactions(for_part)
        token = transactions.start()
        try:
            if resume_state is not None:
                require(token, unsealed(step_id, resume_state), name)
            outgoing = Outgoing(self._settings, self._instruments, self._tables, token, self._live)
            resumed = resume_state is not None
            _tell_audit(transactions, outgoing, self._live, "started", name, commit=token.commit, resumed=resumed)
        except BaseException:
            transactions.end()
            raise
        part = KafkaPart(transactions, outgoing, self._live, name, self._refusals, turns_at_once=self._turns_at_once)
        self._parts.append(part)
        return part

    def _transactions(self, part: str) -> Transactions:
        """Those of one part. All parts begin to take over together: what a predecessor left open under the id of one holds back the
        tokens of all, until that id is taken over."""
        topics = frozenset({AUDIT, DEAD_LETTERS, _RANGES[self._sink], *(TOPIC_OF_TABLE[t] for t in self._tables)})
        missing = [] if part in self._begun else [p for p in self.list_parts() if p not in self._begun]
        for p in missing:
            name = self.transactional_id(p)
            self._begun[p] = Transactions(self._settings, name, self._identity, topics, self._live, self._drain)
            self._begun[p].begin()
        return self._begun.pop(part)

    def finish(self, how: str) -> None:
        """After a flow that was not broken off: commits what was refused since its last item, and tells the audit `how` the process has
        ended, ENDED or DRAINED. Raises what a part's writing raises.
        """
        for part in self._parts:
            part.finish(how)


def _tell_audit(transactions: Transactions, outgoing: Outgoing, live: Live, event: str, name: str, **more: Any) -> None:
    """A transaction with a line about a part's process, committed. By that of its start the token bears its name from then on."""
    token = outgoing.token
    about = {"version": 1, "event": event, "id": name, "run": live.run, "instance": token.instance}
    line = json.dumps({**about, **more, "at_ns": time.time_ns()}, separators=(",", ":")).encode()
    transactions.put([outgoing.audit(line, f"{name}/{token.instance}/{event}")], token)
    transactions.flush()


def state_of(token: Token) -> dict[str, Any]:
    """What a snapshot keeps of a token."""
    return {"version": TOKEN_VERSION, "rows": dict(token.rows), "slices": dict(token.slices), "poison": dict(token.poison)}


def require(token: Token, state: dict[str, Any], where: str) -> None:
    """Raises StateMismatchError where Kafka's token is behind a snapshot, or the snapshot is of an unknown version."""
    if state["version"] != TOKEN_VERSION:
        msg = (
            f"{where}: the store holds state of version {state['version']}, this code reads {TOKEN_VERSION}; use the release that wrote it"
        )
        raise StateMismatchError(msg)
    for name, there in (("rows", token.rows), ("slices", token.slices), ("poison", token.poison)):
        for place, known in state[name].items():
            if there.get(place, known - 1) < known:
                msg = (
                    f"{where}: the recovery store knows of {place} up to {known}, Kafka holds it up to {there.get(place, 'nothing')}: "
                    "topics were deleted, or this is another broker. Restore them, or start over with --fresh and another deployment name"
                )
                raise StateMismatchError(msg)
