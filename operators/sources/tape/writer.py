"""Writing a tape: in bounded memory, and so that an interrupted write never looks finished.

Everything goes into `<path>.partial-<pid>`, whose lock file is held while the writer lives. `close` writes and syncs the manifest
last and renames the folder, so that a folder named `<path>` is a whole tape. The next writer of the same path removes partial
folders whose writer is gone.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import xxhash

from operators.sources.tape.counts import SymbolCounts
from operators.sources.tape.disk import writing
from operators.sources.tape.format import (
    BATCH_ROWS,
    MANIFEST,
    TICK_BYTES,
    BatchEntry,
    Manifest,
    PartitionEntry,
    content_hash,
    manifest_json,
    part_file,
)
from operators.sources.tape.kernels import (
    IN_ORDER,
    NEGATIVE_LATENESS,
    OUT_OF_ORDER,
    UNKNOWN_SYMBOL,
    WRONG_SEQUENCE,
    fill_partitions,
)
from schemas.durable import force
from schemas.errors import RefusedError, TapeError
from schemas.instruments import InstrumentList
from schemas.ticks import TICK_V1, TICK_VERSION, Ticks, shard_of

TAPE_SCHEMA: Final = pa.schema(
    [pa.field("tick", pa.binary(TICK_BYTES), nullable=False)],
    metadata={
        "spiketape.layout": f"TICK_V{TICK_VERSION}",
        "spiketape.byteorder": "little",
        "spiketape.fields": json.dumps([{"name": name, "dtype": TICK_V1[name].str} for name in TICK_V1.names or ()]),
    },
)
"""Schema of a partition's file; its metadata lists the fields of a record in order, with NumPy's names of their types."""


_LOCK: Final = "lock"
_BUFFERED_BATCHES: Final = 16
_WRONG: Final = {
    UNKNOWN_SYMBOL: "has a symbol id that is not in the instrument list",
    OUT_OF_ORDER: "comes before its predecessor in (ts_ns, symbol)",
    WRONG_SEQUENCE: "does not carry its symbol's next sequence number",
    NEGATIVE_LATENESS: "has a negative late_ns",
}


class _HashedFile:
    """A file that is written once; `writes`: places and sizes of the latest writes; a running XXH3-128 of everything."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("wb", buffering=0)
        self.size = 0
        self.hash = xxhash.xxh3_128()
        self.writes: list[tuple[int, int]] = []

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        self.writes.append((self.size, view.nbytes))
        self.hash.update(view)
        self.size += view.nbytes
        while view.nbytes:
            view = view[self._file.write(view) :]
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing is buffered."""

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class _Partition:
    """One partition's file while it is written."""

    def __init__(self, folder: Path, number: int) -> None:
        self._name = part_file(number)
        self._file = _HashedFile(folder / self._name)
        self._ipc = pa.ipc.new_file(pa.PythonFile(self._file, mode="w"), TAPE_SCHEMA)
        self._batches: list[BatchEntry] = []

    def write(self, ticks: Ticks) -> None:
        data = ticks.view(np.uint8)
        self._file.writes.clear()
        column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(TICK_BYTES), len(ticks), [None, pa.py_buffer(data)])
        self._ipc.write_batch(pa.record_batch([column], schema=TAPE_SCHEMA))
        offset = next((place for place, size in reversed(self._file.writes) if size == data.nbytes), None)
        if offset is None:
            msg = f"pyarrow {pa.__version__} does not write a record batch's buffer in one piece; install the locked version"
            raise TapeError(msg)
        self._batches.append(
            BatchEntry(
                offset=offset,
                rows=len(ticks),
                first_ts_ns=int(ticks["ts_ns"][0]),
                last_ts_ns=int(ticks["ts_ns"][-1]),
                xxh3_128=xxhash.xxh3_128_hexdigest(data.data),
            )
        )

    def finish(self) -> PartitionEntry:
        self._ipc.close()
        self._file.sync()
        self._file.close()
        return PartitionEntry(
            file=self._name,
            bytes=self._file.size,
            rows=sum(b.rows for b in self._batches),
            first_ts_ns=self._batches[0].first_ts_ns if self._batches else None,
            last_ts_ns=self._batches[-1].last_ts_ns if self._batches else None,
            xxh3_128=self._file.hash.hexdigest(),
            batches=tuple(self._batches),
        )

    def drop(self) -> None:
        self._file.close()


