"""Tapes: what they hold, how they are written, read, made from feeds, described and turned into bars."""

from operators.sources.tape.bars import bars
from operators.sources.tape.describe import TapeDescription, describe
from operators.sources.tape.format import Manifest
from operators.sources.tape.merge import Feed, FeedChunk, write_feeds
from operators.sources.tape.reader import Tape
from operators.sources.tape.report import ImportReport
from operators.sources.tape.writer import TapeWriter

__all__ = ["Feed", "FeedChunk", "ImportReport", "Manifest", "Tape", "TapeDescription", "TapeWriter", "bars", "describe", "write_feeds"]
