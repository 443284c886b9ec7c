"""The topic `control` as a source of commands for the account of a process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flows.live.process import Process
from operators.sources.kafka import MessageStream, Start
from operators.sources.kafka.operator import KafkaSource
from operators.sources.kafka.stream import Keyed, Message
from operators.timeline.live import Live
from schemas.control import Command
from schemas.topics import CONTROL

STEP = "control"


def command_source(process: Process, until: Callable[[], bool]) -> KafkaSource:
    """Commands as `(account id, Command)`, as they come; what they say is judged by the account. Ends when `until` says so.

    A new run begins with what comes from now on: a command that was meant for an earlier run is not obeyed by this one.
    """
    account = process.settings.account.id

    def decoded(_partition: int, message: Message) -> Sequence[Keyed]:
        return [(account, Command(message.value() or b""))]

    stream = MessageStream(CONTROL, (0,), decoded, until)
    name = f"{process.client}.{STEP}"
    return KafkaSource(STEP, process.settings, name, stream, process.drain, process.credit(), process.meters, Live(), Start("latest"))
