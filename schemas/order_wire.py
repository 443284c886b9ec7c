"""Turns of book and venue where they are processes of their own: what each has decided, slice by slice.

Both go in lockstep. The book may decide slice k once it knows all reports of slices before k; the venue may work through slice k
once it knows all requests decided before k. A turn says that its sender is through with slices [lo, hi); turns of one sender follow
each other without gaps, so what a receiver has heard before is known by the slices alone: it is left out, or cut off.

A book that has nothing at the venue need not wait. Whether it has, the venue says: `settled` of a VenueTurn.

On the wire, `application/vnd.spiketape.requests` and `application/vnd.spiketape.reports`, the body of an envelope (schemas/envelope.py;
magic `SPRQ` and `SPRP`), little endian: lo i8, hi i8, settled i8 (0 in requests), number of records i8; then the records as they are
(schemas/orders.py); in requests then `decided`, i8 each. Any bytes decode or raise WireError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.envelope import body_of, enveloped
from schemas.errors import StateMismatchError, WireError
from schemas.orders import EXECUTION_REPORT, ORDER_REQUEST, Reports, Requests
from schemas.slice_wire import in_slices
from schemas.ticks import Ints

CONTENT_REQUESTS: Final = "application/vnd.spiketape.requests"
CONTENT_REPORTS: Final = "application/vnd.spiketape.reports"
ORDER_WIRE_VERSION: Final = 1

UNSETTLED: Final = -(2**62)
"""`settled` while something may still be reported."""
NOTHING_HEARD: Final = UNSETTLED
"""The slice up to which a receiver has heard the other side before its first turn."""

NO_REQUESTS: Final = np.zeros(0, ORDER_REQUEST)
NO_REPORTS: Final = np.zeros(0, EXECUTION_REPORT)
NO_SLICES: Final = np.zeros(0, np.int64)

_HEAD: Final = struct.Struct("<qqqq")
_REQUESTS: Final = (b"SPRQ", "a turn of the book")
_REPORTS: Final = (b"SPRP", "a turn of the venue")


@dataclass(frozen=True, slots=True)
class BookTurn:
    """Everything that was decided at the ends of slices [lo, hi). `hi` is END when nothing will ever be decided again.

    `requests` ORDER_REQUEST (n,) in the order in which they were decided; `decided` int64 (n,): at the end of which slice each was.
    """

    lo: int
    hi: int
    requests: Requests = field(default_factory=lambda: NO_REQUESTS)
    decided: Ints = field(default_factory=lambda: NO_SLICES)

    def cut(self, k: int) -> tuple[BookTurn | None, BookTurn | None]:
        """What stands before slice k and from k on; None where the turn has no slice there."""
        if self.hi <= k:
            return self, None
        if self.lo >= k:
            return None, self
        i = int(np.searchsorted(self.decided, k))
        return (
            BookTurn(self.lo, k, self.requests[:i], self.decided[:i]),
            BookTurn(k, self.hi, self.requests[i:], self.decided[i:]),
        )


@dataclass(frozen=True, slots=True)
class VenueTurn:
    """Everything that happened at the venue in slices [lo, hi). `hi` is END when nothing will ever happen again.

    `reports` EXECUTION_REPORT (n,), slices never decreasing. `settled`: nothing that was decided before this slice can be reported on
    at or after `hi`; UNSETTLED while something can.
    """

    lo: int
    hi: int
    reports: Reports = field(default_factory=lambda: NO_REPORTS)
    settled: int = UNSETTLED

    def cut(self, k: int) -> tuple[VenueTurn | None, VenueTurn | None]:
        """What stands before slice k and from k on; None where the turn has no slice there."""
        if self.hi <= k:
            return self, None
        if self.lo >= k:
            return None, self
        i = int(np.searchsorted(self.reports["slice"], k))
        return VenueTurn(self.lo, k, self.reports[:i]), VenueTurn(k, self.hi, self.reports[i:], self.settled)


Turn = TypeVar("Turn", BookTurn, VenueTurn)


def unheard(turn: Turn, heard: int, who: str, what: str) -> Turn | None:
    """What of `turn` goes beyond slice `heard`, up to which `who` knows `what` already; None where nothing does.

    StateMismatchError where slices between are missing.
    """
    if heard == NOTHING_HEARD:
        return turn
    if turn.hi <= heard:
        return None
    if turn.lo > heard:
        msg = (
            f"{who}: heard of {what} up to slice {heard}, was given those of slices [{turn.lo}, {turn.hi}): turns between are missing; "
            "restore the book and the venue from the same savepoint"
        )
        raise StateMismatchError(msg)
    return turn.cut(heard)[1]


def encode_turn(turn: BookTurn | VenueTurn) -> bytes:
    """The wire form of a turn."""
    if isinstance(turn, BookTurn):
        head = _HEAD.pack(turn.lo, turn.hi, 0, turn.requests.size)
        return enveloped(_REQUESTS[0], ORDER_WIRE_VERSION, (head, turn.requests.tobytes(), turn.decided.tobytes()))
    head = _HEAD.pack(turn.lo, turn.hi, turn.settled, turn.reports.size)
    return enveloped(_REPORTS[0], ORDER_WIRE_VERSION, (head, turn.reports.tobytes()))


def decode_book_turn(data: bytes) -> BookTurn:
    """A turn of the book from the wire, its arrays read-only. WireError for anything else."""
    (lo, hi, _), body, n = _opened(_REQUESTS, data, ORDER_REQUEST.itemsize + 8)
    requests = np.frombuffer(body, ORDER_REQUEST, n, _HEAD.size)
    decided = np.frombuffer(body, np.int64, n, _HEAD.size + n * ORDER_REQUEST.itemsize)
    _check_slices(_REQUESTS[1], decided, lo, hi)
    sent = requests["sent_ts_ns"]
    if np.any(sent[1:] < sent[:-1]):
        raise WireError("order", f"{_REQUESTS[1]}: its requests are not in the order in which they were sent")
    return BookTurn(lo, hi, requests, decided)


def decode_venue_turn(data: bytes) -> VenueTurn:
    """A turn of the venue from the wire, its arrays read-only. WireError for anything else."""
    (lo, hi, settled), body, n = _opened(_REPORTS, data, EXECUTION_REPORT.itemsize)
    reports = np.frombuffer(body, EXECUTION_REPORT, n, _HEAD.size)
    _check_slices(_REPORTS[1], reports["slice"], lo, hi)
    return VenueTurn(lo, hi, reports, settled)


def _opened(kind: tuple[bytes, str], data: bytes, each: int) -> tuple[tuple[int, int, int], memoryview, int]:
    magic, what = kind
    body = body_of(what, magic, ORDER_WIRE_VERSION, data)
    if len(body) < _HEAD.size:
        raise WireError("truncated", f"{what}: the body begins with {_HEAD.size} bytes, given {len(body)}")
    lo, hi, settled, n = _HEAD.unpack_from(body)
    if lo >= hi:
        raise WireError("range", f"{what}: slices [{lo}, {hi}) are none")
    if n < 0 or _HEAD.size + n * each != len(body):
        raise WireError("length", f"{what}: {n} records of {each} bytes do not make a body of {len(body)}")
    return (lo, hi, settled), body, n


def _check_slices(what: str, slices: npt.NDArray[np.int64], lo: int, hi: int) -> None:
    if not in_slices(slices, lo, hi):
        raise WireError("slices", f"{what}: its records are not in the order of slices [{lo}, {hi})")
