"""Compiled pairing of LEAN's one-sided quote rows into updates of the best bid and offer (see lean_equity.py)."""

from __future__ import annotations

from numba import njit

from schemas.ticks import ASK_VENUE_SHIFT

# Columns of a quote row.
MS, BID, BID_SIZE, ASK, ASK_SIZE, EXCHANGE, CONDITIONS, SUSPICIOUS = range(8)

# What is carried from row to row, int64 (CARRIED,): both sides, and the bid row that waits for its ask row.
(
    C_BID,
    C_BID_SIZE,
    C_BID_VENUE,
    C_ASK,
    C_ASK_SIZE,
    C_ASK_VENUE,
    WAITING_LINE,
    WAITING_MS,
    WAITING_CONDITIONS,
    WAITING_SUSPICIOUS,
    MERGED,
    CARRIED,
) = range(12)

# What became of a row.
TAKEN, ONE_SIDED, SIDELESS = 0, 1, 2

CONDITION_BITS = 0xFFFFFF


@njit(nogil=True, cache=True)
def _write(c, ms, conditions, suspicious, line, tick, lines, i):  # type: ignore[no-untyped-def]
    t = tick[i]
    t.ts_ns = ms
    t.price = c[C_BID]
    t.size = c[C_BID_SIZE]
    t.ask = c[C_ASK]
    t.ask_size = c[C_ASK_SIZE]
    t.venue = c[C_BID_VENUE]
    ask_venue = c[C_ASK_VENUE] if c[C_ASK_VENUE] != c[C_BID_VENUE] else 0
    t.conditions = (conditions & CONDITION_BITS) | (ask_venue << ASK_VENUE_SHIFT)
    t.flags = suspicious != 0
    lines[i] = line


@njit(nogil=True, cache=True)
def publish_waiting(c, ticks, lines):  # type: ignore[no-untyped-def]
    """Publishes the bid row that waits, at index 0, with the ask carried on; False, with its line, where there is no ask yet."""
    line = c[WAITING_LINE]
    c[WAITING_LINE] = 0
    lines[0] = line
    if c[C_ASK] == 0:
        return False
    _write(c, c[WAITING_MS], c[WAITING_CONDITIONS], c[WAITING_SUSPICIOUS], line, ticks, lines, 0)
    return True


@njit(nogil=True, cache=True)
def pair_quotes(rows, usable, first, c, ticks, lines, fate):  # type: ignore[no-untyped-def]
    """Rows int64 (n, 8) to ticks (ts_ns still in milliseconds) and their lines. Returns (ticks made, a refused row of an earlier block).

    `usable` uint8 (n,): 0 rows were refused already. `c`: what is carried, brought up to date. `fate` uint8 (n,): TAKEN or why not.
    """
    made = 0
    orphan = 0
    for i in range(rows.shape[0]):
        fate[i] = TAKEN
        if usable[i] == 0:
            continue
        ms = rows[i, MS]
        has_bid = rows[i, BID] != 0 or rows[i, BID_SIZE] != 0
        has_ask = rows[i, ASK] != 0 or rows[i, ASK_SIZE] != 0
        conditions = rows[i, CONDITIONS]
        suspicious = rows[i, SUSPICIOUS]
        if c[WAITING_LINE] != 0:
            if has_ask and not has_bid and c[WAITING_MS] == ms:
                conditions |= c[WAITING_CONDITIONS]
                suspicious |= c[WAITING_SUSPICIOUS]
                c[MERGED] += 1
            elif c[C_ASK] != 0:
                _write(c, c[WAITING_MS], c[WAITING_CONDITIONS], c[WAITING_SUSPICIOUS], c[WAITING_LINE], ticks, lines, made)
                made += 1
            elif c[WAITING_LINE] >= first:
                fate[c[WAITING_LINE] - first] = ONE_SIDED
            else:
                orphan = 1
            c[WAITING_LINE] = 0
        if not has_bid and not has_ask:
            fate[i] = SIDELESS
            continue
        if has_bid:
            c[C_BID] = rows[i, BID]
            c[C_BID_SIZE] = rows[i, BID_SIZE]
            c[C_BID_VENUE] = rows[i, EXCHANGE]
        if has_ask:
            c[C_ASK] = rows[i, ASK]
            c[C_ASK_SIZE] = rows[i, ASK_SIZE]
            c[C_ASK_VENUE] = rows[i, EXCHANGE]
        if not has_ask:
            c[WAITING_LINE] = first + i
            c[WAITING_MS] = ms
            c[WAITING_CONDITIONS] = conditions
            c[WAITING_SUSPICIOUS] = suspicious
        elif c[C_BID] == 0:
            fate[i] = ONE_SIDED
        else:
            _write(c, ms, conditions, suspicious, first + i, ticks, lines, made)
            made += 1
    return made, orphan
