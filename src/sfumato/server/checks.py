"""What a server asks of a request before it is queued, on every page and in every dialect."""

from __future__ import annotations

from dataclasses import replace

from sfumato.errors import RequestError, nearest
from sfumato.request import LATENT_UPSCALERS, MAX_SCALE, RESIZERS, Hires, Txt2ImgRequest
from sfumato.sampling import names
from sfumato.server.services import Services


def check_request(request: Txt2ImgRequest, services: Services) -> Txt2ImgRequest:
    """The request with known names for the files that it names, which are never paths.

    Raises:
        RequestError: a number out of range, an unknown name, or more than this server takes.
        CheckpointError: there is no such refiner or autoencoder.
    """
    if request.hires is not None:
        _check_hires(request, request.hires, services)
    refiner = services.find_model(request.refiner) if request.refiner else None
    return replace(request, refiner=refiner, vae=request.vae and services.find_vae(request.vae))


def _check_hires(request: Txt2ImgRequest, hires: Hires, services: Services) -> None:
    if request.init is not None:
        raise RequestError("a second pass (hires) is for pictures drawn from words alone; leave out init or hires.")
    if not 0 < hires.denoising_strength <= 1:
        raise RequestError(
            f"denoising_strength is {hires.denoising_strength}; with a second pass it is above 0, up to 1."
        )
    if not 0 < hires.scale <= MAX_SCALE or hires.steps < 0 or min(hires.width or 1, hires.height or 1) < 1:
        raise RequestError(
            f"a second pass is up to {MAX_SCALE} times as large, or has sides in pixels, and has 0 steps or more."
        )
    width, height = hires.size_of(request.width or 512, request.height or 512)
    steps = hires.steps or request.steps
    services.limits.check(steps=steps, width=width, height=height, batch=request.batch_size)
    names.resolve(hires.sampler or request.sampler, hires.scheduler or request.scheduler)
    known = (*LATENT_UPSCALERS, *RESIZERS, *services.upscalers())
    if hires.upscaler not in known:
        close = nearest(hires.upscaler, known) or "known: " + ", ".join(known)
        raise RequestError(f"unknown upscaler {hires.upscaler!r}; {close}.")
