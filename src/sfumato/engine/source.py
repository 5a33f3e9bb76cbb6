"""Pictures to start from: brought to the wished size, encoded, and how far back in the noise drawing begins."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from sfumato.engine.surroundings import surroundings, to_tensor
from sfumato.families.base import Networks
from sfumato.families.decode import encode
from sfumato.families.pixels import to_pixels
from sfumato.imaging import masks
from sfumato.imaging.fit import fit, opaque
from sfumato.request import InitImage, Txt2ImgRequest
from sfumato.runtime.finite import check_finite
from sfumato.sampling.denoiser import Denoise

#: The strength that whole steps are counted with; the web UI's limit, so that 1 still has a level to start from.
_MOST = 0.999


def first_step(steps: int, strength: float) -> int:
    """The step that drawing starts with, from 0: of ``steps``, ``int(strength * steps) + 1`` are taken (web UI's rule).

    >>> first_step(20, 0.75), first_step(20, 1.0), first_step(20, 0.0)
    (4, 0, 19)
    """
    return steps - int(min(strength, _MOST) * steps) - 1


def to_latent(
    networks: Networks, init: InitImage, width: int, height: int, finished: tuple[int, int] | None = None
) -> Tensor:
    """The picture's latent, (1, C, h, w) in float32, for a picture of (width, height) in pixels; ``finished`` is the
    size in pixels that a second pass gives it, which it's made to fit then.
    """
    picture, factor = opaque(init.picture), networks.spec.latent_factor
    if init.resize_mode == "latent":
        own = [max(1, round(side / factor)) * factor for side in picture.size]
        latent = encode(networks, to_pixels(fit(picture, own[0], own[1], "stretch")))
        latent = F.interpolate(latent, (height // factor, width // factor), mode="bilinear")
    else:
        fitted = fit(picture, *(finished or (width, height)), init.resize_mode)
        latent = encode(networks, to_pixels(fit(fitted, width, height, "stretch")))
    check_finite(latent, "encoding of the picture", None)
    return latent


def part_of(request: Txt2ImgRequest, width: int, height: int) -> masks.Part | None:
    """What of the request's picture is drawn at (width, height) in pixels; None without a mask.

    The finished picture has its own size if only the part is drawn, or if the request names no size.
    """
    init = request.init
    if init is None or init.mask is None:
        return None
    whole = opaque(init.picture)
    mask = masks.soft(init.mask, whole.size)
    if init.mask.only_masked:
        box = masks.region(mask, init.mask.padding, width, height)
    else:
        if request.width is not None or request.height is not None:
            whole, mask = (fit(each, width, height, init.resize_mode) for each in (whole, mask))
        box = (0, 0, *whole.size)
    return masks.Part(whole, mask, box, (width, height))


@dataclass(frozen=True)
class Held:
    """What stays while the rest is drawn: ``latent`` (1, C, h, w) of the picture, where ``mask`` (1, 1, h, w) is 0."""

    latent: Tensor
    mask: Tensor

    def over(self, denoise: Denoise) -> Denoise:
        """A denoiser whose clean latent is the picture's outside of the mask, at every noise level."""

        def held(x: Tensor, sigma: float) -> Tensor:
            return self.latent + self.mask * (denoise(x, sigma) - self.latent)

        return held


def mask_latent(part: masks.Part, factor: int) -> Tensor:
    """The mask for latent cells, (1, 1, h, w): the mean of a cell's pixels."""
    return F.avg_pool2d(to_tensor(part.seen()[1]), factor)


def hold(networks: Networks, part: masks.Part) -> Held:
    """The picture's latent and which of it stays."""
    latent = encode(networks, to_pixels(part.seen()[0]))
    check_finite(latent, "encoding of the picture", None)
    return Held(latent, mask_latent(part, networks.spec.latent_factor).to(latent.device))


def fill(networks: Networks, part: masks.Part, held: Held, how: str, noise: Tensor) -> Tensor:
    """What drawing starts from under the mask, as :class:`Mask` says of ``fill``; (B or 1, C, h, w)."""
    if how == "original":
        return held.latent
    if how == "fill":
        picture, mask = part.seen()
        latent = encode(networks, surroundings(to_pixels(picture), to_tensor(mask)))
        check_finite(latent, "encoding of the picture", None)
        return latent
    return held.latent + held.mask * ((noise if how == "latent noise" else 0.0) - held.latent)


def describe(init: InitImage) -> dict[str, object]:
    """What a picture's metadata says of the start, under the web UI's names."""
    said: dict[str, object] = {"Denoising strength": init.denoising_strength}
    if init.extend is not None:
        said["Extended by"] = ",".join(str(side) for side in init.extend)
    if (mask := init.mask) is None:
        return said
    said["Mask blur"] = mask.blur
    if mask.blur_y is not None and mask.blur_y != mask.blur:
        said["Mask blur"] = f"{mask.blur}x{mask.blur_y}"
    if mask.invert:
        said["Mask mode"] = "Inpaint not masked"
    if mask.fill != "original":
        said["Masked content"] = mask.fill
    if mask.only_masked:
        said |= {"Inpaint area": "Only masked", "Masked area padding": mask.padding}
    return said
