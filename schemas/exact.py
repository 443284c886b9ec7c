"""Arithmetic that gives the same bits on every CPU: exp, log and normal quantile without libm, and counter-based random numbers.

Only +, -, *, / and sqrt of IEEE doubles in a fixed order, no fastmath, so no instruction set and no math library can change a
result. exp: argument reduction by ln 2 (two parts, as in fdlibm) and a Taylor polynomial; relative error below 4e-16.
log: atanh series on [sqrt(1/2), sqrt(2)); relative error below 4e-16 away from 1. Normal quantile: Acklam's rational
approximation with one Newton-free evaluation, relative error below 1.2e-9. Random numbers: SplitMix64 finaliser (Steele, Lea and
Flood 2014) over (seed, stream, counter): a value depends on its counter only, never on what was drawn before.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_LOG2E = 1.4426950408889634
_LN2_HI = 6.93147180369123816490e-01
_LN2_LO = 1.90821492927058770002e-10
_POW2 = np.ldexp(1.0, np.arange(-1074, 1024))
_POW2_ZERO = 1074
_SQRT_HALF = 0.7071067811865476


@njit(nogil=True, cache=True)
def exp64(x: float) -> float:
    """e**x. Below -708 it is 0, above 709 it is inf."""
    if x < -708.0:
        return 0.0
    if x > 709.0:
        return math.inf
    n = math.floor(x * _LOG2E + 0.5)
    r = (x - n * _LN2_HI) - n * _LN2_LO
    p = 1.0 + r * (1.0 / 13.0)
    p = 1.0 + r * p * (1.0 / 12.0)
    p = 1.0 + r * p * (1.0 / 11.0)
    p = 1.0 + r * p * (1.0 / 10.0)
    p = 1.0 + r * p * (1.0 / 9.0)
    p = 1.0 + r * p * (1.0 / 8.0)
    p = 1.0 + r * p * (1.0 / 7.0)
    p = 1.0 + r * p * (1.0 / 6.0)
    p = 1.0 + r * p * (1.0 / 5.0)
    p = 1.0 + r * p * (1.0 / 4.0)
    p = 1.0 + r * p * (1.0 / 3.0)
    p = 1.0 + r * p * (1.0 / 2.0)
    p = 1.0 + r * p
    return p * _POW2[_POW2_ZERO + int(n)]


@njit(nogil=True, cache=True)
def log64(x: float) -> float:
    """Natural logarithm of x > 0; -inf for 0, nan below."""
    if not x > 0.0:
        return -math.inf if x == 0.0 else math.nan
    m, e = math.frexp(x)
    if m < _SQRT_HALF:
        m *= 2.0
        e -= 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 0.0
    for i in range(11, -1, -1):
        p = p * z + 1.0 / (2.0 * i + 1.0)
    return e * _LN2_HI + (2.0 * s * p + e * _LN2_LO)


@njit(nogil=True, cache=True)
def mix64(seed: int, stream: int, counter: int) -> int:
    """64 random bits of (seed, stream, counter), as uint64."""
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
    for word in (np.uint64(stream), np.uint64(counter)):
        z = (z ^ word) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return z


@njit(nogil=True, cache=True)
def uniform64(seed: int, stream: int, counter: int) -> float:
    """Uniform in (0, 1), never 0 or 1, 52 bits."""
    return (float(mix64(seed, stream, counter) >> np.uint64(12)) + 0.5) * (1.0 / 4503599627370496.0)


@njit(nogil=True, cache=True)
def normal_quantile(p: float) -> float:
    """Quantile of the standard normal at 0 < p < 1 (P. J. Acklam's rational approximation)."""
    if p < 0.02425:
        q = math.sqrt(-2.0 * log64(p))
        return _tail(q)
    if p > 1.0 - 0.02425:
        q = math.sqrt(-2.0 * log64(1.0 - p))
        return -_tail(q)
    q = p - 0.5
    r = q * q
    a = (
        (((-3.969683028665376e01 * r + 2.209460984245205e02) * r - 2.759285104469687e02) * r + 1.383577518672690e02) * r
        - 3.066479806614716e01
    ) * r + 2.506628277459239e00
    b = (
        (((-5.447609879822406e01 * r + 1.615858368580409e02) * r - 1.556989798598866e02) * r + 6.680131188771972e01) * r
        - 1.328068155288572e01
    ) * r + 1.0
    return a * q / b


@njit(nogil=True, cache=True)
def _tail(q: float) -> float:
    a = (
        (((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838e00) * q - 2.549732539343734e00) * q
        + 4.374664141464968e00
    ) * q + 2.938163982698783e00
    b = (((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996e00) * q + 3.754408661907416e00) * q + 1.0
    return a / b
