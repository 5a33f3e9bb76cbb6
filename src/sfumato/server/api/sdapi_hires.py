"""``/sdapi/v1/txt2img``: the fields of the second pass."""

from __future__ import annotations

from sfumato.prompt.networks import take_networks
from sfumato.request import Hires
from sfumato.server.api.sdapi_schema import Txt2Img

#: Values of a field that mean "as in the first pass".
_SAME = (None, "", "Use same sampler", "Use same scheduler")


def to_hires(given: Txt2Img) -> Hires | None:
    """The second pass, if one is asked for; what is not sent is as in the web UI."""
    if not given.enable_hr:
        return None
    prompt, negative = given.hr_prompt or "", given.hr_negative_prompt or ""
    if given.disable_extra_networks:
        prompt, negative = take_networks(prompt)[0], take_networks(negative)[0]
    return Hires(
        scale=2.0 if given.hr_scale is None else given.hr_scale,
        width=given.hr_resize_x or None,
        height=given.hr_resize_y or None,
        upscaler=given.hr_upscaler or Hires.upscaler,
        steps=given.hr_second_pass_steps or 0,
        denoising_strength=0.75 if given.denoising_strength is None else given.denoising_strength,
        sampler=_named(given.hr_sampler_name),
        scheduler=_named(given.hr_scheduler),
        prompt=prompt or None,
        negative_prompt=negative or None,
    )


def _named(name: str | None) -> str | None:
    return None if name in _SAME else name
