"""Reading a tape as batches and marks, several partitions multiplexed into one source."""

from operators.sources.replay.cursor import Position, TapeCursor

__all__ = ["Position", "TapeCursor"]
