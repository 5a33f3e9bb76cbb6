"""From what a network predicts to the clean latent. Parametrisation ends here: solvers see only x0.

In sigma space ``x = x0 + sigma * noise``. For every prediction type (Karras et al. 2022, section 5)

    x0 = c_skip * x + c_out * network(c_in * x, t)

and the same three coefficients give the training target, so that sampling and training can't drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from sfumato.errors import CheckpointError, nearest
from sfumato.sampling.noise_schedule import NoiseSchedule

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
#: (latent in sigma space (B, C, H, W), sigma) to the clean latent, same shape.
Denoise = Callable[[Tensor, float], Tensor]
#: (scaled latent (B, C, H, W), times (B,) float32) to the raw prediction, same shape.
Network = Callable[[Tensor, Tensor], Tensor]

Level = TypeVar("Level", float, Tensor)


class Coefficients(NamedTuple):
    """``x0 = c_skip * x + c_out * network(c_in * x)``; numbers, or tensors when sigma is one."""

    c_in: float | Tensor
    c_skip: float | Tensor
    c_out: float | Tensor


def _epsilon(sigma: Level) -> Coefficients:
    """The network predicts the noise (Ho et al. 2020): x0 = x - sigma * eps."""
    return Coefficients((1 + sigma**2) ** -0.5, sigma**0, -sigma)


def _v_prediction(sigma: Level) -> Coefficients:
    """The network predicts v = alpha * noise - sqrt(1 - alpha^2) * x0 (Salimans & Ho 2022)."""
    c_in = (1 + sigma**2) ** -0.5
    return Coefficients(c_in, c_in**2, -sigma * c_in)


def _sample(sigma: Level) -> Coefficients:
    """The network predicts the clean latent itself."""
    return Coefficients((1 + sigma**2) ** -0.5, sigma * 0, sigma**0)


def _flow(sigma: Level) -> Coefficients:
    """The network predicts noise - x0 at ``(1 - t) * x0 + t * noise``, t = sigma / (1 + sigma) (Lipman et al. 2022)."""
    c_in = 1 / (1 + sigma)
    return Coefficients(c_in, c_in, -sigma * c_in)


COEFFICIENTS: Mapping[str, Callable[..., Coefficients]] = {
    "epsilon": _epsilon,
    "v_prediction": _v_prediction,
    "sample": _sample,
    "flow": _flow,
}


def coefficients(prediction: str, sigma: float | Tensor) -> Coefficients:
    """The three coefficients at a noise level; a tensor of levels must be shaped to broadcast against the latent.

    Raises:
        CheckpointError: unknown prediction type.
    """
    if prediction not in COEFFICIENTS:
        hint = nearest(prediction, COEFFICIENTS) or "known: " + ", ".join(COEFFICIENTS)
        raise CheckpointError(f"prediction_type {prediction!r} is not known; {hint}.")
    return COEFFICIENTS[prediction](sigma)


def target(prediction: str, x0: Tensor, noise: Tensor, sigma: float | Tensor) -> Tensor:
    """What the network should answer at ``x0 + sigma * noise``: the training target. All (B, C, H, W)."""
    c = coefficients(prediction, sigma)
    return (x0 - c.c_skip * (x0 + sigma * noise)) / c.c_out


def wrap(network: Network, prediction: str, schedule: NoiseSchedule) -> Denoise:
    """A denoiser from a network that was trained on the times of ``schedule``.

    The network gets ``c_in * x`` and a float32 time for each picture, which is fractional between two trained times.

    Raises:
        CheckpointError: unknown prediction type.
    """
    coefficients(prediction, 1.0)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        c = coefficients(prediction, sigma)
        t = torch.full((x.shape[0],), schedule.network_time(sigma), dtype=torch.float32, device=x.device)
        return c.c_skip * x + c.c_out * network(x * c.c_in, t).to(x.dtype)

    return denoise
