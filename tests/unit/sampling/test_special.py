from __future__ import annotations

import pytest
from scipy import stats

from sfumato.sampling.special import beta_cdf, beta_quantile

SHAPES = [(0.6, 0.6), (0.5, 0.7), (2.0, 5.0), (1.0, 1.0), (30.0, 0.3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [0.0, 1e-6, 0.05, 0.3, 0.5, 0.77, 0.999, 1.0])
def test_quantiles_are_those_of_scipy(p, shape):
    assert beta_quantile(p, *shape) == pytest.approx(float(stats.beta.ppf(p, *shape)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("x", [-1.0, 0.0, 0.01, 0.4, 0.6, 0.99, 1.0, 2.0])
def test_the_distribution_function_is_that_of_scipy(x, shape):
    assert beta_cdf(x, *shape) == pytest.approx(float(stats.beta.cdf(x, *shape)), rel=1e-11, abs=1e-15)
