"""UniPC: a predictor and a corrector that costs no evaluation (Zhao et al. 2023, the B2(h) version on x0)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, Solver, State, relax


@dataclass(frozen=True)
class UniPC(Solver):
    """Follows diffusers' ``UniPCMultistepScheduler`` (solver type bh2, ``lower_order_final``).

    Each step first corrects the latent that the step before predicted, now that x0 is known there, then predicts the
    next. The state is that step's corrected latent and the x0 of up to ``solver_order`` steps, newest first.
    """

    name = "unipc"
    order = 2

    solver_order: int = 2

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        x0 = denoise(x, sigmas[i])
        if state:
            x = self._update(state[0], state[1:], x0, sigmas, i - 1)
        known = (x0, *state[1:])[: self.solver_order]
        return self._update(x, known, None, sigmas, i), (x, *known)

    def _update(self, x: Tensor, known: State, ahead: Tensor | None, sigmas: Sequence[float], i: int) -> Tensor:
        """Step i from x. ``known`` is x0 at ``sigmas[i]`` and before; ``ahead``, for the corrector, x0 at the end."""
        sigma, sigma_next, here = sigmas[i], sigmas[i + 1], known[0]
        order = min(self.solver_order, len(sigmas) - 1 - i, len(known))  # falls to 1 at the last step
        if order == 1 and ahead is None:
            return relax(x, here, sigma, sigma_next)
        h = math.log(sigma / sigma_next)
        places = [math.log(sigma / sigmas[i - k]) / h for k in range(1, order)]
        others = [*known[1:order]]
        if ahead is not None:
            places.append(1.0)
            others.append(ahead)
        mean = here
        for weight, place, other in zip(_weights(places, h), places, others, strict=True):
            mean = mean + (other - here) * (weight / place)
        return relax(x, mean, sigma, sigma_next)


def _weights(places: Sequence[float], h: float) -> list[float]:
    """The factors of the differences D1 of the paper (equations 9 and 11), one for each place in units of the step."""
    if len(places) == 1:
        return [0.5]  # the paper's choice for one unknown, which keeps the order and needs no equation
    phi = math.expm1(-h) / -h - 1
    right, factorial = [], 1
    for k in range(1, len(places) + 1):
        right.append(phi * factorial / math.expm1(-h))
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    rows = torch.tensor([[place**k for place in places] for k in range(len(places))], dtype=torch.float64)
    return torch.linalg.solve(rows, torch.tensor(right, dtype=torch.float64)).tolist()
