r"""Streaming features of quotes and trades, in the order of FEATURE_NAMES; parity as FEATURE_PARITY.

Let m be the mid (of trades where a symbol has no quotes), b and a the bid and ask, B and A their sizes, h the fast half-life (1 s)
and H the slow one (30 s). fade_h[y] is the sum of y over ticks, each halved per h of event time since; mean_h[y] is the
exponentially weighted mean over time of what y was between ticks. Kinds: A adaptive, L level, N natural (stage.py).

| name | formula | kind | parity |
| --- | --- | --- | --- |
| return_fast, return_slow | fade[change of m] | A | - |
| imbalance | q = (B - A) / (B + A) | N | - |
| imbalance_fast, imbalance_slow | mean[q] | A | - |
| imbalance_shift | q - mean_h[q] | N | - |
| microprice | q (a - b), twice the distance of the size-weighted mid (Gatheral and Oomen 2010) from m, in price ticks | A | - |
| sign_flow_fast, sign_flow_slow | fade[side of a lit print], +1 bought | A | - |
| size_flow_fast, size_flow_slow | fade[side times size of a lit print] | A | - |
| order_flow_fast, order_flow_slow | fade[e], e = 1{b >= b'} B - 1{b <= b'} B' - 1{a <= a'} A + 1{a >= a'} A' (Cont et al. 2014) | A | - |
| last_direction | sign of the last change of m | N | - |
| lead_fast, lead_slow | fade[change of the leader's mid], half-lives h / 4 and 2 h, as of strictly earlier | A | - |
| trade_side | side of the tick, if it is a lit print, else 0 | N | - |
| mid_step | sign of the tick's change of m, else 0 | N | - |
| queue_lean | sign of e where the tick moved neither b nor a, else 0 | N | - |
| spread | (a - b) in price ticks | L | + |
| volatility | sqrt(fade_H[(change of m)^2]) | L | + |
| volatility_ratio | sqrt(H fade_h[(change of m)^2] / (h fade_H[(change of m)^2])) - 1 | N | + |
| change_age | (time since m changed / h)^(1/4) | N | + |
| persistence | product of the last two directions of m: +1 went on, -1 turned | N | + |

The side of a print is the aggressor's where the venue tells it, else Lee and Ready (1991): above the mid of the quote strictly
before it bought, below sold, at it by the last change of the trade price. Off-exchange prints have no side and move nothing but
time. Ticks outside the session, depth, and prints whose conditions say so have `use` 0 and a row of zeros. Sizes of 0 (sources
without sizes) count as 1. trade_side, mid_step and queue_lean are events: the network integrates them at its own time constants.
"""

from operators.features.stage import ADAPTIVE, LEVELS, FeatureStage
from schemas.features import FEATURE_LIMIT, FEATURE_NAMES, FEATURE_PARITY

__all__ = ["ADAPTIVE", "FEATURE_LIMIT", "FEATURE_NAMES", "FEATURE_PARITY", "LEVELS", "FeatureStage"]
