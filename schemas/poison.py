"""Poison: a message that cannot be decoded at all, kept whole with the place where it stood. It stands outside the hash of a run.

Its identity is its place in the log, `topic/partition/offset`, so that saying it twice adds nothing.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

POISON_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Poison:
    """One message of a topic (its name without prefix), why it cannot be used, and its bytes.

    `reason`: a short stable code (that of a WireError, or of the stream that read it); `detail`: the same in words.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    content: bytes

    @property
    def place(self) -> str:
        """`topic/partition`: within it, offsets only grow."""
        return f"{self.topic}/{self.partition}"

    @property
    def id(self) -> str:
        """`topic/partition/offset`."""
        return f"{self.place}/{self.offset}"

    def json(self) -> bytes:
        """As a line of JSON; the content in base64."""
        tree = {
            "version": POISON_VERSION,
            "id": self.id,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "detail": self.detail,
            "content": base64.b64encode(self.content).decode(),
        }
        return json.dumps(tree, separators=(",", ":")).encode()

    @classmethod
    def parsed(cls, line: bytes | str) -> Poison:
        """The poison in such a line. ValueError or KeyError for anything else."""
        tree: dict[str, Any] = json.loads(line)
        if tree["version"] != POISON_VERSION:
            msg = f"a dead letter of version {tree['version']!r}; this code reads {POISON_VERSION}"
            raise ValueError(msg)
        return cls(
            tree["topic"],
            tree["partition"],
            tree["offset"],
            tree["reason"],
            tree["detail"],
            base64.b64decode(tree["content"], validate=True),
        )
