"""The compiled pass that turns ticks into features: float64 state by symbol, only + - * / and sqrt in a fixed order.

Arrays are handed to no function on the common way through the loop: Numba counts references at such calls, which costs more than the
arithmetic. NumPy's error model, because a check for division by zero would keep the scaling loop from being vectorised; no divisor
is zero. Formulas and their sources: operators/features/__init__.py; order of columns: schemas/features.py.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from schemas.exact import exp64
from schemas.features import FEATURE_LIMIT, FEATURE_NAMES
from schemas.ranges import FEATURES, IN_SESSION, LIT
from schemas.ticks import FLAG_CORPORATE_ACTION, QUOTE, TRADE

COUNT = len(FEATURE_NAMES)

# Columns of `whole`, int64 (symbols of the shard, WHOLE): prices in fixed point, mids doubled, times in ns.
(
    TS,
    SEEN,
    BID,
    ASK,
    BID_SIZE,
    ASK_SIZE,
    QUOTE_TS,
    BEFORE_MID2,
    MID2,
    LAST_TRADE,
    TRADE_DIRECTION,
    DIRECTION,
    PERSISTENCE,
    CHANGE_TS,
    WHOLE,
) = range(15)
# Columns of `flow`, float64 (symbols of the shard, FLOW): sums and means that fade with time, then the imbalance of the last quote.
(
    RETURN_FAST,
    IMBALANCE_FAST,
    SIGN_FAST,
    SIZE_FAST,
    ORDER_FAST,
    VARIANCE_FAST,
    RETURN_SLOW,
    IMBALANCE_SLOW,
    SIGN_SLOW,
    SIZE_SLOW,
    ORDER_SLOW,
    VARIANCE_SLOW,
    IMBALANCE,
    FLOW,
) = range(14)
# Columns of `lead_whole`, int64 (leaders, 2), and of `lead_flow`, float64 (leaders, 2).
LEAD_TS, LEAD_MID2 = range(2)
LEAD_FAST, LEAD_SLOW = range(2)
# Rows of `scaling`, float64 (SCALING, features): x = v / (own + shared * scale) - centre, clipped.
FIXED, SHARE, CENTRE, SCALING = range(4)

SMALLEST_SCALE = 1e-9
CLIPPED_AFTER = 256
CLIPPED_AT = 16.0
CLIPPED_FROM = 1e-6
END_OF_TIME = 2**63 - 1

HALVING_STEPS = 256
HALVING_MASK = HALVING_STEPS - 1
HALVING_SHIFT = 8
HALVINGS = 64
_LN2_STEP = 0.6931471805599453 / HALVING_STEPS


def halving_tables() -> tuple[np.ndarray, np.ndarray]:
    """2**(-k / 256) for k < 256 and 2**-k for k < 64, float64; for `whole_steps` and `part_step`."""
    fine = np.array([exp64(-k * _LN2_STEP) for k in range(HALVING_STEPS)])
    return fine, np.ldexp(1.0, -np.arange(HALVINGS))


@njit(nogil=True, cache=True)
def part_step(r: float) -> float:
    """2**(-r / 256) for 0 <= r < 1 by Taylor's series; relative error below 2e-15."""
    z = r * _LN2_STEP
    return 1.0 - z * (1.0 - z * (0.5 - z * (1.0 / 6.0 - z * (1.0 / 24.0))))


@njit(nogil=True, cache=True)
def sign(x: int) -> int:
    """-1, 0 or 1."""
    if x > 0:
        return 1
    return -1 if x < 0 else 0


