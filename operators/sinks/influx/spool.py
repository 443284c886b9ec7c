"""The spool: what was not sent yet, on disk, in order, bounded. Every line goes through it.

1. `append` writes a record behind the last one (a flow's thread). Nothing is promised yet.
2. `sync` forces it to the disk. A snapshot is taken after that: what an epoch covers is in the server or on the disk.
3. `waiting` reads the oldest records (the courier's thread), which sends them.
4. `sent` notes the last sequence that the server has taken and deletes the segments before it. Lost notes do no harm: what is sent
   again rewrites the same points.

After kill -9 the folder is opened again: a record that was torn while it was written is cut off (no epoch covers it, the flow sends
it again); one that was changed is set aside with what is known of it, and everything else is sent.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import xxhash

from operators.sinks.influx.dead_letters import DAMAGED
from operators.sinks.influx.lines import Lines
from operators.sinks.influx.records import SUFFIX, Damage, Place, packed, scanned, unpacked
from schemas.durable import force, write_at
from schemas.errors import InfluxError, RefusedError
from schemas.refused_point import RefusedPoint

LARGEST_SEGMENT: Final = 16 << 20
SMALLEST_SEGMENT: Final = 1 << 16
_SENT: Final = struct.Struct("<QQ")
_FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoRoomError(Exception):
    """The spool may not grow now. `why` says whether by its setting or because the disk is full."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Spool:
    """A spool in a folder, which it locks. `append` and `sync` belong to one thread, `waiting` and `sent` to another.

    `needed`: the sequence before which a recovery point says that everything is durable; a spool that holds less lost something.
    `on_damage` is told of what cannot be used. Raises RefusedError where another process has the folder, InfluxError where it cannot be
    opened or lost what `needed` promises.

    `spare_bytes` of the disk are left to others: a recovery store that finds the disk full ends the process, a spool only waits. While
    nothing waits in it, it takes a record all the same, so that the flow goes on, however slowly, where others have filled the disk.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        needed: int = 0,
        on_damage: Callable[[RefusedPoint], None] = lambda _p: None,
        spare_bytes: int = 0,
    ) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.spare_bytes = spare_bytes
        self.size = 0
        self._on_damage = on_damage
        self._segment_bytes = max(SMALLEST_SEGMENT, min(LARGEST_SEGMENT, max_bytes // 8))
        self._changed = threading.Condition()
        self._waiting: deque[Place] = deque()
        self._sizes: dict[Path, int] = {}
        self._active: Path | None = None
        self._file: int | None = None
        self._starved = False
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            self._note = os.open(path / "sent", os.O_RDWR | os.O_CREAT, 0o644)
            self._open = [self._lock, self._note]
        except OSError as e:
            msg = f"the spool {path} cannot be opened: {e.strerror}; give the process a folder that it may write to"
            raise InfluxError(msg) from e
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            self.close()
            msg = f"another process uses the spool {path}: two would send the same points; end it first"
            raise RefusedError(msg) from e
        self._next = 0
        self._sent = self._noted()
        self._recover(needed)

    def _noted(self) -> int:
        """The first sequence that was not sent, as far as it was noted; 0 where both copies of the note are damaged or missing."""
        raw = os.pread(self._note, 2 * _SENT.size, 0)
        if len(raw) < 2 * _SENT.size:
            os.pwrite(self._note, bytes(2 * _SENT.size), 0)  # now, so that a full disk cannot hinder it later
        copies = [_SENT.unpack_from(raw, at) for at in (0, _SENT.size) if len(raw) >= at + _SENT.size]
        return max((int(sent) for sent, digest in copies if xxhash.xxh3_64_intdigest(struct.pack("<Q", sent)) == digest), default=0)

    def _note_sent(self) -> None:
        """Notes the first sequence that waits: what is before it was sent, or told as lost."""
        self._sent = self._waiting[0].sequence if self._waiting else self._next
        raw = _SENT.pack(self._sent, xxhash.xxh3_64_intdigest(struct.pack("<Q", self._sent)))
        os.pwrite(self._note, raw + raw, 0)

    def _delete_sent(self) -> None:
        """Deletes the segments before the first that is needed. The note is on the disk before, so that a missing one is always a loss."""
        needed = self._waiting[0].segment if self._waiting else None
        done = [s for s in sorted(self._sizes) if s != self._active and (needed is None or s < needed)]
        if done:
            os.fsync(self._note)
        for segment in done:
            self.size -= self._sizes.pop(segment)
            segment.unlink(missing_ok=True)

    def _recover(self, needed: int) -> None:
        segments = sorted(self.path.glob(f"*{SUFFIX}"))
        expected: int | None = self._sent or None
        damages: list[Damage] = []
        missing: list[str] = []
        for segment in segments:
            for found in scanned(segment):
                if isinstance(found, Damage):
                    damages.append(found)
                    continue
                if expected is not None and found.sequence > expected:
                    missing.append(_named(expected, found.sequence - 1))
                expected = max(expected or 0, found.sequence + 1)
                if found.sequence >= self._sent:
                    self._waiting.append(found)
            self._sizes[segment] = segment.stat().st_size
        self._next = expected or 0
        if damages and damages[-1].torn and damages[-1].segment == segments[-1] and self._next >= needed:
            torn = damages.pop()
            os.truncate(torn.segment, torn.offset)
            self._sizes[torn.segment] = torn.offset
        if self._next < needed:
            missing.append(_named(self._next, needed - 1))
            self._next = needed
        self._tell(damages, missing)
        self.size = sum(self._sizes.values())
        self._note_sent()
        self._delete_sent()

    def _tell(self, damages: list[Damage], missing: list[str]) -> None:
        """Says what cannot be used. Raises InfluxError where records are gone and no damage says why."""
        if missing and not damages:
            msg = (
                f"the spool {self.path} lacks records {', '.join(missing)}: the folder was emptied or a file removed; put it back, or "
                "start over with an empty one, which writes the same points again"
            )
            raise InfluxError(msg)
        records = f"; records {', '.join(missing)} are lost" if missing else ""
        for damage in damages:
            detail = (
                f"{damage.segment.name}: bytes {damage.offset} to {damage.offset + len(damage.content) - 1} are not what was written"
                f"{records}; a replay of the same tape, or a start over, writes these points again"
            )
            self._on_damage(RefusedPoint(DAMAGED, detail, damage.content))

    @property
    def next_sequence(self) -> int:
        """The sequence of the next record."""
        return self._next

    @property
    def lines_waiting(self) -> int:
        """Lines that the server has not taken yet."""
        with self._changed:
            return sum(p.lines for p in self._waiting)

    def append(self, lines: Lines) -> None:
        """Writes a record behind the last. Raises NoRoomError and writes nothing while the spool, or the disk, is full."""
        record = packed(self._next, lines)
        with self._changed:
            if self.size + len(record) > self.max_bytes and self._waiting:
                msg = f"{self.size / 2**20:.0f} of {self.max_bytes / 2**20:.0f} MiB wait in {self.path} (influx.spool_max_mb)"
                raise NoRoomError(msg)
            if self._waiting and self._starves(len(record)):
                msg = f"the disk of the spool {self.path} has {self.spare_bytes / 2**20:.0f} MiB left, which are not for it"
                raise NoRoomError(f"{msg} (influx.spool_spare_mb)")
            if self._active is None or self._sizes[self._active] >= self._segment_bytes:
                self._roll()
            segment, file = self._active, self._file
            assert segment is not None
            assert file is not None
            offset = self._sizes[segment]
            try:
                write_at(file, record, offset)
            except OSError as e:
                os.ftruncate(file, offset)
                raise self._failure(f"the spool {segment} cannot be written", e) from e
            self._sizes[segment] = offset + len(record)
            self.size += len(record)
            self._waiting.append(Place(self._next, segment, offset, len(record), lines.count))
            self._next += 1
            self._changed.notify_all()

    def _starves(self, more: int) -> bool:
        """Whether others would have less than `spare_bytes` of the disk with so many bytes more here."""
        if not self.spare_bytes:
            return False
        disk = os.fstatvfs(self._lock)
        return disk.f_bavail * disk.f_frsize < self.spare_bytes + more

    def _failure(self, what: str, e: OSError) -> NoRoomError | InfluxError:
        """What an error of the disk means: it is full, which is waited for, or something that must be mended."""
        if e.errno in _FULL_DISK:
            self._starved = True
            return NoRoomError(f"the disk of the spool {self.path} is full ({e.strerror}); make room on it")
        return InfluxError(f"{what}: {e.strerror}")

    def _roll(self) -> None:
        """Begins a new segment; the one before is on the disk first."""
        self.sync()
        self._close_active()
        segment = self.path / f"{self._next:020d}{SUFFIX}"
        try:
            self._file = os.open(segment, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            force(self.path)
        except OSError as e:
            raise self._failure(f"the segment {segment} cannot be made", e) from e
        self._active = segment
        self._sizes[segment] = 0

    def _close_active(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = self._active = None

    def sync(self) -> None:
        """Forces what was appended to the disk. Raises NoRoomError or InfluxError."""
        with self._changed:
            if self._file is not None:
                try:
                    os.fsync(self._file)
                except OSError as e:
                    raise self._failure(f"the spool {self._active} cannot be forced to the disk", e) from e

    def waiting(self, most: int, wait_s: float) -> tuple[int, Lines]:
        """The oldest records, up to `most` lines (one record at least), and the last sequence among them; waits so long for one.

        (-1, no lines) where there is none. A record that is not as it was written is told and left out.
        """
        with self._changed:
            if not self._waiting:
                self._changed.wait(wait_s)
            chosen: list[Place] = []
            lines = 0
            for place in self._waiting:
                if chosen and lines + place.lines > most:
                    break
                chosen.append(place)
                lines += place.lines
        if not chosen:
            return -1, Lines(0, b"")
        whole = [read for place in chosen if (read := self._read(place)) is not None]
        return chosen[-1].sequence, Lines(sum(w.count for w in whole), b"".join(w.content for w in whole))

    def _read(self, place: Place) -> Lines | None:
        file = os.open(place.segment, os.O_RDONLY)
        try:
            raw = os.pread(file, place.length, place.offset)
        finally:
            os.close(file)
        record = unpacked(raw)
        if record is None or record[0] != place.sequence:
            detail = (
                f"{place.segment.name}: record {place.sequence} of {place.lines} lines at byte {place.offset} is not what was written; a "
                "replay of the same tape, or a start over, writes these points again"
            )
            self._on_damage(RefusedPoint(DAMAGED, detail, raw))
            return None
        return record[1]

    def sent(self, sequence: int) -> None:
        """The server has everything up to `sequence`: notes it and deletes the segments that are not needed any more."""
        with self._changed:
            while self._waiting and self._waiting[0].sequence <= sequence:
                self._waiting.popleft()
            if not self._waiting and self._active is not None and (self._starved or self._sizes[self._active] >= SMALLEST_SEGMENT):
                self._close_active()
                self._starved = False
            self._note_sent()
            self._delete_sent()
            self._changed.notify_all()

    def wait_for_change(self, wait_s: float) -> None:
        """Returns when something was sent or appended, or after so long."""
        with self._changed:
            self._changed.wait(wait_s)

    def close(self) -> None:
        """Lets the folder go, once. What waits stays there."""
        self._close_active()
        while self._open:
            os.close(self._open.pop())


def _named(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"
