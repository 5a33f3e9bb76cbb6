"""More around a picture: its edges drawn out, and a mask that has what is new drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

#: So many pixels of the old picture along a moved edge are drawn anew too, so that no seam is seen.
OVERLAP = 8
SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class Margins:
    """Pixels to add on each side."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        return bool(self.left or self.right or self.top or self.bottom)

    def around(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of a picture with them.

        >>> Margins(left=8, bottom=16).around((64, 64))
        (72, 80)
        """
        return size[0] + self.left + self.right, size[1] + self.top + self.bottom


def widen(picture: Image.Image, mask: Image.Image | None, margins: Margins) -> tuple[Image.Image, Image.Image]:
    """The picture with its edges' colours drawn out, and the mask, white there too. ``mask`` is as large as it."""
    plain = picture if picture.mode in ("RGB", "RGBA") else picture.convert("RGB")
    sides = ((margins.top, margins.bottom), (margins.left, margins.right), (0, 0))
    wide = Image.fromarray(np.pad(np.asarray(plain), sides, mode="edge"))
    left, top = (OVERLAP if margins.left else 0), (OVERLAP if margins.top else 0)
    right, bottom = (
        picture.width - (OVERLAP if margins.right else 0),
        picture.height - (OVERLAP if margins.bottom else 0),
    )
    drawn = Image.new("L", wide.size, 255)
    inner = Image.new("L", picture.size) if mask is None else mask.convert("L")
    if left < right and top < bottom:
        drawn.paste(inner.crop((left, top, right, bottom)), (margins.left + left, margins.top + top))
    return wide, drawn
