"""How long messages take: lognormal latencies from a counter-based generator, so that a replay repeats them.

    latency_ms = scale * exp(mu + sigma * z),   z = standard normal quantile of a uniform number of (seed, stream, counter)

`stream` is the purpose and the account, `counter` the order and, for a report, its number within the order. So a latency hangs on
which message it is, never on what was drawn before or on how the tape was cut. Lognormal with mu 3.9 and sigma 0.3 (spec/trading.md
section 5) has a median of 49.4 ms.
"""

from __future__ import annotations

from typing import Final

from numba import njit

from schemas.exact import exp64, normal_quantile, uniform64

ORDER: Final = 1
CANCEL: Final = 2
REPORT: Final = 3
PIECES: Final = 4
RATIO: Final = 5
"""Purposes: streams of the generator. ORDER, CANCEL and REPORT are latencies, PIECES and RATIO split fills."""

REPORTS_PER_ORDER: Final = 1 << 32


@njit(nogil=True, cache=True)
def uniform_of(seed: int, purpose: int, account: int, order_n: int, exec_n: int) -> float:
    """The uniform number in (0, 1) that belongs to one message and purpose; `exec_n` is 0 where the order is enough."""
    u: float = uniform64(seed, purpose * 256 + account, order_n * REPORTS_PER_ORDER + exec_n)
    return u


@njit(nogil=True, cache=True)
def latency_ns(u: float, mu: float, sigma: float, scale: float) -> int:
    """The latency in ns at the uniform number `u`, rounded down, at most one day; `mu` and `sigma` are of log milliseconds."""
    return int(min(exp64(mu + sigma * normal_quantile(u)) * 1e6 * scale, 8.64e13))
