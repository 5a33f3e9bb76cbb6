"""Pictures to tensors and back, and to other sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor

#: Filters by the names in :data:`sfumato.request.RESIZERS`.
FILTERS: Mapping[str, Image.Resampling] = {
    "Lanczos": Image.Resampling.LANCZOS,
    "Bicubic": Image.Resampling.BICUBIC,
    "Nearest": Image.Resampling.NEAREST,
}


def to_pixels(picture: Image.Image) -> Tensor:
    """An RGB picture to (1, 3, H, W) float32 in 0..1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def to_image(pixels: Tensor) -> Image.Image:
    """(3, H, W) in 0..1 to an 8-bit picture."""
    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy()))


def resize(picture: Image.Image, size: tuple[int, int], name: str) -> Image.Image:
    """The picture at (width, height), by a filter of :data:`FILTERS`."""
    return picture if picture.size == size else picture.resize(size, FILTERS[name])
