"""What of a stream's items is new, as Kafka messages, and the token after them. Pure: it never talks to a broker.

| item | topic | key | left out or cut by |
| --- | --- | --- | --- |
| Rows, or several | the table's (schemas/topics.py); tables that are not this sink's are passed over | symbol or account | n |
| SliceOut | `slices`, and its rows as above | shard key | slices |
| BookTurn | `requests` | `requests` | slices |
| VenueTurn | `reports` | `reports` | slices |
| Poison | `dead-letters` | `topic/partition` | offset |
| points that InfluxDB refused | `dead-letters` | their id | how many were told; all again, with the same ids, where their file is another |
| Accepted, Refused | `audit` | deployment | slice and id; a refusal is told again after a crash |

What is set aside and what control has judged is told to the log of the process too, dead letters sparingly.

A range that straddles what is there is cut; one that is too large for a message is cut in halves. What would leave a hole is refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from operators.sinks.kafka.token import Token
from operators.sinks.ledger import new_part
from operators.timeline.live import Live
from operators.timeline.sparing import Sparing, SparingPoison
from schemas.control import Accepted, Refused, audit_line
from schemas.errors import BrokerError, StateMismatchError
from schemas.instruments import InstrumentList
from schemas.order_wire import CONTENT_REPORTS, CONTENT_REQUESTS, BookTurn, VenueTurn, encode_turn
from schemas.poison import Poison
from schemas.ranges import SliceOut
from schemas.refused_point import Refusals
from schemas.row_json import RowJson
from schemas.settings import Settings
from schemas.slice_wire import CONTENT_SLICES, encode_slice_out
from schemas.tables import DeadLetterReason, Rows
from schemas.ticks import shard_key, shard_of
from schemas.topics import AUDIT, DEAD_LETTERS, REPORTS, REQUESTS, SLICES, TOPIC_OF_TABLE, row_partition, shard_partition
from schemas.wire import CONTENT_JSON

Item = Rows | tuple[Rows, ...] | list[Rows] | SliceOut | BookTurn | VenueTurn | Poison | Accepted | Refused
Headers = list[tuple[str, str | bytes | None]]
Ranged = TypeVar("Ranged", SliceOut, BookTurn, VenueTurn)

OVERHEAD_BYTES: Final = 1024
"""Room in a message for its key, headers and the protocol's own bytes."""

REFUSED_AT_ONCE: Final = 1000


