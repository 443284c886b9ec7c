"""A `Live` as Prometheus metrics, read when somebody asks. Names, units and labels are an interface: more may come, none is renamed.

Every metric has the labels `deployment` and `flow`. docs/operations.md has them as a table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from flows.live.watchdog import Progress, Standing
from operators.timeline.live import OK, Histogram, Live

PREFIX: Final = "spiketape_"
Values = Mapping[str, float]


@dataclass(frozen=True)
class Counted:
    """One metric: its name without the prefix, kind, what it says, the label that its values differ in, and how it is read.

    `read` gives the value by label; by "" where there is no label. What is not known yet is left out.
    """

    name: str
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    says: str
    label: str
    read: Callable[[Live], Values]


def _one(value: float | None) -> Values:
    return {} if value is None else {"": value}


def _slices_open(live: Live) -> float | None:
    newest, done = live.newest_slice, live.done_slice
    return None if newest is None or done is None else max(0, newest - done)


def _epoch_age(live: Live) -> float | None:
    began = live.epoch_began_s
    return None if began is None else live.now_s() - began


def _waiting(live: Live) -> Values:
    silent = live.waiting_for.copy()
    return {p: float(p in silent) for p in {**live.lag_messages, **live.watermark, **dict.fromkeys(silent)}}


def _silent(live: Live) -> Values:
    silent, heard, now = live.waiting_for.copy(), live.heard_s.copy(), live.now_s()
    return {p: now - heard_s if p in silent else 0.0 for p, heard_s in heard.items()}


C, G = CounterMetricFamily, GaugeMetricFamily
METRICS: Final = (
    Counted("ticks_total", C, "ticks taken in", "", lambda v: _one(v.ticks)),
    Counted("messages_total", C, "messages taken in", "", lambda v: _one(v.messages)),
    Counted("received_bytes_total", C, "bytes of messages taken in", "", lambda v: _one(v.bytes)),
    Counted("duplicates_total", C, "records dropped because they were there already", "", lambda v: _one(v.duplicates)),
    Counted("sequence_holes_total", C, "records missing in a partition's stream", "", lambda v: _one(v.sequence_holes)),
    Counted("dead_letters_total", C, "what could not be used and was set aside", "reason", lambda v: v.dead_letters.copy()),
    Counted("refusals_total", C, "intents that risk refused", "rule", lambda v: v.refusals.copy()),
    Counted("rows_total", C, "rows handed to sinks", "table", lambda v: v.rows.copy()),
    Counted(
        "quality_score",
        G,
        "quality score of the gate, 0 to 1, after the last ten seconds of event time with a tick",
        "symbol",
        lambda v: v.quality.copy(),
    ),
    Counted("restarts_total", C, "starts of this run from its recovery directory", "", lambda v: _one(v.restarts)),
    Counted("epochs_total", C, "completed epochs", "", lambda v: _one(v.epochs)),
    Counted("lag_messages", G, "messages in the log that were not taken in yet", "partition", lambda v: v.lag_messages.copy()),
    Counted(
        "event_time_seconds",
        G,
        "largest event time taken in, seconds since 1970",
        "partition",
        lambda v: {p: ns / 1e9 for p, ns in v.event_ns.copy().items()},
    ),
    Counted(
        "event_lag_seconds",
        G,
        "clock of this machine less the largest event time taken in",
        "partition",
        lambda v: {p: time.time() - ns / 1e9 for p, ns in v.event_ns.copy().items()},
    ),
    Counted("watermark_slice", G, "everything before this slice has been read", "partition", lambda v: v.watermark.copy()),
    Counted("partition_waiting", G, "1 where a partition is read to its end", "partition", _waiting),
    Counted("silent_seconds", G, "since something arrived in a partition that is read to its end", "partition", _silent),
    Counted("done_slice", G, "everything before this slice has left the last stage", "", lambda v: _one(v.done_slice)),
    Counted("slices_open", G, "slices read and not done", "", lambda v: _one(_slices_open(v))),
    Counted("epoch_age_seconds", G, "age of the epoch under way", "", lambda v: _one(_epoch_age(v))),
    Counted("spool_bytes", G, "what waits on disk for a server that is away", "", lambda v: _one(v.spool_bytes)),
    Counted("spool_limit_bytes", G, "how much may wait there; 0: no spool", "", lambda v: _one(v.spool_limit_bytes)),
    Counted(
        "component_up",
        G,
        "1 where what the process needs from outside answers",
        "component",
        lambda v: {c.name: float(c.status is OK) for c in v.components.copy().values()},
    ),
)
HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[Live], dict[str, Histogram]]], ...]] = (
    ("transaction_seconds", "a sink's transactions, begin to commit", lambda v: v.transactions.copy()),
    ("write_seconds", "a sink's writes", lambda v: v.writes.copy()),
)
JUDGED: Final = (
    ("stalled", "1 where nothing moves though it should"),
    ("still_seconds", "seconds since the watermark moved or had a reason not to"),
)


class LiveMetrics(Collector):
    """Collects a `Live` at each scrape."""

    def __init__(self, live: Live, progress: Progress, deployment: str, flow: str) -> None:
        self._live = live
        self._progress = progress
        self._labels = {"deployment": deployment, "flow": flow}

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known without asking."""
        return []

    def collect(self) -> Iterator[Metric]:
        names, values = tuple(self._labels), tuple(self._labels.values())
        for m in METRICS:
            family = m.kind(PREFIX + m.name, m.says, labels=[*names, m.label] if m.label else names)
            for label, value in sorted(m.read(self._live).items()):
                family.add_metric([*values, label] if m.label else list(values), value)
            yield family
        for name, says, read in HISTOGRAMS:
            histogram = HistogramMetricFamily(PREFIX + name, says, labels=[*names, "sink"])
            for sink, h in sorted(read(self._live).items()):
                histogram.add_metric([*values, sink], _buckets(h), h.sum)
            yield histogram
        finding = self._progress.look()
        for (name, says), value in zip(JUDGED, (float(finding.standing is Standing.STALLED), finding.still_s), strict=True):
            judged = GaugeMetricFamily(PREFIX + name, says, labels=names)
            judged.add_metric(list(values), value)
            yield judged
        info = GaugeMetricFamily(PREFIX + "info", "always 1; what runs here", labels=[*names, "version"])
        info.add_metric([*values, installed_version()], 1)
        yield info


def _buckets(h: Histogram) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as Prometheus has them; one more without bound."""
    total, out = 0, []
    for bound, count in zip((*map(str, h.bounds), "+Inf"), h.counts.copy(), strict=True):
        total += count
        out.append((bound, float(total)))
    return out


def installed_version() -> str:
    """The package's version; `unknown` where it is not installed."""
    try:
        return version("spiketape")
    except PackageNotFoundError:
        return "unknown"
