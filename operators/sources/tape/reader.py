"""Reading a tape: memory maps, no copies, and every record batch checked against its hash when it is first touched."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from pathlib import Path
from typing import Final

import numpy as np
import xxhash

from operators.sources.tape.counts import SymbolCounts
from operators.sources.tape.format import (
    BATCH_ROWS,
    TICK_BYTES,
    BatchEntry,
    Manifest,
    PartitionEntry,
    content_hash,
    load_manifest,
)
from operators.sources.tape.kernels import IN_ORDER
from schemas.errors import TapeError
from schemas.instruments import InstrumentList
from schemas.ticks import TICK_V1, Ticks, shard_of

_MAGIC: Final = b"ARROW1"
_CHUNK: Final = 4 * 1024 * 1024


class _PartitionFile:
    """One partition's file, mapped. Pages behind the reader are given back, so that resident memory stays flat."""

    def __init__(self, folder: Path, entry: PartitionEntry, symbols: int) -> None:
        self.path = folder / entry.file
        self._symbols = symbols
        self.entry = entry
        try:
            with self.path.open("rb") as f:
                size = f.seek(0, 2)
                if size != entry.bytes:
                    msg = f"{self.path} has {size} bytes, the manifest says {entry.bytes}; the tape is damaged, import it again"
                    raise TapeError(msg)
                self.map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as e:
            msg = f"{self.path} is missing; the tape is not whole, import it again"
            raise TapeError(msg) from e
        except (OSError, ValueError) as e:
            msg = f"{self.path} cannot be read ({e}); the tape is damaged, import it again"
            raise TapeError(msg) from e
        if self.map[: len(_MAGIC)] != _MAGIC or self.map[-len(_MAGIC) :] != _MAGIC:
            msg = f"{self.path} is no Arrow file; the tape is damaged, import it again"
            raise TapeError(msg)
        self.starts = np.cumsum([0, *(b.rows for b in entry.batches)]).tolist()
        self.last_times = np.array([b.last_ts_ns for b in entry.batches], np.int64)
        self._checked = bytearray(len(entry.batches))
        self._current = (0, np.empty(0, TICK_V1))

    def batch_of(self, row: int) -> tuple[int, Ticks]:
        """(first row, records) of the batch that holds a row."""
        start, ticks = self._current
        if not start <= row < start + len(ticks):
            i = bisect_right(self.starts, row) - 1
            start, ticks = self._current = self.starts[i], self.records(i)
            if i > 1:
                self.give_back(self.entry.batches[i - 1].offset)
        return start, ticks

    def records(self, i: int) -> Ticks:
        """The records of batch `i`, read-only, checked."""
        b = self.entry.batches[i]
        ticks = np.frombuffer(self.map, TICK_V1, b.rows, b.offset)
        if not self._checked[i]:
            if xxhash.xxh3_128_hexdigest(ticks.view(np.uint8).data) != b.xxh3_128:
                msg = f"{self.path}: record batch {i} (rows {self.starts[i]} to {self.starts[i + 1] - 1}) is damaged; import the tape again"
                raise TapeError(msg)
            self._check_content(i, b, ticks)
            self._checked[i] = 1
        return ticks

    def _check_content(self, i: int, b: BatchEntry, ticks: Ticks) -> None:
        """What compiled code relies on; only a tape that was made by something else can fail here."""
        if (int(ticks["ts_ns"][0]), int(ticks["ts_ns"][-1])) != (b.first_ts_ns, b.last_ts_ns) or ticks["symbol"].max() >= self._symbols:
            msg = f"{self.path}: times or symbols of record batch {i} are not those of the manifest; import the tape again"
            raise TapeError(msg)

    def give_back(self, until: int) -> None:
        """Lets go of the resident pages before an offset; they are read again from the file where somebody still looks at them."""
        size = until // mmap.PAGESIZE * mmap.PAGESIZE
        if size:
            self.map.madvise(mmap.MADV_DONTNEED, 0, size)

    def check_whole(self) -> None:
        """TapeError where the file's bytes do not fit the hash of the whole."""
        h = xxhash.xxh3_128()
        with memoryview(self.map) as view:
            for place in range(0, len(view), _CHUNK):
                h.update(view[place : place + _CHUNK])
                self.give_back(place)
        if h.hexdigest() != self.entry.xxh3_128:
            msg = f"{self.path} does not fit its hash in the manifest; the tape is damaged, import it again"
            raise TapeError(msg)


