"""A picture file to pixels of a bucket's size."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sfumato.training.dataset import Item

#: The middle of what may be cut away.
CENTRE = (0.5, 0.5)


def load(
    item: Item, size: tuple[int, int], flip: bool = False, crop: tuple[float, float] = CENTRE
) -> tuple[Tensor, Tensor | None]:
    """Pixels (3, H, W) in 0..1, and what of them is opaque (1, H, W), or None for a picture without transparency.

    The picture is scaled until it covers ``size`` (width, height), and what is over is cut off: of the horizontal
    and vertical rest the shares ``crop`` go from left and top. Transparent parts lie on white.
    """
    with Image.open(item.path) as file:
        picture = ImageOps.exif_transpose(file)
        picture = picture.convert("RGBA" if item.alpha else "RGB")
    scale = max(size[0] / picture.width, size[1] / picture.height)
    cover = (max(size[0], round(picture.width * scale)), max(size[1], round(picture.height * scale)))
    picture = picture.resize(cover, Image.Resampling.LANCZOS)
    left, top = round((cover[0] - size[0]) * crop[0]), round((cover[1] - size[1]) * crop[1])
    picture = picture.crop((left, top, left + size[0], top + size[1]))
    if flip:
        picture = ImageOps.mirror(picture)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    if not item.alpha:
        return pixels, None
    mask = pixels[3:]
    return pixels[:3] * mask + (1 - mask), mask
