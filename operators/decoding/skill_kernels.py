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

# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-untyped"

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from schemas.ranges import DECIDES, IN_SESSION
from schemas.ticks import QUOTE

NONE = -(2**63)
FOREVER = 2**62
MS = 1_000_000
BLOCK_MS = 300_000
HORIZON_MS = 60_000
MARGIN_MS = 60_000
SLOTS = 4
DELAYS = 2
PREDICTORS = 2
SHARES = 4
ROWS_OF_BLOCK = DELAYS * SHARES * PREDICTORS
ROOM = (SLOTS + 1) * ROWS_OF_BLOCK
"""Most rows that one quote, or one symbol's end of a range, can give rise to."""
REACHED_END = 0
QUEUE_FULL = 1
ROWS_FULL = 2
_BITS = 9  # of one predictor in an entry: level (3), direction (2: 0 none, 1 up, 2 down), shares at which it is the spell's (4)
_SLOT_AT = _BITS * PREDICTORS
_TIME_AT = _SLOT_AT + 2  # an entry: u in ms, slot of its block (2), bits of both predictors
_UP, _DOWN = 1, 2

MACHINE = np.dtype(
    [
        ("mid", "<i8"),
        ("session", "<i8"),
        ("opens_ns", "<i8"),
        ("closes_ns", "<i8"),
        ("row_n", "<i8"),
        ("head", "<i8", (DELAYS,)),
        ("tail", "<i8", (DELAYS,)),
        ("taken", "<i8", (DELAYS,)),
        ("blocks", "<i8", (SLOTS,)),
        ("spells", "<i8", (SLOTS,)),
        ("by_share", "<i8", (SLOTS * DELAYS * PREDICTORS * SHARES * 3,)),
        ("by_level", "<i8", (SLOTS * DELAYS * PREDICTORS * (SHARES + 1) * 2,)),
        ("pending_ms", "<i8"),
        ("pending_mid", "<i8"),
        ("pending_bid_size", "<i8"),
        ("pending_ask_size", "<i8"),
        ("pending_score", "<f4", (DELAYS,)),
        ("eligible", "u1"),
        ("counted", "u1"),
        ("pad", "u1", (6,)),
    ]
)
"""One symbol's machine; operators/decoding/skill.py has the meaning of the fields. One record, because a record costs nothing to
hand on, while each array does (a reference count, up and down)."""

RULE = np.dtype(
    [
        ("symbol", "<i8"),
        ("first_session", "<i8"),
        ("last_session", "<i8"),
        ("sized", "<i8"),
        ("slice_ns", "<i8"),
        ("delays_ms", "<i8", (DELAYS,)),
        ("shares_e2", "<i8", (SHARES,)),
        ("thresholds", "<f8", (DELAYS * PREDICTORS * SHARES,)),
    ]
)
"""What does not change: `thresholds` by delay, predictor, share, never rising with the share."""


