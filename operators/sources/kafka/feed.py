"""One partition's messages as one array of ticks: decoded, counted, checked for times that cannot be true; the rest is poison.

    decode      each message by its content type; bytes that are none of the accepted forms are poison
    symbols     a message with a tick of a symbol that this partition does not carry is poison
    sequence    records that were there already are dropped (a producer that began again), missing ones are counted
    times       the time guard (operators/timeline/guard.py) over ticks and heartbeats in the log's order: a tick that is not believed
                is flagged FLAG_TIME_REFUSED, a heartbeat that is not believed is poison
    end         the first end that fits what was read; records behind it that were not there before are poison

The guard may have to see what follows before it believes a jump ahead; such ticks, and all that comes after them, are kept back until then.
A snapshot names the message and the row in it that the next tick comes from, so what is kept back is read again after a restart. What comes
out depends on the log only, never on how it was cut into calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.sources.kafka.kernels import first_stray
from operators.sources.kafka.stream import Message, State, header_of, kind_of, poison_of
from operators.timeline.guard import TimeGuard
from schemas.errors import WireError
from schemas.poison import Poison
from schemas.settings.sections import TimeGuardSettings
from schemas.tick_stream import CONTENT_END, CONTENT_HEARTBEAT, CONTENT_TYPE, SEQUENCE, decode_end, decode_heartbeat
from schemas.ticks import FLAG_TIME_REFUSED, TICK_V1, Ints, Ticks, rows_joined
from schemas.wire import CONTENT_PACKED, decode_message
from schemas.wire import header_of as packed_header_of

LARGEST_HOLE: Final = 1 << 24
"""Records that may be missing at once. A sequence further ahead is not believed: one wrong number would make all later ticks `seen`."""

_NO_TICKS: Final = np.empty(0, TICK_V1)
_NO_TIMES: Final = np.empty(0, np.int64)


@dataclass(frozen=True)
class Taken:
    """What a call gave.

    `ticks`: the next ticks, read-only; `sequence`: of the first in the partition's stream (0 where it carries none). `times`, `refused`:
    int64 and uint8 of all entries, ticks and heartbeats in the log's order; refused entries move no slice. `is_tick`: which entries are
    ticks, None: all.
    `duplicates`, `missing`: records dropped, records that are not there.
    """

    ticks: Ticks
    sequence: int
    times: Ints
    refused: npt.NDArray[np.uint8]
    is_tick: npt.NDArray[np.bool_] | None
    poison: list[Poison]
    duplicates: int = 0
    missing: int = 0

    def ticks_only(self, of_entries: Ints) -> Ints:
        """Of an array over all entries, those that are ticks."""
        return of_entries if self.is_tick is None else of_entries[self.is_tick]


@dataclass(frozen=True)
class _Piece:
    """Consecutive entries of one message: ticks from its `row` on, or one heartbeat; or a poison, which has no entry.

    `sequence`: the partition's next before these entries; ticks that carry none (`counted` is False) do not move it.
    """

    message: Message
    row: int
    sequence: int | None
    ticks: Ticks | None = None
    counted: bool = False
    beat_ns: int | None = None
    poison: Poison | None = None

    @property
    def entries(self) -> int:
        return len(self.ticks) if self.ticks is not None else int(self.beat_ns is not None)

    def after(self, n: int) -> _Piece:
        """What comes after the first `n` ticks."""
        assert self.ticks is not None
        next_ = self.sequence + n if self.counted and self.sequence is not None else self.sequence
        return _Piece(self.message, self.row + n, next_, self.ticks[n:], self.counted)


@dataclass
class _Round:
    """What one call has met so far."""

    pieces: list[_Piece] = field(default_factory=list)
    duplicates: int = 0
    missing: int = 0


class TickFeed:
    """The ticks of one partition. `carried`: bool (symbols,), which symbols the partition carries.

    `ended`: the stream's last message has come; ticks that follow it are poison. `sequence`: of the next record, None before the first.
    """

    VERSION: Final = 1

    def __init__(self, topic: str, guard: TimeGuardSettings, carried: npt.NDArray[np.bool_]) -> None:
        self.ended = False
        self.sequence: int | None = None
        self._topic = topic
        self._carried = np.ascontiguousarray(carried)
        self._guard = TimeGuard(guard)
        self._held: list[_Piece] = []
        self._skip: tuple[int, int] | None = None

    @property
    def holds(self) -> bool:
        """Whether ticks wait for what follows them."""
        return bool(self._held)

    def take(self, messages: Sequence[Message]) -> Taken:
        """Takes the next messages of the partition."""
        met = _Round()
        for m in messages:
            try:
                self._read(m, met)
            except WireError as e:
                met.pieces.append(_Piece(m, 0, self.sequence, poison=poison_of(self._topic, m, e.reason, str(e))))
        return self._judged(met)

    def time_of(self, message: Message) -> int | None:
        """The latest event time that a message speaks of, None where it cannot be read."""
        try:
            kind, value = self._content(message)
            if kind == CONTENT_HEARTBEAT:
                return decode_heartbeat(value)
            return None if kind == CONTENT_END else int(decode_message(kind, value)["ts_ns"].max())
        except WireError:
            return None

    def snapshot(self, offset: int) -> State:
        """What is needed to go on: plain numbers. `offset`: that of the message after the last one taken."""
        guard = self._guard.snapshot()
        state = {"offset": offset, "skip": 0, "sequence": self.sequence, "ended": self.ended}
        if self._held:
            first = self._held[0]
            state |= {"offset": first.message.offset(), "skip": first.row, "sequence": first.sequence, "ended": False}
        elif self._skip is not None and self._skip[0] == offset:
            state["skip"] = self._skip[1]
        return {**state, "latest": guard["latest"], "known": guard["known"]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a snapshot; the next message taken is that at its `offset`."""
        self.sequence, self.ended = state["sequence"], state["ended"]
        self._skip = (state["offset"], state["skip"]) if state["skip"] else None
        self._held = []
        self._guard.restore({"version": TimeGuard.VERSION, "latest": state["latest"], "known": state["known"], "waiting": _NO_TIMES})

    def _content(self, m: Message) -> tuple[str, bytes]:
        kind, value = kind_of(m), m.value()
        if not kind:
            raise WireError("content_type", f"a message without the header {CONTENT_TYPE}")
        if value is None:
            raise WireError("empty", "a message without a value")
        return kind, value

    def _read(self, m: Message, met: _Round) -> None:
        kind, value = self._content(m)
        if kind == CONTENT_HEARTBEAT:
            beat_ns = decode_heartbeat(value)
            if not self.ended:
                met.pieces.append(_Piece(m, 0, self.sequence, beat_ns=beat_ns))
        elif kind == CONTENT_END:
            records = decode_end(value)
            if not self.ended and self.sequence is not None and records != self.sequence:
                raise WireError("end", f"the stream is said to end after {records} records, {self.sequence} were read")
            self.ended = True
        else:
            self._read_ticks(m, kind, value, met)

    def _read_ticks(self, m: Message, kind: str, value: bytes, met: _Round) -> None:
        ticks = decode_message(kind, value)
        at = int(first_stray(ticks["symbol"], self._carried))
        if at >= 0:
            raise WireError("symbol", f"a tick of symbol id {ticks['symbol'][at]}, which this partition does not carry (record {at})")
        first = sequence_of(m)
        if self.ended:
            self._too_late(first, len(ticks), met)
            return
        row = 0
        if self._skip is not None:
            offset, rows = self._skip
            self._skip = None
            row = min(rows, len(ticks)) if offset == m.offset() else 0
        if first is None:
            met.pieces.append(_Piece(m, row, self.sequence, ticks[row:]))
            return
        next_ = first + row if self.sequence is None else self.sequence
        if first > next_ + LARGEST_HOLE:
            raise WireError("sequence", f"records from {first} on, expected {next_}: a jump of more than {LARGEST_HOLE} is not believed")
        seen = max(row, min(next_ - first, len(ticks)))
        met.duplicates += seen - row
        if seen == len(ticks):
            return
        met.missing += max(0, first - next_)
        met.pieces.append(_Piece(m, seen, first + seen, ticks[seen:], True))
        self.sequence = first + len(ticks)

    def _too_late(self, first: int | None, records: int, met: _Round) -> None:
        """Ticks behind the end: dropped where they were there before it, else poison."""
        if first is not None and self.sequence is not None and first + records <= self.sequence:
            met.duplicates += records
            return
        after = "" if self.sequence is None else f" after {self.sequence} records"
        raise WireError("ended", f"{records} records came after the stream had ended{after}")

    def _judged(self, met: _Round) -> Taken:
        """The entries that the guard has decided on; the others are kept back."""
        pieces = self._held + met.pieces
        ticks = _ticks_of(pieces)
        times, is_tick = _entries(pieces, ticks)
        flagged = np.zeros(times.size, np.uint8)
        flags = ticks["flags"] & FLAG_TIME_REFUSED
        if flags.any():
            flagged[slice(None) if is_tick is None else is_tick] = flags
        judged = np.flatnonzero(flagged == 0)
        before = self._guard.undecided
        believed = self._guard.judge(times[judged[before:]], self.ended)
        refused = np.ones(times.size, np.uint8)
        refused[judged[: believed.size]] = 1 - believed
        decided = times.size if believed.size == judged.size else int(judged[believed.size])
        self._held = _from(pieces, decided)
        entries = None if is_tick is None else is_tick[:decided]
        n_ticks = decided if entries is None else int(np.count_nonzero(entries))
        first = next((p.sequence for p in pieces if p.ticks is not None), self.sequence)
        return Taken(
            self._flagged(ticks[:n_ticks], refused[:decided], entries),
            first or 0,
            times[:decided],
            refused[:decided],
            entries,
            self._poison(pieces[: len(pieces) - len(self._held)], refused),
            met.duplicates,
            met.missing,
        )

    def _poison(self, done: Sequence[_Piece], refused: npt.NDArray[np.uint8]) -> list[Poison]:
        """Messages that cannot be used, and heartbeats whose time was not believed, in the log's order."""
        out, at = [], 0
        for piece in done:
            if piece.poison is not None:
                out.append(piece.poison)
            elif piece.beat_ns is not None and refused[at]:
                detail = f"a heartbeat of {piece.beat_ns} ns, a time that cannot be true: far ahead and not confirmed by what follows"
                out.append(poison_of(self._topic, piece.message, "time", detail))
            at += piece.entries
        return out

    def _flagged(self, ticks: Ticks, refused: npt.NDArray[np.uint8], is_tick: npt.NDArray[np.bool_] | None) -> Ticks:
        """The ticks, read-only, those whose time was refused flagged so."""
        wrong = refused if is_tick is None else refused[is_tick]
        if wrong.any():
            ticks = ticks.copy()
            ticks["flags"] |= wrong * np.uint8(FLAG_TIME_REFUSED)
        view = ticks.view()
        view.flags.writeable = False
        return view


