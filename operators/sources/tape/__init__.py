"""Tapes: what they hold, how they are written, read, made from feeds, described and turned into bars."""

from operators.sources.tape.format import Manifest
from operators.sources.tape.reader import Tape
from operators.sources.tape.writer import TapeWriter

__all__ = ["Manifest", "Tape", "TapeWriter"]
