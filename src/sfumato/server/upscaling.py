"""What a server asks of a picture to make larger before it is queued, in every dialect."""

from __future__ import annotations

from collections.abc import Callable

from sfumato.errors import RequestError, nearest
from sfumato.gallery import files, infotext
from sfumato.request import RESIZERS, UpscaleRequest
from sfumato.server import images
from sfumato.server.services import Services

#: A picture's width and height to the wished size, and what of its middle is kept (None is all).
Measure = Callable[[int, int], tuple[tuple[int, int], tuple[int, int] | None]]


def to_upscale(text: str, upscaler: str, measure: Measure, services: Services) -> UpscaleRequest:
    """A checked request, of a picture in base64. Raises RequestError: as :func:`upscale_bytes`, or it is no base64."""
    return upscale_bytes(images.decode(text), upscaler, measure, services)


def upscale_bytes(data: bytes, upscaler: str, measure: Measure, services: Services) -> UpscaleRequest:
    """A checked request, of the bytes of a picture's file.

    Raises:
        RequestError: the picture can't be read, there is no such upscaler, or it would be larger than is made here.
    """
    picture = images.from_bytes(data, services.limits.picture_pixels)
    known = (*RESIZERS, *services.upscalers())
    if upscaler not in known:
        close = nearest(upscaler, known) or "known: " + ", ".join(known)
        raise RequestError(f"unknown upscaler {upscaler!r}; {close}.")
    (width, height), crop = measure(*picture.size)
    services.limits.check(steps=1, width=width, height=height, batch=1)
    said = files.read_bytes(data) or ""
    fields = infotext.parse(said)
    seed = fields.get("Seed", "")
    return UpscaleRequest(
        picture=picture,
        width=width,
        height=height,
        upscaler=upscaler,
        crop=crop,
        text=said,
        prompt=fields["Prompt"],
        seed=int(seed) if seed.isdecimal() and len(seed) < 19 else 0,
    )


def scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    """A size of the same shape, in whole pixels.

    >>> scaled(8, 4, 1.5)
    (12, 6)
    """
    return max(1, round(width * scale)), max(1, round(height * scale))
