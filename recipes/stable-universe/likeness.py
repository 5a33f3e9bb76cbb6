"""Which reference picture does a drawn one look like most? And what colour is its background?

A picture's subject is cut out (the bounding box of what differs from the border's colour), brought to 32x32 and
compared with all reference pictures, cut and coloured the same way: so position and scale do not count. The distance is
the mean squared difference of the RGB pixels plus that of their horizontal and vertical gradients, the smaller of the
picture and its mirror image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

import pictures

BOX = 32


def cut(picture: Tensor, mask: Tensor) -> Tensor:
    """The square around the mask, (C, H, W) to (C, 32, 32); an empty mask keeps the whole picture."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if len(rows) == 0:
        return F.interpolate(picture[None], (BOX, BOX), mode="area")[0]
    y0, y1, x0, x1 = rows[0].item(), rows[-1].item() + 1, columns[0].item(), columns[-1].item() + 1
    side = max(y1 - y0, x1 - x0)
    top, left = (y0 + y1 - side) // 2, (x0 + x1 - side) // 2
    height, width = picture.shape[1:]
    pad = (max(0, -left), max(0, left + side - width), max(0, -top), max(0, top + side - height))
    wide = F.pad(picture[None], pad, mode="replicate")[0]
    square = wide[:, top + pad[2] : top + pad[2] + side, left + pad[0] : left + pad[0] + side]
    return F.interpolate(square[None], (BOX, BOX), mode="bilinear", antialias=True, align_corners=False)[0]


def border_colour(picture: Tensor) -> Tensor:
    """The median of the outermost two pixels: (3,)."""
    edge = torch.cat([picture[:, :2].flatten(1), picture[:, -2:].flatten(1), picture[:, :, :2].flatten(1)], 1)
    return edge.median(1).values


def with_gradients(pixels: Tensor) -> Tensor:
    """(..., 3, 32, 32) and its differences, flat."""
    dx, dy = pixels.diff(dim=-1), pixels.diff(dim=-2)
    return torch.cat([pixels.flatten(-3), 2 * dx.flatten(-3), 2 * dy.flatten(-3)], -1)


class References:
    """All subjects' pictures, cut to their boxes: premultiplied RGBA (N, 4, 32, 32)."""

    def __init__(self, rgba: Tensor) -> None:
        self.boxes = torch.stack([cut(row.float() / 255, row[3] > 20) for row in rgba])

    def rank(self, picture: Tensor) -> Tensor:
        """Rows of the references, nearest first, for a float (3, H, W) picture in 0..1."""
        colour = border_colour(picture)
        apart = (picture - colour[:, None, None]).abs().amax(0)
        mask = F.avg_pool2d(apart[None], 5, stride=1, padding=2)[0] > 0.15
        seen = cut(picture, mask)
        all_on_colour = with_gradients(pictures.over(self.boxes, colour[None, :, None, None]))
        distances = [(all_on_colour - with_gradients(s)).square().mean(1) for s in (seen, seen.flip(-1))]
        return torch.minimum(*distances).argsort()


def named_colour(picture: Tensor) -> str:
    """The palette's name for the border's colour."""
    colour = border_colour(picture) * 255
    return min(pictures.BACKGROUNDS, key=lambda n: (colour - torch.tensor(pictures.BACKGROUNDS[n])).square().sum())
