"""DPM-Solver++(3M) for the SDE (k-diffusion ``sample_dpmpp_3m_sde``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, State
from sfumato.sampling.solvers.euler_a import Ancestral


@dataclass(frozen=True)
class Dpmpp3MSde(Ancestral):
    """Extrapolates x0 by a parabola in log sigma through this step and the two before; one draw a step.

    The field's formula, kept to the number: it takes the second divided difference for the second derivative, which is
    twice that, so the order is 2 and not the 3 of its name.
    """

    name = "dpmpp_3m_sde"
    order = 2

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            return x0, (x0, *state[:1])
        h = math.log(sigma / sigma_next)
        decay = (1 + self.eta) * h
        x = math.exp(-decay) * x - math.expm1(-decay) * x0
        phi_2 = 1 + math.expm1(-decay) / decay
        if len(state) == 1:
            x = x + (x0 - state[0]) * (phi_2 * h / math.log(sigmas[i - 1] / sigma))
        elif state:
            x = x + self._parabola(x0, state, sigmas[i - 2 : i + 1], h, (phi_2, phi_2 / decay - 0.5))
        up = sigma_next * math.sqrt(-math.expm1(-2 * self.eta * h))
        return self.add_noise(x, up, noise), (x0, *state[:1])

    @staticmethod
    def _parabola(x0: Tensor, state: State, levels: Sequence[float], h: float, phi: tuple[float, float]) -> Tensor:
        """The terms of first and second difference; ``levels`` are the last three, oldest first."""
        near, far = math.log(levels[1] / levels[2]) / h, math.log(levels[0] / levels[1]) / h
        first, before = (x0 - state[0]) / near, (state[0] - state[1]) / far
        second = (first - before) / (near + far)
        return phi[0] * (first + second * near) - phi[1] * second
