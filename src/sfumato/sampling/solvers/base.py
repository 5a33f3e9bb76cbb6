"""What a solver is, and the few formulas that several share.

Solvers work in sigma space: ``x = x0 + sigma * noise``. One step goes from ``sigmas[i]`` to ``sigmas[i + 1]``. The
slope of the probability-flow ODE is ``(x - x0) / sigma``, which is the noise (epsilon) that the denoiser sees in x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from torch import Tensor

from sfumato.sampling.denoiser import Denoise

#: All that a solver remembers between steps: tensors of the latent's shape, newest first. Any format can store it.
State = tuple[Tensor, ...]
#: The step's independent standard-normal draws by number, each of the latent's shape.
Noise = Callable[[int], Tensor]


class Solver(Protocol):
    """A rule for one step. Frozen and without hidden state: the same arguments give the same bits."""

    #: The key in ``SOLVERS``.
    name: ClassVar[str]
    #: Global order of convergence on the probability-flow ODE, once it has the history that it needs.
    order: ClassVar[int]

    @property
    def stochastic(self) -> bool:
        """Whether steps use the noise."""
        return False

    def start(self, x: Tensor, sigmas: Sequence[float]) -> State:
        """The state before the first step."""
        return ()

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """From x (B, C, H, W) at ``sigmas[i]`` to the latent at ``sigmas[i + 1]``, and the next state.

        A state that is shorter than the solver's memory (at the start, or after a jump) lowers the order of the step.
        """
        ...


def slope(x: Tensor, x0: Tensor, sigma: float) -> Tensor:
    """dx/dsigma of the probability-flow ODE (Karras et al. 2022, equation 3 with t = sigma)."""
    return (x - x0) / sigma


def ancestral(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """The level to step down to and the noise to add, so that the level after both is ``sigma_next``.

    With eta 1 this is the variance of the DDPM posterior (Ho et al. 2020, equation 7) in sigma space; with another eta
    it is equation 16 of DDIM (Song et al. 2020).
    """
    if eta == 0:
        return sigma_next, 0.0
    up = min(sigma_next, eta * sigma_next * math.sqrt(max(sigma**2 - sigma_next**2, 0.0)) / sigma)
    return math.sqrt(max(sigma_next**2 - up**2, 0.0)), up


def relax(x: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """The exact step if x0 stayed as it is: ``x0 + (x - x0) * sigma_next / sigma``; also right at ``sigma_next`` 0."""
    ratio = sigma_next / sigma
    return ratio * x + (1 - ratio) * x0


def churn(
    x: Tensor, sigma: float, steps: int, noise: Noise, s_churn: float, s_tmin: float, s_tmax: float, s_noise: float
) -> tuple[Tensor, float]:
    """Raise the noise level a little before a step (Karras et al. 2022, algorithm 2, lines 4 to 6)."""
    gamma = min(s_churn / steps, math.sqrt(2) - 1) if s_tmin <= sigma <= s_tmax else 0.0
    if gamma <= 0:
        return x, sigma
    raised = sigma * (1 + gamma)
    return x + noise(0) * (s_noise * math.sqrt(raised**2 - sigma**2)), raised
