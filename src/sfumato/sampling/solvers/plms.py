"""PLMS: pseudo linear multistep (Liu et al. 2022, as LDM and diffusers' PNDM with ``skip_prk_steps`` run it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, Solver, State, slope
from sfumato.sampling.solvers.heun import heun_end

#: Adams-Bashforth weights over even steps, newest first, by the number of slopes.
WEIGHTS = {1: (1.0,), 2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}


@dataclass(frozen=True)
class Plms(Solver):
    """DDIM steps along a mean of the last four slopes; the first step is Heun's and takes two evaluations.

    The weights are for even steps in sigma. Over the uneven steps that pictures need, the order falls to 2.
    """

    name = "plms"
    order = 2

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        sigma, width = sigmas[i], sigmas[i + 1] - sigmas[i]
        slopes = (slope(x, denoise(x, sigma), sigma), *state[:3])
        if not state and sigmas[i + 1] > 0:
            return heun_end(denoise, x, slopes[0], sigma, sigmas[i + 1]), slopes
        for weight, each in zip(WEIGHTS[len(slopes)], slopes, strict=True):
            x = x + each * (weight * width)
        return x, slopes[:3]
