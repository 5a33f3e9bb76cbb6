"""DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, Solver, State, relax


@dataclass(frozen=True)
class Dpmpp2M(Solver):
    """Extrapolates x0 linearly in log sigma from this step and the one before."""

    name = "dpmpp_2m"
    order = 2

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        x0 = mean = denoise(x, sigma)
        if state and sigma_next > 0:
            ratio = math.log(sigma / sigma_next) / math.log(sigmas[i - 1] / sigma)
            mean = x0 + (x0 - state[0]) * (ratio / 2)
        return relax(x, mean, sigma, sigma_next), (x0,)
