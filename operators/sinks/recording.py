"""The sink of a recording: each partition's ticks in a file of its own, in their order, until they become a tape.

A snapshot forces the files to the disk and says how long they are; whoever goes on from it cuts them to that. So after kill -9 no tick is
missing and none is there twice. Messages that cannot be read stand in `poison.jsonl` beside them, likewise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.timeline.seal import sealed, unsealed
from schemas.durable import force, write_at
from schemas.errors import SpiketapeError
from schemas.poison import Poison
from schemas.recorded import NEVER_NS, RecordedTicks
from schemas.ticks import TICK_V1, Ticks

VERSION: Final = 1
POISON: Final = "poison.jsonl"
PART: Final = "recording"


class Recording:
    """The files of a recording in a folder. `reached_ns`: by partition; `offsets`: by partition, of the first message and of the next."""

    def __init__(self, folder: Path, partitions: int, state: Mapping[str, Any] | None = None) -> None:
        """Opens the files, cut to a snapshot, or new ones. Raises SpiketapeError where they are shorter than the snapshot says."""
        self.folder = folder
        self.reached_ns = dict.fromkeys(range(partitions), NEVER_NS)
        self.offsets: dict[int, tuple[int, int]] = {}
        self.poison = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = [*(folder / f"ticks-{p:04d}" for p in range(partitions)), folder / POISON]
        self._sizes = [0] * len(self._paths)
        if state is not None:
            self._sizes = list(state["sizes"])
            self.reached_ns = dict(state["reached_ns"])
            self.offsets = dict(state["offsets"])
            self.poison = state["poison"]
        self._files = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644) for path in self._paths]
        for path, file, size in zip(self._paths, self._files, self._sizes, strict=True):
            there = os.fstat(file).st_size
            if there < size:
                self.close()
                msg = f"{path} has {there} bytes, its recovery point says {size}: the recording is damaged; --fresh starts over"
                raise SpiketapeError(msg)
            os.ftruncate(file, size)
        for place in (folder, folder.parent):
            force(place)  # a recovery point must not outlive the names of its files

    def add(self, piece: RecordedTicks) -> None:
        """Writes ticks of a partition behind those that are there."""
        p = piece.partition
        if piece.ticks.size:
            self._write(p, piece.ticks.tobytes())
        self.reached_ns[p] = piece.reached_ns
        first, _ = self.offsets.get(p, piece.offsets)
        self.offsets[p] = first, piece.offsets[1]

    def add_poison(self, poison: Poison) -> None:
        """Writes a message that cannot be read."""
        self._write(-1, poison.json() + b"\n")
        self.poison += 1

    def secured(self) -> dict[str, Any]:
        """Everything is on the disk; the state from which to go on."""
        for file in self._files:
            os.fsync(file)
        return {"sizes": list(self._sizes), "reached_ns": dict(self.reached_ns), "offsets": dict(self.offsets), "poison": self.poison}

    def ticks(self, partition: int) -> Ticks:
        """All ticks of a partition so far, mapped from the disk, read-only."""
        at = partition
        if not self._sizes[at]:
            return np.empty(0, TICK_V1)
        return np.memmap(self._paths[at], TICK_V1, "r", shape=(self._sizes[at] // TICK_V1.itemsize,))

    def close(self) -> None:
        """Lets the files go; they stay."""
        while self._files:
            os.close(self._files.pop())

    def _write(self, at: int, content: bytes) -> None:
        write_at(self._files[at], content, self._sizes[at])
        self._sizes[at] += len(content)


class RecordingPart(StatefulSinkPartition[RecordedTicks | Poison, bytes]):
    """The one partition."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def write_batch(self, values: list[RecordedTicks | Poison]) -> None:
        for value in values:
            if isinstance(value, Poison):
                self._recording.add_poison(value)
            else:
                self._recording.add(value)

    def snapshot(self) -> bytes:
        return sealed({"version": VERSION, **self._recording.secured()})


class RecordingSink(FixedPartitionedSink[RecordedTicks | Poison, bytes]):
    """Takes `(key, RecordedTicks | Poison)`. `recording`: the files once the flow has begun, for what is done with them afterwards."""

    version: Final = VERSION

    def __init__(self, folder: Path, partitions: int) -> None:
        self._folder = folder
        self._partitions = partitions
        self.recording: Recording | None = None

    def list_parts(self) -> list[str]:
        return [PART]

    def part_fn(self, item_key: str) -> int:  # noqa: ARG002
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> RecordingPart:  # noqa: ARG002
        state = None if resume_state is None else unsealed(step_id, resume_state)
        self.recording = Recording(self._folder, self._partitions, state)
        return RecordingPart(self.recording)
