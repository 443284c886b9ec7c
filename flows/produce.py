"""Plays a tape into Kafka: packed batches by partition, heartbeats while a partition is idle, the end of the stream behind the last tick.

    1. topics and instruments are made, or are there in the same form (else refused)
    2. the end of each partition's log says which record of the tape comes next there; its last batch must be the tape's; a partition that
       was left out (`spiketape control exclude-partition`) has ended, the tape's further ticks of it are passed over and counted
    3. the tape is dealt to the partitions in the order of time, what is there already is passed over, the rest is sent
    4. delivery reports are awaited; the first that failed ends the command

Cut short anywhere, the same command goes on where the log ends: nothing is missing and nothing is there twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from flows.inputs import check_speed
from infra.topics import apply
from operators.sources.kafka.audit import Exclusion, exclusions
from operators.sources.kafka.client import waited
from operators.sources.kafka.dealing import DealtTape
from operators.sources.kafka.instruments import publish
from operators.sources.kafka.tail import Tail, tails
from operators.sources.tape import Tape
from operators.timeline.broker import lacking, made, said
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.errors import BrokerError, RefusedError, UsageError
from schemas.settings import Settings
from schemas.tick_stream import CONTENT_END, CONTENT_HEARTBEAT, CONTENT_TYPE, SEQUENCE, encode_end, encode_heartbeat
from schemas.ticks import Ticks, rows_joined
from schemas.topics import TICKS
from schemas.wire import CONTENT_ARROW, CONTENT_JSON, CONTENT_PACKED, encode, encode_arrow, encode_json

FORMS: Final[dict[str, tuple[str, Callable[[Ticks, int], bytes]]]] = {
    "packed": (CONTENT_PACKED, encode),
    "arrow": (CONTENT_ARROW, lambda ticks, _: encode_arrow(ticks)),
    "json": (CONTENT_JSON, lambda ticks, _: encode_json(ticks)),
}
"""By form of a message: its content type, and its bytes from ticks and the sequence of the first."""

MOST_BATCH_TICKS: Final = 65_536
_WINDOW: Final = 65_536
_PACED_WINDOW: Final = 8192
_PAUSE_S: Final = 0.001
MOST_WAIT_S: Final = 0.005
"""How long a tick that is played at a pace waits for others in its message."""


@dataclass(frozen=True)
class Playing:
    """How a tape is played: ticks in a message, their form, multiple of real time (None: as fast as possible), whether the end is said."""

    batch_ticks: int = 512
    form: str = "packed"
    speed: float | None = None
    end: bool = True

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            msg = f"--form {self.form}: allowed are {', '.join(FORMS)}"
            raise UsageError(msg)
        if not 1 <= self.batch_ticks <= MOST_BATCH_TICKS:
            msg = f"--batch-ticks {self.batch_ticks}: must be from 1 to {MOST_BATCH_TICKS}"
            raise UsageError(msg)
        check_speed(self.speed)


@dataclass(frozen=True)
class Produced:
    """What was done: rows of the tape, how many were sent now, how many were there before, how many by partition were passed over because
    the partition was left out, messages, and whether all else is there."""

    topic: str
    rows: int
    sent: int
    there_before: int
    left_out: dict[int, int]
    messages: int
    heartbeats: int
    ended: bool
    finished: bool
    wall_s: float

    @property
    def ticks_per_s(self) -> float:
        return self.sent / self.wall_s if self.wall_s else 0.0


def produce(
    tape: Tape,
    settings: Settings,
    playing: Playing,
    drain: Drain,
    on_rows: Callable[[int], None] = lambda _: None,
    live: Live | None = None,
) -> Produced:
    """Plays a tape into the topic `ticks` of a deployment; `on_rows` is told how many rows are in the log or on their way.

    A drain ends it after what was sent is delivered; `finished` says whether the whole tape is there. Raises RefusedError where the
    topics or instruments are there in another form or the log holds other ticks, BrokerError where the broker refuses or is away too long.
    """
    live = Live() if live is None else live
    apply(settings)
    publish(settings, tape.instruments, drain, live)
    excluded: dict[int, Exclusion] = waited(settings.kafka, live, drain, lambda: exclusions(settings)) or {}
    since_ms = {p: exclusion.at_ms for p, exclusion in excluded.items()}
    there: dict[int, Tail] | None = waited(settings.kafka, live, drain, lambda: tails(settings, tape.instruments, since_ms))
    began = time.monotonic()
    out = _TickProducer(settings, playing)
    partitions = range(settings.partitions)
    outlets = [_Outlet(out, p, (there or {}).get(p, Tail()), playing.batch_ticks, may_leave_out=p in excluded) for p in partitions]
    whole = False
    if there is not None:
        pace = None if playing.speed is None else _Pace(playing.speed, _first_new_ns(tape, settings, there))
        whole = _play(DealtTape(tape, settings), outlets, settings, pace, drain, on_rows)
    if whole:
        for o in outlets:
            o.finish(tape.manifest.last_ts_ns, playing.end)
    out.delivered(drain)
    return Produced(
        topic=settings.kafka.topic(TICKS),
        rows=tape.manifest.rows,
        sent=sum(o.sent for o in outlets),
        there_before=sum(o.tail.next for o in outlets),
        left_out={p: o.left_out for p, o in enumerate(outlets) if o.left_out},
        messages=out.messages,
        heartbeats=out.heartbeats,
        ended=whole and all(o.ended for o in outlets),
        finished=whole,
        wall_s=time.monotonic() - began,
    )


def _play(
    dealt: DealtTape, outlets: list[_Outlet], settings: Settings, pace: _Pace | None, drain: Drain, on_rows: Callable[[int], None]
) -> bool:
    """Deals the whole tape to the outlets, or until a drain is asked; returns whether it was the whole."""
    beat_ns = settings.slice_ns // 2
    most = _WINDOW if pace is None else _PACED_WINDOW
    while not drain.asked and not dealt.done:
        window = dealt.next(most, None if pace is None else pace.before_ns())
        for outlet, ticks in zip(outlets, window.ticks, strict=True):
            outlet.add(ticks)
            if outlet.waited_s >= MOST_WAIT_S or (pace is None and not ticks.size):
                outlet.flush()
            if window.until_ns is not None:
                outlet.beat(window.until_ns, beat_ns)
        on_rows(sum(o.next for o in outlets))
        if pace is not None and not window.rows:
            time.sleep(_PAUSE_S)
    if not dealt.done:
        return False
    for outlet in outlets:
        outlet.flush()
        outlet.check()
    return True


def _first_new_ns(tape: Tape, settings: Settings, there: dict[int, Tail]) -> int:
    """The time of the first tick that is not in the log and is to go there; the tape's last where there is none."""
    first_ns, last_ns = tape.manifest.first_ts_ns, tape.manifest.last_ts_ns
    if first_ns is None or last_ns is None:
        return 0
    if not any(t.next for t in there.values()):
        return first_ns
    found, seen, dealt = [last_ns], dict.fromkeys(there, 0), DealtTape(tape, settings)
    while len(found) == 1 and not dealt.done:
        for p, ticks in enumerate(dealt.next(_WINDOW).ticks):
            if there[p].ended:
                continue
            place = max(0, there[p].next - seen[p])
            seen[p] += ticks.size
            if place < ticks.size:
                found.append(int(ticks["ts_ns"][place]))
    return min(found)