class Record(NamedTuple):
    """One message. `topic`: full name; `name`: what it holds, for errors."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: Headers
    name: str


class Outgoing:
    """Turns items into messages and moves the token. `tables`: those whose rows are written here.

    `token`: what is there; it becomes this object's own.
    """

    def __init__(self, settings: Settings, instruments: InstrumentList, tables: Iterable[str], token: Token, live: Live) -> None:
        self.token = token
        self._settings = settings
        self._topic = settings.kafka.topic
        self._limit = settings.kafka.max_message_bytes - OVERHEAD_BYTES
        self._tables = frozenset(tables) & TOPIC_OF_TABLE.keys()
        self._json = RowJson(settings.deployment, instruments)
        self._live = live
        self._partitions: dict[tuple[str, str], int] = {}
        self._poisoned = SparingPoison(live)
        self._dead = Sparing(live, "warning", "dead letters")

    def take(self, items: Iterable[Item]) -> list[Record]:
        """The messages of what is new. Raises LakeError where rows are missing, StateMismatchError where slices are, BrokerError for what
        does not fit into a message."""
        out: list[Record] = []
        for item in items:
            match item:
                case Rows():
                    out += self._rows(item)
                case SliceOut():
                    out += self._slices(item)
                case BookTurn():
                    out += self._ranges(REQUESTS, REQUESTS, 0, item, encode_turn, CONTENT_REQUESTS)
                case VenueTurn():
                    out += self._ranges(REPORTS, REPORTS, 0, item, encode_turn, CONTENT_REPORTS)
                case Poison():
                    out += self._poison(item)
                case Accepted() | Refused():
                    out += self._judged(item)
                case tuple() | list():
                    for rows in item:
                        out += self._rows(rows)
                case _:
                    msg = f"the Kafka sink takes rows, ranges, turns, poison and judged control messages, given {type(item).__name__}"
                    raise TypeError(msg)
        return out

    def _rows(self, rows: Rows) -> list[Record]:
        table, key = rows.table, rows.key
        if table == "quality" and rows.a.size:
            self._live.quality[key] = int(rows.a["score_e6"][-1]) / 1e6
        if table not in self._tables or rows.a.size == 0:
            return []
        place = f"{table}/{key}"
        fresh = new_part(rows, self.token.rows.get(place, 0))
        self._live.duplicates += rows.a.size - fresh.a.size
        if fresh.a.size == 0:
            return []
        topic = self._topic(TOPIC_OF_TABLE[table])
        partition = self._partition(table, key)
        name = key.encode()
        first = int(fresh.a["n"][0])
        out = []
        for n, value in enumerate(self._json.encoded(fresh), first):
            row_id = self._json.row_id(table, key, n)
            out.append(Record(topic, partition, name, value, _headers(CONTENT_JSON, row_id), row_id))
        self.token.rows[place] = first + len(out)
        self._live.wrote(table, len(out))
        if table == "dead_letters":
            self._set_aside(key, fresh.a, out[-1].name)
        return out

    def _set_aside(self, symbol: str, letters: Any, last_id: str) -> None:
        """Counts and tells what the gate has set aside."""
        shard = shard_of(symbol, self._settings.shards)
        for code, count in zip(*np.unique(letters["reason"], return_counts=True), strict=True):
            reason = DeadLetterReason(int(code)).name.lower()
            self._live.dead_letter(reason, int(count))
            self._dead.note({"shard": shard, "reason": reason}, int(count), slice=int(letters["slice"][-1]), symbol=symbol, id=last_id)

    def tell_letters(self, *, last: bool = False) -> None:
        """Tells the log of dead letters that have waited for it; `last`: nothing follows."""
        for letters in (self._poisoned, self._dead):
            letters.rest() if last else letters.due()

    def _partition(self, table: str, key: str) -> int:
        place = (table, key)
        if place not in self._partitions:
            self._partitions[place] = row_partition(table, key, self._settings)
        return self._partitions[place]

    def _slices(self, out: SliceOut) -> list[Record]:
        partition = shard_partition(out.shard, self._settings)
        said = replace(out, gated=None)
        records = self._ranges(SLICES, shard_key(out.shard), partition, said, encode_slice_out, CONTENT_SLICES)
        for rows in out.rows:
            records += self._rows(rows)
        return records

    def _ranges(self, topic: str, key: str, partition: int, x: Ranged, encode: Callable[[Ranged], bytes], content: str) -> list[Record]:
        records = []
        for piece, value in self._fitting(key, self._fresh(key, x), encode):
            name = f"{self._settings.deployment}/{topic}/{key}/{piece.lo}"
            records.append(Record(self._topic(topic), partition, key.encode(), value, _headers(content, name), name))
        return records

    def _fresh(self, key: str, x: Ranged) -> Ranged | None:
        """What of a range is not there yet; moves the token."""
        there = self.token.slices.get(key)
        if there is None or x.lo == there:
            fresh: Ranged | None = x
        elif x.lo > there:
            msg = (
                f"{key}: the topics hold everything before slice {there}, the next range begins at {x.lo}: slices would be missing. The "
                "recovery state does not belong to these topics; start over with --fresh, or with another deployment name"
            )
            raise StateMismatchError(msg)
        else:
            fresh = x.cut(there)[1]
            self._live.duplicates += 1
        if fresh is not None:
            self.token.slices[key] = fresh.hi
        return fresh

    def _fitting(self, key: str, x: Ranged | None, encode: Callable[[Ranged], bytes]) -> Iterator[tuple[Ranged, bytes]]:
        """A range and its bytes, in as many pieces as are needed to fit into messages."""
        if x is None:
            return
        value = encode(x)
        if len(value) <= self._limit:
            yield x, value
            return
        if x.hi - x.lo == 1:
            raise too_large(f"{key}, slice {x.lo}", len(value), self._settings.kafka.max_message_bytes)
        for half in x.cut((x.lo + x.hi) // 2):
            yield from self._fitting(key, half, encode)

    def _poison(self, poison: Poison) -> list[Record]:
        place = poison.place
        if poison.offset < self.token.poison.get(place, 0):
            self._live.duplicates += 1
            return []
        self.token.poison[place] = poison.offset + 1
        self._poisoned.add(poison)
        value = poison.json()
        if len(value) > self._limit:
            room = (self._limit - (len(value) - len(poison.content) * 4 // 3)) * 3 // 4 - 256
            detail = f"{poison.detail} (the first {room} of {len(poison.content)} bytes; the message itself stands in its topic)"
            value = replace(poison, detail=detail, content=poison.content[:room]).json()
        partition = poison.partition % self._settings.partitions
        return [Record(self._topic(DEAD_LETTERS), partition, place.encode(), value, _headers(CONTENT_JSON, poison.id), poison.id)]

    def refused(self, refusals: Refusals) -> list[Record]:
        """Messages of points that were refused and are not in the topic yet, REFUSED_AT_ONCE at most; moves the token."""
        points, self.token.refused = refusals.after(self.token.refused, REFUSED_AT_ONCE)
        topic = self._topic(DEAD_LETTERS)
        out = []
        for point in points:
            value = point.json(self._limit // 2)
            partition = zlib.crc32(point.id.encode()) % self._settings.partitions
            out.append(Record(topic, partition, point.id.encode(), value, _headers(CONTENT_JSON, point.id), point.id))
        return out

    def _judged(self, judged: Accepted | Refused) -> list[Record]:
        if isinstance(judged, Refused):
            self._live.tell("warning", "control refused", id=judged.id, reason=str(judged.reason), why=judged.detail)
            return [self.audit(audit_line(judged, self._live.run), judged.id)]
        token = self.token
        if judged.slice < token.accepted_slice or (judged.slice == token.accepted_slice and judged.message.id in token.accepted_ids):
            self._live.duplicates += 1
            return []
        before = token.accepted_ids if judged.slice == token.accepted_slice else ()
        token.accepted_slice, token.accepted_ids = judged.slice, (*before, judged.message.id)
        self._live.tell("info", "control accepted", id=judged.message.id, kind=judged.message.kind, slice=judged.slice)
        return [self.audit(audit_line(judged, self._live.run), judged.message.id)]

    def audit(self, line: bytes, name: str) -> Record:
        """A line for the topic `audit`."""
        return Record(self._topic(AUDIT), 0, self._settings.deployment.encode(), line, _headers(CONTENT_JSON, name), name)


def too_large(what: str, size: int, limit: int) -> BrokerError:
    """The error for a message that the broker would not take."""
    msg = (
        f"{what}: a message of {size:,} bytes, kafka.max_message_bytes is {limit:,}; raise it, run spiketape topics apply, and start again"
    )
    return BrokerError(msg)


def _headers(content: str, row_id: str) -> Headers:
    return [("content-type", content.encode()), ("id", row_id.encode())]
