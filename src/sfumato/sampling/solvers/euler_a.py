"""Euler's method with ancestral noise (k-diffusion ``sample_euler_ancestral``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, Solver, State, ancestral, slope


@dataclass(frozen=True)
class Ancestral(Solver):
    """``eta`` scales the fresh noise of each step: 0 is the plain ODE, 1 is full ancestral sampling."""

    eta: float = 1.0
    s_noise: float = 1.0

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def add_noise(self, x: Tensor, up: float, noise: Noise) -> Tensor:
        """x with ``up`` of fresh noise."""
        return x + noise(0) * (self.s_noise * up) if up > 0 else x


@dataclass(frozen=True)
class EulerA(Ancestral):
    """An Euler step to below the next level, then noise up to it."""

    name = "euler_a"
    order = 1

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        sigma = sigmas[i]
        down, up = ancestral(sigma, sigmas[i + 1], self.eta)
        x = x + slope(x, denoise(x, sigma), sigma) * (down - sigma)
        return self.add_noise(x, up, noise), state
