"""Streaming measurement of skill, exactly as spec/realism.md section 6 defines it; operators/decoding/skill.py says how.

A symbol's machine hears its quotes in the session in their order. Time is whole milliseconds, the last quote of a millisecond
stands for it: it is held back (`pending`) until a later one comes. When it is settled, p its millisecond and m its mid:
1. m differs from the mid before: each waiting prediction with base time u < p has found its first different mid: p - u at most the
   horizon: it is scored by the direction of the change, else it expired. A new spell begins.
   Otherwise predictions with p - u beyond the horizon expire.
2. If the quote is eligible, its predictions (one for each delay d) begin to wait, with u = p + d.
The base of a waiting prediction is the mid at u, which is the mid before p for every p > u that is reached without a change: so
nothing but u and the directions needs remembering, and the queue is in order of u.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import njit

from schemas.ranges import DECIDES, IN_SESSION
from schemas.ticks import QUOTE

DELAYS_MS = (0, 150)
DELAYS = 2
LONGEST_MS = 150
SHARES_E2 = (10, 20, 50, 100)
MID, SESSION, COUNTED, ROW_N, TAKEN, HEAD, TAIL, BLOCK, SPELLS = 0, 1, 2, 3, 4, 6, 8, 10, 14
WHOLE = 18
NONE = -(2**63)
FOREVER = 2**62
MS = 1_000_000
BLOCK_MS = 300_000
HORIZON_MS = 60_000
MARGIN_MS = 60_000
SLOTS = 4
PREDICTORS = 2
SHARES = 4
COUNTS = 5  # predictions, hits2, expired, tick_predictions, tick_hits2; the last two by the least share that spoke, summed up at the end
_BITS = 9  # of one predictor in an entry: level (3), direction (2: 0 none, 1 up, 2 down), shares at which it is the spell's (4)
_ENTRY = _BITS * PREDICTORS
_UP, _DOWN = 1, 2


@njit(nogil=True, cache=True)
def _resolve(entry, s, d, delay_ms, label, counts):
    """Scores an entry of the queue by `label` (_UP, _DOWN), or 0: it expired. Its block is still open, see `emission_ns`."""
    slot = ((entry >> _ENTRY) - delay_ms) // BLOCK_MS % SLOTS
    for predictor in range(PREDICTORS):
        bits = entry >> (predictor * _BITS)
        direction = (bits >> 3) & 3
        hits2 = 1 if direction == 0 else 2 if direction == label else 0
        if label != 0:
            largest = SHARES - (bits & 7)
            counts[s, slot, d, predictor, largest, 3] += 1
            counts[s, slot, d, predictor, largest, 4] += hits2
        first = (bits >> 5) & 15
        if first != 0:
            for share in range(SHARES):
                if first & (1 << share):
                    if label == 0:
                        counts[s, slot, d, predictor, share, 2] += 1
                    else:
                        counts[s, slot, d, predictor, share, 0] += 1
                        counts[s, slot, d, predictor, share, 1] += hits2


@njit(nogil=True, cache=True)
def _resolve_before(s, d, u_end, label, latest, queue, whole, counts):
    """Takes all entries with u < u_end from the queue of delay d: scored by `label` if u >= latest, else expired."""
    mask = queue.shape[2] - 1
    k = whole[s, HEAD + d]
    while k < whole[s, TAIL + d]:
        entry = queue[s, d, k & mask]
        u = entry >> _ENTRY
        if u >= u_end:
            break
        _resolve(entry, s, d, DELAYS_MS[d], label if u >= latest else 0, counts)
        k += 1
    whole[s, HEAD + d] = k


@njit(nogil=True, cache=True)
def _emit(s, slot, symbol, slice_ns, whole, counts, out, n_out):
    """Writes the rows of a closed block and frees its slot. Returns the number of rows written so far."""
    block = whole[s, BLOCK + slot]
    end_ns = emission_ns(block)
    for d in range(DELAYS):
        for share in range(SHARES):
            for predictor in range(PREDICTORS):
                if share > 0:
                    for k in range(3, COUNTS):
                        counts[s, slot, d, predictor, share, k] += counts[s, slot, d, predictor, share - 1, k]
                row = out[n_out]
                n_out += 1
                cell = counts[s, slot, d, predictor, share]
                row.n = whole[s, ROW_N]
                whole[s, ROW_N] += 1
                row.slice = (end_ns - 1) // slice_ns
                row.ts_ns = end_ns
                row.block = block
                row.delay_ns = DELAYS_MS[d] * MS
                row.share_e2 = SHARES_E2[share]
                row.predictions = cell[0]
                row.hits2 = cell[1]
                row.expired = cell[2]
                row.spells = whole[s, SPELLS + slot]
                row.selected = cell[0] + cell[2]
                row.tick_predictions = cell[3]
                row.tick_hits2 = cell[4]
                row.symbol = symbol
                row.predictor = predictor + 1
    counts[s, slot] = 0
    whole[s, SPELLS + slot] = 0
    whole[s, BLOCK + slot] = NONE
    return n_out


@njit(nogil=True, cache=True)
def emission_ns(block):
    """The time from which every prediction of a block has been resolved: its end, the longest delay, the horizon and 1 ms."""
    return ((block + 1) * BLOCK_MS + LONGEST_MS + HORIZON_MS + 1) * MS


@njit(nogil=True, cache=True)
def _emit_until(s, until_ns, symbol, slice_ns, whole, counts, out, n_out):
    """Writes all blocks of a symbol whose emission time is at most until_ns, in their order."""
    while True:
        slot = -1
        for k in range(SLOTS):
            if whole[s, BLOCK + k] != NONE and (slot < 0 or whole[s, BLOCK + k] < whole[s, BLOCK + slot]):
                slot = k
        if slot < 0 or emission_ns(whole[s, BLOCK + slot]) > until_ns:
            return n_out
        n_out = _emit(s, slot, symbol, slice_ns, whole, counts, out, n_out)


@njit(nogil=True, cache=True)
def _settle(s, symbols, session_of, sessions, thresholds, slice_ns, whole, counts, pending, queue, out, n_out):
    """Settles the pending quote of a symbol. Returns (rows written so far, whether the queue had no room: nothing was changed)."""
    held = pending[s]
    p = held.ms
    for d in range(DELAYS):
        if whole[s, TAIL + d] - whole[s, HEAD + d] >= queue.shape[2]:
            return n_out, True
    now = p * MS
    k = whole[s, SESSION]
    while k + 1 < session_of[s + 1] and now >= sessions[k, 1]:
        k += 1
    if k != whole[s, SESSION]:
        whole[s, SESSION] = k
        whole[s, MID] = 0
        for d in range(DELAYS):
            _resolve_before(s, d, FOREVER, 0, 0, queue, whole, counts)
    if held.mid2 != whole[s, MID]:
        if whole[s, MID] != 0:
            label = _UP if held.mid2 > whole[s, MID] else _DOWN
            for d in range(DELAYS):
                _resolve_before(s, d, p, label, p - HORIZON_MS, queue, whole, counts)
        whole[s, MID] = held.mid2
        whole[s, COUNTED] = 0
        for d in range(DELAYS):
            whole[s, TAKEN + d] = 0
    else:
        for d in range(DELAYS):
            _resolve_before(s, d, p - HORIZON_MS, 0, 0, queue, whole, counts)
    held.ms = NONE
    margin = MARGIN_MS * MS
    if not held.eligible or now < sessions[k, 0] + margin or now >= sessions[k, 1] - margin:
        return n_out, False
    block = p // BLOCK_MS
    slot = block % SLOTS
    if whole[s, BLOCK + slot] != block:
        n_out = _emit_until(s, now, symbols[s], slice_ns, whole, counts, out, n_out)
        whole[s, BLOCK + slot] = block
    if not whole[s, COUNTED]:
        whole[s, COUNTED] = 1
        whole[s, SPELLS + slot] += 1
    mask = queue.shape[2] - 1
    for d in range(DELAYS):
        entry = p + DELAYS_MS[d]
        for predictor in range(PREDICTORS - 1, -1, -1):
            value = held.imbalance
            if predictor == 0:
                value = np.float64(held.later) if d == DELAYS - 1 else np.float64(held.now)
            size = abs(value)
            level = 0
            for share in range(SHARES):
                level += size >= thresholds[s, predictor, d, share]
            spoken = ((1 << level) - 1) << (SHARES - level)
            mine = spoken & ~(whole[s, TAKEN + d] >> (predictor * SHARES))
            whole[s, TAKEN + d] |= mine << (predictor * SHARES)
            direction = _UP if value > 0.0 else _DOWN if value < 0.0 else 0
            entry = (entry << _BITS) | (mine << 5) | (direction << 3) | level
        queue[s, d, whole[s, TAIL + d] & mask] = entry
        whole[s, TAIL + d] += 1
    return n_out, False


@njit(nogil=True, cache=True)
def measure(ticks, gate, score, score_now, first, hi, local, sized, config, state, out, n_out):
    """Feeds ticks[first:] and the end of the range to the machines.

    Returns (tick reached, rows in `out`, next slice at which a block is due). A tick reached below ticks.size, or -1 at the end of
    the range, says that a queue is full: double it and call again from that tick (from ticks.size for -1).
    """
    symbols, session_of, sessions, thresholds, slice_ns = config
    whole, counts, pending, queue = state
    for i in range(first, ticks.size):
        tick = ticks[i]
        g = gate[i]
        if tick.kind != QUOTE or not g & IN_SESSION:
            continue
        s = local[tick.symbol]
        ms = tick.ts_ns // MS
        held = pending[s]
        if held.ms != NONE and ms > held.ms:
            n_out, full = _settle(s, symbols, session_of, sessions, thresholds, slice_ns, whole, counts, pending, queue, out, n_out)
            if full:
                return i, n_out, np.int64(0)
        bid_size = tick.size
        ask_size = tick.ask_size
        both = bid_size > 0 and ask_size > 0
        held.ms = ms
        held.mid2 = tick.price + tick.ask
        held.eligible = tick.ask > tick.price and (both or not sized[s]) and g & DECIDES != 0
        held.now = score_now[i]
        held.later = score[i]
        held.imbalance = np.float64(bid_size - ask_size) / np.float64(bid_size + ask_size) if both else 0.0
    end_ns = min(hi, FOREVER // slice_ns) * slice_ns
    due = np.int64(FOREVER)
    for s in range(symbols.size):
        newest = np.int64(NONE)
        for k in range(SLOTS):
            if whole[s, BLOCK + k] != NONE and emission_ns(whole[s, BLOCK + k]) <= end_ns:
                newest = max(newest, whole[s, BLOCK + k])
        if pending[s].ms != NONE and emission_ns(pending[s].ms // BLOCK_MS) <= end_ns:
            newest = max(newest, pending[s].ms // BLOCK_MS)
        if newest != NONE:
            until = emission_ns(newest)
            if pending[s].ms != NONE and pending[s].ms * MS < until:
                n_out, full = _settle(s, symbols, session_of, sessions, thresholds, slice_ns, whole, counts, pending, queue, out, n_out)
                if full:
                    return np.int64(-1), n_out, np.int64(0)
            for d in range(DELAYS):
                u_end = (newest + 1) * BLOCK_MS + DELAYS_MS[d]
                _resolve_before(s, d, u_end, 0, 0, queue, whole, counts)
            n_out = _emit_until(s, until, symbols[s], slice_ns, whole, counts, out, n_out)
        for k in range(SLOTS):
            if whole[s, BLOCK + k] != NONE:
                due = min(due, (emission_ns(whole[s, BLOCK + k]) - 1) // slice_ns)
        if pending[s].ms != NONE:
            due = min(due, (emission_ns(pending[s].ms // BLOCK_MS) - 1) // slice_ns)
    return ticks.size, n_out, due
