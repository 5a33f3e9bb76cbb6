"""What a server asks of a second pass before it is queued, in every dialect."""

from __future__ import annotations

from sfumato.errors import RequestError, nearest
from sfumato.request import LATENT_UPSCALERS, RESIZERS, Txt2ImgRequest
from sfumato.sampling import names
from sfumato.server.services import Services


def check_hires(request: Txt2ImgRequest, services: Services) -> Txt2ImgRequest:
    """The request, if its second pass can be drawn here.

    Raises:
        RequestError: a number out of range, an unknown name, or more than this server takes.
    """
    hires = request.hires
    if hires is None:
        return request
    if not 0 < hires.denoising_strength <= 1:
        raise RequestError(
            f"denoising_strength is {hires.denoising_strength}; with a second pass it is above 0, up to 1."
        )
    if not 0 < hires.scale <= 16 or hires.steps < 0 or min(hires.width or 1, hires.height or 1) < 1:
        raise RequestError("a second pass is up to 16 times as large, or has sides in pixels, and has 0 steps or more.")
    width, height = hires.size_of(request.width or 512, request.height or 512)
    steps = hires.steps or request.steps
    services.limits.check(steps=steps, width=width, height=height, batch=request.batch_size)
    names.resolve(hires.sampler or request.sampler, hires.scheduler or request.scheduler)
    known = (*LATENT_UPSCALERS, *RESIZERS, *services.upscalers())
    if hires.upscaler not in known:
        close = nearest(hires.upscaler, known) or "known: " + ", ".join(known)
        raise RequestError(f"unknown upscaler {hires.upscaler!r}; {close}.")
    return request