@njit(nogil=True, cache=True)
def follow(
    leads: int,
    known: int,
    lead_ts: np.ndarray,
    lead_price2: np.ndarray,
    lead_at: np.ndarray,
    lead_end: np.ndarray,
    lead_rate: float,
    gap_ns: int,
    fine: np.ndarray,
    halves: np.ndarray,
    lead_whole: np.ndarray,
    lead_flow: np.ndarray,
) -> None:
    """Takes the entries of a leader that were known strictly before `known` into its fading returns."""
    most_steps = float(HALVINGS * HALVING_STEPS - 1)
    at = lead_at[leads]
    while at < lead_end[leads] and lead_ts[at] < known:
        since = lead_ts[at] - lead_whole[leads, LEAD_TS]
        before2 = lead_whole[leads, LEAD_MID2]
        if before2 == 0 or since > gap_ns:
            lead_flow[leads, LEAD_FAST] = 0.0
            lead_flow[leads, LEAD_SLOW] = 0.0
        else:
            t = min(since * lead_rate, most_steps)
            k = np.int64(t)
            slow = fine[k & HALVING_MASK] * halves[k >> HALVING_SHIFT] * part_step(t - k)
            fast = slow * slow
            fast = fast * fast
            move = float(lead_price2[at] - before2)
            lead_flow[leads, LEAD_FAST] = lead_flow[leads, LEAD_FAST] * (fast * fast) + move
            lead_flow[leads, LEAD_SLOW] = lead_flow[leads, LEAD_SLOW] * slow + move
        lead_whole[leads, LEAD_TS] = lead_ts[at]
        lead_whole[leads, LEAD_MID2] = lead_price2[at]
        at += 1
    lead_at[leads] = at


