"""The second pass: which size, steps and upscaler it has, whether it was asked for or the picture needs it.

Drawn in one go, a picture far larger than its model was made for shows its subject twice, since the network never saw
one so large. So the whole is drawn at the model's own size first, and then the detail at the wished one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sfumato.engine import source
from sfumato.errors import RequestError
from sfumato.families.base import Spec
from sfumato.request import MAX_SCALE, MAX_STEPS, Hires, Txt2ImgRequest
from sfumato.sampling import names

#: From how many times the model's own number of pixels a picture is drawn in two passes unasked.
FAR_ABOVE = 2.5
#: A picture that starts from another is drawn in two passes from how many times the strength of an unasked second one:
#: up to it, the other picture says where things are.
LOOSE = 1.75
#: How it is enlarged then.
UPSCALER = "Bicubic"
#: The strength that the planned steps are counted with; the web UI's limit.
_MOST = 0.999


@dataclass(frozen=True, kw_only=True)
class SecondPass:
    """A second pass in which nothing is open; sizes are in pixels.

    The picture is enlarged to ``cover`` and its middle of ``width`` x ``height`` is drawn on. Of ``planned`` steps the
    last ``steps`` are taken.
    """

    wish: Hires
    width: int
    height: int
    cover: tuple[int, int]
    steps: int
    planned: int
    cfg_scale: float
    sampler: names.Resolved


def automatic(request: Txt2ImgRequest, width: int, height: int, spec: Spec) -> tuple[tuple[int, int], Hires] | None:
    """The first pass's size, of the wished shape and about the model's own area, and the second pass; None where the
    wished size is not far above the model's, or another picture says where things are.
    """
    native = spec.native_size[0] * spec.native_size[1]
    if width * height < FAR_ABOVE * native or _is_led(request, width, height, spec):
        return None
    ratio = math.sqrt(native / (width * height))
    steps = max(1, round(request.steps * spec.second_pass))
    second = Hires(width=width, height=height, upscaler=UPSCALER, steps=steps, denoising_strength=spec.second_pass)
    return (_near(width * ratio, spec), _near(height * ratio, spec)), second


def _is_led(request: Txt2ImgRequest, width: int, height: int, spec: Spec) -> bool:
    """Whether a picture to start from keeps its subject from coming twice: what is around a small part does."""
    if (init := request.init) is None:
        return False
    if spec.beside == "edit" or init.denoising_strength <= LOOSE * spec.second_pass:
        return True
    part = source.part_of(request, width, height)
    box = None if part is None else part.seen()[1].getbbox()
    return box is not None and (box[2] - box[0]) * (box[3] - box[1]) <= math.prod(spec.native_size)


def resolve(
    wish: Hires,
    request: Txt2ImgRequest,
    first: tuple[int, int],
    cfg_scale: float,
    spec: Spec,
    schedule: str | None,
) -> SecondPass:
    """The second pass after a first one of that size in pixels, with that guidance; ``schedule`` is "automatic".

    Raises:
        RequestError: what can't be drawn.
    """
    steps, strength = wish.steps or request.steps, wish.denoising_strength
    _check(wish, request, strength)
    planned = int(steps / min(strength, _MOST))
    if not 1 <= steps <= planned <= MAX_STEPS:
        raise RequestError(
            f"hires steps are {steps} of {planned} with denoising_strength {strength}; at most {MAX_STEPS} can be "
            "planned, so take fewer or a greater strength"
        )
    width, height = wish.size_of(*first)
    width, height = wish.width or _near(width, spec), wish.height or _near(height, spec)
    cut = request.init is None and wish.width and wish.height
    return SecondPass(
        wish=wish,
        width=width,
        height=height,
        cover=_cover(first, (width, height), spec) if cut else (width, height),
        steps=steps,
        planned=planned,
        cfg_scale=cfg_scale if wish.cfg_scale is None else wish.cfg_scale,
        sampler=names.resolve(wish.sampler or request.sampler, wish.scheduler or request.scheduler, schedule),
    )


def _check(wish: Hires, request: Txt2ImgRequest, strength: float) -> None:
    if request.init is not None and request.hires is not None:
        raise RequestError("a second pass (hires) is for pictures drawn from words alone; leave out init or hires")
    if not 0 < strength <= 1:
        raise RequestError(f"hires denoising_strength is {strength}; give a value above 0, up to 1")
    if not 0 < wish.scale <= MAX_SCALE:
        raise RequestError(f"hires scale is {wish.scale}; give a value above 0, up to {MAX_SCALE}")
    for name in ("width", "height"):
        if (side := getattr(wish, name)) is not None and side < 1:
            raise RequestError(f"hires {name} is {side}; give a number of pixels, or leave it out")


def _cover(first: tuple[int, int], wished: tuple[int, int], spec: Spec) -> tuple[int, int]:
    """The first pass's shape, to the nearest that can be drawn, in a size that has room for the wished one."""
    ratio = max(wished[0] / first[0], wished[1] / first[1])
    return max(wished[0], _near(first[0] * ratio, spec)), max(wished[1], _near(first[1] * ratio, spec))


def _near(side: float, spec: Spec) -> int:
    """The nearest side that the model can draw."""
    return max(1, round(side / spec.size_multiple)) * spec.size_multiple


def describe(second: SecondPass, first: names.Resolved) -> dict[str, object]:
    """What a picture's metadata says of the second pass, under the web UI's names."""
    wish, sampler = second.wish, second.sampler
    sized = wish.width is not None or wish.height is not None
    other = sampler.sampler != first.sampler
    told = {
        "Denoising strength": wish.denoising_strength,
        "Hires CFG Scale": wish.cfg_scale,
        "Hires sampler": sampler.sampler_label if other else None,
        "Hires schedule type": sampler.scheduler_label if other or sampler != first else None,
        "Hires prompt": wish.prompt,
        "Hires negative prompt": wish.negative_prompt,
        "Hires upscale": None if sized else wish.scale,
        "Hires resize": f"{wish.width or 0}x{wish.height or 0}" if sized else None,
        "Hires steps": wish.steps or None,
        "Hires upscaler": wish.upscaler,
    }
    return {key: value for key, value in told.items() if value is not None}
