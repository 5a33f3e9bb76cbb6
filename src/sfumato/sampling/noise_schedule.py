"""How much noise there is at each time of a discrete diffusion model."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.errors import CheckpointError, nearest

#: What the last alpha-bar of a zero-terminal-SNR model is set to, so that its sigma is 4096 and not infinite.
#: The value is diffusers'; (the smallest subnormal of float16).
SMALLEST_ALPHA = 2.0**-24
#: Longest step of the cosine schedule (Nichol & Dhariwal 2021, section 3.2).
COSINE_MAX_BETA = 0.999

KINDS = ("scaled_linear", "linear", "squaredcos_cap_v2")


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Alpha-bar of a trained model and the noise levels (sigmas) that follow from it.

    In sigma space (variance exploding) a noisy latent is ``x = x0 + sigma * noise``; the latent that the network was
    trained on is ``x / sqrt(1 + sigma^2)``. A time is a real number from 0 (least noise) to ``count - 1``.

    Args:
        alphas_cumprod: (count,), in (0, 1], falling. Zeros at the end (zero terminal SNR) are raised to 2^-24.
    """

    #: What no alpha-bar is below.
    smallest: ClassVar[float] = SMALLEST_ALPHA

    alphas_cumprod: Tensor
    sigmas: Tensor = field(init=False)
    _log_sigmas: list[float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        alphas = self.alphas_cumprod.detach().to("cpu", torch.float64).clamp(min=self.smallest)
        sigmas = ((1 - alphas) / alphas).sqrt()
        if alphas.ndim != 1 or len(alphas) < 2 or not bool((sigmas.diff() > 0).all()) or not float(sigmas[0]) > 0:
            raise CheckpointError("the noise schedule is damaged: alphas_cumprod must fall strictly from below 1 to 0.")
        object.__setattr__(self, "alphas_cumprod", alphas)
        object.__setattr__(self, "sigmas", sigmas)
        object.__setattr__(self, "_log_sigmas", sigmas.log().tolist())

    @classmethod
    def from_betas(
        cls,
        start: float = 0.00085,
        end: float = 0.012,
        kind: str = "scaled_linear",
        count: int = 1000,
        *,
        zero_snr: bool = False,
    ) -> NoiseSchedule:
        """The schedule of a model's training configuration; the defaults are Stable Diffusion's.

        Args:
            start, end: first and last beta; not used by the cosine schedule.
            kind: ``scaled_linear`` (linear in the root of beta, as LDM calls "linear"), ``linear`` (DDPM), or
                ``squaredcos_cap_v2`` (Nichol & Dhariwal 2021).
            count: number of training times.
            zero_snr: scale the roots of alpha-bar so that the last is 0 (Lin et al. 2023, algorithm 1).

        Raises:
            CheckpointError: unknown kind.
        """
        if kind == "scaled_linear":
            betas = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
        elif kind == "linear":
            betas = torch.linspace(start, end, count, dtype=torch.float64)
        elif kind in ("squaredcos_cap_v2", "squaredcos"):
            time = torch.linspace(0, 1, count + 1, dtype=torch.float64)
            bar = torch.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
            betas = (1 - bar[1:] / bar[:-1]).clamp(max=COSINE_MAX_BETA)
        else:
            raise CheckpointError(
                f"beta_schedule {kind!r} is not known; {nearest(kind, KINDS) or 'known: ' + ', '.join(KINDS)}."
            )
        alphas = torch.cumprod(1 - betas, dim=0)
        if zero_snr:
            roots = alphas.sqrt()
            alphas = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
        return cls(alphas)

    def __len__(self) -> int:
        return len(self._log_sigmas)

    @property
    def sigma_min(self) -> float:
        """The least noise level, at time 0."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """The greatest noise level, at the last time."""
        return float(self.sigmas[-1])

    def t_of(self, sigma: float) -> float:
        """The time of a noise level: linear in log sigma between neighbours, as k-diffusion's ``DiscreteSchedule``.

        Levels outside the table get the nearest time.
        """
        if sigma <= 0:
            return 0.0
        table, level = self._log_sigmas, math.log(sigma)
        low = min(max(bisect.bisect_right(table, level) - 1, 0), len(table) - 2)
        share = (level - table[low]) / (table[low + 1] - table[low])
        return low + min(max(share, 0.0), 1.0)

    def network_time(self, sigma: float) -> float:
        """What the network is told for a noise level: its time."""
        return self.t_of(sigma)

    def sigma_of(self, t: float) -> float:
        """The noise level of a time, which need not be whole; the inverse of :meth:`t_of`."""
        table = self._log_sigmas
        t = min(max(t, 0.0), len(table) - 1.0)
        low = min(int(t), len(table) - 2)
        return math.exp(table[low] + (t - low) * (table[low + 1] - table[low]))


class FlowSchedule(NoiseSchedule):
    """The noise of a flow-matching model (Lipman et al. 2022), as Stable Diffusion 3 has it.

    There a noisy latent is ``(1 - s) x0 + s noise``, which in sigma space is the level ``s / (1 - s)``; and s is
    ``shift u / (1 + (shift - 1) u)`` (Esser et al. 2024, section 5.3.2) of an even ramp u from 0 to 1. At u = 1 there
    is no picture left and the level would be infinite: the last u is a quarter of a step below.
    """

    smallest: ClassVar[float] = 2.0**-60

    @classmethod
    def shifted(cls, shift: float = 3.0, count: int = 1000) -> FlowSchedule:
        """The schedule of a model that was trained, or is drawn with, this shift; ``count`` is its greatest time."""
        u = torch.arange(1, count + 1, dtype=torch.float64) / count
        u[-1] -= 0.25 / count
        levels = shift * u / (1 - u)
        return cls(1 / (1 + levels**2))

    def network_time(self, sigma: float) -> float:
        """``count * s``; fractional, and never below 0 nor above ``count``."""
        return len(self) * sigma / (1 + sigma)
