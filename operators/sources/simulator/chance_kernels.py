# mypy: disable-error-code="no-any-return"
"""Chances of the model in closed form, shared by the generator, the truth and the filter."""

from __future__ import annotations

from numba import njit

from operators.sources.simulator.layout import Array, Record
from operators.sources.simulator.model import LEVELS
from schemas.exact import exp64


@njit(nogil=True, cache=True)
def logistic(x: float) -> float:
    """s(x) = 1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp64(-x))


@njit(nogil=True, cache=True)
def soft(x: float) -> float:
    """c(x) = x / (1 + |x|)."""
    return x / (1.0 + abs(x))


@njit(nogil=True, cache=True)
def move_chance(p: Record, spread: int, pre: bool) -> float:
    """Chance that an event changes the mid."""
    if pre:
        return 0.3
    if spread == 0:
        return p.move_locked
    return p.move_one if spread == 1 else p.move_wide


@njit(nogil=True, cache=True)
def next_change_up(level: int, rate: float, nu: float, flow: float, rest: float, u: Array) -> float:
    """Chance that the next change is up: changes come at `rate`, the pressure moves meanwhile; `u`: scratch (LEVELS, 2).

    With f(M) = s(flow M + rest) and Q the generator of the pressure, u = (I - Q / rate)^-1 f (resolvent of a Markov chain at an
    exponential time); tridiagonal, solved by elimination. rate, nu in 1/ms.
    """
    g = nu / rate
    carry = 0.0
    for i in range(LEVELS):
        m = i - 2
        up = g * (2 - m)
        down = g * (2 + m)
        f = logistic(flow * m + rest)
        below = u[i - 1, 1] if i > 0 else 0.0
        pivot = 1.0 + up + down - down * carry
        carry = up / pivot
        u[i, 0] = carry
        u[i, 1] = (f + down * below) / pivot
    for i in range(LEVELS - 2, level + 2, -1):
        u[i, 1] += u[i, 0] * u[i + 1, 1]
    i = level + 2
    return u[i, 1] + (u[i, 0] * u[i + 1, 1] if i < LEVELS - 1 else 0.0)


@njit(nogil=True, cache=True)
def effective_rate(chance: float, now: float, mean: float, tau: float) -> float:
    """Rate of changes to expect: the present one for quick changes, the long-run one for slow ones. All in 1/ms."""
    quick = chance * now
    w = quick * tau / (1.0 + quick * tau)
    return chance * (w * now + (1.0 - w) * mean)


@njit(nogil=True, cache=True)
def lead_at(
    value: float, value_t: float, taken: int, target: float, lag: float, tau: float, lead_ms: Array, lead_up: Array, known: int
) -> float:
    """L at `target` from its value at `value_t` and the leader's changes `taken`..`known` that will have arrived."""
    total = value * exp64(-(target - value_t) / tau)
    n = lead_ms.size
    k = taken
    while k < known and lead_ms[k % n] + lag <= target:
        total += lead_up[k % n] * exp64(-(target - lead_ms[k % n] - lag) / tau)
        k += 1
    return total