class _Pace:
    """Event time as it should have come by now, at a multiple of real time, from `first_ns` on."""

    def __init__(self, speed: float, first_ns: int) -> None:
        self._speed = speed
        self._first_ns = first_ns
        self._began_s = time.monotonic()

    def before_ns(self) -> int:
        """Ticks before this time are due."""
        return self._first_ns + 1 + int((time.monotonic() - self._began_s) * 1e9 * self._speed)


class _Outlet:
    """One partition: passes over what is in the log already, cuts the rest into batches.

    `next`: sequence of the next tick of the tape that comes; `sent`: ticks sent by this process; `left_out`: passed over, because the
    partition has ended before the tape does and `may_leave_out` says that this is meant.
    """

    def __init__(self, out: _TickProducer, partition: int, tail: Tail, batch_ticks: int, *, may_leave_out: bool) -> None:
        self.tail = tail
        self.next = 0
        self.sent = self.left_out = 0
        self._may_leave_out = may_leave_out
        self.ended = tail.ended
        self._out = out
        self._partition = partition
        self._batch_ticks = batch_ticks
        self._carry: Ticks | None = None
        self._carried_s = 0.0
        self._said_ns = 0

    @property
    def waited_s(self) -> float:
        """Since when the first tick of a message that is not full has been waiting, in seconds."""
        return 0.0 if self._carry is None else time.monotonic() - self._carried_s

    def check(self) -> None:
        """RefusedError where the log has more ticks than the tape, all of which came."""
        if self.next < self.tail.next:
            msg = f"{self._where} holds {self.tail.next} ticks, the tape has {self.next} there: it is another stream; {_OTHER}"
            raise RefusedError(msg)

    def add(self, ticks: Ticks) -> None:
        """Takes the next ticks of the tape. RefusedError where the log holds others in their place."""
        first = self.next
        self.next += ticks.size
        self._compare(ticks, first)
        new = ticks[max(0, self.tail.next - first) :]
        if not new.size:
            return
        if self.ended and self._may_leave_out:
            self.left_out += new.size
            return
        if self.ended:
            msg = f"{self._where} was ended after {self.tail.next} ticks, the tape has more; {_OTHER}"
            raise RefusedError(msg)
        at = max(first, self.tail.next)
        if self._carry is not None:
            at -= self._carry.size
            new = rows_joined([self._carry, new])
        whole = new.size - new.size % self._batch_ticks
        if whole or self._carry is None:
            self._carried_s = time.monotonic()
        for i in range(0, whole, self._batch_ticks):
            self._send(new[i : i + self._batch_ticks], at + i)
        self._carry = new[whole:] if whole < new.size else None

    def flush(self) -> None:
        """Sends a message that is not full."""
        if self._carry is not None:
            self._send(self._carry, self.next - self._carry.size)
            self._carry = None

    def beat(self, until_ns: int, every_ns: int) -> None:
        """Says that every tick before `until_ns` was sent, where that is so and nothing has been said of the last `every_ns`."""
        if self._carry is None and self.next >= self.tail.next and not self.ended and until_ns >= self._said_ns + every_ns:
            self._out.heartbeat(self._partition, until_ns)
            self._said_ns = until_ns

    def finish(self, last_ts_ns: int | None, end: bool) -> None:
        """Says the time of the tape's last tick, so that all partitions close the same slice last, and that the stream ends."""
        if self.ended:
            return
        if last_ts_ns is not None:
            self._out.heartbeat(self._partition, last_ts_ns)
        if end:
            self._out.end(self._partition, self.next)
            self.ended = True

    @property
    def _where(self) -> str:
        return f"topic {self._out.topic}, partition {self._partition}"

    def _send(self, ticks: Ticks, sequence: int) -> None:
        self._out.ticks(self._partition, ticks, sequence)
        self.sent += ticks.size
        self._said_ns = int(ticks["ts_ns"][-1])

    def _compare(self, ticks: Ticks, first: int) -> None:
        """The last batch in the log must be the tape's."""
        there = self.tail.last
        lo, hi = max(first, self.tail.first), min(first + ticks.size, self.tail.next)
        if there is None or lo >= hi:
            return
        if there[lo - self.tail.first : hi - self.tail.first].tobytes() != ticks[lo - first : hi - first].tobytes():
            msg = f"{self._where} holds other ticks at sequence {lo} than the tape; {_OTHER}"
            raise RefusedError(msg)


