"""The distributions, tested on the draws themselves (spec/trading.md section 5) and on what comes out of the venue."""

from __future__ import annotations

import math

import numpy as np
import pytest

from operators.execution.latency import CANCEL, ORDER, RATIO, REPORT, latency_ns, uniform_of
from operators.execution.splitting import MAX_PIECES, pieces_at, ratio_at, split_tables
from schemas.orders import ReportKind

W = 100_000_000
N = 20_000


def kolmogorov(sample, cdf):
    """sqrt(n) * sup |F_n - F|: above 1.63 in 1% of samples."""
    x = np.sort(sample)
    f = np.array([cdf(v) for v in x])
    i = np.arange(len(x))
    return math.sqrt(len(x)) * max(np.max((i + 1) / len(x) - f), np.max(f - i / len(x)))


def lognormal_ms(mu, sigma):
    return lambda ns: 0.5 * (1 + math.erf((math.log(ns / 1e6) - mu) / (sigma * math.sqrt(2))))


def beta_2_5(x):
    # 30 * integral of x (1 - x)^4
    return 1 - (1 - x) ** 6 - 6 * x * (1 - x) ** 5


@pytest.mark.parametrize("purpose", [ORDER, CANCEL, REPORT])
def test_latency_is_lognormal(purpose):
    draws = [latency_ns(uniform_of(7, purpose, 0, n, 0), 3.9, 0.3, 1.0) for n in range(N)]
    assert kolmogorov(np.array(draws), lognormal_ms(3.9, 0.3)) < 1.63
    assert abs(np.median(draws) / 1e6 - math.exp(3.9)) < 0.5  # 49.4 ms
    assert kolmogorov(np.array(draws), lognormal_ms(3.92, 0.3)) > 1.63  # the test can tell


def test_latencies_of_messages_are_independent():
    x = np.array([[latency_ns(uniform_of(7, p, 0, n, 0), 0.0, 1.0, 1.0) for n in range(4000)] for p in (ORDER, CANCEL, REPORT)])
    c = np.corrcoef(np.log(x))
    assert np.abs(c - np.eye(3)).max() < 0.06
    assert abs(np.corrcoef(np.log(x[0][1:]), np.log(x[0][:-1]))[0, 1]) < 0.06


def test_latency_scales_and_is_bounded():
    u = uniform_of(1, ORDER, 0, 3, 0)
    one, three = latency_ns(u, 3.9, 0.3, 1.0), latency_ns(u, 3.9, 0.3, 3.0)
    assert latency_ns(u, 3.9, 0.3, 0.0) == 0
    assert abs(three - 3 * one) <= 3
    assert latency_ns(0.999999, 12.0, 3.0, 1000.0) == 86_400_000_000_000


def test_pieces_are_poisson():
    tables = split_tables(3.0, 2.0, 5.0)
    draws = np.array([pieces_at(tables.poisson_cdf, uniform_of(7, 4, 0, n, 1)) for n in range(N)])
    p = [math.exp(-3) * 3**k / math.factorial(k) for k in range(9)]
    expected = [p[0] + p[1], *p[2:8], 1 - sum(p[:8])]  # at least one piece; 8 and more together
    observed = [np.sum(draws == 1), *(np.sum(draws == k) for k in range(2, 8)), np.sum(draws >= 8)]
    chi2 = sum((o - N * e) ** 2 / (N * e) for o, e in zip(observed, expected, strict=True))
    assert chi2 < 18.48  # 7 degrees of freedom, 1%
    assert draws.max() <= MAX_PIECES


def test_ratios_are_beta():
    tables = split_tables(3.0, 2.0, 5.0)
    draws = np.array([ratio_at(tables.beta_quantile, uniform_of(7, RATIO, 0, n, 2)) for n in range(N)])
    assert kolmogorov(draws, beta_2_5) < 1.63
    assert abs(draws.mean() - 2 / 7) < 0.004


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 5.0), (0.5, 0.5), (8.0, 1.0)])
def test_beta_table_has_the_mean_of_the_distribution(alpha, beta):
    q = split_tables(3.0, alpha, beta).beta_quantile
    assert abs(((q[1:] + q[:-1]) / 2).mean() - alpha / (alpha + beta)) < 1e-3
    assert (np.diff(q) >= 0).all()


def venue_run(floor, seed, orders=300):
    f = floor(latency_scale=1.0, seed=seed)
    f.quote(10, 1000, 100_000, 1002, 100_000)
    for n in range(orders):
        f.buy(n, 1 + n, 1000)
    return f, f.run(orders + 20)


def test_latencies_at_the_venue_are_the_drawn_ones(floor):
    _, r = venue_run(floor, 5, 1200)
    acks = r[r["kind"] == ReportKind.ACK]
    order = acks["order_n"].argsort()
    arrival = acks["ts_ns"][order] - W * (1 + np.arange(1200))
    assert kolmogorov(arrival, lognormal_ms(3.9, 0.3)) < 1.63
    assert kolmogorov((acks["known_ts_ns"] - acks["ts_ns"])[order], lognormal_ms(3.2, 0.3)) < 1.63


def test_splitting_changes_no_volume_and_follows_the_draws(floor):
    _, r = venue_run(floor, 5)
    fills = r[r["kind"] == ReportKind.FILL]
    counts = np.array([np.sum(fills["order_n"] == n) for n in range(300)])
    volume = np.array([fills["quantity"][fills["order_n"] == n].sum() for n in range(300)])
    assert (volume == 1000).all()
    assert (fills["quantity"] > 0).all()
    # mean of max(1, Poisson(3)) = 3 + exp(-3) = 3.05
    assert abs(counts.mean() - 3.05) < 0.3
    first = np.array([fills["quantity"][fills["order_n"] == n][0] / 1000 for n in range(300) if counts[n] > 1])
    assert kolmogorov(first, beta_2_5) < 1.63


def test_seed_changes_the_draws_and_nothing_else_does(floor):
    _, a = venue_run(floor, 5, 30)
    _, b = venue_run(floor, 5, 30)
    _, c = venue_run(floor, 6, 30)
    assert a.tobytes() == b.tobytes()
    assert a.tobytes() != c.tobytes()