class Tape:
    """A finished tape. `Tape.open` checks the manifest and the files' sizes; `read` checks each record batch once; `verify` all.

    `manifest`, `instruments`; `partitions`: how many.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._files = [_PartitionFile(path, entry, len(manifest.instruments.symbols)) for entry in manifest.partitions]

    @classmethod
    def open(cls, path: Path) -> Tape:
        """Opens the tape in a folder; TapeError says which file is wrong and what to do."""
        path = Path(path)
        return cls(path, load_manifest(path))

    @property
    def instruments(self) -> InstrumentList:
        return self.manifest.instruments

    @property
    def partitions(self) -> int:
        return len(self._files)

    def partition_of(self, symbol: str) -> int:
        """The partition that holds a symbol's ticks."""
        return shard_of(symbol, self.manifest.shards) % self.partitions

    def rows(self, partition: int) -> int:
        """Rows of a partition."""
        return self._files[partition].entry.rows

    def read(self, partition: int, start: int, count: int) -> Ticks:
        """Up to `count` rows of a partition from row `start`: a read-only view of the file, TICK_V1.

        May end early, at the end of a record batch; is empty only past the last row or where `count` is 0. TapeError where the
        batch is damaged.
        """
        file = self._files[partition]
        if start < 0 or count < 0:
            msg = f"rows are counted from 0, given start {start} and count {count}"
            raise ValueError(msg)
        if start >= file.entry.rows:
            return np.empty(0, TICK_V1)
        first, ticks = file.batch_of(start)
        return ticks[start - first : start - first + count]

    def seek(self, partition: int, ts_ns: int) -> int:
        """The first row of a partition with time >= ts_ns; its number of rows where there is none."""
        file = self._files[partition]
        i = int(np.searchsorted(file.last_times, np.int64(min(max(ts_ns, -(2**63)), 2**63 - 1))))
        if i == len(file.last_times):
            return file.entry.rows
        return int(file.starts[i]) + int(np.searchsorted(file.records(i)["ts_ns"], ts_ns))

    def verify(self) -> None:
        """Reads everything: hashes of files and batches, order, sequences, partitions, counts, tape_hash. TapeError at the first flaw."""
        m = self.manifest
        counts = SymbolCounts(len(m.instruments.symbols))
        room = np.empty(max([BATCH_ROWS, *(b.rows for p in m.partitions for b in p.batches)]), TICK_V1)
        partition_of = np.array([self.partition_of(s) for s in m.instruments.symbols], np.int64)
        for p, file in enumerate(self._files):
            file.check_whole()
            last = np.array([-(2**63), 0], np.int64)
            for i, b in enumerate(file.entry.batches):
                ticks = file.records(i)
                wrong, place = counts.count(ticks, last)
                if wrong != IN_ORDER or np.any(partition_of[ticks["symbol"]] != p):
                    msg = f"{file.path}: record batch {i} does not continue the tape (row {max(place, 0)} of it); import the tape again"
                    raise TapeError(msg)
                counts.hash(ticks, room)
                file.give_back(b.offset + b.rows * TICK_BYTES)
        symbols = counts.entries(m.instruments)
        for have, said in zip(symbols, m.symbols, strict=True):
            if have != said:
                msg = f"{self.path}: what the manifest says of {said.symbol} is not what is on the tape; import the tape again"
                raise TapeError(msg)
        if content_hash(m.instruments, [(s.symbol, s.rows, s.xxh3_128) for s in symbols]) != m.tape_hash:
            msg = f"{self.path}: tape_hash does not fit the content; import the tape again"
            raise TapeError(msg)
