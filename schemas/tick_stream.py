"""What stands between the ticks of a partition of the topic `ticks`: heartbeats and the end, and the headers of its messages.

| content type | value | meaning |
| --- | --- | --- |
| CONTENT_PACKED, CONTENT_ARROW, CONTENT_JSON (schemas/wire.py) | ticks | the next records of the partition's stream |
| CONTENT_HEARTBEAT | `{"version": 1, "ts_ns": T}` | all ticks of the partition before T have been sent; T is never ahead of the next tick |
| CONTENT_END | `{"version": 1, "sequence": N}` | the stream ends here, after N records |

Header `content-type` names the kind. Header `sequence`, decimal, is the sequence in the partition's stream of the first record of an
Arrow or JSON message; a packed batch carries it itself. It may be missing, then nothing can be found missing or doubled.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import WireError

CONTENT_TYPE: Final = "content-type"
SEQUENCE: Final = "sequence"
CONTENT_HEARTBEAT: Final = "application/vnd.spiketape.heartbeat"
CONTENT_END: Final = "application/vnd.spiketape.end"


class _StreamMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1]


class Heartbeat(_StreamMessage):
    """All ticks of the partition before `ts_ns` have been sent."""

    ts_ns: int = Field(ge=0, lt=2**62)


class StreamEnd(_StreamMessage):
    """The partition's stream ends after `sequence` records."""

    sequence: int = Field(ge=0, lt=2**63)


def encode_heartbeat(ts_ns: int) -> bytes:
    """A heartbeat's value."""
    return Heartbeat(version=1, ts_ns=ts_ns).model_dump_json().encode()


def encode_end(sequence: int) -> bytes:
    """The value of the message that ends a stream of `sequence` records."""
    return StreamEnd(version=1, sequence=sequence).model_dump_json().encode()


def decode_heartbeat(data: bytes) -> int:
    """Its ts_ns. WireError for anything else."""
    try:
        return Heartbeat.model_validate_json(data).ts_ns
    except ValidationError as e:
        raise WireError("heartbeat", f"not a heartbeat: {_first(e)}") from e


def decode_end(data: bytes) -> int:
    """Its number of records. WireError for anything else."""
    try:
        return StreamEnd.model_validate_json(data).sequence
    except ValidationError as e:
        raise WireError("end", f"not the end of a stream: {_first(e)}") from e


def _first(e: ValidationError) -> str:
    error = e.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(p) for p in error['loc']) or 'the top'}: {error['msg']}"
