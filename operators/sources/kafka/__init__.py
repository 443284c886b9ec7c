"""Reading Kafka: topics as streams of items with exact positions, ticks as batches and marks. The Bytewax source is in `operator`."""

from operators.sources.kafka.feed import Taken, TickFeed
from operators.sources.kafka.instruments import publish, published
from operators.sources.kafka.log import TopicLog
from operators.sources.kafka.position import merged, split
from operators.sources.kafka.start import Start
from operators.sources.kafka.stream import MessageStream, Stream, header_of, keyed, poison_of
from operators.sources.kafka.ticks import TickStream, carried_by, feeds_of

__all__ = [
    "MessageStream",
    "Start",
    "Stream",
    "Taken",
    "TickFeed",
    "TickStream",
    "TopicLog",
    "carried_by",
    "feeds_of",
    "header_of",
    "keyed",
    "merged",
    "poison_of",
    "publish",
    "published",
    "split",
]
