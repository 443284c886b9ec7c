"""The row topics of a deployment read back: is everything there once, as it was said, and which output hash does it make?

Only committed messages count. Each must be, byte for byte, the message of its row, under the row's id and key and in its partition; n must
run from 0 without gaps or doubles. Then the chain of digests is computed as in a replay (operators/sinks/ledger.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from operators.sinks.ledger import START, canonical, chained, chains_of, output_hash
from operators.sinks.reading import KeyRows
from operators.sinks.verify import MOST_PROBLEMS, Problem, VerifyReport, contiguous
from operators.timeline.broker import Reports, lacking, made, said
from schemas.errors import BrokerError
from schemas.instruments import InstrumentList
from schemas.row_json import RowJson, parsed
from schemas.settings import Settings
from schemas.tables import HASHED_TABLES, Rows
from schemas.topics import TOPIC_OF_TABLE, row_partition

AT_ONCE: Final = 5000
"""Messages of a key that are turned into rows at once."""

_LOG: Final = logging.getLogger("librdkafka")
_POISON_SLASHES: Final = 2


@dataclass
class TopicsReport(VerifyReport):
    """What was found in the topics of a deployment (`run`). `recorded_hash`: of the run it is compared with, None where there is none;
    `poison`: dead letters of messages that could not be decoded, which stand outside the hash."""

    poison: int = 0

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing doubled, nothing changed."""
        return not self.problems and self.recorded_hash in (None, self.output_hash)


def verify_topics(settings: Settings, instruments: InstrumentList, run: Mapping[str, Any] | None = None) -> TopicsReport:
    """Reads every row topic to its end and checks it; `run`: the run.json of a replay that must have said the same.

    Raises BrokerError where the broker does not answer.
    """
    report = TopicsReport(settings.deployment, None if run is None else run.get("output_hash"))
    expected = None if run is None else chains_of(run.get("chains", {}))
    ends: dict[tuple[str, str], tuple[int, bytes]] = {}
    for table in TOPIC_OF_TABLE:
        keys = _Table(table, settings, instruments, report).read()
        report.rows[table] = sum(k.rows.size for k in keys)
        for k in keys:
            place = (table, k.key)
            count = None if expected is None else expected.get(place, (0, START))[0]
            report.problems += contiguous(table, k, count)
            if table in HASHED_TABLES:
                digest, _ = chained(START, canonical(table, instruments.symbols, k.rows))
                ends[place] = (k.rows.size, digest)
    report.output_hash = output_hash(ends)
    for (table, key), (count, digest) in sorted((expected or {}).items()):
        if (table, key) not in ends and count:
            report.problems.append(Problem("missing", table, key, None, f"all {count} rows"))
        elif (table, key) in ends and ends[table, key][0] == count and ends[table, key][1] != digest:
            report.problems.append(Problem("changed", table, key, None, "the rows are not those of the run"))
    return report


class _Table:
    """One table's rows out of its topic."""

    def __init__(self, table: str, settings: Settings, instruments: InstrumentList, report: TopicsReport) -> None:
        self._table = table
        self._settings = settings
        self._json = RowJson(settings.deployment, instruments)
        self._report = report
        self._begin = f"{settings.deployment}/{table}/"
        self._rows: dict[str, list[Any]] = {}

    def read(self) -> list[KeyRows]:
        """Rows by key in sorted order; a row that is there twice stands twice. What cannot be used is a problem of the report."""
        waiting: dict[str, list[tuple[dict[str, Any], bytes]]] = {}
        for message in committed(self._settings, TOPIC_OF_TABLE[self._table]):
            told = self._tree(message)
            if told is None:
                continue
            key, tree = told
            pieces = waiting.setdefault(key, [])
            pieces.append((tree, message.value()))
            if len(pieces) >= AT_ONCE:
                self._enter(key, waiting.pop(key))
        for key, pieces in waiting.items():
            self._enter(key, pieces)
        out = []
        for key, parts in sorted(self._rows.items()):
            rows = np.concatenate(parts)
            out.append(KeyRows(key, rows[np.argsort(rows["n"], kind="stable")], np.empty(0, np.int64)))
        return out

    def _tree(self, message: Any) -> tuple[str, dict[str, Any]] | None:
        """Key and parsed value of a row's message; None for others, those that should not be there having been told."""
        key = (message.key() or b"").decode("utf-8", "replace")
        try:
            tree = parsed(message.value() or b"")
            row_id = tree["id"]
            if not isinstance(row_id, str):
                raise TypeError(row_id)
        except (ValueError, KeyError, TypeError) as e:
            self._problem(
                "unreadable", key, None, f"partition {message.partition()}, offset {message.offset()}: no message of a row: {e!r}"
            )
            return None
        if self._table == "dead_letters" and row_id.count("/") == _POISON_SLASHES:
            self._report.poison += 1
            return None
        if not row_id.startswith(self._begin):
            return None
        wanted = row_partition(self._table, key, self._settings)
        if row_id != f"{self._begin}{key}/{tree.get('n')}" or message.partition() != wanted:
            text = f"id {row_id}, key {key}, partition {message.partition()} (expected {wanted}) do not belong together"
            self._problem("changed", key, None, text)
            return None
        return key, tree

    def _enter(self, key: str, pieces: list[tuple[dict[str, Any], bytes]]) -> None:
        try:
            rows = self._json.decoded(self._table, [tree for tree, _ in pieces])
            same = self._json.encoded(Rows(self._table, key, rows)) == [raw for _, raw in pieces]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            same = False
        if same:
            self._rows.setdefault(key, []).append(rows)
        elif len(pieces) == 1:
            tree, raw = pieces[0]
            self._problem(
                "changed", key, int(tree["n"]) if isinstance(tree["n"], int) else None, f"is not the message of a row: {raw[:500]!r}"
            )
        else:
            half = len(pieces) // 2
            self._enter(key, pieces[:half])
            self._enter(key, pieces[half:])

    def _problem(self, kind: Any, key: str, n: int | None, text: str) -> None:
        if sum(p.table == self._table and p.kind == kind for p in self._report.problems) < MOST_PROBLEMS:
            self._report.problems.append(Problem(kind, self._table, key, n, text))


def committed(settings: Settings, topic: str) -> Iterator[Any]:
    """The committed messages of a topic (its name without prefix), partition by partition in their order, up to its end.

    Raises BrokerError where the broker does not answer or has no such topic.
    """
    kafka = settings.kafka
    name = kafka.topic(topic)
    reports = Reports()
    own = {
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "group.id": f"{settings.deployment}.verify",
        "error_cb": reports,
    }
    reader = made(lambda: Consumer(kafka.client(own, {"fetch.wait.max.ms": 20}), logger=_LOG))
    try:
        about = reader.list_topics(name, timeout=kafka.answer_timeout_s).topics[name]
        if about.error is not None:
            raise KafkaException(about.error)
        left = set(about.partitions)
        reader.assign([TopicPartition(name, p, OFFSET_BEGINNING) for p in left])
        heard_s = time.monotonic()
        while left:
            for m in reader.consume(AT_ONCE, 0.1):
                heard_s = time.monotonic()
                error = m.error()
                if error is None:
                    yield m
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(m.partition())
                else:
                    raise KafkaException(error)
            if time.monotonic() - heard_s > kafka.answer_timeout_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"nothing was heard for {kafka.answer_timeout_s:g} s"))
    except KafkaException as e:
        why = said(lacking(reports.reason(reader, e), "READ", name))
        msg = f"topic {name} at {kafka.bootstrap_servers} cannot be read: {why}"
        raise BrokerError(msg) from e
    finally:
        reader.close()
