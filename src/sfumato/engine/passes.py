"""Pictures far larger than a model was made for: first the whole at its own size, then the detail at the wished one.

Drawn in one go, such a picture shows its subject twice, since the network never saw one so large.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.families.base import Networks, Spec
from sfumato.families.decode import decode, encode
from sfumato.runtime.finite import check_finite
from sfumato.runtime.rng import BatchNoise

#: From how many times the model's own number of pixels a picture is drawn in two passes.
FAR_ABOVE = 2.5
UPSCALER = "Bicubic"
#: Keeps the second pass's draws apart from the first one's.
_DRAWS_APART = 2**32


@dataclass(frozen=True)
class SecondNoise:
    """The second pass's noise, of the same seeds, at its own size."""

    noise: BatchNoise

    def at(self, step: int) -> Callable[[int], Tensor]:
        """As :meth:`BatchNoise.at`."""
        draws = self.noise.at(step)
        return lambda draw: draws(draw + _DRAWS_APART)


def first_size(width: int, height: int, spec: Spec) -> tuple[int, int] | None:
    """The first pass's size in pixels, of the wished shape and about the model's own area; None for a single pass."""
    native = spec.native_size[0] * spec.native_size[1]
    if width * height < FAR_ABOVE * native:
        return None
    ratio = math.sqrt(native / (width * height))
    factor = spec.size_multiple

    def near(side: int) -> int:
        return max(factor, round(side * ratio / factor) * factor)

    return near(width), near(height)


def tail_start(steps: int, spec: Spec) -> int:
    """At which of the steps the second pass begins; it has at least one."""
    return steps - max(1, round(steps * spec.second_pass))


def enlarge(networks: Networks, latent: Tensor, width: int, height: int) -> Tensor:
    """The first pass's latents (B, C, h, w), through pixels, to those of a picture of the wished size."""
    out = []
    for one in latent.split(1):
        pixels = decode(networks, one).clamp(0, 1)
        check_finite(pixels, "decode of the first pass", None)
        out.append(encode(networks, F.interpolate(pixels, (height, width), mode="bicubic", antialias=True)))
    return torch.cat(out)


def describe(width: int, height: int, steps: int, spec: Spec) -> dict[str, object]:
    """What a picture's metadata says of the second pass, under the web UI's names; empty if there was none."""
    first = first_size(width, height, spec)
    if first is None:
        return {}
    return {
        "Denoising strength": spec.second_pass,
        "Hires upscale": round(width / first[0], 2),
        "Hires steps": steps - tail_start(steps, spec),
        "Hires upscaler": UPSCALER,
    }
