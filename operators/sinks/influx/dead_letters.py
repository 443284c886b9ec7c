"""Points that cannot be used: refused by the server, or damaged on disk. Kept in a file, one JSON object a line, each once."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import xxhash

REFUSED: Final = "INFLUX_REFUSED"
DAMAGED: Final = "SPOOL_DAMAGED"


@dataclass(frozen=True, slots=True)
class RefusedPoint:
    """What could not be used: `reason` a short stable code, `detail` what the server or the reader said, `content` the line (or bytes)."""

    reason: str
    detail: str
    content: bytes

    @property
    def id(self) -> str:
        """Names the content, so that the same point is a dead letter once however often it is sent."""
        return f"{self.reason}/{xxhash.xxh3_64_hexdigest(self.content)}"


class DeadLetterFile:
    """The file of a spool folder. `count`: dead letters in it. `on_refused` is told of each new one, after it is on disk."""

    def __init__(self, path: Path, on_refused: Callable[[RefusedPoint], None] = lambda _point: None) -> None:
        self.path = path
        self._on_refused = on_refused
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
        for point in new.values():
            self._on_refused(point)
        return len(new)


def read(path: Path) -> list[RefusedPoint]:
    """The dead letters of a file; a last one that was not written whole is left out, because it is written again."""
    points = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        content = told["line"].encode() if "line" in told else base64.b64decode(told["base64"])
        points.append(RefusedPoint(told["reason"], told["detail"], content))
    return points


def _as_json(point: RefusedPoint) -> str:
    told = asdict(point)
    content = told.pop("content")
    try:
        told["line"] = content.decode()
    except UnicodeDecodeError:
        told["base64"] = base64.b64encode(content).decode()
    return json.dumps(told, ensure_ascii=False)
