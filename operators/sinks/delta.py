"""One Delta table of the lake and its token.

Each commit - of rows, of a compaction, of a clean-up - carries the token in its metadata: for each key the last n that the table
holds. A commit of rows carries as well an application transaction (`<deployment>/<table>`, version = rows in the table). deltalake
accepts an older version without a word, so the version found is compared here before every append.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from operators.sinks.columns import Columns
from operators.sinks.layout import LAYOUTS, KeyColumn
from schemas.errors import LakeError, RefusedError
from schemas.settings.sections import LakeSettings

TOKEN: Final = "spiketape_token"
SMALL_PART: Final = 8
"""A file with fewer than this part of `target_rows_per_file` is small."""
KEPT_HOURS_WHILE_RUNNING: Final = 1
CONFIGURATION: Final = {"delta.logRetentionDuration": "interval 10 minutes", "delta.checkpointInterval": "20"}

Token = dict[str, int]
"""Last n by key."""


class LakeTable:
    """A table that may not exist yet. Opening it reads the token and proves it against the rows; both must agree.

    Raises LakeError where the folder cannot be read or its rows are not what its token says, RefusedError where the table is of
    another deployment or form.
    """

    def __init__(self, path: Path, name: str, columns: Columns, settings: LakeSettings) -> None:
        self.path = path
        self.name = name
        self.token: Token = {}
        self.commits = 0
        self._columns = columns
        self._settings = settings
        self._app = f"{columns.deployment}/{name}"
        self._rows = 0
        self._table: DeltaTable | None = None
        self._properties = _written_as(columns.schema(name))
        self._open()

    def _open(self) -> None:
        try:
            self._table = DeltaTable(str(self.path))
        except TableNotFoundError:
            self._table = None
            self.token, self._rows = {}, 0
            return
        except (DeltaError, OSError) as e:
            raise failure(self.path, "read", e) from e
        if self._table.metadata().description != self._columns.described(self.name):
            msg = f"{self.path} holds rows of another deployment, tape or release; give another --out, or start over with --fresh"
            raise RefusedError(msg)
        token = committed_token(self._table)
        found = self._found()
        if token is None:
            token = {key: last for key, (last, _) in found.items()}
        rows = sum(last + 1 for last in token.values())
        version = self._table.transaction_version(self._app) or 0
        if version != rows or {k: (last, last + 1) for k, last in token.items()} != found:
            differ = [k for k in sorted(set(token) | set(found)) if found.get(k) != (token.get(k, -1), token.get(k, -1) + 1)]
            listed = ", ".join(f"{k}: {found.get(k, (-1, 0))[1]} rows, {token.get(k, -1) + 1} committed" for k in differ[:5])
            msg = (
                f"{self.path} does not hold what was committed to it ({listed or f'{rows} rows, transaction version {version}'}); "
                "it was changed from outside: see spiketape verify, or start over with --fresh"
            )
            raise LakeError(msg)
        self.token, self._rows = token, rows

    def _found(self) -> dict[str, tuple[int, int]]:
        """For each key the largest n in the table and how many rows it has."""
        import polars as pl

        frame = pl.scan_delta(str(self.path))
        key = LAYOUTS[self.name].key
        if key is KeyColumn.SYMBOL:
            head = len(self._columns.id_prefix(self.name, ""))
            tail = pl.col("n").cast(pl.String).str.len_bytes() + 1
            name = pl.col("id").str.slice(head - 1, pl.col("id").str.len_chars() - tail - (head - 1))
        else:
            name = pl.col(key.value)
        try:
            counted = frame.group_by(name.alias("key")).agg(pl.col("n").max(), pl.len().alias("rows")).collect()
        except (pl.exceptions.PolarsError, OSError) as e:
            raise failure(self.path, "read", e) from e
        return {key: (n, rows) for key, n, rows in counted.iter_rows()}

    def append(self, read: Any, token: Mapping[str, int]) -> None:
        """Commits an Arrow table of new rows together with the token after them.

        Nothing is committed where an error is raised, unless the machine failed between the commit and its answer; the table is
        then opened anew before the next append, and its token says which it was.
        """
        after = {**self.token, **token}
        try:
            if self._table is None:
                self._create(read, after)
            else:
                self._compare(self._table)
                write_deltalake(
                    self._table,
                    read,
                    mode="append",
                    writer_properties=self._properties,
                    commit_properties=self._commit(after, self._rows + read.num_rows),
                )
        except (DeltaError, OSError) as e:
            raise failure(self.path, "written", e) from e
        self.token = after
        self._rows += read.num_rows
        self.commits += 1

    def _create(self, read: Any, token: Token) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_deltalake(
            str(self.path),
            read,
            mode="error",
            name=self.name,
            description=self._columns.described(self.name),
            configuration=CONFIGURATION,
            writer_properties=self._properties,
            commit_properties=self._commit(token, read.num_rows),
        )
        self._table = DeltaTable(str(self.path))

    def _compare(self, table: DeltaTable) -> None:
        """Raises LakeError where somebody else has committed rows. The log's next file is looked for, so this costs microseconds."""
        if not (self.path / "_delta_log" / f"{table.version() + 1:020}.json").exists():
            return
        table.update_incremental()
        version = table.transaction_version(self._app) or 0
        if version != self._rows:
            msg = (
                f"{self.path}: transaction {self._app} stands at version {version}, {self._rows} was expected: another process writes "
                "to this lake; let only one run use it"
            )
            raise LakeError(msg)

    def reopen(self) -> None:
        """Reads the token again, after a failure whose outcome is not known."""
        self._open()

    def tidy(self, last: bool) -> None:
        """Merges small files where there are many, and removes files that no version in use needs.

        `last`: the run is complete; the table is made if it has no rows, few files are merged too, and everything old goes.
        """
        if self._table is None:
            if last:
                self.append(self._columns.table(self.name, ()), {})
            return
        files = pa.table(self._table.get_add_actions(flatten=True))
        counts = files.column("num_records").to_pylist()
        target = self._settings.target_rows_per_file
        small = sum(1 for c in counts if c * SMALL_PART < target)
        if small <= (SMALL_PART if last else self._settings.compact_every_commits // 2):
            if last and self.commits:
                self._clean(last)
            return
        size = max(1, round(sum(files.column("size_bytes").to_pylist()) * target / max(1, sum(counts))))
        try:
            self._table.optimize.compact(
                target_size=size, writer_properties=self._properties, commit_properties=CommitProperties(custom_metadata=self._metadata())
            )
        except (DeltaError, OSError) as e:
            raise failure(self.path, "compacted", e) from e
        self._clean(last)

    def _clean(self, last: bool) -> None:
        assert self._table is not None
        try:
            self._table.vacuum(
                retention_hours=0 if last else KEPT_HOURS_WHILE_RUNNING,
                dry_run=False,
                enforce_retention_duration=False,
                full=last,
                commit_properties=CommitProperties(custom_metadata=self._metadata()),
            )
            if last:
                self._table.create_checkpoint()
                self._table.cleanup_metadata()
        except (DeltaError, OSError) as e:
            raise failure(self.path, "cleaned", e) from e

    def _metadata(self) -> dict[str, Any]:
        return {TOKEN: dict(sorted(self.token.items()))}

    def _commit(self, token: Token, version: int) -> CommitProperties:
        return CommitProperties(
            custom_metadata={TOKEN: dict(sorted(token.items()))}, app_transactions=[Transaction(app_id=self._app, version=version)]
        )


def committed_token(table: DeltaTable) -> Token | None:
    """The token of the latest commit that carries one; None where the log has none left."""
    for commit in table.history():
        if TOKEN in commit:
            return {str(k): int(n) for k, n in commit[TOKEN].items()}
    return None


def failure(path: Path, verb: str, error: BaseException) -> LakeError:
    """A failure of the file system or the library as an error that says what to do."""
    text = str(error)
    number = getattr(error, "errno", None)
    if number == errno.ENOSPC or "No space left" in text or "os error 28" in text:
        return LakeError(f"{path} cannot be {verb}: the disk is full. Make room and run the same command again: it goes on from here")
    denied = number in (errno.EACCES, errno.EPERM, errno.EROFS)
    if denied or any(s in text for s in ("Permission denied", "Read-only file system", "Operation not permitted")):
        return LakeError(f"{path} cannot be {verb}: no right to write there. Mend the rights or give another --out, then run again")
    first = text.splitlines()[0] if text else type(error).__name__
    return LakeError(f"{path} cannot be {verb}: {first}. Run the same command again; if it stays so, see spiketape verify")


def _written_as(schema: Any) -> WriterProperties:
    """How Parquet is written: integers by difference, ids as they come, light compression.

    Every column has its statistics in the log: without them deltalake's own reader takes a column for all null and prunes the file.
    """
    packed = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED", statistics_enabled="CHUNK")
    plain = ColumnProperties(dictionary_enabled=False, encoding="PLAIN", statistics_enabled="CHUNK")
    columns = {f.name: packed for f in schema if f.type == pa.int64() and f.name != "digest"}
    columns |= {name: plain for name in ("id", "digest", "record") if name in schema.names}
    return WriterProperties(
        compression="ZSTD",
        compression_level=1,
        default_column_properties=ColumnProperties(statistics_enabled="CHUNK"),
        column_properties=columns,
    )
