"""Snapshots as the recovery store holds them: bytes with a digest, so that a changed bit is an error and never another result.

A sealed snapshot is the XXH3-128 of the pickled value (16 bytes), then the pickled value. SQLite keeps no checksums of its own.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any, Final

import xxhash

from schemas.errors import SpiketapeError

_DIGEST_BYTES: Final = 16


def sealed(snapshot: Mapping[str, Any]) -> bytes:
    """A snapshot as bytes that `unsealed` reads; independent of what comes later."""
    raw = pickle.dumps(snapshot, protocol=5)
    return xxhash.xxh3_128_digest(raw) + raw


def unsealed(step_id: str, raw: bytes) -> dict[str, Any]:
    """The snapshot in sealed bytes. Raises SpiketapeError where they are not what was sealed."""
    if not is_whole(raw):
        msg = f"step {step_id!r}: the state in the recovery store is damaged; start over with --fresh"
        raise SpiketapeError(msg)
    snapshot: dict[str, Any] = pickle.loads(raw[_DIGEST_BYTES:])
    return snapshot


def is_whole(raw: object) -> bool:
    """Whether these are sealed bytes as they were made."""
    return isinstance(raw, bytes) and xxhash.xxh3_128_digest(raw[_DIGEST_BYTES:]) == raw[:_DIGEST_BYTES]


def stored_is_whole(stored: bytes) -> bool:
    """Whether what Bytewax stored for a key, a pickle of the sealed bytes, is as it was made. Nothing in it is trusted or run."""
    try:
        return is_whole(_BytesOnly(io.BytesIO(stored)).load())
    except Exception:  # a damaged pickle may raise anything
        return False


class _BytesOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        msg = f"{module}.{name} in a snapshot that should be bytes"
        raise pickle.UnpicklingError(msg)
