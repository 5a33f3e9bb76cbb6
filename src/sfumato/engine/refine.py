"""A second model for the last steps: it goes on where the first one has drawn what is large."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sfumato.engine.loading import LoadedModel
from sfumato.errors import RequestError
from sfumato.families.base import Spec
from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class Refiner:
    """The second model, and the share of the noise levels' times after which it draws."""

    model: LoadedModel
    switch_at: float


def check_fit(base: Spec, refiner: Spec, name: str) -> None:
    """Raises RequestError where the two do not draw in the same latents."""
    facts = ("latent_channels", "latent_factor", "scaling_factor", "shift_factor")
    if refiner.beside or any(getattr(base, fact) != getattr(refiner, fact) for fact in facts):
        raise RequestError(
            f"the refiner {name!r} can't go on with what this model draws: {refiner.name} is another family than "
            f"{base.name}, or is made to change pictures; take one of the same family, for SDXL its refiner"
        )


def switched(first: Denoise, then: Denoise, schedule: NoiseSchedule, switch_at: float) -> Denoise:
    """``first`` down to a noise level, ``then`` below it.

    As in the web UI, the way is measured in the first model's times, of which there are a thousand: with ``switch_at``
    0.8 the second one draws where fewer than 199 are left.
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        done = (999 - schedule.network_time(sigma)) / 1000
        return then(x, sigma) if done > switch_at else first(x, sigma)

    return denoise
