"""What a run has said so far, as a value: chains of digests, the output hash, and the totals that `run.json` reports.

For each table and key of HASHED_TABLES: digest = SHA-256(previous digest, canonical row), beginning with 32 zero bytes. A canonical
row is the integer row in its field order, padding zero, with the symbol's id replaced by the CRC-32 of its name (also inside a dead
letter's record), so that ids - which depend on what else is on a tape - do not enter. The output hash is the SHA-256 of the
lines `<table> <key> <rows> <digest>` sorted by table and key.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.sinks.columns import Structured, symbol_names
from operators.sinks.totals import Totals
from schemas.errors import LakeError, StateMismatchError
from schemas.tables import HASHED_TABLES, NO_SYMBOL, TABLES, Rows
from schemas.ticks import TICK_V1

LEDGER_VERSION: Final = 1
START: Final = bytes(32)
_NO_MARKS: Final = np.empty(0, np.int64)

Ints = npt.NDArray[np.int64]
Chains = Mapping[tuple[str, str], tuple[int, bytes]]
"""For each (table, key): rows so far, and the digest after the last one."""


def canonical(table: str, symbols: Sequence[str], a: Structured) -> Structured:
    """A copy of rows in the form that is hashed: see above."""
    out = np.zeros(a.size, TABLES[table])
    for name in TABLES[table].names or ():
        if name not in ("pad", "symbol"):
            out[name] = a[name]
    if "symbol" in (TABLES[table].names or ()):
        out["symbol"] = _crc(symbols, a["symbol"])
    if table == "dead_letters":
        records = np.frombuffer(out["record"].tobytes(), TICK_V1).copy()
        records["symbol"] = _crc(symbols, records["symbol"])
        out["record"] = records.view("V72")
    return out


def _crc(symbols: Sequence[str], ids: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    one = ids.item(0) if ids.size else NO_SYMBOL
    if one < len(symbols) and bool((ids == one).all()):  # rows of one symbol, as most pieces are
        return np.full(ids.size, zlib.crc32(symbols[one].encode()), np.uint32)
    names, which = symbol_names(symbols, ids)
    return np.array([0 if name is None else zlib.crc32(name.encode()) for name in names], np.uint32)[which]


def chained(digest: bytes, rows: Structured) -> tuple[bytes, Ints]:
    """The digest after canonical `rows`, and the first eight bytes of the digest after each of them as int64."""
    size = rows.dtype.itemsize
    raw = rows.tobytes()
    marks = bytearray()
    sha256 = hashlib.sha256
    for begin in range(0, len(raw), size):
        digest = sha256(digest + raw[begin : begin + size]).digest()
        marks += digest[:8]
    return digest, np.frombuffer(bytes(marks), "<i8")


def output_hash(chains: Chains) -> str:
    """The hash of a run from its chains: SHA-256, hexadecimal."""
    lines = [f"{table} {key} {count} {digest.hex()}\n" for (table, key), (count, digest) in sorted(chains.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class Ledger:
    """Takes rows in the order of their n, by table and key; keeps chains and totals, nothing else.

    `symbols`: names by symbol id; `notional_scale`: by symbol id, price times quantity (fixed point) to 1e-10 of money.
    """

    version: Final = LEDGER_VERSION

    def __init__(self, symbols: Sequence[str], notional_scale: Sequence[int]) -> None:
        self._symbols = tuple(symbols)
        self._next: dict[tuple[str, str], int] = {}
        self._digest: dict[tuple[str, str], bytes] = {}
        self.totals = Totals(notional_scale)

    def take(self, rows: Rows) -> tuple[Rows, Ints]:
        """Enters rows and returns those that are new, with their digest column (empty for tables that are not hashed).

        Rows that were entered before are counted in `totals.repeated` and left out. Raises LakeError where rows are missing.
        """
        a = rows.a
        place = (rows.table, rows.key)
        expected = self._next.get(place, 0)
        a = _new_part(a, expected, f"table {rows.table}, key {rows.key}")
        self.totals.repeated += rows.a.size - a.size
        if a.size == 0:
            return Rows(rows.table, rows.key, a), _NO_MARKS
        self._next[place] = expected + a.size
        marks = _NO_MARKS
        if rows.table in HASHED_TABLES:
            self._digest[place], marks = chained(self._digest.get(place, START), canonical(rows.table, self._symbols, a))
        self.totals.add(rows.table, rows.key, a)
        return (rows if a is rows.a else Rows(rows.table, rows.key, a)), marks

    def next_n(self, table: str, key: str) -> int:
        """The n that the next row of a table and key must have."""
        return self._next.get((table, key), 0)

    def counts(self) -> dict[tuple[str, str], int]:
        """Rows so far by table and key."""
        return dict(self._next)

    def chains(self) -> dict[tuple[str, str], tuple[int, bytes]]:
        """Rows and last digest by table and key, hashed tables only."""
        return {place: (self._next[place], digest) for place, digest in self._digest.items()}

    def output_hash(self) -> str:
        """The run's hash as of now."""
        return output_hash(self.chains())

    def snapshot(self) -> dict[str, Any]:
        """The ledger as a plain value, independent of what comes later."""
        return {
            "version": LEDGER_VERSION,
            "next": dict(self._next),
            "digest": dict(self._digest),
            "totals": self.totals.snapshot(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Puts a snapshot back. Raises StateMismatchError for a version that this code does not know."""
        if state["version"] != LEDGER_VERSION:
            msg = f"the store holds a ledger of version {state['version']}, this code reads {LEDGER_VERSION}; use the release that wrote it"
            raise StateMismatchError(msg)
        self._next = dict(state["next"])
        self._digest = dict(state["digest"])
        self.totals.restore(state["totals"])


def _new_part(a: Structured, expected: int, where: str) -> Structured:
    """Rows from n = expected on. Raises LakeError unless n runs up by one and begins at most at `expected`."""
    if a.size == 0:
        return a
    n = a["n"]
    first, last = n.item(0), n.item(-1)
    if last - first != a.size - 1 or (a.size > 2 and not bool((n[1:] - n[:-1] == 1).all())):
        msg = f"{where}: n must run up by one, found {n[:8].tolist()}... in one piece; the stage that made them is at fault"
        raise LakeError(msg)
    if first > expected:
        msg = f"{where}: rows {expected} to {first - 1} are missing, the next piece begins at n = {first}"
        raise LakeError(msg)
    return a if first == expected else a[expected - first :]


def new_part(rows: Rows, expected: int) -> Rows:
    """The rows of a piece that come at or after n = expected. Raises LakeError where some before the piece are missing."""
    return Rows(rows.table, rows.key, _new_part(rows.a, expected, f"table {rows.table}, key {rows.key}"))


def chain_table(chains: Chains) -> dict[str, dict[str, dict[str, Any]]]:
    """Chains for `run.json`: table, key, then `rows` and `digest` in hexadecimal."""
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for (table, key), (count, digest) in sorted(chains.items()):
        out.setdefault(table, {})[key] = {"rows": count, "digest": digest.hex()}
    return out


def chains_of(listed: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Chains:
    """The chains that `chain_table` wrote."""
    return {(t, k): (int(c["rows"]), bytes.fromhex(c["digest"])) for t, keys in listed.items() for k, c in keys.items()}


def entered(ledger: Ledger, pieces: Iterable[Rows]) -> list[tuple[Rows, Ints]]:
    """Enters pieces and returns the new part of each that has one."""
    taken = (ledger.take(piece) for piece in pieces)
    return [(rows, marks) for rows, marks in taken if rows.a.size]
