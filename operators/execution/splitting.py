"""How a fill that the tape supports is split into several reports: Poisson pieces with Beta ratios, by inverse distribution tables.

A supported fill of q lots comes as max(1, N) reports, N ~ Poisson(mean), at most `MAX_PIECES`; each but the last takes a share
~ Beta(alpha, beta) of what is left, rounded down to lots, at least one lot. The sum is q always: splitting invents no volume
(spec/realism.md section 4). The tables are made with the house's own exp and log, so they are the same on every CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from schemas.exact import exp64, log64

MAX_PIECES: Final = 16
_BETA_CELLS: Final = 8192
_BETA_POINTS: Final = 4096


@dataclass(frozen=True)
class SplitTables:
    """`poisson_cdf` float64 (MAX_PIECES,): P(N <= k). `beta_quantile` float64 (4097,): quantiles at j / 4096."""

    poisson_cdf: npt.NDArray[np.float64]
    beta_quantile: npt.NDArray[np.float64]


def split_tables(mean: float, alpha: float, beta: float) -> SplitTables:
    """Tables of Poisson(mean) and Beta(alpha, beta); the Beta distribution function is a midpoint sum over 8192 cells."""
    return SplitTables(_poisson_cdf(mean, MAX_PIECES), _beta_quantiles(alpha, beta, _BETA_CELLS, _BETA_POINTS))


@njit(nogil=True, cache=True)
def _poisson_cdf(mean: float, n: int) -> npt.NDArray[np.float64]:
    cdf = np.empty(n)
    p = exp64(-mean)
    total = p
    for k in range(n):
        cdf[k] = total
        p = p * mean / (k + 1.0)
        total = total + p
    return cdf


@njit(nogil=True, cache=True)
def _beta_quantiles(alpha: float, beta: float, cells: int, points: int) -> npt.NDArray[np.float64]:
    cdf = np.empty(cells + 1)
    cdf[0] = 0.0
    for i in range(cells):
        x = (i + 0.5) / cells
        cdf[i + 1] = cdf[i] + exp64((alpha - 1.0) * log64(x) + (beta - 1.0) * log64(1.0 - x))
    total = cdf[cells]
    quantile = np.empty(points + 1)
    quantile[0] = 0.0
    quantile[points] = 1.0
    i = 0
    for j in range(1, points):
        target = total * j / points
        while cdf[i + 1] < target:
            i += 1
        quantile[j] = (i + (target - cdf[i]) / (cdf[i + 1] - cdf[i])) / cells
    return quantile


@njit(nogil=True, cache=True)
def pieces_at(poisson_cdf: npt.NDArray[np.float64], u: float) -> int:
    """Number of reports at the uniform number u: the Poisson quantile, at least 1 and at most MAX_PIECES."""
    k = 0
    while k < poisson_cdf.size and poisson_cdf[k] < u:
        k += 1
    return max(k, 1)


@njit(nogil=True, cache=True)
def ratio_at(beta_quantile: npt.NDArray[np.float64], u: float) -> float:
    """The Beta ratio at the uniform number u, linear between the table's points."""
    x = u * (beta_quantile.size - 1)
    j = int(x)
    return float(beta_quantile[j] + (beta_quantile[j + 1] - beta_quantile[j]) * (x - j))
