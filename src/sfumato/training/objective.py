"""What the network should answer, and how far off it is. The coefficients are those that sampling uses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.sampling.denoiser import coefficients, target
from sfumato.sampling.noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class Noisy:
    """A batch to learn from: the network's input (B, C, h, w), its times (B,), and the answer that it should give."""

    x: Tensor
    t: Tensor
    answer: Tensor
    weight: Tensor


def corrupt(
    x0: Tensor,
    noise: Tensor,
    t: Tensor,
    prediction: str,
    schedule: NoiseSchedule,
    snr_gamma: float | None = None,
) -> Noisy:
    """Add each picture's noise at its time.

    Args:
        x0, noise: (B, C, h, w) float32.
        t: (B,) whole times of the schedule.
        snr_gamma: min-SNR weighting (Hang et al. 2023, "Efficient diffusion training via min-SNR weighting").
    """
    sigma = schedule.sigmas.to(x0.device, torch.float32)[t][:, None, None, None]
    c = coefficients(prediction, sigma)
    answer = target(prediction, x0, noise, sigma)
    return Noisy((x0 + sigma * noise) * c.c_in, t, answer, snr_weight(sigma.flatten(), prediction, snr_gamma))


def snr_weight(sigma: Tensor, prediction: str, gamma: float | None) -> Tensor:
    """(B,) weights of the squared error: 1 without gamma, else min(SNR, gamma) in the error of x0.

    An error of the answer is one of x0 times ``c_out``, which divides out here: for epsilon this gives
    min(SNR, gamma) / SNR, for v min(SNR, gamma) / (SNR + 1).
    """
    if gamma is None:
        return torch.ones_like(sigma)
    c_out = torch.as_tensor(coefficients(prediction, sigma).c_out)
    return (sigma**-2).clamp(max=gamma) * c_out**2


def loss(answer: Tensor, noisy: Noisy, weight: Tensor, mask: Tensor | None = None) -> Tensor:
    """The squared error of each picture, (B,): the mean over its latent, or over the mask's (B, 1, h, w) part of it."""
    error = (answer.float() - noisy.answer).square()
    if mask is not None:
        error = error * (mask / mask.mean((1, 2, 3), keepdim=True).clamp(min=1e-6))
    return error.mean((1, 2, 3)) * noisy.weight * weight
