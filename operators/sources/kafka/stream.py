"""What a source needs of the stream that it reads: how messages become items, and what it must know to go on after a restart.

A source knows offsets, a stream knows what messages mean. `TickStream` is one; `MessageStream` is enough where each message stands
for itself (what shards say, orders and reports, control).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from schemas.errors import WireError
from schemas.poison import Poison
from schemas.tick_stream import CONTENT_TYPE

Keyed = tuple[str, Any]
State = dict[str, Any]


class Message(Protocol):
    """A message as the log holds it (confluent_kafka.Message, of what a read message always has). Its length is that of its value."""

    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | str | None]] | None: ...
    def __len__(self) -> int: ...


class Stream(Protocol):
    """How the messages of some partitions of one topic become keyed items."""

    topic: str
    """Name of the topic, without the prefix of the settings."""

    partitions: tuple[int, ...]
    """The partitions that are read."""

    owned: tuple[int, ...]
    """Those of them whose place the snapshot keeps; where others are read for them, their entries keep that place too."""

    version: int
    """Version of what `snapshot` returns."""

    @property
    def finished(self) -> bool:
        """Whether nothing follows, so that the source ends."""
        ...

    def decode(self, partition: int, messages: Sequence[Message], /) -> list[Keyed]:
        """Items of the next messages of a partition, in their order."""
        ...

    def settled(self) -> list[Keyed]:
        """Items that follow from all partitions together; asked after each round of `decode`."""
        ...

    def ended(self, partition: int, /) -> bool:
        """Whether nothing more of a partition is to be read."""
        ...

    def slice_of(self, partition: int, /) -> int | None:
        """The slice that the next items of a partition begin in, for the bound on what is under way; None: it is not bounded."""
        ...

    def time_of(self, message: Message, /) -> int | None:
        """The latest event time that a message speaks of, ns UTC; None where it says none."""
        ...

    def snapshot(self, offsets: Mapping[int, int], /) -> dict[int, State]:
        """What must be known to go on, by owned partition, plain numbers and strings.

        `offsets`: by partition that of the message after all that were decoded; a stream that has kept some back notes an earlier one.
        """
        ...

    def restore(self, states: Mapping[int, State], /) -> dict[int, int]:
        """Goes on from a snapshot; returns the offset of the message to read next, by partition."""
        ...


class MessageStream:
    """A stream whose messages stand each for itself: `decode_one(partition, message)` gives a message's items.

    A message for which it raises WireError becomes a Poison, keyed by its place. `until`: whether the stream is at its end. `reaches`:
    the slice before which an item says everything, where messages are ranges: with it the stream is held back by what is under way.
    """

    version = 1

    def __init__(
        self,
        topic: str,
        partitions: Sequence[int],
        decode_one: Callable[[int, Message], Sequence[Keyed]],
        until: Callable[[], bool] | None = None,
        reaches: Callable[[Any], int] | None = None,
    ) -> None:
        self.topic = topic
        self.partitions = self.owned = tuple(partitions)
        self._reaches = reaches
        self._reached: dict[int, int] = {}
        self._decode_one = decode_one
        self._until = until

    @property
    def finished(self) -> bool:
        return self._until is not None and self._until()

    def decode(self, partition: int, messages: Sequence[Message]) -> list[Keyed]:
        out: list[Keyed] = []
        for m in messages:
            try:
                out.extend(self._decode_one(partition, m))
            except WireError as e:
                out.append(keyed(poison_of(self.topic, m, e.reason, str(e))))
        if self._reaches is not None:
            ranges = [self._reaches(item) for _, item in out if not isinstance(item, Poison)]
            self._reached[partition] = max(ranges, default=self._reached.get(partition, 0))
        return out

    def settled(self) -> list[Keyed]:
        return []

    def ended(self, _partition: int) -> bool:
        return False

    def slice_of(self, partition: int) -> int | None:
        return self._reached.get(partition)

    def time_of(self, _message: Message) -> int | None:
        return None

    def snapshot(self, offsets: Mapping[int, int]) -> dict[int, State]:
        return {p: {"offset": offsets[p]} for p in self.partitions}

    def restore(self, states: Mapping[int, State]) -> dict[int, int]:
        return {p: int(state["offset"]) for p, state in states.items()}


def header_of(message: Message, name: str) -> str | None:
    """The last header of a name as text, None where there is none or it is no text."""
    found: str | None = None
    for header, value in message.headers() or ():
        if header == name:
            found = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return found


def kind_of(message: Message) -> str:
    """Its content type without parameters, in small letters; empty where it has none."""
    return (header_of(message, CONTENT_TYPE) or "").partition(";")[0].strip().lower()


def poison_of(topic: str, message: Message, reason: str, detail: str) -> Poison:
    """A message as poison; `topic`: its name without prefix."""
    return Poison(topic, message.partition(), message.offset(), reason, detail, message.value() or b"")


def keyed(poison: Poison) -> Keyed:
    """A poison as an item, under its place in the log."""
    return poison.place, poison
