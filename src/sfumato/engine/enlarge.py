"""Between two passes: the first one's latents to those of a larger picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.engine.passes import SecondPass
from sfumato.engine.upscale import Upscale
from sfumato.families.base import Networks
from sfumato.families.decode import decode, encode
from sfumato.families.pixels import to_image, to_pixels
from sfumato.runtime.finite import check_finite
from sfumato.runtime.rng import BatchNoise

#: Latent upscalers to how torch calls it; the web UI's names.
LATENT: Mapping[str, Mapping[str, object]] = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (bicubic antialiased)": {"mode": "bicubic", "antialias": True},
    "Latent (nearest)": {"mode": "nearest"},
    "Latent (nearest-exact)": {"mode": "nearest-exact"},
}
#: Keeps the second pass's draws apart from the first one's.
_DRAWS_APART = 2**32
#: The draw that the second pass starts from; a solver's own draws count from 0.
_START_DRAW = 2**31


@dataclass(frozen=True)
class SecondNoise:
    """The second pass's noise, of the same seeds, at its own size."""

    noise: BatchNoise

    def initial(self) -> Tensor:
        """What it starts from."""
        return self.at(0)(_START_DRAW)

    def at(self, step: int) -> Callable[[int], Tensor]:
        """As :meth:`BatchNoise.at`."""
        draws = self.noise.at(step)
        return lambda draw: draws(draw + _DRAWS_APART)


def enlarge(networks: Networks, latent: Tensor, second: SecondPass, upscale: Upscale | None) -> Tensor:
    """The first pass's latents (B, C, h, w) to those of pictures of the second's size; through pixels if there is an
    ``upscale``.
    """
    factor = networks.spec.latent_factor
    wide, high = (side // factor for side in second.cover)
    if upscale is None:
        large = F.interpolate(latent, (high, wide), **LATENT[second.wish.upscaler])  # pyright: ignore[reportArgumentType]
    else:
        large = torch.cat([_through_pixels(networks, one, second.cover, upscale) for one in latent.split(1)])
    width, height = second.width // factor, second.height // factor
    left, top = (wide - width) // 2, (high - height) // 2
    return large[:, :, top : top + height, left : left + width]


def _through_pixels(networks: Networks, latent: Tensor, size: tuple[int, int], upscale: Upscale) -> Tensor:
    pixels = decode(networks, latent)
    check_finite(pixels, "decode of the first pass", None)
    large = encode(networks, to_pixels(upscale(to_image(pixels[0]), size)))
    check_finite(large, "encoding of the enlarged picture", None)
    return large
