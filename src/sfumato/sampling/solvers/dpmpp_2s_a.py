"""DPM-Solver++(2S) with ancestral noise (k-diffusion ``sample_dpmpp_2s_ancestral``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, State, ancestral, relax
from sfumato.sampling.solvers.euler_a import Ancestral


@dataclass(frozen=True)
class Dpmpp2SA(Ancestral):
    """Two evaluations a step: x0 is taken at the geometric middle."""

    name = "dpmpp_2s_a"
    order = 2

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        sigma = sigmas[i]
        down, up = ancestral(sigma, sigmas[i + 1], self.eta)
        x0 = denoise(x, sigma)
        if down > 0:
            middle = math.sqrt(sigma * down)
            x0 = denoise(relax(x, x0, sigma, middle), middle)
        return self.add_noise(relax(x, x0, sigma, down), up, noise), state
