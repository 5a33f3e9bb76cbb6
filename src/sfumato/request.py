"""Requests, results and events: frozen values that cross every border. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_STEPS = 1000
MAX_SIDE = 16384
#: The most times as large that a picture is made.
MAX_SCALE = 16
MAX_PIXELS = 4096 * 4096


#: How a picture is brought to the wished size, as ``InitImage.resize_mode``.
RESIZE_MODES = ("stretch", "crop", "fill", "latent")
#: What drawing starts from under a mask, as ``Mask.fill``.
MASK_FILLS = ("fill", "original", "latent noise", "latent nothing")


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Which part of a picture is drawn anew.

    ``picture`` is white where to draw, of any mode; it is stretched to the source picture's size. ``invert`` draws
    where it is black. ``blur`` is the deviation of the soft edge, ``padding`` what is seen around the part when only
    that is drawn (``only_masked``), both in pixels. ``blur_y`` is the blur down the picture, if it is another.
    """

    picture: Image
    blur: float = 4.0
    invert: bool = False
    fill: str = "original"
    only_masked: bool = False
    padding: int = 32
    blur_y: float | None = None


@dataclass(frozen=True, kw_only=True)
class InitImage:
    """A picture to start from. ``denoising_strength`` 0 hardly changes it, 1 keeps nothing of it.

    ``resize_mode``: ``stretch``; ``crop`` what is outside the wished shape; ``fill`` the rest with the edge's colours;
    ``latent`` stretches what the autoencoder makes of it. ``image_cfg_scale`` says how near to the picture a model
    stays that is made to change one by words; 1 is no guidance by it, and other models do without. ``extend`` lets the
    picture go on by so many pixels at its left, top, right and bottom; ``extended`` says that it does already.
    """

    picture: Image
    denoising_strength: float = 0.75
    resize_mode: str = "stretch"
    mask: Mask | None = None
    image_cfg_scale: float = 1.5
    extend: tuple[int, int, int, int] | None = None
    extended: bool = False


#: Upscalers that enlarge latents, and those that enlarge pixels and need no file.
LATENT_UPSCALERS = (
    "Latent",
    "Latent (antialiased)",
    "Latent (bicubic)",
    "Latent (bicubic antialiased)",
    "Latent (nearest)",
    "Latent (nearest-exact)",
)
RESIZERS = ("Lanczos", "Bicubic", "Nearest")


@dataclass(frozen=True, kw_only=True)
class Hires:
    """A second pass: the picture that the first one gives is enlarged, and drawn on from some of its noise.

    It becomes ``scale`` times as large, or ``width`` x ``height`` pixels: with one of them the shape stays, with both
    what is outside is cut off. ``steps`` are those that are taken, 0 as many as in the first pass. What is ``None`` is
    as there.
    """

    scale: float = 2.0
    width: int | None = None
    height: int | None = None
    upscaler: str = "Latent"
    steps: int = 0
    denoising_strength: float = 0.7
    sampler: str | None = None
    scheduler: str | None = None
    cfg_scale: float | None = None
    prompt: str | None = None
    negative_prompt: str | None = None

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """The wished width and height in pixels, of a first pass of ``width`` x ``height``.

        >>> Hires(scale=1.5).size_of(64, 96), Hires(width=128).size_of(64, 96)
        ((96, 144), (128, 192))
        """
        if self.width is None and self.height is None:
            return round(width * self.scale), round(height * self.scale)
        if self.width is None:
            return round((self.height or 0) * width / height), self.height or 0
        return self.width, round(self.width * height / width) if self.height is None else self.height


