"""How control reaches the account of a process: the topic `control` as a source of commands, and what was accepted before this start.

A command is effective from a slice that nobody has decided yet, and its acceptance is committed in that slice's transaction, to the
topic `audit`. A process that starts again repeats slices that are committed already: for these it obeys what `audit` says, and stamps
new commands with a slice behind everything that is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flows.live.process import Process
from operators.sinks.kafka import Transactions, identity_of
from operators.sources.kafka import MessageStream, Start
from operators.sources.kafka.audit import audit_lines
from operators.sources.kafka.client import waited
from operators.sources.kafka.operator import KafkaSource
from operators.sources.kafka.stream import Keyed, Message
from operators.timeline.live import Live
from schemas.control import Command, ControlLog
from schemas.instruments import InstrumentList
from schemas.ticks import END
from schemas.topics import AUDIT, CONTROL, REQUESTS

STEP = "control"


@dataclass(frozen=True)
class Committed:
    """What an account has committed before this start. `decided`: everything before this slice; `log`: messages that were accepted."""

    decided: int
    log: ControlLog


def committed(process: Process, instruments: InstrumentList, sink: str) -> Committed:
    """Takes over from any other instance that writes as `sink`, then reads what is committed: nothing of that instance can follow.

    Taking over is a commit of its own, a token with another name: an instance that only loses its id without one takes that for the
    broker's doing, and takes it back.

    Raises BrokerError where the broker does not answer for too long, DrainedError where an end was asked meanwhile.
    """
    settings = process.settings
    name = f"{settings.deployment}.{sink}"
    transactions = Transactions(settings, name, identity_of(settings, instruments), frozenset(), process.live, process.drain)
    try:
        token = transactions.start()
        transactions.put([], token)
        transactions.flush()
    finally:
        transactions.end()
    lines = waited(settings.kafka, process.live, process.drain, lambda: audit_lines(settings))
    if lines is None:
        msg = "asked to end before the broker told which control messages were accepted"
        raise process.drain.left(msg)
    decided = token.slices.get(REQUESTS, 0)
    return Committed(min(decided, END), ControlLog.of_lines(lines, f"topic {settings.kafka.topic(AUDIT)}"))


def command_source(process: Process, until: Callable[[], bool]) -> KafkaSource:
    """Commands as `(account id, Command)`, as they come; what they say is judged by the account. Ends when `until` says so.

    A new run begins with the first there is: an id that was accepted before is refused, and a message is for one deployment only.
    """
    account = process.settings.account.id

    def decoded(_partition: int, message: Message) -> Sequence[Keyed]:
        return [(account, Command(message.value() or b""))]

    stream = MessageStream(CONTROL, (0,), decoded, until)
    name = f"{process.client}.{STEP}"
    return KafkaSource(STEP, process.settings, name, stream, process.drain, process.credit(), process.meters, Live(), Start("earliest"))
