"""A point that InfluxDB will never take, or bytes of a spool that cannot be read: what becomes a dead letter on disk and in Kafka."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Final, Protocol

import xxhash

REFUSED_POINT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class RefusedPoint:
    """What could not be used: `reason` a short stable code, `detail` what the server or the reader said, `content` the line (or bytes)."""

    reason: str
    detail: str
    content: bytes

    @property
    def id(self) -> str:
        """`reason/digest of the content`: the same point is the same dead letter however often it is sent."""
        return f"{self.reason}/{xxhash.xxh3_64_hexdigest(self.content)}"

    def json(self, most: int | None = None) -> bytes:
        """As a message of the topic `dead-letters`; the content in base64, cut after so many bytes if `most` says so."""
        cut = most is not None and len(self.content) > most
        tree = {
            "version": REFUSED_POINT_VERSION,
            "id": self.id,
            "reason": self.reason,
            "detail": self.detail + (f" (the first {most} of {len(self.content)} bytes; all are in the spool's folder)" if cut else ""),
            "content": base64.b64encode(self.content[:most]).decode(),
        }
        return json.dumps(tree, separators=(",", ":")).encode()


Told = tuple[int, str]
"""How many dead letters were told, and a digest of their ids: says whether another file of dead letters holds just these."""

NOTHING_TOLD: Final[Told] = (0, "")


class Refusals(Protocol):
    """Points that were refused, in the order in which they came, durable before they are given here."""

    def after(self, told: Told, most: int, /) -> tuple[list[RefusedPoint], Told]:
        """At most so many of those that follow what was told, and what is told with them."""
        ...
