"""Drawing a part of a picture: what of it is drawn, and how it is put back."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageFilter, ImageOps

from sfumato.errors import RequestError
from sfumato.request import MASK_FILLS, MAX_SIDE, Mask

#: Left, top, right and bottom in pixels.
Box = tuple[int, int, int, int]
_LANCZOS = Image.Resampling.LANCZOS
MOST_BLUR = 512


def check(mask: Mask) -> None:
    """Raises RequestError for numbers and names that are out of range, and for a mask under which nothing is drawn."""
    if mask.fill not in MASK_FILLS:
        raise RequestError(f"the mask's fill is {mask.fill!r}; give {', '.join(MASK_FILLS)}")
    for blur in (mask.blur, mask.blur if mask.blur_y is None else mask.blur_y):
        if not 0 <= blur <= MOST_BLUR:
            raise RequestError(f"the mask's blur is {blur}; give 0 to {MOST_BLUR} pixels")
    if not 0 <= mask.padding <= MAX_SIDE:
        raise RequestError(f"the mask's padding is {mask.padding}; give 0 to {MAX_SIDE} pixels")
    darkest, lightest = levels(mask.picture).getextrema()
    if (darkest == 255) if mask.invert else (lightest == 0):
        colour = "white" if mask.invert else "black"
        raise RequestError(f"the mask is {colour} everywhere, so nothing would be drawn; mark a part of it")


def levels(picture: Image.Image) -> Image.Image:
    """A mask of any mode in greys; what lets through counts as black."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("L")
    seen = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "black"), seen).convert("L")


def upright(mask: Mask, size: tuple[int, int]) -> Image.Image:
    """The mask in greys at ``size``, white where to draw."""
    picture = levels(mask.picture)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return ImageOps.invert(picture) if mask.invert else picture


def soft(mask: Mask, size: tuple[int, int]) -> Image.Image:
    """The mask in greys at ``size``: stretched, turned around, blurred. Grey stays grey."""
    picture = upright(mask, size)
    blur = mask.blur, mask.blur if mask.blur_y is None else mask.blur_y
    return picture.filter(ImageFilter.GaussianBlur(blur)) if any(blur) else picture


def region(mask: Image.Image, padding: int, width: int, height: int) -> Box:
    """The part to draw alone: the mask's box and ``padding`` around it, grown to the shape of (width, height) as far
    as the picture goes.

    >>> mask = Image.new("L", (100, 60))
    >>> mask.paste(255, (40, 20, 50, 30))
    >>> region(mask, 5, 64, 32)
    (25, 15, 65, 35)
    """
    box = mask.getbbox()
    if box is None:
        raise RequestError("the mask is too faint: nothing is left of it after the blur; blur less, or mark more")
    left, right = max(0, box[0] - padding), min(mask.width, box[2] + padding)
    top, bottom = max(0, box[1] - padding), min(mask.height, box[3] + padding)
    across = round((bottom - top) * width / height)
    down = round((right - left) * height / width)
    left, right = _grown(left, right, max(across, right - left), mask.width)
    top, bottom = _grown(top, bottom, max(down, bottom - top), mask.height)
    return left, top, right, bottom


def _grown(low: int, high: int, length: int, most: int) -> tuple[int, int]:
    """Low and high of ``length`` around the same middle, moved and cut to lie in 0..most."""
    length = min(length, most)
    start = min(max(0, low - (length - (high - low)) // 2), most - length)
    return start, start + length


@dataclass(frozen=True)
class Part:
    """A picture of which the part in ``box`` is drawn at ``size``, and stays where ``mask`` is black.

    ``whole`` (RGB) and ``mask`` (L) are of one size, that of the finished picture.
    """

    whole: Image.Image
    mask: Image.Image
    box: Box
    size: tuple[int, int]

    def seen(self) -> tuple[Image.Image, Image.Image]:
        """The part and its mask at the size that they are drawn at."""
        return self._cut(self.whole), self._cut(self.mask)

    def _cut(self, picture: Image.Image) -> Image.Image:
        part = picture.crop(self.box)
        return part if part.size == self.size else part.resize(self.size, _LANCZOS)

    def put_back(self, drawn: Image.Image) -> Image.Image:
        """The whole picture with what was drawn in it; where the mask is black, its own bytes."""
        size = self.box[2] - self.box[0], self.box[3] - self.box[1]
        new = self.whole.copy()
        new.paste(drawn if drawn.size == size else drawn.resize(size, _LANCZOS), self.box[:2])
        inside = Image.new("L", self.mask.size)
        inside.paste(self.mask.crop(self.box), self.box[:2])
        return Image.composite(new, self.whole, inside)
