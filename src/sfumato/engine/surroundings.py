"""Masks as tensors, and what is under them painted over."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def to_tensor(mask: Image.Image) -> Tensor:
    """A grey picture to (1, 1, H, W) float32 in 0..1."""
    return torch.from_numpy(np.array(mask))[None, None].float() / 255


def surroundings(pixels: Tensor, mask: Tensor) -> Tensor:
    """Pixels (1, 3, H, W) with what is under the mask (1, 1, H, W) painted over in the colours around it.

    Pull and push (Gortler et al. 1996, "The lumigraph"): colours that are known are averaged to ever fewer pixels, and
    on the way back each level fills what the finer one does not know.
    """
    known = 1 - mask
    steps = [(pixels * known, known)]
    while max(steps[-1][1].shape[-2:]) > 1:
        steps.append(tuple(F.avg_pool2d(each, 2, ceil_mode=True) for each in steps[-1]))  # pyright: ignore
    colours, share = steps.pop()
    colours = torch.where(share > 0, colours / share.clamp(min=1e-12), 0.5)
    for some, share in reversed(steps):
        size = (share.shape[-2], share.shape[-1])
        colours = some + (1 - share) * F.interpolate(colours, size, mode="bilinear")
    return colours
