"""The gate's compiled pass over the columns of a range: one verdict and one gate byte a tick, integers only.

Names of columns of the parameter and state tables stand first; operators/quality/stage.py fills them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from schemas.ranges import CROSSED, DECIDES, FEATURES, FILLS, IN_SESSION, LIT, LOCKED, VOLUME
from schemas.tables import QUALITY_NS, DeadLetterReason
from schemas.ticks import DEPTH, FLAG_CORPORATE_ACTION, FLAG_SUSPICIOUS, FLAG_TIME_REFUSED, QUOTE, TRADE

# Columns of `limits`, int64 (symbols of the shard, LIMITS): what an instrument allows.
FLOOR2, PRICE_MAX, SIZE_MAX, SIZE_MIN, QUOTED, NO_FILL, NO_VOLUME, NO_FEATURES, LEADS, CHOSEN, LIMITS = range(11)
# Places of `rules`, int64 (RULES,): the settings.
(
    FLAG_CROSSED,
    PASS_SUSPICIOUS,
    MAD_FACTOR,
    FLOOR_BPS,
    PERCENT,
    CONFIRMATIONS,
    TIMELY_NS,
    DECIDE_FROM,
    SLICE_NS,
    RULES,
) = range(10)
# Columns of `track`, int64 (symbols of the shard, 2, TRACK): accepted prices, doubled; quotes' mids and trades apart.
LAST2, COUNT, HEAD, RUN, LEVEL2, TRACK = range(6)
# Columns of `score`, int64 (symbols of the shard, SCORE): running means in 1e-9.
COMPLETE, TIMELY, VALID, SCORE = range(4)
# Columns of `tally`, int64 (symbols of the shard, TALLY): ticks of the period under way.
READ, DEAD, LATE, MISSING, TALLY = range(5)

NO_PERIOD = 2**62
"""Stands for the period before the first tick; it never ends."""
MIN_WINDOW = 5
ONE_E9 = 1_000_000_000
SCORE_SHIFT = 10

_UNKNOWN_KIND = int(DeadLetterReason.UNKNOWN_KIND)
_UNKNOWN_SYMBOL = int(DeadLetterReason.UNKNOWN_SYMBOL)
_PRICE_NOT_POSITIVE = int(DeadLetterReason.PRICE_NOT_POSITIVE)
_SIZE_NOT_POSITIVE = int(DeadLetterReason.SIZE_NOT_POSITIVE)
_BOOK_CROSSED = int(DeadLetterReason.BOOK_CROSSED)
_SEQUENCE_DUPLICATE = int(DeadLetterReason.SEQUENCE_DUPLICATE)
_TIME_BACKWARD = int(DeadLetterReason.TIME_BACKWARD)
_TIME_JUMP = int(DeadLetterReason.TIME_JUMP)
_OUTLIER_MAD = int(DeadLetterReason.OUTLIER_MAD)
_OUTLIER_PERCENT = int(DeadLetterReason.OUTLIER_PERCENT)
_SUSPICIOUS = int(DeadLetterReason.SUSPICIOUS)
_SIDE_INVALID = int(DeadLetterReason.SIDE_INVALID)
_LATENESS_NEGATIVE = int(DeadLetterReason.LATENESS_NEGATIVE)
_PRICE_TOO_LARGE = int(DeadLetterReason.PRICE_TOO_LARGE)
_SIZE_TOO_LARGE = int(DeadLetterReason.SIZE_TOO_LARGE)


@njit(nogil=True, cache=True)
def select(a: np.ndarray, count: int, k: int) -> int:
    """The k-th smallest (from 0) of a[:count], which is reordered (Hoare's selection)."""
    low, high = 0, count - 1
    while low < high:
        pivot = a[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while a[i] < pivot:
                i += 1
            while a[j] > pivot:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            return a[k]
    return a[k]


@njit(nogil=True, cache=True)
def median_and_mad(window: np.ndarray, s: int, which: int, count: int, scratch: np.ndarray) -> tuple[int, int]:
    """Median of window[s, which, :count] and median absolute deviation from it; of an even number the upper middle one."""
    for i in range(count):
        scratch[i] = window[s, which, i]
    median = select(scratch, count, count >> 1)
    for i in range(count):
        scratch[i] = abs(window[s, which, i] - median)
    return median, select(scratch, count, count >> 1)


@njit(nogil=True, cache=True)
def judge_far(
    price2: int,
    feeds: bool,
    s: int,
    which: int,
    limits: np.ndarray,
    rules: np.ndarray,
    track: np.ndarray,
    window: np.ndarray,
    scratch: np.ndarray,
) -> int:
    """0 or the outlier reason of a doubled price that is not within FLOOR2 of track (s, which)'s last, or is its first.

    A refused price that `feeds` lengthens or starts the run of refused ones; a run that is long enough becomes the track.
    """
    last2 = track[s, which, LAST2]
    if last2 == 0:
        return 0
    away = abs(price2 - last2)
    floor2 = max(limits[s, FLOOR2], last2 * rules[FLOOR_BPS] // 10_000)
    reason = 0
    if away * 100 > last2 * rules[PERCENT]:
        reason = _OUTLIER_PERCENT
    elif feeds and away > floor2 and track[s, which, COUNT] >= MIN_WINDOW:
        median, mad = median_and_mad(window, s, which, track[s, which, COUNT], scratch)
        if abs(price2 - median) > max(floor2, rules[MAD_FACTOR] * mad):
            reason = _OUTLIER_MAD
    if reason == 0 or not feeds:
        return reason
    level2 = track[s, which, LEVEL2]
    same_side = (price2 > last2) == (level2 > last2)
    if track[s, which, RUN] > 0 and same_side and abs(price2 - level2) <= max(floor2, abs(level2 - last2) >> 2):
        track[s, which, RUN] += 1
    else:
        track[s, which, RUN] = 1
    track[s, which, LEVEL2] = price2
    if track[s, which, RUN] >= rules[CONFIRMATIONS]:
        track[s, which, LAST2] = price2
        window[s, which, 0] = price2
        track[s, which, COUNT] = 1
        track[s, which, HEAD] = 1
        track[s, which, RUN] = 0
    return reason


@njit(nogil=True, cache=True)
def check_record(kind: int, side: int, price: int, size: int, ask: int, ask_size: int, top: int, most: int, least: int) -> int:
    """0 or the first reason why the record itself cannot be true, whatever came before it."""
    if kind == QUOTE:
        if side != 0:
            return _SIDE_INVALID
        if price <= 0 or ask <= 0:
            return _PRICE_NOT_POSITIVE
        if size < least or ask_size < least:
            return _SIZE_NOT_POSITIVE
        if price > top or ask > top:
            return _PRICE_TOO_LARGE
        if size > most or ask_size > most:
            return _SIZE_TOO_LARGE
        return 0
    if kind == DEPTH:
        least = 0
        if side != 1 and side != -1:
            return _SIDE_INVALID
    elif side < -1 or side > 1:
        return _SIDE_INVALID
    if price <= 0:
        return _PRICE_NOT_POSITIVE
    if size < least:
        return _SIZE_NOT_POSITIVE
    if price > top:
        return _PRICE_TOO_LARGE
    if size > most:
        return _SIZE_TOO_LARGE
    return 0


@njit(nogil=True, cache=True)
def moved(score: int, target: int) -> int:
    """A running mean after 1/1024 of the way to its target."""
    return score + ((target - score) >> SCORE_SHIFT)


@njit(nogil=True, cache=True)
def first_slice_after(period: int, slice_ns: int) -> int:
    """The first slice that begins after a period; of NO_PERIOD a slice before every other."""
    return -(-(period + 1) * QUALITY_NS // slice_ns) if period != NO_PERIOD else -NO_PERIOD


@njit(nogil=True, cache=True)
def tell_quality(
    tally: np.ndarray,
    score: np.ndarray,
    period: int,
    slice_ns: int,
    symbols: np.ndarray,
    quality_n: np.ndarray,
    quality: np.ndarray,
    told: int,
) -> int:
    """Ends a period: a row for each symbol that had a tick in it, counts back to 0. Returns how many rows there are then.

    `quality` tables.QUALITY (rows,), the first `told` in use; `symbols` int64 (L,) ids, `quality_n` int64 (L,) rows so far.
    """
    for s in range(tally.shape[0]):
        if tally[s, READ] == 0:
            continue
        row = quality[told]
        row.n = quality_n[s]
        row.ts_ns = (period + 1) * QUALITY_NS
        row.slice = first_slice_after(period, slice_ns) - 1
        row.symbol = symbols[s]
        row.read, row.dead, row.late, row.missing = tally[s, READ], tally[s, DEAD], tally[s, LATE], tally[s, MISSING]
        row.completeness_e6 = (score[s, COMPLETE] + 500) // 1000
        row.timeliness_e6 = (score[s, TIMELY] + 500) // 1000
        row.validity_e6 = (score[s, VALID] + 500) // 1000
        row.score_e6 = row.completeness_e6 * row.timeliness_e6 // 1_000_000 * row.validity_e6 // 1_000_000
        tally[s] = 0
        quality_n[s] += 1
        told += 1
    return told


@njit(nogil=True, cache=True)
def clear_tracks(track: np.ndarray, s: int) -> None:
    """Forgets the accepted prices of a symbol."""
    for which in range(2):
        for j in range(TRACK):
            track[s, which, j] = 0


@njit(nogil=True, cache=True)
def pass_range(
    ticks: np.ndarray,
    slices: np.ndarray,
    local: np.ndarray,
    limits: np.ndarray,
    off_exchange: np.ndarray,
    rules: np.ndarray,
    sessions: np.ndarray,
    session_end: np.ndarray,
    session: np.ndarray,
    next_seq: np.ndarray,
    last_ts: np.ndarray,
    track: np.ndarray,
    window: np.ndarray,
    score: np.ndarray,
    tally: np.ndarray,
    period: np.ndarray,
    symbols: np.ndarray,
    quality_n: np.ndarray,
    quality: np.ndarray,
    lead_last2: np.ndarray,
    scratch: np.ndarray,
    reason_out: np.ndarray,
    gate_out: np.ndarray,
    lead_at: np.ndarray,
    lead_ts: np.ndarray,
    lead_price2: np.ndarray,
) -> tuple[int, int, int, int]:
    """Judges every tick of a range in order; returns how many were refused, how many were late, how many lead entries and rows of
    `quality` there are.

    `local` int32 (instruments,): place in the shard or -1; `sessions` int64 (m, 2) of all symbols one after the other, those of
    symbol s end before session_end[s]; `session` int64 (symbols,) the row at which each symbol stands; `window` int64 (symbols,
    2, w); out: `reason_out` uint8 (n,), `gate_out` uint8 (n,), the first so many of `lead_*` int64 (n or 0,): row, time at which
    it was known (its own, or the start of its slice where it came late) and doubled price of each change of a leading symbol.
    """
    ts_ns_of = ticks["ts_ns"]
    late_ns_of = ticks["late_ns"]
    seq_of = ticks["seq"]
    price_of = ticks["price"]
    size_of = ticks["size"]
    ask_of = ticks["ask"]
    ask_size_of = ticks["ask_size"]
    symbol_of = ticks["symbol"]
    conditions_of = ticks["conditions"]
    gap_of = ticks["gap"]
    kind_of = ticks["kind"]
    side_of = ticks["side"]
    venue_of = ticks["venue"]
    flags_of = ticks["flags"]
    dead = 0
    late = 0
    leads = 0
    told = 0
    run = np.int64(-1)
    since = 0
    over = first_slice_after(period[0], rules[SLICE_NS])
    for i in range(ticks.size):
        if slices[i] >= over:
            if run >= 0:
                tally[run, READ] += i - since
                since = i
            told = tell_quality(tally, score, period[0], rules[SLICE_NS], symbols, quality_n, quality, told)
            period[0] = slices[i] * rules[SLICE_NS] // QUALITY_NS
            over = first_slice_after(period[0], rules[SLICE_NS])
        kind = np.int64(kind_of[i])
        symbol = np.int64(symbol_of[i])
        gate_out[i] = 0
        s = np.int64(local[symbol]) if symbol < local.size else np.int64(-1)
        if s != run:
            if run >= 0:
                tally[run, READ] += i - since
            run = s
            since = i
        if late_ns_of[i] > 0:
            late += 1
            if s >= 0:
                tally[s, LATE] += 1
        if s < 0 or kind < QUOTE or kind > DEPTH:
            reason_out[i] = _UNKNOWN_KIND if kind < QUOTE or kind > DEPTH else _UNKNOWN_SYMBOL
            dead += 1
            if s >= 0:
                tally[s, DEAD] += 1
                score[s, VALID] = moved(score[s, VALID], 0)
            continue
        ts = ts_ns_of[i]
        price, size, ask, ask_size = price_of[i], size_of[i], ask_of[i], ask_size_of[i]
        flags = np.int64(flags_of[i])
        gap = np.int64(gap_of[i])
        top, most, least = limits[s, PRICE_MAX], limits[s, SIZE_MAX], limits[s, SIZE_MIN]
        reason = check_record(kind, np.int64(side_of[i]), price, size, ask, ask_size, top, most, least)
        if reason == 0:
            if flags & FLAG_TIME_REFUSED:
                reason = _TIME_JUMP
            elif late_ns_of[i] < 0:
                reason = _LATENESS_NEGATIVE
            elif seq_of[i] < next_seq[s]:
                reason = _SEQUENCE_DUPLICATE
            elif ts < last_ts[s]:
                reason = _TIME_BACKWARD
        if reason == 0:
            next_seq[s] = seq_of[i] + np.uint64(1)
            last_ts[s] = ts
            tally[s, MISSING] += gap
            at = session[s]
            if flags & FLAG_CORPORATE_ACTION:
                clear_tracks(track, s)
            while at < session_end[s] and sessions[at, 1] <= ts:
                at += 1
                clear_tracks(track, s)
            session[s] = at
            gate = 0
            if at < session_end[s] and sessions[at, 0] <= ts:
                gate |= IN_SESSION
            if ts >= rules[DECIDE_FROM] and limits[s, CHOSEN]:
                gate |= DECIDES
            lit = off_exchange[s, venue_of[i]] == 0
            if lit:
                gate |= LIT
            price2 = 2 * price
            if kind == QUOTE:
                price2 = price + ask
                if price == ask:
                    gate |= LOCKED
                if price > ask:
                    gate |= CROSSED
                    if rules[FLAG_CROSSED] == 0:
                        reason = _BOOK_CROSSED
                elif gate & IN_SESSION:
                    gate |= FEATURES
            elif kind == TRADE:
                conditions = np.int64(conditions_of[i])
                if conditions & limits[s, NO_VOLUME] == 0:
                    gate |= VOLUME
                if gate & IN_SESSION:
                    if conditions & limits[s, NO_FEATURES] == 0:
                        gate |= FEATURES
                    if lit and conditions & limits[s, NO_FILL] == 0:
                        gate |= FILLS
            if reason == 0 and flags & FLAG_SUSPICIOUS and rules[PASS_SUSPICIOUS] == 0:
                reason = _SUSPICIOUS
            if reason == 0 and kind != DEPTH and gate & IN_SESSION:
                which = kind - QUOTE
                feeds = gate & FEATURES != 0
                last2 = track[s, which, LAST2]
                if last2 == 0 or abs(price2 - last2) > limits[s, FLOOR2]:
                    reason = judge_far(price2, feeds, s, which, limits, rules, track, window, scratch)
                if feeds and reason == 0:
                    head = track[s, which, HEAD]
                    if head == window.shape[2]:
                        head = 0
                    window[s, which, head] = price2
                    track[s, which, HEAD] = head + 1
                    if track[s, which, COUNT] < window.shape[2]:
                        track[s, which, COUNT] += 1
                    track[s, which, LAST2] = price2
                    track[s, which, RUN] = 0
            if reason == 0:
                gate_out[i] = gate
                if limits[s, LEADS] and gate & FEATURES and lit and (kind == QUOTE or limits[s, QUOTED] == 0) and price2 != lead_last2[s]:
                    lead_last2[s] = price2
                    lead_at[leads] = i
                    lead_ts[leads] = max(ts, slices[i] * rules[SLICE_NS])
                    lead_price2[leads] = price2
                    leads += 1
        reason_out[i] = reason
        if reason != 0:
            dead += 1
            tally[s, DEAD] += 1
            score[s, VALID] = moved(score[s, VALID], 0)
            continue
        score[s, VALID] = moved(score[s, VALID], ONE_E9)
        score[s, COMPLETE] = moved(score[s, COMPLETE], ONE_E9 if gap == 0 else ONE_E9 // (1 + gap))
        timely = ONE_E9
        if late_ns_of[i] > 0:
            timely = np.int64(ONE_E9 * (1.0 - min(1.0, late_ns_of[i] / rules[TIMELY_NS])))
        score[s, TIMELY] = moved(score[s, TIMELY], timely)
    if run >= 0:
        tally[run, READ] += ticks.size - since
    return dead, late, leads, told


@njit(nogil=True, cache=True)
def in_order(ts_ns: Any, symbol: Any, seq: Any) -> bool:
    """Whether rows stand by (ts_ns, symbol, seq): int64, uint32 and uint64 of one length. A tape's do, unless fields are corrupted."""
    for i in range(1, ts_ns.size):
        if ts_ns[i] > ts_ns[i - 1]:
            continue
        if ts_ns[i] < ts_ns[i - 1] or symbol[i] < symbol[i - 1]:
            return False
        if symbol[i] == symbol[i - 1] and seq[i] < seq[i - 1]:
            return False
    return True
