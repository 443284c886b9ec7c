"""The token of a part: what is in the topics already, committed in the same transaction as the messages that it counts.

It stands in the compacted topic `tokens`, key: the part's transactional id, as JSON:

| field | meaning |
| --- | --- |
| version | TOKEN_VERSION |
| identity | what rows are numbered by: slice length, shards, partitions, symbols and their fixed point |
| instance | the process that wrote it, a random name; tells a process whether another one has taken over |
| commit | number of the transaction, from 1 without gaps |
| rows | by `table/key`: the n of the next row |
| slices | by shard key, `requests` and `reports`: everything before this slice is there |
| poison | by `topic/partition`: dead letters of messages before this offset are there |
| refused | points that InfluxDB refused: how many of them are there, and a digest of their ids; missing where none are |
| accepted | the last slice for which a control message was accepted, and the ids accepted for it |
| crc | CRC-32 of the canonical JSON of all other fields |
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.errors import StateMismatchError
from schemas.instruments import InstrumentList
from schemas.refused_point import NOTHING_TOLD, Told
from schemas.settings import Settings

TOKEN_VERSION: Final = 1
NEVER: Final = -(2**63)


@dataclass(slots=True)
class Token:
    """See the module. `commit` 0: nothing was ever committed."""

    identity: str
    instance: str = ""
    commit: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    slices: dict[str, int] = field(default_factory=dict)
    poison: dict[str, int] = field(default_factory=dict)
    accepted_slice: int = NEVER
    accepted_ids: tuple[str, ...] = ()
    refused: Told = NOTHING_TOLD

    def copy(self) -> Token:
        """A token that changes of this one do not reach."""
        return Token(
            self.identity,
            self.instance,
            self.commit,
            dict(self.rows),
            dict(self.slices),
            dict(self.poison),
            self.accepted_slice,
            self.accepted_ids,
            self.refused,
        )

    def encoded(self) -> bytes:
        """Its JSON."""
        tree = self._tree()
        return _canonical({**tree, "crc": zlib.crc32(_canonical(tree))})

    @classmethod
    def parsed(cls, value: bytes, where: str) -> Token:
        """The token in a message. Raises StateMismatchError where it is damaged or of a version that this code does not read."""
        try:
            tree: dict[str, Any] = json.loads(value)
            crc = tree.pop("crc")
            version = tree.pop("version")
            if version != TOKEN_VERSION:
                msg = f"{where}: the token has version {version}, this code reads {TOKEN_VERSION}; use the release that wrote it"
                raise StateMismatchError(msg)
            slice_, ids = tree.pop("accepted")
            count, digest = tree.pop("refused", NOTHING_TOLD)
            token = cls(**tree, accepted_slice=slice_, accepted_ids=tuple(ids), refused=(count, digest))
            sound = zlib.crc32(_canonical(token._tree())) == crc
        except (ValueError, KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            msg = (
                f"{where}: the token is damaged, so nobody can say what is in the topics already; nothing was written. Compare the topics "
                "with a replay (spiketape verify RUN --kafka), then use another deployment name or topic prefix"
            )
            raise StateMismatchError(msg)
        return token

    def _tree(self) -> dict[str, Any]:
        return {
            "version": TOKEN_VERSION,
            "identity": self.identity,
            "instance": self.instance,
            "commit": self.commit,
            "rows": self.rows,
            "slices": self.slices,
            "poison": self.poison,
            "accepted": [self.accepted_slice, list(self.accepted_ids)],
            **({"refused": list(self.refused)} if self.refused != NOTHING_TOLD else {}),
        }


def identity_of(settings: Settings, instruments: InstrumentList) -> str:
    """What the numbers in a token depend on, as a short digest. Another tape of the same symbols cannot be told apart by it."""
    listed = [(i.symbol, i.price_exponent, i.size_exponent) for i in instruments.instruments]
    named = json.dumps([settings.slice_ms, settings.shards, settings.partitions, listed])
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def _canonical(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode()