@njit(nogil=True, cache=True, error_model="numpy")
def feature_range(
    ticks: np.ndarray,
    slices: np.ndarray,
    gate: np.ndarray,
    local: np.ndarray,
    quoted: np.ndarray,
    tick_size: np.ndarray,
    leader: np.ndarray,
    lead_ts: np.ndarray,
    lead_price2: np.ndarray,
    lead_at: np.ndarray,
    lead_end: np.ndarray,
    rates: np.ndarray,
    slice_ns: int,
    gap_ns: int,
    scale_rate: float,
    scaling: np.ndarray,
    fine: np.ndarray,
    halves: np.ndarray,
    whole: np.ndarray,
    flow: np.ndarray,
    scale: np.ndarray,
    lead_whole: np.ndarray,
    lead_flow: np.ndarray,
    v: np.ndarray,
    x: np.ndarray,
    use: np.ndarray,
) -> None:
    """Writes features of every tick of a range into `x`, float32 (n, COUNT), and whether it drives the network into `use`.

    `leader` int64 (symbols,): which of the leaders each symbol follows or -1; entries of leader l are `lead_ts`, `lead_price2`
    from `lead_at[l]` (moved) to `lead_end[l]`; `rates` float64 (3,): 1 / half-life in ns, fast, slow and lead; `v`: scratch.
    """
    ts_of = ticks["ts_ns"]
    price_of = ticks["price"]
    size_of = ticks["size"]
    ask_of = ticks["ask"]
    ask_size_of = ticks["ask_size"]
    symbol_of = ticks["symbol"]
    kind_of = ticks["kind"]
    side_of = ticks["side"]
    flags_of = ticks["flags"]
    fast_rate, slow_rate, lead_rate = rates[0] * HALVING_STEPS, rates[1] * HALVING_STEPS, rates[2] * HALVING_STEPS
    most_steps = float(HALVINGS * HALVING_STEPS - 1)
    per_fast = rates[0]
    variance_ratio = rates[0] / rates[1]
    for i in range(ticks.size):
        kind = np.int64(kind_of[i])
        g = np.int64(gate[i])
        if g & IN_SESSION == 0 or g & FEATURES == 0 or (kind != QUOTE and kind != TRADE):
            use[i] = 0
            for f in range(COUNT):
                x[i, f] = np.float32(0.0)
            continue
        use[i] = 1
        s = np.int64(local[symbol_of[i]])
        ts = ts_of[i]
        dt = ts - whole[s, TS]
        if whole[s, SEEN] == 0 or dt > gap_ns or flags_of[i] & FLAG_CORPORATE_ACTION:
            for j in range(BID, WHOLE):
                whole[s, j] = 0
            for j in range(FLOW):
                flow[s, j] = 0.0
            whole[s, CHANGE_TS] = ts
            dt = 0
        elif dt > 0:
            t = min(dt * fast_rate, most_steps)
            k = np.int64(t)
            fast = fine[k & HALVING_MASK] * halves[k >> HALVING_SHIFT] * part_step(t - k)
            t = min(dt * slow_rate, most_steps)
            k = np.int64(t)
            slow = fine[k & HALVING_MASK] * halves[k >> HALVING_SHIFT] * part_step(t - k)
            imbalance = flow[s, IMBALANCE]
            flow[s, RETURN_FAST] *= fast
            flow[s, SIGN_FAST] *= fast
            flow[s, SIZE_FAST] *= fast
            flow[s, ORDER_FAST] *= fast
            flow[s, VARIANCE_FAST] *= fast
            flow[s, IMBALANCE_FAST] = imbalance + (flow[s, IMBALANCE_FAST] - imbalance) * fast
            flow[s, RETURN_SLOW] *= slow
            flow[s, SIGN_SLOW] *= slow
            flow[s, SIZE_SLOW] *= slow
            flow[s, ORDER_SLOW] *= slow
            flow[s, VARIANCE_SLOW] *= slow
            flow[s, IMBALANCE_SLOW] = imbalance + (flow[s, IMBALANCE_SLOW] - imbalance) * slow
        whole[s, TS] = ts
        price = price_of[i]
        lit = g & LIT != 0
        mid2 = whole[s, MID2]
        trade_side = 0
        mid_step = 0
        queue_lean = 0
        if kind == QUOTE:
            ask = ask_of[i]
            bid_size, ask_size = max(size_of[i], 1), max(ask_size_of[i], 1)
            if ts > whole[s, QUOTE_TS]:
                whole[s, BEFORE_MID2] = mid2
                whole[s, QUOTE_TS] = ts
            bid_before, ask_before = whole[s, BID], whole[s, ASK]
            bid_size_before, ask_size_before = whole[s, BID_SIZE], whole[s, ASK_SIZE]
            if bid_before != 0:
                # Choices between numbers at hand, no branches: no CPU foresees how a quote moves, and a wrong guess costs more than this.
                bid_part = (bid_size if price >= bid_before else 0) - (bid_size_before if price <= bid_before else 0)
                ask_part = (ask_size if ask <= ask_before else 0) - (ask_size_before if ask >= ask_before else 0)
                leaning = sign(bid_part - ask_part)
                queue_lean = leaning if (price == bid_before) & (ask == ask_before) else 0
                order_flow = float(bid_part - ask_part)
                flow[s, ORDER_FAST] += order_flow
                flow[s, ORDER_SLOW] += order_flow
            whole[s, BID] = price
            whole[s, ASK] = ask
            whole[s, BID_SIZE] = bid_size
            whole[s, ASK_SIZE] = ask_size
            flow[s, IMBALANCE] = float(bid_size - ask_size) / float(bid_size + ask_size)
            mid2 = price + ask
        elif lit:
            direction = sign(price - whole[s, LAST_TRADE]) if whole[s, LAST_TRADE] != 0 else 0
            if direction != 0:
                whole[s, TRADE_DIRECTION] = direction
            whole[s, LAST_TRADE] = price
            aggressor = np.int64(side_of[i])
            if aggressor == 0:
                reference = mid2 if whole[s, QUOTE_TS] < ts else whole[s, BEFORE_MID2]
                if quoted[s] and reference != 0:
                    aggressor = sign(2 * price - reference)
                if aggressor == 0:
                    aggressor = whole[s, TRADE_DIRECTION]
            trade_side = aggressor
            flow[s, SIGN_FAST] += aggressor
            flow[s, SIGN_SLOW] += aggressor
            volume = float(aggressor * max(size_of[i], 1))
            flow[s, SIZE_FAST] += volume
            flow[s, SIZE_SLOW] += volume
            if quoted[s] == 0:
                mid2 = 2 * price
        if mid2 != whole[s, MID2]:
            if whole[s, MID2] != 0:
                move2 = mid2 - whole[s, MID2]
                move = float(move2)
                flow[s, RETURN_FAST] += move
                flow[s, RETURN_SLOW] += move
                flow[s, VARIANCE_FAST] += move * move
                flow[s, VARIANCE_SLOW] += move * move
                mid_step = sign(move2)
                whole[s, PERSISTENCE] = mid_step * whole[s, DIRECTION]
                whole[s, DIRECTION] = mid_step
                whole[s, CHANGE_TS] = ts
            whole[s, MID2] = mid2

        lead_fast = 0.0
        lead_slow = 0.0
        leads = leader[s]
        if leads >= 0:
            known = max(ts, slices[i] * slice_ns)
            at = lead_at[leads]
            if at < lead_end[leads] and lead_ts[at] < known:
                follow(leads, known, lead_ts, lead_price2, lead_at, lead_end, lead_rate, gap_ns, fine, halves, lead_whole, lead_flow)
            since = ts - lead_whole[leads, LEAD_TS]
            if since > 0 and lead_whole[leads, LEAD_MID2] != 0:
                t = min(since * lead_rate, most_steps)
                k = np.int64(t)
                slow = fine[k & HALVING_MASK] * halves[k >> HALVING_SHIFT] * part_step(t - k)
                fast = slow * slow
                fast = fast * fast
                lead_fast = lead_flow[leads, LEAD_FAST] * (fast * fast)
                lead_slow = lead_flow[leads, LEAD_SLOW] * slow

        imbalance = flow[s, IMBALANCE]
        spread = float(whole[s, ASK] - whole[s, BID]) / tick_size[s]
        v[0] = flow[s, RETURN_FAST]
        v[1] = flow[s, RETURN_SLOW]
        v[2] = imbalance
        v[3] = flow[s, IMBALANCE_FAST]
        v[4] = flow[s, IMBALANCE_SLOW]
        v[5] = imbalance - flow[s, IMBALANCE_FAST]
        v[6] = imbalance * spread
        v[7] = flow[s, SIGN_FAST]
        v[8] = flow[s, SIGN_SLOW]
        v[9] = flow[s, SIZE_FAST]
        v[10] = flow[s, SIZE_SLOW]
        v[11] = flow[s, ORDER_FAST]
        v[12] = flow[s, ORDER_SLOW]
        v[13] = float(whole[s, DIRECTION])
        v[14] = lead_fast
        v[15] = lead_slow
        v[16] = float(trade_side)
        v[17] = float(mid_step)
        v[18] = float(queue_lean)
        v[19] = spread
        v[20] = math.sqrt(flow[s, VARIANCE_SLOW])
        v[21] = 0.0
        if flow[s, VARIANCE_SLOW] > SMALLEST_SCALE:
            v[21] = math.sqrt(variance_ratio * flow[s, VARIANCE_FAST] / flow[s, VARIANCE_SLOW]) - 1.0
        v[22] = math.sqrt(math.sqrt((ts - whole[s, CHANGE_TS]) * per_fast))
        v[23] = float(whole[s, PERSISTENCE])

        seen = whole[s, SEEN]
        if seen == 0:
            for f in range(COUNT):
                scale[s, f] = abs(v[f])
        whole[s, SEEN] = seen + 1
        rate = scale_rate
        if rate * (seen + 1) < 1.0:
            rate = 1.0 / (seen + 1)
        most = CLIPPED_AT if seen >= CLIPPED_AFTER else math.inf
        for f in range(COUNT):
            size = scale[s, f]
            y = v[f] / (scaling[FIXED, f] + scaling[SHARE, f] * size) - scaling[CENTRE, f]
            y = FEATURE_LIMIT if y > FEATURE_LIMIT else y
            y = -FEATURE_LIMIT if y < -FEATURE_LIMIT else y
            x[i, f] = np.float32(y)
            moved = abs(v[f])
            cap = size * most if size > CLIPPED_FROM else math.inf
            moved = cap if moved > cap else moved
            scale[s, f] = size + rate * (moved - size)

    for leads in range(lead_at.size):
        follow(leads, END_OF_TIME, lead_ts, lead_price2, lead_at, lead_end, lead_rate, gap_ns, fine, halves, lead_whole, lead_flow)
