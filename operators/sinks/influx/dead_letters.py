"""Points that cannot be used: refused by the server, or damaged on disk. Kept in a file, one JSON object a line, each once.

The file is also the queue from which another sink tells them (the topic `dead-letters` of Kafka, where a flow has it): they are on disk
before they are told, and what was told is remembered where it was told.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Final

import xxhash

from schemas.refused_point import NOTHING_TOLD, RefusedPoint, Told

REFUSED: Final = "INFLUX_REFUSED"
DAMAGED: Final = "SPOOL_DAMAGED"


class DeadLetterFile:
    """The file of a spool folder. `count`: dead letters in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ids = {point.id for point in read(path)} if path.exists() else set()

    @property
    def count(self) -> int:
        return len(self._ids)

    def add(self, points: list[RefusedPoint]) -> int:
        """Writes those that are new and makes them durable; returns how many."""
        new = {p.id: p for p in points if p.id not in self._ids}
        if not new:
            return 0
        text = "".join(_as_json(p) + "\n" for p in new.values())
        whole = not self.path.exists() or self.path.stat().st_size == 0 or self.path.read_bytes().endswith(b"\n")
        with self.path.open("ab") as file:
            file.write((text if whole else "\n" + text).encode())
            file.flush()
            os.fsync(file.fileno())
        self._ids |= new.keys()
        return len(new)


class DeadLetterQueue:
    """The dead letters of a file in their order, as they are written by another thread (schemas.refused_point.Refusals).

    Where the file does not begin with what was told (it was emptied, or put back from a savepoint), all of it is told again: the ids say
    that it is the same.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at: Told = NOTHING_TOLD
        self._offset = 0

    def after(self, told: Told, most: int) -> tuple[list[RefusedPoint], Told]:
        """At most so many dead letters after those that were told, and what is told with them."""
        if told != self._at:
            self._find(told)
        points, self._at, self._offset = self._read(self._at, self._offset, most)
        return points, self._at

    def _find(self, told: Told) -> None:
        """Goes to the place behind what was told, or to the beginning."""
        _, at, offset = self._read(NOTHING_TOLD, 0, told[0])
        self._at, self._offset = (at, offset) if at == told else (NOTHING_TOLD, 0)

    def _read(self, told: Told, offset: int, most: int) -> tuple[list[RefusedPoint], Told, int]:
        """Dead letters from an offset on, what is told with them, and the offset behind them."""
        points: list[RefusedPoint] = []
        if not self._path.exists() or self._path.stat().st_size <= offset:
            return points, told, offset
        with self._path.open("rb") as file:
            file.seek(offset)
            while len(points) < most and (line := file.readline()).endswith(b"\n"):
                offset += len(line)
                point = _parsed(line)
                if point is not None:
                    points.append(point)
                    told = (told[0] + 1, xxhash.xxh3_64_hexdigest((told[1] + point.id).encode()))
        return points, told, offset


def read(path: Path) -> list[RefusedPoint]:
    """The dead letters of a file; a last one that was not written whole is left out, because it is written again."""
    return [point for line in path.read_bytes().splitlines() if (point := _parsed(line)) is not None]


def _parsed(line: bytes) -> RefusedPoint | None:
    """The dead letter in a line; None where it was not written whole."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    content = told["line"].encode() if "line" in told else base64.b64decode(told["base64"])
    return RefusedPoint(told["reason"], told["detail"], content)


def _as_json(point: RefusedPoint) -> str:
    told = asdict(point)
    content = told.pop("content")
    try:
        told["line"] = content.decode()
    except UnicodeDecodeError:
        told["base64"] = base64.b64encode(content).decode()
    return json.dumps(told, ensure_ascii=False)
