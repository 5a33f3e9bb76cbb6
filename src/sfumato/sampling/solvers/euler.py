"""Euler's method (Karras et al. 2022, algorithm 2 without its second-order correction)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, Solver, State, churn, slope


@dataclass(frozen=True)
class Churned(Solver):
    """The four knobs of algorithm 2 in Karras et al. 2022, off by default."""

    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    @property
    def stochastic(self) -> bool:
        return self.s_churn > 0

    def raise_noise(self, x: Tensor, sigmas: Sequence[float], i: int, noise: Noise) -> tuple[Tensor, float]:
        """The latent and its level after the churn of step i."""
        knobs = (self.s_churn, self.s_tmin, self.s_tmax, self.s_noise)
        return churn(x, sigmas[i], len(sigmas) - 1, noise, *knobs)


@dataclass(frozen=True)
class Euler(Churned):
    """Along the slope at the start of the step."""

    name = "euler"
    order = 1

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        x, sigma = self.raise_noise(x, sigmas, i, noise)
        return x + slope(x, denoise(x, sigma), sigma) * (sigmas[i + 1] - sigma), state
