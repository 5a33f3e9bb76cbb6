"""Pictures to start from: brought to the wished size, encoded, and how far back in the noise drawing begins."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sfumato.families.base import Networks
from sfumato.families.decode import encode
from sfumato.request import InitImage
from sfumato.runtime.finite import check_finite

#: The strength that whole steps are counted with; the web UI's limit, so that 1 still has a level to start from.
_MOST = 0.999
_LANCZOS = Image.Resampling.LANCZOS


def first_step(steps: int, strength: float) -> int:
    """The step that drawing starts with, from 0: of ``steps``, ``int(strength * steps) + 1`` are taken (web UI's rule).

    >>> first_step(20, 0.75), first_step(20, 1.0), first_step(20, 0.0)
    (4, 0, 19)
    """
    return steps - int(min(strength, _MOST) * steps) - 1


def opaque(picture: Image.Image) -> Image.Image:
    """The picture in RGB, on white where it lets through."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    seen = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


def fit(picture: Image.Image, width: int, height: int, mode: str) -> Image.Image:
    """The picture at (width, height), as :class:`InitImage` says of the mode; ``latent`` is as ``stretch`` here."""
    if picture.size == (width, height):
        return picture
    if mode not in ("crop", "fill"):
        return picture.resize((width, height), _LANCZOS)
    ratios = width / picture.width, height / picture.height
    ratio = max(ratios) if mode == "crop" else min(ratios)
    size = max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio))
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    scaled = picture.resize(size, _LANCZOS)
    if mode == "crop":
        return scaled.crop((-left, -top, width - left, height - top))
    sides = ((top, height - size[1] - top), (left, width - size[0] - left), (0, 0))
    return Image.fromarray(np.pad(np.asarray(scaled), sides, mode="edge"))


def to_pixels(picture: Image.Image) -> Tensor:
    """An RGB picture to (1, 3, H, W) float32 in 0..1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def to_latent(networks: Networks, init: InitImage, width: int, height: int) -> Tensor:
    """The picture's latent, (1, C, h, w) in float32, for a picture of (width, height) in pixels."""
    picture, factor = opaque(init.picture), networks.spec.latent_factor
    if init.resize_mode == "latent":
        own = [max(1, round(side / factor)) * factor for side in picture.size]
        latent = encode(networks, to_pixels(fit(picture, own[0], own[1], "stretch")))
        latent = F.interpolate(latent, (height // factor, width // factor), mode="bilinear")
    else:
        latent = encode(networks, to_pixels(fit(picture, width, height, init.resize_mode)))
    check_finite(latent, "encoding of the picture", None)
    return latent


def describe(init: InitImage) -> dict[str, object]:
    """What a picture's metadata says of the start, under the web UI's names."""
    return {"Denoising strength": init.denoising_strength}
