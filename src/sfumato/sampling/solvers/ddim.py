"""DDIM (Song et al. 2020, equation 12)."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.sampling.solvers.euler_a import EulerA


@dataclass(frozen=True)
class Ddim(EulerA):
    """Equation 12 of the paper with its variance, equation 16.

    In sigma space this is an Euler step with ancestral noise: dividing equation 12 by sqrt(alpha-bar of the next time)
    leaves ``x0 + sqrt(sigma_next^2 - up^2) * eps + up * noise`` with
    ``up = eta * sigma_next * sqrt(1 - (sigma_next / sigma)^2)``.
    """

    name = "ddim"
    order = 1

    eta: float = 0.0
