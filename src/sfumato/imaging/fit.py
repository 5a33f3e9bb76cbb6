"""Pictures to start from, made opaque and brought to the wished size."""

from __future__ import annotations

import numpy as np
from PIL import Image

_LANCZOS = Image.Resampling.LANCZOS


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
    pixels = np.asarray(scaled)
    sides = ((top, height - size[1] - top), (left, width - size[0] - left), (0, 0))
    return Image.fromarray(np.pad(pixels, sides[: pixels.ndim], mode="edge"))
