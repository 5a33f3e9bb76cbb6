"""DPM-Solver-2 with ancestral noise (k-diffusion ``sample_dpm_2_ancestral``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, State, ancestral
from sfumato.sampling.solvers.dpm2 import midpoint_step
from sfumato.sampling.solvers.euler_a import Ancestral


@dataclass(frozen=True)
class Dpm2A(Ancestral):
    """A midpoint step to below the next level, then noise up to it."""

    name = "dpm2_a"
    order = 2

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        down, up = ancestral(sigmas[i], sigmas[i + 1], self.eta)
        return self.add_noise(midpoint_step(denoise, x, sigmas[i], down), up, noise), state
