"""Pictures that go on beyond their edges: made larger, with a mask over what is new."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from sfumato.engine.resolve import MAX_PIXELS
from sfumato.engine.source import opaque
from sfumato.errors import RequestError
from sfumato.request import MAX_SIDE, Mask, Txt2ImgRequest

#: How far the mask reaches into the picture, fading, in pixels; at most a quarter of the picture's side.
OVERLAP = 32


def extended(request: Txt2ImgRequest) -> Txt2ImgRequest:
    """The request with the larger picture, its edge's colours in the new part, and the mask of that part.

    Raises:
        RequestError: there is a mask already, nothing is added, or the picture becomes too large.
    """
    init = request.init
    if init is None or init.extend is None or init.extended:
        return request
    if init.mask is not None:
        raise RequestError("extend and a mask can't be drawn at once; draw one, then the other")
    left, top, right, bottom = init.extend
    if min(init.extend) < 0 or not any(init.extend):
        raise RequestError(f"extend is {init.extend}; give left, top, right and bottom in pixels, one of them above 0")
    size = init.picture.width + left + right, init.picture.height + top + bottom
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise RequestError(f"extended, the picture would have {size[0]}x{size[1]} pixels, which is too large")
    pixels = np.pad(np.asarray(opaque(init.picture)), ((top, bottom), (left, right), (0, 0)), mode="edge")
    mask = Mask(picture=_new_part(init.picture.size, init.extend), blur=0, fill="fill")
    return replace(request, init=replace(init, picture=Image.fromarray(pixels), mask=mask, extended=True))


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
