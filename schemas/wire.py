"""Ticks on the wire: a packed form, and two more that are accepted, told apart by the content type. Any bytes decode or raise WireError.

Packed form, `application/vnd.spiketape.ticks`, little endian: a header of 32 bytes, then `count` records of TICK_V1.

| field | type | meaning |
| --- | --- | --- |
| magic | 4 bytes | `SPTK` |
| version | u2 | WIRE_VERSION |
| flags | u2 | 0; others are refused |
| count | u4 | records, 1 to MAX_TICKS |
| crc | u4 | CRC-32 of everything but this field: header, then records |
| first | u8 | sequence in the stream of the first record |
| last | u8 | sequence of the last record, first + count - 1 |

CRC-32 finds every single flipped bit and every burst of up to 32 bits, in the header too.

`application/vnd.apache.arrow.stream`: an Arrow IPC stream, uncompressed or compressed, whose columns are the fields of TICK_V1 by name
and type, without nulls. `application/json`: `{"version": 1, "ticks": [{"ts_ns": 0, "symbol": 0, "kind": 1, "price": 0, "size": 0}, ...]}`
with the names of TICK_V1; fields other than these five are 0 where they are missing.

Whether a decoded tick makes sense is the quality gate's question, not this module's.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from schemas.errors import WireError
from schemas.ticks import TICK_V1, Ticks

CONTENT_PACKED: Final = "application/vnd.spiketape.ticks"
CONTENT_ARROW: Final = "application/vnd.apache.arrow.stream"
CONTENT_JSON: Final = "application/json"

WIRE_VERSION: Final = 1
MAX_TICKS: Final = 1 << 20
_MAGIC: Final = b"SPTK"
_HEADER: Final = struct.Struct("<4sHHIIQQ")
_CRC_AT: Final = 12
_CRC_END: Final = 16
_FIELDS: Final = TICK_V1.names or ()


@dataclass(frozen=True, slots=True)
class WireHeader:
    """What a packed batch says of itself: number of records and their sequences in the stream."""

    count: int
    first: int
    last: int


def encode(ticks: Ticks, sequence: int) -> bytes:
    """The packed form of 1 to MAX_TICKS ticks; `sequence`: that of the first in the stream. ValueError outside these bounds."""
    count = len(ticks)
    if not 1 <= count <= MAX_TICKS or not 0 <= sequence <= 2**64 - count:
        msg = f"a packed batch has 1 to {MAX_TICKS} ticks and sequences in uint64, given {count} ticks from {sequence}"
        raise ValueError(msg)
    records = np.ascontiguousarray(ticks, TICK_V1).view(np.uint8).data
    header = bytearray(_HEADER.pack(_MAGIC, WIRE_VERSION, 0, count, 0, sequence, sequence + count - 1))
    header[_CRC_AT:_CRC_END] = struct.pack("<I", _crc(header, records))
    return b"".join((header, records))


def header_of(data: bytes) -> WireHeader:
    """The header of a packed batch, checked as far as can be without the records' CRC."""
    if len(data) < _HEADER.size:
        raise WireError("truncated", f"a packed batch begins with {_HEADER.size} bytes of header, given {len(data)} bytes")
    magic, version, flags, count, _, first, last = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise WireError("magic", f"a packed batch begins with {_MAGIC!r}, given {bytes(magic)!r}")
    if version != WIRE_VERSION:
        raise WireError("version", f"a packed batch of version {version}; this code reads version {WIRE_VERSION}")
    if flags:
        raise WireError("flags", f"a packed batch with unknown flags {flags:#x}")
    if not 1 <= count <= MAX_TICKS:
        raise WireError("count", f"a packed batch has 1 to {MAX_TICKS} records, the header says {count}")
    if last != first + count - 1:
        raise WireError("sequence", f"{count} records from sequence {first} do not end at {last}")
    size = _HEADER.size + count * TICK_V1.itemsize
    if len(data) != size:
        raise WireError("length", f"{count} records make {size} bytes with the header, given {len(data)}")
    return WireHeader(count, first, last)


def decode(data: bytes) -> Ticks:
    """The ticks of a packed batch: a read-only view of `data`. WireError for anything else."""
    header = header_of(data)
    view = memoryview(data).toreadonly()
    if struct.unpack_from("<I", data, _CRC_AT)[0] != _crc(view[: _HEADER.size], view[_HEADER.size :]):
        raise WireError("crc", "the checksum of a packed batch does not fit its bytes")
    return np.frombuffer(view, TICK_V1, header.count, _HEADER.size)


