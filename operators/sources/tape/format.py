"""The tape format: what a tape's folder holds and what its manifest says.

    TAPE/manifest.json      the Manifest below
    TAPE/part-000.arrow     an Arrow IPC file per partition, uncompressed, one column `tick` of fixed-size binary (72 bytes, TICK_V1)

All ticks of a symbol lie in one partition: shard_of(symbol, shards) % partitions. Within a partition rows are ordered by
(ts_ns, symbol, seq), so its times never decrease. The manifest gives for each record batch the place of its records in the file,
so reading is a memory map and an offset, and nothing in the file is parsed before it has been checked.

`tape_hash` identifies the content and does not depend on partitioning: SHA-256 over the instruments and, by symbol, the number
of rows and the XXH3-128 of the symbol's records in order.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import InstrumentError, TapeError
from schemas.instruments import InstrumentList
from schemas.ticks import KIND_NAMES, TICK_V1, TICK_VERSION

TAPE_FORMAT: Final = "spiketape-tape"
TAPE_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
IMPORT_REPORT: Final = "import_report.json"
REJECTED: Final = "rejected.jsonl"
BATCH_ROWS: Final = 65_536
TICK_BYTES: Final = TICK_V1.itemsize
MANIFEST_BYTES_MAX: Final = 256 * 1024 * 1024

_Digest = Field(pattern=r"^[0-9a-f]{32}$")
_Count = Field(ge=0, lt=2**62)
_Time = Field(ge=-(2**63), lt=2**63)


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BatchEntry(_Entry):
    """One record batch: `offset` of its records in the file (bytes), rows, first and last ts_ns, XXH3-128 of its records."""

    offset: int = _Count
    rows: int = Field(ge=1, lt=2**32)
    first_ts_ns: int = _Time
    last_ts_ns: int = _Time
    xxh3_128: str = _Digest


class PartitionEntry(_Entry):
    """One partition's file: its size in bytes, rows, first and last ts_ns (None: empty), XXH3-128 of the whole file, batches."""

    file: str = Field(pattern=r"^part-[0-9]{3,4}\.arrow$")
    bytes: int = _Count
    rows: int = _Count
    first_ts_ns: int | None
    last_ts_ns: int | None
    xxh3_128: str = _Digest
    batches: tuple[BatchEntry, ...] = Field(strict=False)

    @model_validator(mode="after")
    def _consistent(self) -> PartitionEntry:
        place, time = 0, -(2**63)
        for i, b in enumerate(self.batches):
            if b.offset < place or b.offset % 8 or b.offset + b.rows * TICK_BYTES > self.bytes:
                msg = f"{self.file}: batch {i} does not lie inside the file"
                raise ValueError(msg)
            if not time <= b.first_ts_ns <= b.last_ts_ns:
                msg = f"{self.file}: times of batch {i} go back"
                raise ValueError(msg)
            place, time = b.offset + b.rows * TICK_BYTES, b.last_ts_ns
        ends = (self.batches[0].first_ts_ns, self.batches[-1].last_ts_ns) if self.batches else (None, None)
        if self.rows != sum(b.rows for b in self.batches) or (self.first_ts_ns, self.last_ts_ns) != ends:
            msg = f"{self.file}: rows or times of the partition are not those of its batches"
            raise ValueError(msg)
        return self


class SymbolEntry(_Entry):
    """What a tape holds of one symbol.

    `kinds`: rows by kind of tick; `late`: rows with late_ns > 0 and the largest of these; `gaps`: rows before which venue sequence
    numbers are missing, `missing`: how many; `xxh3_128` of its records in order.
    """

    symbol: str
    rows: int = _Count
    kinds: dict[str, int]
    first_ts_ns: int | None
    last_ts_ns: int | None
    late: int = _Count
    largest_late_ns: int = _Count
    gaps: int = _Count
    missing: int = _Count
    xxh3_128: str = _Digest


