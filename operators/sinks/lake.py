"""The local lake: one Delta table for each table of a run, written exactly once.

1. `write` keeps the rows that the lake does not hold yet; rows at or below a table's token for their key are left out.
2. A table with many rows is committed at once, by a thread of its own while the flow goes on; `flush` commits what is left of every
   table and waits until all is in. Rows and token are one commit. A crash between two tables leaves some ahead of others; that is
   no harm, because each has its own token and the flow sends again everything since its last epoch, which ended with a `flush`.
3. After a crash the lake is opened, tokens are read and proven against the rows, and what comes again is left out.

So a row is in the lake once, whatever was killed when. Writes are not forced to the disk's platter one by one: a power failure may
lose the last commits, which the resumed run notices (`require`), never silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from operators.sinks.columns import Columns, Group, Ints
from operators.sinks.delta import LakeTable, Token, failure
from operators.sinks.layout import Codebook
from operators.sinks.ledger import new_part
from schemas.errors import LakeError
from schemas.instruments import InstrumentList
from schemas.settings import Settings
from schemas.tables import TABLES, Rows

NO_DIGESTS = np.empty(0, np.int64)


class Lake:
    """The lake in a folder. One writer at a time: the run folder's lock sees to that.

    `codebook`: names of the flow's own codes, kinds `rule` and `reason`. `skipped`: rows that were left out because the lake
    held them; `commits`: commits of rows; `rows`: rows committed by this object.
    """

    def __init__(self, path: Path, instruments: InstrumentList, settings: Settings, codebook: Codebook) -> None:
        self.path = path
        self.skipped = 0
        self.commits = 0
        self.rows = 0
        self._settings = settings.lake
        self._columns = Columns.of(instruments, settings.deployment, settings.shards, codebook)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise failure(path, "made", e) from e
        self._tables = {name: LakeTable(path / name, name, self._columns, self._settings) for name in TABLES}
        self._buffer: dict[str, list[Group]] = {name: [] for name in TABLES}
        self._buffered: dict[str, int] = dict.fromkeys(TABLES, 0)
        self._next: dict[tuple[str, str], int] = {}
        self._doubtful: set[str] = set()
        self._writer = ThreadPoolExecutor(1, "lake")
        self._under_way: dict[str, tuple[list[Group], Future[None]]] = {}
        for name in TABLES:
            self._from_token(name)

    def tokens(self) -> dict[str, Token]:
        """For each table the last committed n of each key."""
        return {name: dict(table.token) for name, table in self._tables.items()}

    @property
    def buffered(self) -> int:
        """Rows that are not known to be committed: those that wait, and those of at most one commit under way for each table."""
        return sum(self._buffered.values()) + sum(a.size for groups, _ in self._under_way.values() for _, a, _ in groups)

    def require(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Checks that the lake holds at least `counts` rows of each (table, key): what a resumed flow will not send again.

        Raises LakeError naming what is lost.
        """
        for (table, key), count in sorted(counts.items()):
            held = self._tables[table].token.get(key, -1) + 1
            if held < count:
                msg = (
                    f"{self.path / table}: {key} has {held} rows, the recovery state says {count}: rows {held} to {count - 1} are lost "
                    "(a power failure, or the lake was replaced); start over with --fresh"
                )
                raise LakeError(msg)

    def write(self, rows: Rows, digests: Ints = NO_DIGESTS) -> None:
        """Keeps new rows for the next commit; `digests` is the digest column of a hashed table.

        Raises LakeError where rows before them are missing, or for a commit that has failed meanwhile.
        """
        place = (rows.table, rows.key)
        new = new_part(rows, self._next.get(place, 0))
        left_out = rows.a.size - new.a.size
        self.skipped += left_out
        if new.a.size == 0:
            return
        self._next[place] = int(new.a["n"][-1]) + 1
        self._buffer[rows.table].append((rows.key, new.a, digests[left_out:]))
        self._buffered[rows.table] += new.a.size
        if self._buffered[rows.table] >= self._settings.flush_rows:
            self._hand_over(rows.table)

    def flush(self) -> None:
        """Commits everything that is buffered and waits for it. Raises LakeError; what could not be committed stays buffered."""
        for name in TABLES:
            if self._buffer[name]:
                self._hand_over(name)
        for name in TABLES:
            self._settle(name)

    def finish(self) -> None:
        """Commits what is left, makes the tables that had no row, merges small files and removes old ones."""
        self.flush()
        for table in self._tables.values():
            table.tidy(last=True)

    def _hand_over(self, name: str) -> None:
        """Gives a table's buffered rows to the writer. A table's commits follow each other: the one before must have succeeded."""
        self._settle(name)
        table = self._tables[name]
        if name in self._doubtful:
            table.reopen()
            self._doubtful.discard(name)
            self._buffer[name] = _after_token(self._buffer[name], table.token)
            self._buffered[name] = sum(a.size for _, a, _ in self._buffer[name])
        if not self._buffer[name]:
            return
        groups, self._buffer[name], self._buffered[name] = self._buffer[name], [], 0
        self._under_way[name] = (groups, self._writer.submit(self._commit, table, groups))

    def _settle(self, name: str) -> None:
        """Waits for the commit of a table that is under way; where it failed, its rows go back into the buffer and the error on."""
        if name not in self._under_way:
            return
        groups, commit = self._under_way.pop(name)
        rows = sum(a.size for _, a, _ in groups)
        try:
            commit.result()
        except BaseException:
            self._buffer[name] = groups + self._buffer[name]
            self._buffered[name] += rows
            self._doubtful.add(name)
            raise
        self.commits += 1
        self.rows += rows

    def _commit(self, table: LakeTable, groups: list[Group]) -> None:
        """In the writer's thread: one commit of rows, in an order that does not depend on how their keys were mixed."""
        ordered = sorted(groups, key=lambda group: group[0])
        token = {key: int(a["n"][-1]) for key, a, _ in ordered}
        table.append(self._columns.table(table.name, ordered), token)
        if table.commits % self._settings.compact_every_commits == 0:
            table.tidy(last=False)

    def _from_token(self, name: str) -> None:
        for key, last in self._tables[name].token.items():
            self._next[name, key] = last + 1


def _after_token(groups: Sequence[Group], token: Token) -> list[Group]:
    """What of the groups a table does not hold."""
    out: list[Group] = []
    for key, a, digests in groups:
        held = int(np.searchsorted(a["n"], token.get(key, -1), side="right"))
        if held < a.size:
            out.append((key, a[held:], digests[held:]))
    return out
