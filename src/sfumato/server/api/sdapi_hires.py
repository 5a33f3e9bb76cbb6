"""``/sdapi/v1/txt2img``: the fields of the second pass."""

from __future__ import annotations

from fastapi import HTTPException

from sfumato.errors import RequestError
from sfumato.request import LATENT_UPSCALERS, RESIZERS, Hires
from sfumato.sampling import names
from sfumato.server.api.sdapi_schema import Txt2Img
from sfumato.server.services import Services

#: Values of a field that mean "as in the first pass".
_SAME = (None, "", "Use same sampler", "Use same scheduler")


def to_hires(given: Txt2Img, services: Services) -> Hires | None:
    """The second pass, if one is asked for; the web UI's "Latent" where no upscaler is named.

    Raises:
        RequestError: more than this server draws, or a name that is unknown. HTTPException: an unknown upscaler.
    """
    if not given.enable_hr:
        return None
    upscaler = given.hr_upscaler or LATENT_UPSCALERS[0]
    if upscaler not in (*LATENT_UPSCALERS, *RESIZERS):
        raise HTTPException(422, f"could not find upscaler named {upscaler}")
    hires = Hires(
        scale=2.0 if given.hr_scale is None else given.hr_scale,
        width=given.hr_resize_x or None,
        height=given.hr_resize_y or None,
        upscaler=upscaler,
        steps=given.hr_second_pass_steps or 0,
        denoising_strength=0.75 if given.denoising_strength is None else given.denoising_strength,
        sampler=_named(given.hr_sampler_name),
        scheduler=_named(given.hr_scheduler),
        prompt=given.hr_prompt or None,
        negative_prompt=given.hr_negative_prompt or None,
    )
    _check(hires, given, services)
    return hires


def _named(name: str | None) -> str | None:
    return None if name in _SAME else name


def _check(hires: Hires, given: Txt2Img, services: Services) -> None:
    if not 0 < hires.denoising_strength <= 1 or not 0 < hires.scale <= 16 or hires.steps < 0:
        raise RequestError(
            "denoising_strength is above 0, up to 1, hr_scale up to 16, and hr_second_pass_steps from 0."
        )
    if (hires.width or 1) < 1 or (hires.height or 1) < 1:
        raise RequestError("hr_resize_x and hr_resize_y are pixels, or 0.")
    width, height = hires.size_of(given.width or 512, given.height or 512)
    services.limits.check(steps=hires.steps or 1, width=width, height=height, batch=given.batch_size or 1, iterations=1)
    names.resolve(hires.sampler, hires.scheduler)