class TapeWriter:
    """Writes a tape. A context manager: leaving it closes the tape, leaving it by an exception removes what was written.

    `append` takes ticks in the tape's order, (ts_ns, symbol, seq), with symbol ids of `instruments` and sequence numbers from 0
    without gaps in each symbol. Memory: 16 record batches or one per partition, whichever is more, each of up to 65,536 rows.
    `origin` may be changed until `close`. `folder` is where further files of the tape may be put while it is written.
    """

    def __init__(
        self,
        path: Path,
        instruments: InstrumentList,
        partitions: int = 4,
        shards: int = 64,
        origin: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Raises RefusedError where `path` is taken, SpiketapeError where it cannot be written."""
        self.path = path
        self.instruments = instruments
        self.origin: dict[str, Any] = dict(origin or {})
        self.folder = path.with_name(f"{path.name}.partial-{os.getpid()}")
        self._shards = shards
        self._overwrite = overwrite
        self._parts: list[_Partition] = []
        self._lock: IO[bytes] | None = None
        self._open = False
        rows = max(1, min(BATCH_ROWS, BATCH_ROWS * _BUFFERED_BATCHES // partitions))
        self._buffers = np.empty((partitions, rows), TICK_V1)
        self._room = np.empty(rows, TICK_V1)
        self._filled = np.zeros(partitions, np.int64)
        self._partition_of = np.array([shard_of(s, shards) % partitions for s in instruments.symbols], np.int32)
        self._counts = SymbolCounts(len(instruments.symbols))
        self._last = np.array([-(2**63), 0], np.int64)
        with self._guarded():
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(path)
            refuse_taken(path, overwrite)
            try:
                self.folder.mkdir()
            except FileExistsError as e:
                msg = f"{path} is being written by this process already"
                raise RefusedError(msg) from e
            self._open = True
            self._lock = (self.folder / _LOCK).open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._parts = [_Partition(self.folder, p) for p in range(partitions)]

    def __enter__(self) -> TapeWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            if self._open:
                self.close()
        else:
            self.abort()

    @property
    def rows(self) -> int:
        """Ticks appended so far."""
        return int(self._counts.rows.sum())

    def append(self, ticks: Ticks) -> None:
        """Adds ticks. TapeError where one does not continue the tape; SpiketapeError where the disk is full. Both end the write."""
        ticks = np.ascontiguousarray(ticks)
        if ticks.dtype != TICK_V1 or ticks.ndim != 1:
            msg = f"expected a one-dimensional array of TICK_V1, given {ticks.dtype} of shape {ticks.shape}"
            raise TapeError(msg)
        with self._guarded():
            before = self.rows
            wrong, place = self._counts.count(ticks, self._last)
            if wrong != IN_ORDER:
                r = ticks[place]
                msg = (
                    f"tick {before + place} of the tape {_WRONG[wrong]}: ts_ns {r['ts_ns']}, symbol {r['symbol']}, seq {r['seq']}, "
                    f"late_ns {r['late_ns']}"
                )
                raise TapeError(msg)
            place = 0
            while place < ticks.size:
                place = fill_partitions(ticks, place, self._partition_of, self._buffers, self._filled)
                for p in np.flatnonzero(self._filled == self._buffers.shape[1]):
                    self._flush(int(p))

    def close(self) -> Manifest:
        """Finishes the tape and gives it its name. Returns its manifest."""
        with self._guarded():
            for p in range(len(self._parts)):
                self._flush(p)
            symbols = self._counts.entries(self.instruments)
            manifest = Manifest(
                shards=self._shards,
                rows=self.rows,
                tape_hash=content_hash(self.instruments, [(s.symbol, s.rows, s.xxh3_128) for s in symbols]),
                instruments=self.instruments,
                partitions=tuple(p.finish() for p in self._parts),
                symbols=symbols,
                origin=self.origin,
            )
            with (self.folder / MANIFEST).open("wb") as f:
                f.write(manifest_json(manifest))
                f.flush()
                os.fsync(f.fileno())
            (self.folder / _LOCK).unlink()
            force(self.folder)
            self._take_name()
            force(self.path.parent)
            self._open = False
            self._release()
        return manifest

    def abort(self) -> None:
        """Removes what was written; nothing where the tape is closed."""
        if self._open:
            self._open = False
            for p in self._parts:
                p.drop()
            shutil.rmtree(self.folder, ignore_errors=True)
            self._release()

    def _flush(self, p: int) -> None:
        n = int(self._filled[p])
        if n:
            ticks = self._buffers[p, :n]
            self._counts.hash(ticks, self._room)
            self._parts[p].write(ticks)
            self._filled[p] = 0

    def _take_name(self) -> None:
        """Renames the folder. An older tape of the name is put aside first and removed last."""
        aside = self.path.with_name(f"{self.path.name}.replaced-{os.getpid()}")
        refuse_taken(self.path, self._overwrite)
        replaced = self.path.exists()
        if replaced:
            self.path.rename(aside)
        self.folder.rename(self.path)
        if replaced:
            shutil.rmtree(aside, ignore_errors=True)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """What fails inside ends the write and leaves nothing; errors of the disk are told as such."""
        try:
            with writing(self.path):
                yield
        except BaseException:
            self.abort()
            raise


def refuse_taken(path: Path, overwrite: bool) -> None:
    """Raises RefusedError where a new tape may not take a path."""
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        msg = f"{path} exists already; choose another name, or ask for it to be overwritten"
        raise RefusedError(msg)
    if path.is_symlink() or not path.is_dir() or (any(path.iterdir()) and not (path / MANIFEST).is_file()):
        msg = f"{path} is not a tape, so it is not overwritten; choose another name"
        raise RefusedError(msg)


def _remove_stale(path: Path) -> None:
    """Removes the partial folders of `path` whose writer is gone, and ends a replacement that was cut off between its two renames."""
    partial, aside = f"{path.name}.partial-", f"{path.name}.replaced-"
    for folder in list(path.parent.iterdir()):
        name, _, pid = folder.name.rpartition("-")
        if not pid.isdigit():
            continue
        if f"{name}-" == partial and _is_left(folder, int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
        elif f"{name}-" == aside and not _is_alive(int(pid)):
            if path.exists():
                shutil.rmtree(folder, ignore_errors=True)
            else:
                folder.rename(path)


def _is_left(folder: Path, pid: int) -> bool:
    try:
        with (folder / _LOCK).open("rb") as f:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return not _is_alive(pid)
    except OSError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
