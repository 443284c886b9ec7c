"""Where the results of an account go in a process that runs live: Kafka always, InfluxDB and a lake where they are asked for.

| stream | Kafka | InfluxDB | ledger and lake |
| --- | --- | --- | --- |
| rows of the shards and of the account | yes | yes | yes |
| what the shards say (quotes, statistics) | - | yes | - |
| turns of the book, judged control messages | yes | - | - |
| messages that cannot be decoded | yes | - | - |
| points that InfluxDB refuses | yes | - | - |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Stream
from bytewax.operators import KeyedStream

from flows.live.process import Process
from flows.points import SPOOL, writer_of
from flows.results import codebook
from operators.risk import RiskRule
from operators.sinks import Lake, Ledger
from operators.sinks.influx import DeadLetterQueue
from operators.sinks.influx.operator import InfluxHolder, InfluxSink
from operators.sinks.influx.writer import DEAD_LETTERS
from operators.sinks.kafka.operator import KafkaSink
from operators.sinks.operator import Holder, RowsSink
from schemas.errors import UsageError
from schemas.instruments import InstrumentList
from schemas.tables import Rows

KAFKA, INFLUX, LAKE, ROWS = "kafka", "influx", "lake", "rows"
CHOICES: Final = (KAFKA, INFLUX, LAKE)


class Outlets:
    """The sinks of one process. `chosen`: of CHOICES; `tables`: those whose rows this process writes to Kafka, None for all.

    `turns_at_once`: whether a venue that is another process waits for each turn. `farewell`: for `Wired`.
    """

    def __init__(
        self,
        process: Process,
        instruments: InstrumentList,
        chosen: Iterable[str],
        tables: Iterable[str] | None = None,
        *,
        turns_at_once: bool = False,
    ) -> None:
        settings, live, folder = process.settings, process.live, process.folder
        chosen = frozenset(chosen)
        if KAFKA not in chosen:
            msg = f"--sink {','.join(sorted(chosen))}: a live flow needs kafka among its sinks, where dead letters and commits go"
            raise UsageError(msg)
        self._process = process
        self._rows = Holder()
        self._influx = InfluxHolder() if INFLUX in chosen else None
        scales = [i.notional_scale for i in instruments.instruments]

        def lake_of() -> Lake:
            return Lake(folder.lake, instruments, settings, codebook())

        refusals = None if self._influx is None else DeadLetterQueue(folder.path / SPOOL / DEAD_LETTERS)
        self._kafka_sink = KafkaSink(
            settings,
            instruments,
            "rows",
            tables=tables,
            live=live,
            refusals=refusals,
            drain=process.drain,
            turns_at_once=turns_at_once,
        )
        self.farewell = self._kafka_sink.finish
        self._rows_sink = RowsSink(lambda: Ledger(instruments.symbols, scales), lake_of if LAKE in chosen else None, self._rows)
        self._influx_sink = (
            None if self._influx is None else InfluxSink(writer_of(settings, instruments, folder, process.drain, live), self._influx)
        )

    def steps(self, flow: str) -> dict[str, int]:
        """The sinks' steps in a flow of that name, with the versions of their states."""
        influx = {} if self._influx_sink is None else {f"{flow}.{INFLUX}": InfluxSink.version}
        return {f"{flow}.{KAFKA}": KafkaSink.version, f"{flow}.{ROWS}": RowsSink.version, **influx}

    def connect(self, results: KeyedStream[Any], said: KeyedStream[Any], others: Iterable[Stream[Any]]) -> None:
        """Ends a flow. `results`: what the account says; `said`: SliceOut of the shards; `others`: poison, for Kafka."""
        rows = op.map("refusals", op.filter("only_rows", results, lambda item: isinstance(item[1], tuple)), self._refusals_noted)
        op.output(KAFKA, op.merge("for_kafka", results, *others), self._kafka_sink)
        op.output(ROWS, rows, self._rows_sink)
        if self._influx_sink is not None:
            op.output(INFLUX, op.merge("for_influx", rows, said), self._influx_sink)

    def _refusals_noted(self, item: tuple[str, tuple[Rows, ...]]) -> tuple[str, tuple[Rows, ...]]:
        """Tells `live` which rules have refused intents."""
        for rows in item[1]:
            if rows.table == "verdicts":
                refused = rows.a["rule"][rows.a["approved"] == 0]
                for rule, n in zip(*np.unique(refused, return_counts=True), strict=True):
                    self._process.live.refused(RiskRule(int(rule)).name, int(n))
        return item

    def settle(self) -> bool:
        """After the flow has ended in order: the lake is tidied, InfluxDB has everything. What it refused stands in Kafka after `farewell`.

        Waits for InfluxDB as long as it is away, or until a drain is asked: then the spool keeps the rest for the next start, and False is
        returned.
        """
        if self._rows.lake is not None:
            self._rows.lake.finish()
        waiting = 0
        if self._influx is not None and self._influx.writer is not None:
            writer = self._influx.writer
            try:
                waiting = writer.finish()
            finally:
                writer.stop()
        return waiting == 0

    def summary(self) -> dict[str, Any]:
        """What went out, as of now."""
        ledger = self._rows.ledger
        if ledger is None:
            return {}
        rows: dict[str, int] = {}
        for (table, _), n in ledger.counts().items():
            rows[table] = rows.get(table, 0) + n
        out: dict[str, Any] = {"output_hash": ledger.output_hash(), "rows": rows}
        if self._influx is not None and self._influx.writer is not None:
            writer = self._influx.writer
            out["influx"] = {"bucket": writer.bucket, "lines_sent": writer.lines_sent, "lines_waiting": writer.spool.lines_waiting}
        return out
