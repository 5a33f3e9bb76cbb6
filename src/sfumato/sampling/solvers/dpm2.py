"""DPM-Solver-2 in sigma space (k-diffusion ``sample_dpm_2``, after Lu et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, State, slope
from sfumato.sampling.solvers.euler import Churned


def midpoint_step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Along the slope at the geometric middle of the step; an Euler step where the end is free of noise."""
    first = slope(x, denoise(x, sigma), sigma)
    if sigma_next == 0:
        return x - first * sigma
    middle = math.sqrt(sigma * sigma_next)
    halfway = x + first * (middle - sigma)
    return x + slope(halfway, denoise(halfway, middle), middle) * (sigma_next - sigma)


@dataclass(frozen=True)
class Dpm2(Churned):
    """Two evaluations a step."""

    name = "dpm2"
    order = 2

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        x, sigma = self.raise_noise(x, sigmas, i, noise)
        return midpoint_step(denoise, x, sigma, sigmas[i + 1]), state
