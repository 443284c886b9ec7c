"""Tapes: what they hold, how they are written, read, made from feeds, and described.

Bars are in operators.sources.tape.bars, which imports polars; the rest does not.
"""

from operators.sources.tape.describe import TapeDescription, describe
from operators.sources.tape.format import Manifest
from operators.sources.tape.merge import Feed, FeedChunk, write_feeds
from operators.sources.tape.reader import Tape
from operators.sources.tape.report import ImportReport
from operators.sources.tape.writer import TapeWriter, refuse_taken

__all__ = [
    "Feed",
    "FeedChunk",
    "ImportReport",
    "Manifest",
    "Tape",
    "TapeDescription",
    "TapeWriter",
    "describe",
    "refuse_taken",
    "write_feeds",
]
