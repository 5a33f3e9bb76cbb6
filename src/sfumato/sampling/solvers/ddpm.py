"""DDPM's own chain (Ho et al. 2020, equation 7, with the posterior variance)."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.sampling.solvers.euler_a import EulerA


@dataclass(frozen=True)
class Ddpm(EulerA):
    """Samples from the Gaussian posterior q(x_next | x, x0); skipped times are taken as one step.

    The mean and variance of equation 7, divided by the scale of the next time, are those of the ancestral Euler step.
    """

    name = "ddpm"
    order = 1
