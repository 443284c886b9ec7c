"""Messages into Kafka exactly once: a thread that owns one transactional producer, and the protocol it keeps to.

The flow's thread hands messages over and goes on; only where it asks (`flush`, at the end of an epoch) or runs far ahead does it wait.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any, Final, NamedTuple
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException, Producer

from operators.sinks.kafka.cadence import Cadence
from operators.sinks.kafka.client import FENCED, check_topics, last_value, outage_of, producer_of
from operators.sinks.kafka.outgoing import Record, too_large
from operators.sinks.kafka.token import Token
from operators.timeline.broker import cause_of, lacking, rights_named, said
from operators.timeline.live import Live
from schemas.errors import FencedError, RefusedError, StateMismatchError
from schemas.settings import Settings
from schemas.topics import TOKENS

MOST_WAITING_BYTES: Final = 64 << 20
"""Bytes that may wait for the thread before whoever hands over more has to wait."""

COMMIT_WAIT_S: Final = 3.0
"""A commit that takes longer is waited for further, but the process shows that the broker does not answer."""

_IDLE_S: Final = 1.0


class _Parcel(NamedTuple):
    """Messages that belong together, and the token after them."""

    records: list[Record]
    token: Token
    size: int


class Transactions:
    """The transactions of one part. `transactional_id`: `<deployment>.<sink>.<part>`; `identity`: of its token."""

    def __init__(self, settings: Settings, transactional_id: str, identity: str, topics: frozenset[str], live: Live) -> None:
        self._settings = settings
        self._kafka = settings.kafka
        self._id = transactional_id
        self._identity = identity
        self._instance = uuid4().hex
        self._topics = topics
        self._tokens = self._kafka.topic(TOKENS)
        self._outage = outage_of(self._kafka, live)
        self._durations = live.transaction_s(transactional_id)
        self._producer: Producer
        self._held = self._initialised = False
        self._committed = 0
        self._open: list[_Parcel] = []
        self._began_s: float | None = None
        self._cadence = Cadence(self._kafka.transaction_ms / 1000)
        self._undelivered: list[tuple[KafkaError, bytes]] = []
        self._changed = threading.Condition()
        self._waiting: deque[_Parcel] = deque()
        self._waiting_bytes = 0
        self._flush_asked = False
        self._busy = False
        self._ended = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"kafka {transactional_id}", daemon=True)

    def start(self) -> Token:
        """Takes the transactional id over and returns the token: what is in the topics, whatever became of a predecessor.

        Waits for a broker that is away. Raises RefusedError where topics are missing or hold the rows of another set-up, StateMismatchError
        where the token is damaged, BrokerError where the broker does not answer for too long.
        """
        try:
            token = self._take_over()
        except BaseException:
            self._release()
            raise
        self._committed = token.commit
        self._thread.start()
        return replace(token, instance=self._instance)

    def put(self, records: list[Record], token: Token) -> None:
        """Hands messages over, with the token after them. Waits while too much is under way; raises what ended the thread."""
        size = sum(len(r.value) for r in records)
        with self._changed:
            self._wait(lambda: self._waiting_bytes < MOST_WAITING_BYTES)
            self._waiting.append(_Parcel(records, token.copy(), size))
            self._waiting_bytes += size
            self._changed.notify_all()

    def flush(self) -> None:
        """Returns when everything that was handed over is committed; raises what ended the thread."""
        with self._changed:
            self._flush_asked = True
            self._changed.notify_all()
            self._wait(lambda: not self._waiting and not self._open and not self._busy)
            self._flush_asked = False

    def end(self) -> None:
        """Ends the thread. What was not flushed is not committed; whoever takes the id over aborts it."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait(self, until: Any) -> None:
        self._changed.wait_for(lambda: self._failure is not None or until())
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while (work := self._next_work()) is not None:
                self._deliver(*work)
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
        except BaseException as e:  # handed to the flow's thread, which raises it
            with self._changed:
                self._failure = e
                self._changed.notify_all()
        finally:
            self._release()

    def _next_work(self) -> tuple[list[_Parcel], bool] | None:
        """Messages to be sent now, and whether the transaction is to be committed after them; None: the end."""
        with self._changed:
            while not self._ended:
                now_s = time.monotonic()
                due_s, begins_s = self._cadence.due_in(now_s), 0.0 if self._open else self._cadence.begins_in(now_s)
                if (self._waiting and begins_s <= 0) or (self._open and (self._flush_asked or due_s <= 0)):
                    self._busy = True
                    parcels, count = [], sum(len(p.records) for p in self._open)
                    while self._waiting and count < self._kafka.transaction_rows:
                        parcels.append(self._waiting.popleft())
                        count += len(parcels[-1].records)
                        self._waiting_bytes -= parcels[-1].size
                    self._changed.notify_all()
                    full = count >= self._kafka.transaction_rows
                    due = self._cadence.due_with_messages(now_s)
                    return parcels, full or due or (self._flush_asked and not self._waiting)
                self._changed.wait(min(_IDLE_S, due_s) if self._open else begins_s if self._waiting else _IDLE_S)
            return None

    def _deliver(self, parcels: list[_Parcel], commit: bool) -> None:
        """Sends messages, and commits the open transaction if `commit`. The whole protocol:

        1. Begin, if no transaction is open. Local; nothing to lose.
        2. Produce the messages. If this process dies here, the broker aborts the transaction (at once when a successor takes the id over,
           else after `transaction_timeout_s`): nobody who reads committed messages sees them, the flow makes them again from its snapshot.
        3. Produce the token, which counts them, in the same transaction. As 2.
        4. Commit: every message is delivered, then the coordinator writes its decision. If this process dies before the decision: as 2;
           after it: messages and token are there, the successor reads the token and leaves them out. There is nothing in between.
        5. Forget the messages.

        Where the broker fails at 1 to 4, whether 4 has succeeded may be unknown. So `_recover` takes the id over once more, which settles
        the old transaction, and reads the token: either it counts the messages (go on at 5), or it does not (go on at 1 with all of them),
        or another process wrote it, then FencedError. An error that trying again cannot mend is raised; nothing is lost by it.
        """
        self._open += parcels
        fresh = parcels
        while self._open:
            try:
                if self._began_s is None:
                    self._producer.begin_transaction()
                    self._began_s = time.monotonic()
                for parcel in fresh:
                    for record in parcel.records:
                        self._produce(record)
                if not commit:
                    self._producer.poll(0)
                    return
                token = replace(self._open[-1].token, commit=self._committed + 1)
                self._produce(Record(self._tokens, 0, self._id.encode(), token.encoded(), [], f"the token of {self._id}"))
                self._commit()
                self._durations.observe(time.monotonic() - self._began_s)
                self._forget(token.commit)
            except KafkaException as e:
                self._recover(e)
                fresh = list(self._open)
        self._outage.over()

    def _produce(self, r: Record) -> None:
        while True:
            try:
                self._producer.produce(r.topic, r.value, r.key, r.partition, self._delivered, headers=r.headers)
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as e:
                self._refuse_too_large(e, r.name, len(r.value))
                raise
            else:
                return

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        """Called for messages that could not be delivered only; that all others were is what a successful commit says."""
        if error is not None:
            self._undelivered.append((error, message.value()))

    def _commit(self) -> None:
        while True:
            try:
                self._producer.commit_transaction(min(COMMIT_WAIT_S, self._kafka.answer_timeout_s))
            except KafkaException as e:
                cause = cause_of(e)
                if cause is None or not cause.retriable():
                    raise
                self._outage.failed(f"{self._id}: commit", e)
                self._sleep(0.0)
            else:
                return

    def _forget(self, commit: int) -> None:
        with self._changed:
            self._committed = commit
            self._open.clear()
            self._began_s = None
            self._cadence.committed(time.monotonic())

    def _recover(self, error: KafkaException) -> None:
        """After a failure: settles what became of the open transaction; then either it is forgotten or to be sent once more."""
        self._raise_if_hopeless(error)
        topics = {r.topic for p in self._open for r in p.records} | {self._tokens}
        self._sleep(self._outage.failed(f"{self._id}: transaction", lacking(error, "WRITE", *sorted(topics))))
        self._undelivered.clear()
        self._release()
        attempted = self._committed + 1
        token = self._take_over(mine=True)
        if token.commit < self._committed:
            msg = (
                f"{self._id}: the token in topic {self._tokens} is of transaction {token.commit}, but {self._committed} were committed: "
                "topics were deleted or restored while this process ran. Restore them, or start over with another deployment name"
            )
            raise StateMismatchError(msg)
        if token.commit == attempted:
            self._forget(attempted)
        with self._changed:
            self._began_s = None

    def _raise_if_hopeless(self, error: KafkaException) -> None:
        """FencedError where a newer process has surely taken over, BrokerError for a message that can never be delivered."""
        cause = cause_of(error)
        if self._undelivered:
            reason, value = self._undelivered[0]
            records = [r for p in self._open for r in p.records]
            named, topic = next(((r.name, r.topic) for r in records if r.value == value), (f"the token of {self._id}", self._tokens))
            self._refuse_too_large(KafkaException(reason), named, len(value))
            self._outage.failed(f"{self._id}: {named}", lacking(reason, "WRITE", topic))
        if cause is not None and cause.code() in FENCED:
            open_s = 0.0 if self._began_s is None else time.monotonic() - self._began_s
            if open_s < self._kafka.transaction_timeout_s:
                raise self._fenced(said(error)) from error

    def _refuse_too_large(self, error: KafkaException, name: str, size: int) -> None:
        cause = cause_of(error)
        if cause is not None and cause.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
            raise too_large(name, size, self._kafka.max_message_bytes) from error

    def _fenced(self, why: str) -> FencedError:
        msg = f"{self._id}: a newer process of the same deployment, sink and part has taken over ({why}); this one writes nothing more"
        return FencedError(msg)

    def _take_over(self, *, mine: bool = False) -> Token:
        """A new producer under the transactional id, and the token after every older transaction has been settled.

        `mine`: it was this process's id just now; where another one has written a token since, FencedError.
        """
        while True:
            try:
                if mine:
                    self._refuse_other(self._read_token(settled=False))
                self._connect()
                check_topics(self._producer, self._settings, self._topics)
                self._acquire()
                token = self._read_token(settled=True)
            except KafkaException as e:
                cause = cause_of(e)
                if cause is None or not cause.retriable():
                    self._release()
                self._sleep(self._outage.failed(f"{self._id}: taking over", e))
            else:
                self._outage.over()
                if mine:
                    self._refuse_other(token)
                return token

    def _connect(self) -> None:
        """Makes the producer where there is none. Asked for topics first, it has a connection when it takes the id over; without one the
        client would wait half a second before it looks for the coordinator again."""
        if not self._held:
            self._producer = producer_of(self._settings, self._id)
            self._held, self._initialised = True, False

    def _acquire(self) -> None:
        """Fences whoever had the transactional id. An attempt that is not answered goes on in the client: only that one is asked again."""
        if not self._initialised:
            with rights_named("WRITE", self._tokens):
                self._producer.init_transactions(self._kafka.answer_timeout_s)
            self._initialised = True

    def _release(self) -> None:
        """Ends the producer at once: one that lived on would, when the broker is back, fence whoever has the id by then."""
        if self._held:
            del self._producer
            self._held = False

    def _refuse_other(self, token: Token) -> None:
        if token.commit > self._committed and token.instance != self._instance:
            raise self._fenced(f"the token is of transaction {token.commit}, this process's last is {self._committed}")

    def _read_token(self, *, settled: bool) -> Token:
        name = f"{self._settings.deployment}.{TOKENS}"
        value = last_value(self._kafka, name, self._tokens, self._id.encode(), settled=settled)
        if value is None:
            return Token(self._identity)
        token = Token.parsed(value, f"topic {self._tokens}, key {self._id}")
        if token.identity != self._identity:
            msg = (
                f"topic {self._tokens}, key {self._id}: the topics hold rows of other symbols, slice length, shards or partitions than "
                "these settings say; set these as before, or use another deployment name or kafka.topic_prefix"
            )
            raise RefusedError(msg)
        return token

    def _sleep(self, seconds: float) -> None:
        """Waits, but not after the end was asked."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, seconds)
            if self._ended:
                raise _EndedError


class _EndedError(Exception):
    """The thread is to end while the broker is away."""
