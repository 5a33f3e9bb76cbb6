"""An analytic model, and noise that is frozen, for all tests of sampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sfumato.sampling.noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class TwoGaussians:
    """The exact denoiser of data from N(+mean, deviation^2) and N(-mean, deviation^2), in every value alone."""

    mean: float = 1.0
    deviation: float = 0.5

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        data, noise = self.deviation**2, sigma**2
        return (data * x + noise * self.mean * torch.tanh(self.mean * x / (data + noise))) / (data + noise)

    def network(self, prediction: str, schedule: NoiseSchedule) -> Callable[[Tensor, Tensor], Tensor]:
        """What a perfect network answers to (x / sqrt(1 + sigma^2), t)."""

        def answer(x: Tensor, t: Tensor) -> Tensor:
            sigma = schedule.sigma_of(float(t.flatten()[0]))
            root = math.sqrt(1 + sigma**2)
            x0 = self(x * root, sigma)
            noise = (x * root - x0) / sigma
            return {"epsilon": noise, "v_prediction": (noise - sigma * x0) / root, "sample": x0}[prediction]

        return answer


@dataclass(frozen=True)
class OneGaussian:
    """The exact denoiser of N(mean, deviation^2), and the exact solution of its probability-flow ODE."""

    mean: float = 0.7
    deviation: float = 0.8

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        data, noise = self.deviation**2, sigma**2
        return (data * x + noise * self.mean) / (data + noise)

    def solution(self, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """x carried from one level to another without error."""
        ratio = math.sqrt((self.deviation**2 + sigma_next**2) / (self.deviation**2 + sigma**2))
        return self.mean + (x - self.mean) * ratio


@dataclass(frozen=True)
class Frozen:
    """Noise for ``integrate`` that depends on step and draw alone."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float64

    def at(self, step: int) -> Callable[[int], Tensor]:
        def draw(number: int) -> Tensor:
            generator = torch.Generator().manual_seed(1000 * step + number)
            return torch.randn(self.shape, generator=generator, dtype=self.dtype)

        return draw


@pytest.fixture
def two_gaussians() -> TwoGaussians:
    return TwoGaussians()


@pytest.fixture
def one_gaussian() -> OneGaussian:
    return OneGaussian()


@pytest.fixture
def frozen() -> type[Frozen]:
    return Frozen


@pytest.fixture(scope="session")
def schedule() -> NoiseSchedule:
    """Stable Diffusion's."""
    return NoiseSchedule.from_betas()
