"""Is everything that a run said in its lake, once, as it was said?

For each table and key: n runs from 0 without gaps or doubles up to what was committed; for hashed tables the chain of digests is
computed anew from the rows. A row whose digest column does not follow from the rows up to it was changed. The hash over all chain
ends must be the one in run.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from operators.sinks.ledger import START, canonical, chained, chains_of, output_hash
from operators.sinks.reading import KeyRows, LakeReader, TableRows
from operators.sinks.runfolder import RunFolder
from schemas.errors import LakeError
from schemas.tables import HASHED_TABLES

MOST_PROBLEMS = 100
"""So many problems of one table and kind are listed one by one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `n` is None where the whole key or table is meant."""

    kind: Literal["missing", "doubled", "changed", "unreadable"]
    table: str
    key: str | None
    n: int | None
    text: str


@dataclass
class VerifyReport:
    """What was found. `rows`: rows read by table; `output_hash` as computed from the lake, `recorded_hash` as in run.json."""

    run: str
    recorded_hash: str | None
    output_hash: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing doubled, nothing changed."""
        return not self.problems and self.recorded_hash == self.output_hash

    def as_json(self) -> dict[str, Any]:
        """What `spiketape verify --json` prints."""
        return {**asdict(self), "ok": self.ok}


def verify(run: Path) -> VerifyReport:
    """Checks the lake of a run folder against itself and against its run.json.

    Raises LakeError where there is no run or it has not been finished.
    """
    folder = RunFolder(run)
    told = folder.read_run()
    if told is None:
        msg = f"{run} has no run.json: the run is not finished (run the same command again) or this is no run folder"
        raise LakeError(msg)
    report = VerifyReport(str(run), told.get("output_hash"))
    expected = chains_of(told["chains"]) if "chains" in told else None
    ends: dict[tuple[str, str], tuple[int, bytes]] = {}
    reader = LakeReader(folder.lake)
    names = reader.names()
    for name in names:
        try:
            table = reader.table(name)
        except LakeError as e:
            report.problems.append(Problem("unreadable", name, None, None, str(e)))
            continue
        report.rows[name] = table.count
        report.problems += [Problem("unreadable", name, None, None, text) for text in table.damage]
        counts = _committed(table, expected)
        found = {k.key for k in table.keys}
        for key, count in sorted(counts.items()):
            if key not in found and count:
                report.problems.append(Problem("missing", name, key, None, f"all {count} rows"))
        for rows in table.keys:
            report.problems += contiguous(name, rows, counts.get(rows.key))
            if name in HASHED_TABLES:
                digest, changed = _chain(table, rows)
                report.problems += changed
                ends[name, rows.key] = (rows.rows.size, digest)
    for place, (count, _) in sorted((expected or {}).items()):
        if place[0] not in names:
            report.problems.append(Problem("missing", place[0], place[1], None, f"the table is not there: {count} rows"))
    report.output_hash = output_hash(ends)
    if not report.problems:
        _unexplained(report, expected, ends)
    return report


def _committed(table: TableRows, expected: Any) -> dict[str, int]:
    """How many rows each key must have: by the table's token, and by the chains of run.json where they are there."""
    counts = {key: last + 1 for key, last in (table.token or {}).items()}
    for (name, key), (count, _) in (expected or {}).items():
        if name == table.name:
            counts[key] = count
    return counts


def contiguous(table: str, k: KeyRows, count: int | None) -> list[Problem]:
    """Missing and doubled n of one key; `count`: how many rows there must be, None where only the rows themselves say it."""
    n = k.rows["n"]
    problems = []
    doubled = np.unique(n[1:][n[1:] == n[:-1]])
    problems += [
        Problem("doubled", table, k.key, int(i), f"there {int(np.count_nonzero(n == i))} times") for i in doubled[:MOST_PROBLEMS].tolist()
    ]
    end = int(n[-1]) + 1 if count is None else count
    present = np.unique(n)
    begins = np.concatenate([[-1], present])
    ends = np.concatenate([present, [max(end, int(present[-1]) + 1)]])
    for before, after in zip(begins.tolist(), ends.tolist(), strict=True):
        for i in range(before + 1, min(after, before + 1 + MOST_PROBLEMS)):
            problems.append(Problem("missing", table, k.key, i, f"between n = {before} and n = {after}"))
    beyond = present[present >= end]
    problems += [Problem("changed", table, k.key, int(i), f"the run made {end} rows only") for i in beyond[:MOST_PROBLEMS].tolist()]
    return problems


def _chain(table: TableRows, k: KeyRows) -> tuple[bytes, list[Problem]]:
    """The digest after the last row, and the rows that are not what was said.

    After a row that is missing or changed the chain cannot be followed; so each break is looked at alone: a row is named
    where it does not follow from its predecessors while the rows before it did.
    """
    digest, marks = chained(START, canonical(table.name, table.columns.symbols, k.rows))
    wrong = np.flatnonzero(marks != k.digests)
    if wrong.size == 0:
        return digest, []
    at = int(wrong[0])
    n = int(k.rows["n"][at])
    if at != n:
        return digest, []
    return digest, [Problem("changed", table.name, k.key, n, f"is not what was written: {k.rows[at].item()}")]


def _unexplained(report: VerifyReport, expected: Any, ends: Mapping[tuple[str, str], tuple[int, bytes]]) -> None:
    """Chains that are sound in themselves but not those of run.json: rows were changed together with their digests."""
    if report.output_hash == report.recorded_hash:
        return
    for (table, key), end in sorted((expected or {}).items()):
        if ends.get((table, key)) != end:
            report.problems.append(Problem("changed", table, key, None, "the rows agree among themselves, but are not those of run.json"))
    for table, key in sorted(set(ends) - set(expected or ends)):
        report.problems.append(Problem("changed", table, key, None, "the run has no such rows"))
    if not report.problems:
        text = f"run.json has the output hash {report.recorded_hash}, the lake {report.output_hash}"
        report.problems.append(Problem("changed", "", None, None, text))
