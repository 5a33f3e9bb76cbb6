"""Linear multistep (Adams-Bashforth over uneven steps; k-diffusion ``sample_lms``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, Solver, State, slope

#: Nodes of the Gauss-Legendre rule of two points, exact for the cubics of four-point interpolation.
_NODES = (0.5 - 0.75**0.5 / 3, 0.5 + 0.75**0.5 / 3)


def adams_weights(levels: Sequence[float], end: float) -> list[float]:
    """Integrals from ``levels[0]`` to ``end`` of the Lagrange polynomials on up to four levels (newest first)."""
    width = end - levels[0]
    weights = []
    for j, own in enumerate(levels):
        total = 0.0
        for node in _NODES:
            product = width / 2
            for k, other in enumerate(levels):
                if k != j:
                    product *= (levels[0] + node * width - other) / (own - other)
            total += product
        weights.append(total)
    return weights


@dataclass(frozen=True)
class Lms(Solver):
    """The integral of the cubic through the last four slopes."""

    name = "lms"
    order = 4

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        slopes = (slope(x, denoise(x, sigmas[i]), sigmas[i]), *state[: self.order - 1])
        levels = [sigmas[i - k] for k in range(len(slopes))]
        for weight, each in zip(adams_weights(levels, sigmas[i + 1]), slopes, strict=True):
            x = x + weight * each
        return x, slopes[: self.order - 1]
