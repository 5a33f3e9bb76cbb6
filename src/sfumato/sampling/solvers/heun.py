"""Heun's method (Karras et al. 2022, algorithm 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, State, slope
from sfumato.sampling.solvers.euler import Churned


def heun_step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """A whole step; an Euler step where the end is free of noise."""
    first = slope(x, denoise(x, sigma), sigma)
    if sigma_next == 0:
        return x - first * sigma
    return heun_end(denoise, x, first, sigma, sigma_next)


def heun_end(denoise: Denoise, x: Tensor, first: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Along the mean of the slopes at both ends, ``first`` being the slope at the start."""
    end = x + first * (sigma_next - sigma)
    second = slope(end, denoise(end, sigma_next), sigma_next)
    return x + (first + second) * ((sigma_next - sigma) / 2)


@dataclass(frozen=True)
class Heun(Churned):
    """Two evaluations a step."""

    name = "heun"
    order = 2

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        x, sigma = self.raise_noise(x, sigmas, i, noise)
        return heun_step(denoise, x, sigma, sigmas[i + 1]), state