_OTHER: Final = "use another kafka.topic_prefix for this tape, or delete the topic first"


class _TickProducer:
    """An idempotent producer of the topic `ticks`; a delivery that failed is raised at the next call."""

    def __init__(self, settings: Settings, playing: Playing) -> None:
        kafka = settings.kafka
        self.topic = kafka.topic(TICKS)
        self.messages = self.heartbeats = 0
        self._kind, self._encoded = FORMS[playing.form]
        self._numbered = playing.form != "packed"
        self._failure: KafkaError | None = None
        own = {
            "client.id": f"{settings.deployment}.produce",
            "enable.idempotence": True,
            "compression.type": kafka.compression,
            "message.max.bytes": kafka.max_message_bytes,
            "message.timeout.ms": max(1000, int(kafka.outage_s * 1000)),
        }
        otherwise = {"queue.buffering.max.kbytes": 131_072, "linger.ms": 5 if playing.speed is None else 1, "log_level": 0}
        self._producer: Producer = made(lambda: Producer(kafka.client(own, otherwise)))

    def ticks(self, partition: int, ticks: Ticks, sequence: int) -> None:
        headers = {CONTENT_TYPE: self._kind}
        if self._numbered:
            headers[SEQUENCE] = str(sequence)
        self._send(partition, self._encoded(ticks, sequence), headers)

    def heartbeat(self, partition: int, ts_ns: int) -> None:
        self._send(partition, encode_heartbeat(ts_ns), {CONTENT_TYPE: CONTENT_HEARTBEAT})
        self.heartbeats += 1

    def end(self, partition: int, records: int) -> None:
        self._send(partition, encode_end(records), {CONTENT_TYPE: CONTENT_END})

    def delivered(self, drain: Drain) -> None:
        """Waits until every message is confirmed. BrokerError where one was not; a drain gives what the broker does not take up."""
        while self._producer.flush(0.5):
            self._check()
            if drain.asked:
                self._producer.purge()
                self._producer.flush(1.0)
                return
        self._check()

    def _send(self, partition: int, value: bytes, headers: dict[str, str]) -> None:
        while True:
            try:
                self._producer.produce(
                    self.topic,
                    value,
                    partition=partition,
                    headers=list(headers.items()),
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                self._producer.poll(0.1)
                self._check()
            except KafkaException as e:
                msg = f"topic {self.topic}, partition {partition}: a message of {len(value)} bytes cannot be sent: {said(e)}"
                raise BrokerError(msg) from e
            else:
                break
        self.messages += 1
        self._producer.poll(0)
        self._check()

    def _on_delivery(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None and self._failure is None:
            self._failure = error

    def _check(self) -> None:
        if self._failure is not None:
            why = said(lacking(self._failure, "WRITE", self.topic))
            msg = (
                f"topic {self.topic}: the broker did not take a message: {why}. What was taken before is in order; run the "
                "same command again to go on from there"
            )
            raise BrokerError(msg)
