"""How ticks reach a process: the topic `ticks` as a source."""

from __future__ import annotations

from flows.live.process import Process
from operators.sources.kafka import Start, Stream
from operators.sources.kafka.operator import BATCH_TICKS, KafkaSource
from operators.timeline.control import Credit

STEP = "ticks"


def tick_source(process: Process, stream: Stream, credit: Credit, start: Start, batch_ticks: int = BATCH_TICKS) -> KafkaSource:
    """The ticks of a process as `stream` hands them on.

    `credit`: how far they may run ahead of the last stage; `start`: where a new run begins, its folder keeps what `latest` means for it;
    `batch_ticks`: of a partition at once at most.
    """
    name, begin = f"{process.client}.{STEP}", start.noted_in(process.folder.path)
    return KafkaSource(STEP, process.settings, name, stream, process.drain, credit, process.meters, process.live, begin, batch_ticks)
