"""The quantile of the beta distribution, which one schedule needs and torch lacks."""

from __future__ import annotations

import math

_TINY = 1e-300


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x in 0..1 below which a Beta(a, b) variable falls with probability ``p``; exact to about 1e-14.

    >>> round(beta_quantile(0.25, 1.0, 1.0), 12)
    0.25
    """
    if p <= 0 or p >= 1:
        return float(p >= 1)
    low, high = 0.0, 1.0
    for _ in range(1100):  # each pass halves the interval; a float has no more halvings than this
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if beta_cdf(middle, a, b) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22).

    >>> round(beta_cdf(0.5, 0.6, 0.6), 12)
    0.5
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, use the symmetry DLMF 8.17.4
        return 1 - beta_cdf(1 - x, b, a)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """``1 + d1/(1 + d2/(1 + ...))`` evaluated forwards by the modified Lentz method."""
    value = c = 1.0
    d = 0.0
    for n in range(1, 500):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / ((1 + term * d) or _TINY)
        c = (1 + term / c) or _TINY
        value *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return value
