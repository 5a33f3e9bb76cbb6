"""DEIS: exponential integrator with polynomial extrapolation in log sigma (Zhang & Chen 2022, tAB in log-rho)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, Solver, State, slope

#: Below this number of steps the last ones are of lower order, as in diffusers.
FEW_STEPS = 15


@dataclass(frozen=True)
class Deis(Solver):
    """Follows diffusers' ``DEISMultistepScheduler``: the slope is a polynomial in log sigma, integrated exactly."""

    name = "deis"
    order = 2

    solver_order: int = 2

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        slopes = (slope(x, denoise(x, sigmas[i]), sigmas[i]), *state)[: self.solver_order]
        left = len(sigmas) - 1 - i
        order = min(len(slopes), left) if len(sigmas) - 1 < FEW_STEPS else len(slopes)
        if sigmas[i + 1] == 0:
            order = 1  # log sigma has no end to extrapolate to
        levels = [sigmas[i - k] for k in range(order)]
        for weight, each in zip(log_weights(levels, sigmas[i + 1]), slopes, strict=False):
            x = x + weight * each
        return x, slopes[: self.solver_order - 1]


def log_weights(levels: Sequence[float], end: float) -> list[float]:
    """Integrals over sigma, ``levels[0]`` to ``end``, of the Lagrange polynomials in log sigma on up to three levels.

    With u = log(sigma / levels[0]) they are sums of the moments of u^k e^u.
    """
    start = levels[0]
    if len(levels) == 1:
        return [end - start]
    span = math.log(end / start)
    moments = [math.expm1(span)]
    for k in range(1, len(levels)):
        moments.append(span**k * math.exp(span) - k * moments[-1])
    places = [math.log(level / start) for level in levels]
    weights = []
    for j, own in enumerate(places):
        poly = [1.0]  # coefficients of the Lagrange polynomial, lowest power first
        for k, other in enumerate(places):
            if k != j:
                shifted = [0.0, *poly]
                poly = [(a - other * b) / (own - other) for a, b in zip(shifted, [*poly, 0.0], strict=True)]
        weights.append(start * sum(c * m for c, m in zip(poly, moments, strict=True)))
    return weights