class Manifest(_Entry):
    """What is on a tape, where it lies, and where it came from. `origin` is free: importer, sources with SHA-256, settings or seed."""

    format: Literal["spiketape-tape"] = TAPE_FORMAT
    version: Literal[1] = TAPE_VERSION
    tick_version: Literal[1] = TICK_VERSION
    shards: int = Field(ge=1, le=4096)
    rows: int = _Count
    tape_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    instruments: InstrumentList
    partitions: tuple[PartitionEntry, ...] = Field(min_length=1, max_length=1024, strict=False)
    symbols: tuple[SymbolEntry, ...] = Field(strict=False)
    origin: dict[str, Any]

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if [p.file for p in self.partitions] != [part_file(i) for i in range(len(self.partitions))]:
            msg = "partitions are not named in order"
            raise ValueError(msg)
        if tuple(s.symbol for s in self.symbols) != self.instruments.symbols:
            msg = "symbols are not those of the instruments"
            raise ValueError(msg)
        if not self.rows == sum(p.rows for p in self.partitions) == sum(s.rows for s in self.symbols):
            msg = "rows are not the sum over partitions and over symbols"
            raise ValueError(msg)
        return self

    @property
    def first_ts_ns(self) -> int | None:
        """Time of the first tick, None on an empty tape."""
        return min((p.first_ts_ns for p in self.partitions if p.first_ts_ns is not None), default=None)

    @property
    def last_ts_ns(self) -> int | None:
        """Time of the last tick, None on an empty tape."""
        return max((p.last_ts_ns for p in self.partitions if p.last_ts_ns is not None), default=None)

    @property
    def kinds(self) -> dict[str, int]:
        """Rows by kind of tick, over all symbols."""
        total: dict[str, int] = {}
        for s in self.symbols:
            for kind, rows in s.kinds.items():
                total[kind] = total.get(kind, 0) + rows
        return dict(sorted(total.items()))


def part_file(partition: int) -> str:
    """The name of a partition's file."""
    return f"part-{partition:03d}.arrow"


def kind_name(kind: int) -> str:
    """The name of a kind of tick in a manifest."""
    return KIND_NAMES.get(kind, f"kind_{kind}")


def content_hash(instruments: InstrumentList, symbols: list[tuple[str, int, str]]) -> str:
    """`tape_hash` of instruments and, by symbol in order of ids, (symbol, rows, XXH3-128 of its records).

    Fields of instruments that have their default do not enter, so that a later field with a default leaves the hash of older tapes.
    """
    listed = instruments.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(_canonical([TICK_VERSION, instruments.version, listed, symbols])).hexdigest()


def manifest_json(manifest: Manifest) -> bytes:
    """The bytes of manifest.json: the manifest and a SHA-256 over its canonical JSON."""
    tree = manifest.model_dump(mode="json")
    return json.dumps({"checksum": _checksum(tree), **tree}, indent=1).encode()


def load_manifest(path: Path) -> Manifest:
    """The manifest of a tape's folder; TapeError says what is wrong with it and what to do."""
    file = path / MANIFEST
    if not path.is_dir():
        msg = f"there is no tape at {path}: expected a folder with {MANIFEST}; make one with `spiketape import` or `spiketape simulate`"
        raise TapeError(msg)
    try:
        if file.stat().st_size > MANIFEST_BYTES_MAX:
            msg = f"{file} has more than {MANIFEST_BYTES_MAX} bytes and is no manifest; import the tape again"
            raise TapeError(msg)
        data = file.read_bytes()
    except FileNotFoundError as e:
        msg = f"{path} has no {MANIFEST}, so it is no finished tape; import it again"
        raise TapeError(msg) from e
    except OSError as e:
        msg = f"{file} cannot be read: {e.strerror}"
        raise TapeError(msg) from e
    return parse_manifest(data, str(file))


def parse_manifest(data: bytes, where: str) -> Manifest:
    """A manifest from the bytes of its file; `where` is named in errors."""
    if not data:
        msg = f"{where} is empty; the tape is damaged, import it again"
        raise TapeError(msg)
    try:
        tree = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        msg = f"{where} is not valid JSON ({type(e).__name__}); the tape is damaged, import it again"
        raise TapeError(msg) from e
    if not isinstance(tree, dict) or tree.get("format") != TAPE_FORMAT:
        msg = f"{where} is not a manifest of a tape (its format should be {TAPE_FORMAT!r}); give the folder of a tape"
        raise TapeError(msg)
    version = tree.get("version")
    if version != TAPE_VERSION or tree.get("tick_version") != TICK_VERSION:
        msg = (
            f"{where} is of format version {version!r} and tick version {tree.get('tick_version')!r}; this code reads {TAPE_VERSION} "
            f"and {TICK_VERSION}; import the tape again with this version of spiketape"
        )
        raise TapeError(msg)
    checksum = tree.pop("checksum", None)
    if checksum != _checksum(tree):
        msg = f"{where} does not fit its own checksum; it was changed or damaged, import the tape again"
        raise TapeError(msg)
    try:
        return Manifest.model_validate(tree)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        msg = f"{where} contradicts itself at {'.'.join(str(p) for p in first['loc']) or 'the top'}: {first['msg']}; import the tape again"
        raise TapeError(msg) from e
    except InstrumentError as e:
        msg = f"{where} lists an instrument that cannot be used: {e}"
        raise TapeError(msg) from e


def _canonical(tree: Any) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def _checksum(tree: Any) -> str:
    return hashlib.sha256(_canonical(tree)).hexdigest()
