"""DPM-Solver++ for the SDE, single step (Lu et al. 2022b; k-diffusion ``sample_dpmpp_sde``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, State, ancestral, relax
from sfumato.sampling.solvers.euler_a import Ancestral


@dataclass(frozen=True)
class DpmppSde(Ancestral):
    """Two evaluations a step, the second at the geometric middle, and two draws.

    The noise of both halves belongs to one Brownian path over sigma: the draw for the whole step is the draw of the
    first part and an independent one for the rest, each weighed by the root of its length.
    """

    name = "dpmpp_sde"
    order = 2

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            return x0, state
        middle = math.sqrt(sigma * sigma_next)
        first = noise(0) * self.s_noise if self.stochastic else None
        down, up = ancestral(sigma, middle, self.eta)
        halfway = relax(x, x0, sigma, down)
        if first is not None:
            halfway = halfway + first * up
        x0 = denoise(halfway, middle)
        down, up = ancestral(sigma, sigma_next, self.eta)
        x = relax(x, x0, sigma, down)
        if first is not None:
            share = (sigma - middle) / (sigma - sigma_next)
            path = first * math.sqrt(share) + noise(1) * (self.s_noise * math.sqrt(1 - share))
            x = x + path * up
        return x, state
