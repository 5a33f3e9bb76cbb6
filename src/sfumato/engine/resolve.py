"""A request and a model's facts to a job in which nothing is open: pure, and where every number is checked."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sfumato.engine import passes
from sfumato.errors import RequestError
from sfumato.families.base import Spec
from sfumato.imaging import masks
from sfumato.request import MAX_PIXELS, MAX_SIDE, MAX_STEPS, RESIZE_MODES, InitImage, Txt2ImgRequest
from sfumato.runtime.rng import Start
from sfumato.sampling import names

#: The most pixels that a picture may have; a square of 4096.
MAX_BATCH = 64
#: What "automatic" is for models whose greatest noise level is far above that of others.
EVEN_SCHEDULER = "uniform"
#: Seeds are drawn from 32 bits, as in the programs that people paste seeds from; any 64-bit seed is accepted.
SEED_BITS = 32


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request with every choice made; sizes are in pixels. ``seeds`` has one for each picture, and so have
    ``subseeds`` if they are varied. ``image_cfg_scale`` is None where it counts for nothing.

    ``width`` and ``height`` are the first pass's where there are two.
    """

    request: Txt2ImgRequest
    width: int
    height: int
    cfg_scale: float
    seeds: tuple[int, ...]
    subseeds: tuple[int, ...] = ()
    sampler: names.Resolved
    image_cfg_scale: float | None = None
    second: passes.SecondPass | None = None

    @property
    def size(self) -> tuple[int, int]:
        """The finished picture's width and height."""
        return (self.width, self.height) if self.second is None else (self.second.width, self.second.height)

    def start(self, factor: int) -> Start:
        """How the first noise is made; ``factor`` is pixels a latent cell."""
        request = self.request
        size = (request.seed_resize_from_h or 0) // factor, (request.seed_resize_from_w or 0) // factor
        return Start(self.subseeds, request.subseed_strength, size if all(size) else None)


def resolve(request: Txt2ImgRequest, spec: Spec) -> Job:
    """Fill in what the request left open and refuse what can't be drawn.

    Raises:
        RequestError: steps, size, batch, seed, clip skip or a name that is out of range or unknown, or words alone for
            a model that takes more.
    """
    if spec.beside == "edit" and request.init is None:
        raise RequestError(
            "this model is made to change a picture by words, so words alone can't be drawn with it; "
            "give it a picture too, or take another model"
        )
    own = _own_size(request.init, spec)
    width = own[0] if request.width is None else request.width
    height = own[1] if request.height is None else request.height
    _check_size(width, height, spec.size_multiple)
    _check_range("steps", request.steps, 1, MAX_STEPS)
    _check_range("batch_size", request.batch_size, 1, MAX_BATCH)
    _check_range("clip_skip", request.clip_skip, 1, 12)
    _check_range("refiner_switch_at", request.refiner_switch_at, 0, 1)
    cfg_scale = spec.cfg_scale if request.cfg_scale is None else request.cfg_scale
    _check_range("cfg_scale", cfg_scale, 0, 100)
    seed = secrets.randbits(SEED_BITS) if request.seed is None else request.seed
    _check_range("seed", seed, 0, 2**63 - 1)
    seeds, subseeds = _seeds(request, seed)
    automatic = EVEN_SCHEDULER if spec.prediction == "flow" or spec.zero_snr else None
    second, hires = None, request.hires
    if hires is None and (asked := passes.automatic(request, width, height, spec)):
        (width, height), hires = asked
    if hires is not None:
        second = passes.resolve(hires, request, (width, height), cfg_scale, spec, automatic)
        for size in ((second.width, second.height), second.cover):
            _check_size(*size, spec.size_multiple)
        _check_range("hires cfg_scale", second.cfg_scale, 0, 100)
    return Job(
        request=request,
        width=width,
        height=height,
        cfg_scale=cfg_scale,
        seeds=seeds,
        subseeds=subseeds,
        sampler=names.resolve(request.sampler, request.scheduler, automatic),
        image_cfg_scale=_image_cfg_scale(request.init, spec),
        second=second,
    )


def _seeds(request: Txt2ImgRequest, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A seed for each picture, and one of each picture's variation if there is one."""
    _check_range("subseed_strength", request.subseed_strength, 0, 1)
    _check_range("guidance_rescale", request.guidance_rescale, 0, 1)
    if (request.seed_resize_from_w is None) is not (request.seed_resize_from_h is None):
        raise RequestError("seed_resize_from_w and seed_resize_from_h are one size; give both, or none")
    for name in ("seed_resize_from_w", "seed_resize_from_h"):
        if (side := getattr(request, name)) is not None:
            _check_range(name, side, 8, MAX_SIDE)
    if not request.subseed_strength:
        return tuple(seed + k for k in range(request.batch_size)), ()
    other = secrets.randbits(SEED_BITS) if request.subseed is None else request.subseed
    _check_range("subseed", other, 0, 2**63 - 1)
    return (seed,) * request.batch_size, tuple(other + k for k in range(request.batch_size))


def _own_size(init: InitImage | None, spec: Spec) -> tuple[int, int]:
    """The size in pixels where none is given: the picture's, to the nearest that the model can draw, or the model's."""
    if init is None:
        return spec.native_size
    _check_range("denoising_strength", init.denoising_strength, 0, 1)
    if init.resize_mode not in RESIZE_MODES:
        raise RequestError(f"resize_mode is {init.resize_mode!r}; give {', '.join(RESIZE_MODES)}")
    if init.mask is not None:
        masks.check(init.mask)
    multiple = spec.size_multiple
    width, height = (max(1, round(side / multiple)) * multiple for side in init.picture.size)
    return width, height


def _image_cfg_scale(init: InitImage | None, spec: Spec) -> float | None:
    if init is None or spec.beside != "edit":
        return None
    _check_range("image_cfg_scale", init.image_cfg_scale, 0, 100)
    return None if init.image_cfg_scale == 1 else init.image_cfg_scale


def _check_range(name: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise RequestError(f"{name} is {value}; give a value from {low} to {high}")


def _check_size(width: int, height: int, factor: int) -> None:
    for name, side in (("width", width), ("height", height)):
        if side < factor or side > MAX_SIDE:
            raise RequestError(f"{name} is {side} pixels; give a multiple of {factor} from {factor} to {MAX_SIDE}")
        if side % factor:
            near = max(factor, round(side / factor) * factor)
            raise RequestError(f"{name} is {side} pixels, not a multiple of {factor} as this model needs; try {near}")
    if width * height > MAX_PIXELS:
        millions = width * height / 1e6
        raise RequestError(
            f"{width}x{height} is {millions:.0f} megapixels; at most {MAX_PIXELS / 1e6:.0f} can be drawn at once"
        )
