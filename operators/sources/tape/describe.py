"""What is on a tape, for people and programs."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from operators.sources.tape.format import IMPORT_REPORT, SymbolEntry
from operators.sources.tape.reader import Tape
from schemas.actions import CorporateAction
from schemas.errors import TapeError


class PartitionDescription(BaseModel):
    """One partition: its file, rows, size, times and record batches."""

    model_config = ConfigDict(frozen=True)

    file: str
    rows: int
    bytes: int
    batches: int
    symbols: int
    first_ts_ns: int | None
    last_ts_ns: int | None


class TapeDescription(BaseModel):
    """What `spiketape tape` shows. `damage`: None where every checksum fits, else what is wrong; `imported`: what the import counted."""

    model_config = ConfigDict(frozen=True)

    path: str
    version: int
    tape_hash: str
    rows: int
    first_ts_ns: int | None
    last_ts_ns: int | None
    kinds: dict[str, int]
    late: int
    largest_late_ns: int
    gaps: int
    missing: int
    shards: int
    checksum_ok: bool
    damage: str | None
    symbols: tuple[SymbolEntry, ...]
    actions: tuple[CorporateAction, ...]
    partitions: tuple[PartitionDescription, ...]
    imported: dict[str, int] | None
    origin: dict[str, Any]


def describe(tape: Tape) -> TapeDescription:
    """Describes a tape from its manifest and reads all of it to check its sums."""
    m = tape.manifest
    damage = None
    try:
        tape.verify()
    except TapeError as e:
        damage = str(e)
    return TapeDescription(
        path=str(tape.path),
        version=m.version,
        tape_hash=m.tape_hash,
        rows=m.rows,
        first_ts_ns=m.first_ts_ns,
        last_ts_ns=m.last_ts_ns,
        kinds=m.kinds,
        late=sum(s.late for s in m.symbols),
        largest_late_ns=max((s.largest_late_ns for s in m.symbols), default=0),
        gaps=sum(s.gaps for s in m.symbols),
        missing=sum(s.missing for s in m.symbols),
        shards=m.shards,
        checksum_ok=damage is None,
        damage=damage,
        symbols=m.symbols,
        actions=m.instruments.actions,
        partitions=tuple(
            PartitionDescription(
                file=p.file,
                rows=p.rows,
                bytes=p.bytes,
                batches=len(p.batches),
                symbols=sum(tape.partition_of(s) == i for s in m.instruments.symbols),
                first_ts_ns=p.first_ts_ns,
                last_ts_ns=p.last_ts_ns,
            )
            for i, p in enumerate(m.partitions)
        ),
        imported=_imported(tape),
        origin=m.origin,
    )


def _imported(tape: Tape) -> dict[str, int] | None:
    """Counts of the import report; None where the tape has none that can be read."""
    try:
        report = json.loads((tape.path / IMPORT_REPORT).read_text())
        return {name: int(report[name]) for name in ("rows_read", "ticks", "merged", "refused")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
