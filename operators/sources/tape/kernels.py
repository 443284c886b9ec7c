"""Compiled passes over records of a tape: checks, split into partitions, grouping by symbol, and the merge of runs."""

from __future__ import annotations

from numba import njit

from schemas.ticks import TRADE

IN_ORDER = 0
UNKNOWN_SYMBOL = 1
OUT_OF_ORDER = 2
WRONG_SEQUENCE = 3
NEGATIVE_LATENESS = 4


@njit(nogil=True, cache=True)
def take_count(ticks, last, rows, kinds, first_ts, last_ts, late, largest_late, gaps, missing):  # type: ignore[no-untyped-def]
    """Checks that records continue a tape and counts them. Returns (IN_ORDER or what is wrong, place of the wrong record).

    ticks TICK_V1 (n,); last int64 (2,): ts_ns and symbol of the record before, moved on. By symbol int64 (symbols,): rows (its
    next sequence too), first_ts, last_ts, late (rows), largest_late (ns), gaps (rows), missing (venue numbers); kinds int64 (symbols, 256).
    """
    before, symbol_before = last[0], last[1]
    for i in range(ticks.size):
        r = ticks[i]
        s = r.symbol
        if s >= rows.size:
            return UNKNOWN_SYMBOL, i
        t = r.ts_ns
        if t < before or (t == before and s < symbol_before):
            return OUT_OF_ORDER, i
        n = rows[s]
        if r.seq != n:
            return WRONG_SEQUENCE, i
        if r.late_ns < 0:
            return NEGATIVE_LATENESS, i
        if n == 0:
            first_ts[s] = t
        last_ts[s] = t
        rows[s] = n + 1
        kinds[s, r.kind] += 1
        if r.late_ns > 0:
            late[s] += 1
            largest_late[s] = max(largest_late[s], r.late_ns)
        if r.gap > 0:
            gaps[s] += 1
            missing[s] += r.gap
        before, symbol_before = t, s
    last[0], last[1] = before, symbol_before
    return IN_ORDER, -1


@njit(nogil=True, cache=True)
def fill_partitions(ticks, start, partition_of, buffers, filled):  # type: ignore[no-untyped-def]
    """Copies records from `start` on to the buffer of their partition until one is full. Returns the place of the next record.

    partition_of int32 (symbols,); buffers TICK_V1 (partitions, capacity); filled int64 (partitions,).
    """
    for i in range(start, ticks.size):
        p = partition_of[ticks[i].symbol]
        buffers[p, filled[p]] = ticks[i]
        filled[p] += 1
        if filled[p] == buffers.shape[1]:
            return i + 1
    return ticks.size


@njit(nogil=True, cache=True)
def group_by_symbol(ticks, ends, out):  # type: ignore[no-untyped-def]
    """Copies records to `out` grouped by symbol, in order within each; `ends` int64 (symbols,): end of each symbol's stretch."""
    for s in range(ends.size):
        ends[s] = 0
    for i in range(ticks.size):
        ends[ticks[i].symbol] += 1
    place = 0
    for s in range(ends.size):
        n = ends[s]
        ends[s] = place
        place += n
    for i in range(ticks.size):
        s = ticks[i].symbol
        out[ends[s]] = ticks[i]
        ends[s] += 1


@njit(nogil=True, cache=True)
def split_feed(ticks, believed, symbol, latest, trades, others):  # type: ignore[no-untyped-def]
    """Gives a feed's believed records their effective time and parts trades from the rest, keeping the order.

    ticks TICK_V1 (n,) with the original time in ts_ns; believed uint8 (n,); latest: the feed's running maximum of time before.
    Writes trades and others TICK_V1 (>= n,). Returns (trades, others, running maximum after).
    """
    n_trades, n_others = 0, 0
    for i in range(ticks.size):
        if believed[i] == 0:
            continue
        t = ticks[i].ts_ns
        latest = max(latest, t)
        if ticks[i].kind == TRADE:
            trades[n_trades] = ticks[i]
            trades[n_trades].ts_ns = latest
            trades[n_trades].late_ns = latest - t
            trades[n_trades].symbol = symbol
            n_trades += 1
        else:
            others[n_others] = ticks[i]
            others[n_others].ts_ns = latest
            others[n_others].late_ns = latest - t
            others[n_others].symbol = symbol
            n_others += 1
    return n_trades, n_others, latest


@njit(nogil=True, cache=True)
def _comes_first(a, b, key, rank):  # type: ignore[no-untyped-def]
    return key[a] < key[b] or (key[a] == key[b] and rank[a] < rank[b])


@njit(nogil=True, cache=True)
def _sift_down(heap, size, i, key, rank):  # type: ignore[no-untyped-def]
    slot = heap[i]
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and _comes_first(heap[child + 1], heap[child], key, rank):
            child += 1
        if not _comes_first(heap[child], slot, key, rank):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = slot


@njit(nogil=True, cache=True)
def merge_runs(windows, place, length, rank, heap, size, key, before, next_seq, out):  # type: ignore[no-untyped-def]
    """Merges the windows of sorted runs by (ts_ns, rank) into `out` and numbers the records of each symbol.

    windows TICK_V1 (slots, rows); place, length, rank int64 (slots,): next record, records and priority of each slot's run.
    heap int64 (slots,): slots in use, the first `size`; key int64 (slots,): room. next_seq int64 (symbols,). Stops where `out`
    is full, a window is used up, or the next record's time is not below `before`. Returns (records written, slot used up or -1).
    """
    for j in range(size):
        key[heap[j]] = windows[heap[j], place[heap[j]]].ts_ns
    for j in range(size // 2 - 1, -1, -1):
        _sift_down(heap, size, j, key, rank)
    n = 0
    while n < out.size and size > 0:
        slot = heap[0]
        if key[slot] >= before:
            break
        i = place[slot]
        out[n] = windows[slot, i]
        s = out[n].symbol
        out[n].seq = next_seq[s]
        next_seq[s] += 1
        n += 1
        i += 1
        place[slot] = i
        if i == length[slot]:
            return n, slot
        key[slot] = windows[slot, i].ts_ns
        _sift_down(heap, size, 0, key, rank)
    return n, -1
