"""Pictures that go on beyond their edges: made larger, with a mask over what is new."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops

from sfumato.errors import RequestError
from sfumato.imaging.fit import opaque
from sfumato.imaging.masks import upright
from sfumato.request import MAX_PIXELS, MAX_SIDE, InitImage, Mask, Txt2ImgRequest

#: How far the mask reaches into the picture, fading, in pixels; at most a quarter of the picture's side.
OVERLAP = 32


def extended(request: Txt2ImgRequest) -> Txt2ImgRequest:
    """The request with the larger picture, its edge's colours in the new part, and a mask of that part and of what the
    request's own mask marks.

    Raises:
        RequestError: nothing is added, or the picture becomes too large.
    """
    init = request.init
    if init is None or init.extend is None or init.extended:
        return request
    left, top, right, bottom = init.extend
    if min(init.extend) < 0 or not any(init.extend):
        raise RequestError(f"extend is {init.extend}; give left, top, right and bottom in pixels, one of them above 0")
    size = init.picture.width + left + right, init.picture.height + top + bottom
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise RequestError(f"extended, the picture would have {size[0]}x{size[1]} pixels, which is too large")
    pixels = np.pad(np.asarray(opaque(init.picture)), ((top, bottom), (left, right), (0, 0)), mode="edge")
    larger = replace(init, picture=Image.fromarray(pixels), mask=_mask(init, init.extend), extended=True)
    return replace(request, init=larger)


def _mask(init: InitImage, extend: tuple[int, int, int, int]) -> Mask:
    """The mask of the larger picture; a mask that the smaller one has says how both parts are drawn."""
    new = _new_part(init.picture.size, extend)
    if init.mask is None:
        return Mask(picture=new, blur=0, fill="fill")
    marked = Image.new("L", new.size)
    marked.paste(upright(init.mask, init.picture.size), extend[:2])
    return replace(init.mask, picture=ImageChops.lighter(new, marked), invert=False)


def _new_part(size: tuple[int, int], extend: tuple[int, int, int, int]) -> Image.Image:
    """White where the picture is new, fading to black inside of the old one."""
    left, top, right, bottom = extend
    across, down = _fade(size[0], left, right), _fade(size[1], top, bottom)
    return Image.fromarray(np.round(255 * np.maximum(across[None], down[:, None])).astype(np.uint8))


def _fade(side: int, before: int, after: int) -> np.ndarray:
    """(before + side + after,): 1 outside of the side, falling to 0 within the overlap of an edge that goes on."""
    inside, reach = np.arange(side), min(OVERLAP, side // 4) + 1
    fade = np.zeros(side)
    if before:
        fade = np.maximum(fade, 1 - (inside + 1) / reach)
    if after:
        fade = np.maximum(fade, 1 - (side - inside) / reach)
    return np.concatenate([np.ones(before), fade, np.ones(after)])
