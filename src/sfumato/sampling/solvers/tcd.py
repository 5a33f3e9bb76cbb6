"""Trajectory consistency distillation's strategic stochastic sampling (Zheng et al. 2024, algorithm 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.sampling.solvers.base import Noise, Solver, State, relax


@dataclass(frozen=True)
class Tcd(Solver):
    """Jump along the trajectory to time ``(1 - eta) * t_next``, then noise up to ``t_next``.

    ``eta`` (gamma in the paper) 0 is DDIM, 1 is multistep consistency sampling. ``schedule`` tells time from noise
    level; the default is that of Stable Diffusion. The time is rounded down to a trained one, as diffusers does it.
    """

    name = "tcd"
    order = 1

    eta: float = 0.3
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule.from_betas, compare=False)

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        x0 = denoise(x, sigma)
        if self.eta == 0 or sigma_next == 0:
            return relax(x, x0, sigma, sigma_next), state
        time = round(self.schedule.t_of(sigma_next), 4)  # so that noise in the last digits can't move the floor
        low = min(self.schedule.sigma_of(math.floor((1 - self.eta) * time)), sigma_next)
        x = relax(x, x0, sigma, low)
        up = math.sqrt(sigma_next**2 - low**2)
        return (x + noise(0) * up if up > 0 else x), state
