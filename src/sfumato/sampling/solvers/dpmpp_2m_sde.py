"""DPM-Solver++(2M) for the SDE (Lu et al. 2022b; k-diffusion ``sample_dpmpp_2m_sde``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, State
from sfumato.sampling.solvers.euler_a import Ancestral


@dataclass(frozen=True)
class Dpmpp2MSde(Ancestral):
    """Two-step extrapolation of x0 and exact noise for the step; one draw a step."""

    name = "dpmpp_2m_sde"
    order = 2

    kind: Literal["midpoint", "heun"] = "midpoint"

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            return x0, (x0,)
        h = math.log(sigma / sigma_next)
        decay = (1 + self.eta) * h
        x = math.exp(-decay) * x - math.expm1(-decay) * x0
        if state:
            rate = h / math.log(sigmas[i - 1] / sigma)
            half = -math.expm1(-decay) / 2 if self.kind == "midpoint" else 1 + math.expm1(-decay) / decay
            x = x + (x0 - state[0]) * (rate * half)
        up = sigma_next * math.sqrt(-math.expm1(-2 * self.eta * h))
        return self.add_noise(x, up, noise), (x0,)


@dataclass(frozen=True)
class Dpmpp2MSdeHeun(Dpmpp2MSde):
    """The same with the second-order term of Heun's kind."""

    name = "dpmpp_2m_sde_heun"
    order = 2

    kind: Literal["midpoint", "heun"] = "heun"