@intrinsic
def _entry(typingctx, queues, k):  # noqa: ARG001
    """Entry k of the int64 at address `queues`: an array would cost two atomic reference counts in every call that it passes through."""

    def codegen(context, builder, sig, args):  # noqa: ARG001
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load(builder.gep(pointer, [args[1]]))

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _put_entry(typingctx, queues, k, entry):  # noqa: ARG001
    """Sets entry k of the int64 at address `queues`."""

    def codegen(context, builder, sig, args):  # noqa: ARG001
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store(args[2], builder.gep(pointer, [args[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@njit(nogil=True, cache=True)
def _score(machine, d, entry, label):
    """Counts an entry of the queue scored by `label` (_UP, _DOWN), or 0: it expired. Its block is still open, see `emission_ns`."""
    for predictor in range(PREDICTORS):
        bits = entry >> (predictor * _BITS)
        direction = (bits >> 3) & 3
        hits2 = 1 if direction == 0 else 2 if direction == label else 0
        cell = (((entry >> _SLOT_AT) & 3) * DELAYS + d) * PREDICTORS + predictor
        if label != 0:
            k = (cell * (SHARES + 1) + (bits & 7)) * 2
            machine.by_level[k] += 1
            machine.by_level[k + 1] += hits2
        first = (bits >> 5) & 15
        if first != 0:
            for share in range(SHARES):
                if first & (1 << share):
                    k = (cell * SHARES + share) * 3
                    if label == 0:
                        machine.by_share[k + 2] += 1
                    else:
                        machine.by_share[k] += 1
                        machine.by_share[k + 1] += hits2


@njit(nogil=True, cache=True)
def _take(machine, d, u_end, label, latest, queues, size):
    """Takes all entries with u < u_end from the queue of delay d: scored by `label` if u >= latest, else expired."""
    k = machine.head[d]
    end = machine.tail[d]
    while k < end:
        entry = _entry(queues, d * size + (k & (size - 1)))
        u = entry >> _TIME_AT
        if u >= u_end:
            break
        _score(machine, d, entry, label if u >= latest else 0)
        k += 1
    machine.head[d] = k


@njit(nogil=True, cache=True)
def _emit(machine, rule, slot, out, n_out):
    """Writes the rows of a closed block and frees its slot. Returns the number of rows written so far."""
    block = machine.blocks[slot]
    end_ns = emission_ns(block, rule.delays_ms[DELAYS - 1])
    for d in range(DELAYS):
        for share in range(SHARES):
            for predictor in range(PREDICTORS):
                row = out[n_out]
                n_out += 1
                cell = (slot * DELAYS + d) * PREDICTORS + predictor
                k = (cell * SHARES + share) * 3
                row.n = machine.row_n
                machine.row_n += 1
                row.slice = (end_ns - 1) // rule.slice_ns
                row.ts_ns = end_ns
                row.block = block
                row.delay_ns = rule.delays_ms[d] * MS
                row.share_e2 = rule.shares_e2[share]
                row.predictions = machine.by_share[k]
                row.hits2 = machine.by_share[k + 1]
                row.expired = machine.by_share[k + 2]
                row.spells = machine.spells[slot]
                row.selected = machine.by_share[k] + machine.by_share[k + 2]
                row.tick_predictions = 0
                row.tick_hits2 = 0
                for level in range(SHARES - share, SHARES + 1):
                    row.tick_predictions += machine.by_level[(cell * (SHARES + 1) + level) * 2]
                    row.tick_hits2 += machine.by_level[(cell * (SHARES + 1) + level) * 2 + 1]
                row.symbol = rule.symbol
                row.predictor = predictor + 1
    size = DELAYS * PREDICTORS * SHARES * 3
    for k in range(slot * size, (slot + 1) * size):
        machine.by_share[k] = 0
    size = DELAYS * PREDICTORS * (SHARES + 1) * 2
    for k in range(slot * size, (slot + 1) * size):
        machine.by_level[k] = 0
    machine.spells[slot] = 0
    machine.blocks[slot] = NONE
    return n_out


@njit(nogil=True, cache=True)
def emission_ns(block, longest_delay_ms):
    """The time from which every prediction of a block has been resolved: its end, the longest delay, the horizon and 1 ms."""
    return ((block + 1) * BLOCK_MS + longest_delay_ms + HORIZON_MS + 1) * MS


@njit(nogil=True, cache=True)
def _emit_until(machine, rule, until_ns, out, n_out):
    """Writes all blocks of a symbol whose emission time is at most until_ns, in their order."""
    while True:
        slot = -1
        for k in range(SLOTS):
            if machine.blocks[k] != NONE and (slot < 0 or machine.blocks[k] < machine.blocks[slot]):
                slot = k
        if slot < 0 or emission_ns(machine.blocks[slot], rule.delays_ms[DELAYS - 1]) > until_ns:
            return n_out
        n_out = _emit(machine, rule, slot, out, n_out)


@njit(nogil=True, cache=True)
def _next_session(machine, rule, now, sessions, queues, size):
    """Moves to the session of `now`. What waited over its end has expired."""
    k = machine.session
    while k < rule.last_session and now >= sessions[k, 1]:
        k += 1
    if k != machine.session:
        machine.session = k
        machine.opens_ns = sessions[k, 0]
        machine.closes_ns = sessions[k, 1]
        machine.mid = 0
        for d in range(DELAYS):
            _take(machine, d, FOREVER, 0, 0, queues, size)


@njit(nogil=True, cache=True)
def _hear(machine, queues, size):
    """Resolves what the pending quote resolves. Returns whether it is eligible by its own look and time."""
    p = machine.pending_ms
    mid = machine.pending_mid
    if mid != machine.mid:
        if machine.mid != 0:
            label = _UP if mid > machine.mid else _DOWN
            for d in range(DELAYS):
                _take(machine, d, p, label, p - HORIZON_MS, queues, size)
        machine.mid = mid
        machine.counted = 0
        for d in range(DELAYS):
            machine.taken[d] = 0
    else:
        for d in range(DELAYS):
            _take(machine, d, p - HORIZON_MS, 0, 0, queues, size)
    machine.pending_ms = NONE
    now = p * MS
    return machine.eligible != 0 and machine.opens_ns + MARGIN_MS * MS <= now < machine.closes_ns - MARGIN_MS * MS


@njit(nogil=True, cache=True)
def _prediction(machine, rule, d, predictor, value):
    """The bits of what a predictor says. Thresholds never rise with the share, so a size reaches the last `level` shares."""
    size = abs(value)
    level = 0
    k = (d * PREDICTORS + predictor) * SHARES
    for share in range(SHARES):
        level += size >= rule.thresholds[k + share]
    reached = ((1 << level) - 1) << (SHARES - level)
    first = reached & ~(machine.taken[d] >> (predictor * SHARES))
    machine.taken[d] |= reached << (predictor * SHARES)
    direction = _UP if value > 0.0 else _DOWN if value < 0.0 else 0
    return (first << 5) | (direction << 3) | level


@njit(nogil=True, cache=True)
def _predict(machine, rule, p, queues, size):
    """Puts the predictions at time p into the queues; its block is open."""
    slot = p // BLOCK_MS % SLOTS
    if not machine.counted:
        machine.counted = 1
        machine.spells[slot] += 1
    imbalance = 0.0
    bid_size = machine.pending_bid_size
    ask_size = machine.pending_ask_size
    if bid_size > 0 and ask_size > 0:
        imbalance = np.float64(bid_size - ask_size) / np.float64(bid_size + ask_size)
    for d in range(DELAYS):
        network = _prediction(machine, rule, d, 0, np.float64(machine.pending_score[d]))
        other = _prediction(machine, rule, d, 1, imbalance)
        entry = ((p + rule.delays_ms[d]) << _TIME_AT) | (slot << _SLOT_AT) | (other << _BITS) | network
        _put_entry(queues, d * size + (machine.tail[d] & (size - 1)), entry)
        machine.tail[d] += 1


@njit(nogil=True, cache=True)
def _open_block(machine, rule, p, out, n_out):
    """Opens the block of time p; what its slot held has closed. Returns the number of rows written so far."""
    n_out = _emit_until(machine, rule, p * MS, out, n_out)
    machine.blocks[p // BLOCK_MS % SLOTS] = p // BLOCK_MS
    return n_out


@njit(nogil=True, cache=True, inline="always")
def _settle(machine, rule, sessions, queues, size, out, n_out):
    """Settles the pending quote of a symbol; the queue and `out` have room. Returns the number of rows written so far."""
    p = machine.pending_ms
    if p * MS >= machine.closes_ns:
        _next_session(machine, rule, p * MS, sessions, queues, size)
    if _hear(machine, queues, size):
        if machine.blocks[p // BLOCK_MS % SLOTS] != p // BLOCK_MS:
            n_out = _open_block(machine, rule, p, out, n_out)
        _predict(machine, rule, p, queues, size)
    return n_out


@njit(nogil=True, cache=True)
def _room(machine, size, rows):
    """REACHED_END, or what has no room for another quote."""
    if max(machine.tail[0] - machine.head[0], machine.tail[1] - machine.head[1]) >= size:
        return QUEUE_FULL
    return ROWS_FULL if rows < ROOM else REACHED_END


@njit(nogil=True, cache=True)
def measure(ticks, gate, score, score_now, first, hi, local, rules, sessions, machines, queue, out, n_out):
    """Feeds ticks[first:] and the end of the range (the slices before `hi`) to the machines.

    `local`: row of a symbol in `rules` RULE (S,), `machines` MACHINE (S,) and `queue` int64 (S, DELAYS, a power of two).
    Returns (status, tick reached, rows in `out`, next slice at which a block is due). With QUEUE_FULL or ROWS_FULL: double it and
    call again from the tick reached, which is ticks.size at the end of the range.
    """
    size = queue.shape[2]
    queues = np.int64(queue.ctypes.data)
    for i in range(first, ticks.size):
        tick = ticks[i]
        if tick.kind != QUOTE or not gate[i] & IN_SESSION:
            continue
        s = local[tick.symbol]
        machine = machines[s]
        rule = rules[s]
        ms = tick.ts_ns // MS
        if machine.pending_ms != NONE and ms > machine.pending_ms:
            status = _room(machine, size, out.size - n_out)
            if status != REACHED_END:
                return status, i, n_out, np.int64(0)
            n_out = _settle(machine, rule, sessions, queues + s * DELAYS * size * 8, size, out, n_out)
        bid_size = tick.size
        ask_size = tick.ask_size
        machine.pending_ms = ms
        machine.pending_mid = tick.price + tick.ask
        machine.pending_bid_size = bid_size
        machine.pending_ask_size = ask_size
        machine.eligible = (tick.ask > tick.price) & (((bid_size > 0) & (ask_size > 0)) | (rule.sized == 0)) & (gate[i] & DECIDES != 0)
        machine.pending_score[0] = score_now[i]
        machine.pending_score[1] = score[i]
    due = np.int64(FOREVER)
    for s in range(machines.size):
        machine = machines[s]
        rule = rules[s]
        longest = rule.delays_ms[DELAYS - 1]
        end_ns = min(hi, FOREVER // rule.slice_ns) * rule.slice_ns
        newest = np.int64(NONE)
        for k in range(SLOTS):
            if machine.blocks[k] != NONE and emission_ns(machine.blocks[k], longest) <= end_ns:
                newest = max(newest, machine.blocks[k])
        if machine.pending_ms != NONE and emission_ns(machine.pending_ms // BLOCK_MS, longest) <= end_ns:
            newest = max(newest, machine.pending_ms // BLOCK_MS)
        if newest != NONE:
            status = _room(machine, size, out.size - n_out)
            if status != REACHED_END:
                return status, ticks.size, n_out, np.int64(0)
            until = emission_ns(newest, longest)
            if machine.pending_ms != NONE and machine.pending_ms * MS < until:
                n_out = _settle(machine, rule, sessions, queues + s * DELAYS * size * 8, size, out, n_out)
            for d in range(DELAYS):
                _take(machine, d, (newest + 1) * BLOCK_MS + rule.delays_ms[d], 0, 0, queues + s * DELAYS * size * 8, size)
            n_out = _emit_until(machine, rule, until, out, n_out)
        for k in range(SLOTS):
            if machine.blocks[k] != NONE:
                due = min(due, (emission_ns(machine.blocks[k], longest) - 1) // rule.slice_ns)
        if machine.pending_ms != NONE:
            due = min(due, (emission_ns(machine.pending_ms // BLOCK_MS, longest) - 1) // rule.slice_ns)
    return REACHED_END, ticks.size, n_out, due
