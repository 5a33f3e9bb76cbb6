"""Multistep consistency sampling (Song et al. 2023, algorithm 1; Luo et al. 2023 for latents)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, Solver, State


@dataclass(frozen=True)
class Lcm(Solver):
    """The clean latent, then fresh noise of the next level. For models distilled to it (LCM).

    The paper's boundary scalings differ from "x0 as it is" by less than 1e-5 at every time that these models know, and
    are left out.
    """

    name = "lcm"
    order = 1

    s_noise: float = 1.0

    @property
    def stochastic(self) -> bool:
        return True

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        x0 = denoise(x, sigmas[i])
        if sigmas[i + 1] == 0:
            return x0, state
        return x0 + noise(0) * (self.s_noise * sigmas[i + 1]), state