def encode_arrow(ticks: Ticks) -> bytes:
    """Ticks as an Arrow IPC stream of one record batch with a column per field of TICK_V1."""
    import pyarrow as pa

    columns = [pa.array(np.ascontiguousarray(ticks[name])) for name in _FIELDS]
    batch = pa.RecordBatch.from_arrays(
        columns, schema=pa.schema([pa.field(n, c.type, False) for n, c in zip(_FIELDS, columns, strict=True)])
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def decode_arrow(data: bytes) -> Ticks:
    """Ticks of an Arrow IPC stream. WireError for anything else."""
    import pyarrow as pa

    parts: list[Ticks] = []
    total = 0
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
            fields = {f.name: f.type for f in stream.schema}
            expected = {name: pa.from_numpy_dtype(TICK_V1[name]) for name in _FIELDS}
            if len(stream.schema) != len(fields) or fields != expected:
                raise WireError("schema", f"expected the columns {', '.join(f'{n} {t}' for n, t in expected.items())}, given {fields}")
            for batch in stream:
                batch.validate(full=True)
                total += batch.num_rows
                if total > MAX_TICKS:
                    raise WireError("count", f"a message has at most {MAX_TICKS} ticks, given {total} or more")
                ticks = np.zeros(batch.num_rows, TICK_V1)
                for name in _FIELDS:
                    column = batch.column(name)
                    if column.null_count:
                        raise WireError("null", f"the column {name} has nulls")
                    ticks[name] = column.to_numpy(zero_copy_only=False)
                parts.append(ticks)
    except WireError:
        raise
    except Exception as e:  # whatever pyarrow raises for bytes that are no stream, it must not end the process
        raise WireError("arrow", f"not a readable Arrow IPC stream: {type(e).__name__}: {str(e)[:200]}") from e
    if not total:
        raise WireError("count", "the stream holds no ticks")
    return _read_only(np.concatenate(parts))


_REQUIRED: Final = frozenset({"ts_ns", "symbol", "kind", "price", "size"})


def _json_field(name: str) -> Any:
    bounds = np.iinfo(TICK_V1[name])
    kind = Annotated[int, Field(strict=True, ge=int(bounds.min), le=int(bounds.max))]
    return (kind, ... if name in _REQUIRED else 0)


JsonTick = create_model(
    "JsonTick",
    __config__=ConfigDict(extra="forbid", frozen=True),
    __doc__="A tick in JSON: names and ranges of TICK_V1.",
    **{name: _json_field(name) for name in _FIELDS},
)


class JsonTicks(BaseModel):
    """A message of ticks in JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    ticks: tuple[JsonTick, ...] = Field(  # type: ignore[valid-type]
        min_length=1, max_length=MAX_TICKS
    )


def encode_json(ticks: Ticks) -> bytes:
    """Ticks as JSON."""
    rows = [dict(zip(_FIELDS, row, strict=True)) for row in ticks.tolist()]
    return json.dumps({"version": WIRE_VERSION, "ticks": rows}, separators=(",", ":")).encode()


def decode_json(data: bytes) -> Ticks:
    """Ticks of JSON. WireError for anything else."""
    try:
        message = JsonTicks.model_validate_json(bytes(data))
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(p) for p in first["loc"])
        raise WireError("json", f"not a message of ticks in JSON at {where or 'the top'}: {first['msg']}") from e
    ticks = np.array([tuple(getattr(t, name) for name in _FIELDS) for t in message.ticks], TICK_V1)
    return _read_only(ticks)


def decode_message(content_type: str, data: bytes) -> Ticks:
    """Ticks of a message in any accepted form. WireError with a reason for anything else."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == CONTENT_PACKED:
        return decode(data)
    if kind == CONTENT_ARROW:
        return decode_arrow(data)
    if kind == CONTENT_JSON:
        return decode_json(data)
    accepted = f"{CONTENT_PACKED}, {CONTENT_ARROW}, {CONTENT_JSON}"
    raise WireError("content_type", f"content type {content_type[:100]!r} is none of {accepted}")


def _crc(header: bytes | bytearray | memoryview, records: bytes | memoryview) -> int:
    return zlib.crc32(records, zlib.crc32(header[_CRC_END:], zlib.crc32(header[:_CRC_AT])))


def _read_only(ticks: Ticks) -> Ticks:
    ticks.flags.writeable = False
    return ticks