def sequence_of(m: Message) -> int | None:
    """The sequence of a message's first record in its partition's stream, None where it carries none. WireError where it is no number."""
    if kind_of(m) == CONTENT_PACKED:
        return packed_header_of(m.value() or b"").first
    text = header_of(m, SEQUENCE)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise WireError("sequence", f"header {SEQUENCE}: expected a decimal number below 1e18, given {text[:40]!r}")
    return int(text)


def _ticks_of(pieces: Sequence[_Piece]) -> Ticks:
    parts = [p.ticks for p in pieces if p.ticks is not None]
    if not parts:
        return _NO_TICKS
    return parts[0] if len(parts) == 1 else rows_joined(parts)


def _entries(pieces: Sequence[_Piece], ticks: Ticks) -> tuple[Ints, npt.NDArray[np.bool_] | None]:
    """Times of all entries in order, and which are ticks (None: all)."""
    times = np.ascontiguousarray(ticks["ts_ns"])
    places, beats, at = [], [], 0
    for piece in pieces:
        if piece.beat_ns is not None:
            places.append(at)
            beats.append(piece.beat_ns)
        else:
            at += piece.entries
    if not beats:
        return times, None
    is_tick = np.insert(np.ones(times.size, np.bool_), places, False)
    return np.insert(times, places, beats), is_tick


def _from(pieces: Sequence[_Piece], entry: int) -> list[_Piece]:
    """The pieces from an entry on; the one that it lies in is cut."""
    at = 0
    for i, piece in enumerate(pieces):
        if at + piece.entries > entry:
            return [piece if entry == at else piece.after(entry - at), *pieces[i + 1 :]]
        at += piece.entries
    return []