@dataclass(frozen=True, kw_only=True)
class UpscaleRequest:
    """A picture to make larger: to ``width`` x ``height`` pixels, of which the middle of the size ``crop`` is kept.

    ``upscaler`` is one of `RESIZERS` or a network's name. ``text`` is what the picture's metadata said, with the
    ``prompt`` and the ``seed`` that were in it.
    """

    picture: Image
    width: int
    height: int
    upscaler: str = "Lanczos"
    crop: tuple[int, int] | None = None
    text: str = ""
    prompt: str = ""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Txt2ImgRequest:
    """What to draw. ``None`` means "not given": the model or the settings decide. Zero is a value.

    ``width`` and ``height`` are in pixels, ``seed`` is that of the first picture; picture k of a batch has
    the noise of the single picture of ``seed + k``. ``cfg_scale`` 1 means no guidance (web-UI convention).
    With ``init`` drawing starts from a picture, and width and height not given are that picture's. With ``hires``
    width and height are the first pass's.

    With a ``subseed_strength`` above 0 the noise goes so much of the way to that of ``subseed``; then all pictures of a
    batch have ``seed``, and picture k varies it by ``subseed + k``. ``seed_resize_from_w`` and ``_h``, both or none,
    are the size in pixels whose noise lies in the middle. ``tiling`` makes edges that fit each other.
    ``guidance_rescale`` is the share phi of guidance whose deviation is put back (Lin et al. 2023).
    ``vae`` is another autoencoder's name, "" for the model's own, None for the one that the settings name.
    ``refiner`` is a second model, which draws after ``refiner_switch_at`` of the way; of two passes it ends the second.
    """

    prompt: str
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    steps: int = 50
    seed: int | None = None
    sampler: str | None = None
    scheduler: str | None = None
    cfg_scale: float | None = None
    batch_size: int = 1
    clip_skip: int = 1
    eta: float | None = None
    init: InitImage | None = None
    subseed: int | None = None
    subseed_strength: float = 0.0
    seed_resize_from_w: int | None = None
    seed_resize_from_h: int | None = None
    tiling: bool = False
    guidance_rescale: float = 0.0
    vae: str | None = None
    refiner: str | None = None
    refiner_switch_at: float = 0.8
    hires: Hires | None = None


def nth_batch(request: Txt2ImgRequest, number: int) -> Txt2ImgRequest:
    """The request of a run's batch ``number``, from 0: seeds count up, or those of the variation if there is one.

    >>> nth_batch(Txt2ImgRequest(prompt="a cat", seed=7, batch_size=2), 3).seed
    13
    """
    name = "subseed" if request.subseed_strength else "seed"
    first = getattr(request, name)
    return request if first is None else replace(request, **{name: first + number * request.batch_size})


def expected_size(request: Txt2ImgRequest, unsaid: tuple[int, int] = (512, 512)) -> tuple[int, int]:
    """Width and height in pixels before a model says what it draws; ``unsaid`` where neither size nor picture is given.

    >>> expected_size(Txt2ImgRequest(prompt="a cat", width=64))
    (64, 512)
    """
    width, height = unsaid if request.init is None else request.init.picture.size
    width = width if request.width is None else request.width
    height = height if request.height is None else request.height
    return (width, height) if request.hires is None else request.hires.size_of(width, height)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResumePoint:
    """Where the sampling of a batch stands. With the same request, model and device, going on from here gives the same
    bits as never to have stopped.

    Attributes:
        leg: which of the request's samplings it is, from 0; a picture of two passes has two.
        step: how many of its steps are done.
        latent: a tensor (B, C, h, w) in sigma space.
        state: the solver's memory: tensors of the latent's shape.
    """

    leg: int
    step: int
    latent: Any
    state: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class StepEvent:
    """One finished sampling step of one batch.

    ``step`` of ``steps`` are done, of all samplings of the request together; ``seconds`` is the time since the first
    began in this process. ``preview``, called before the next step, draws the first picture as it is, small and rough.
    """

    step: int
    steps: int
    seconds: float
    resume: ResumePoint | None = None
    preview: Callable[[], Image] | None = None


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Wall time by stage, in seconds, for the batch that the picture was made in."""

    load: float = 0.0
    encode: float = 0.0
    sample: float = 0.0
    decode: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """How a picture was made: enough to make it again. Everything resolved, nothing ``None`` that was used.

    ``width`` and ``height`` are the picture's; ``first_size`` is the first pass's (width, height) where there were two.
    ``text`` is what a picture's metadata say that was not drawn here but enlarged; it goes before all else.
    """

    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    steps: int
    sampler: str
    scheduler: str
    cfg_scale: float
    clip_skip: int
    eta: float | None
    model: str
    model_hash: str
    device: str
    dtype: str
    seconds: Seconds = field(default_factory=Seconds)
    peak_memory_bytes: int = 0
    forecast_memory_bytes: int = 0
    memory: str = ""
    first_size: tuple[int, int] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The pictures of one request, in order of their seeds."""

    images: tuple[Image, ...]
    infos: tuple[ImageInfo, ...]
