"""What ``/api/v1`` takes: bodies as they are sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from sfumato.request import MAX_SCALE, MAX_SIDE, Hires
from sfumato.server.api.native_init import InitIn

Side = Annotated[int, Field(ge=8, le=MAX_SIDE)]
JobId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class HiresFields(BaseModel):
    """A second pass: ``scale`` times as large, or to ``width`` x ``height``; what is left out is as in the first."""

    model_config = ConfigDict(extra="forbid")

    scale: Annotated[float, Field(gt=0, le=MAX_SCALE)] = Hires.scale
    width: Side | None = None
    height: Side | None = None
    upscaler: str = Hires.upscaler
    steps: Annotated[int, Field(ge=0, le=1000)] = 0
    denoising_strength: Annotated[float, Field(gt=0, le=1)] = Hires.denoising_strength
    sampler: str | None = None
    scheduler: str | None = None
    cfg_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    prompt: Annotated[str, Field(max_length=100_000)] | None = None
    negative_prompt: Annotated[str, Field(max_length=100_000)] | None = None


class Txt2Img(BaseModel):
    """What to draw; what is left out, the model or the settings decide."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[str, Field(max_length=100_000)]
    negative_prompt: Annotated[str, Field(max_length=100_000)] = ""
    width: Side | None = None
    height: Side | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    sampler: str | None = None
    scheduler: str | None = None
    cfg_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=64)] = 1
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = None
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    subseed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    subseed_strength: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed_resize_from_w: Side | None = None
    seed_resize_from_h: Side | None = None
    tiling: bool = False
    guidance_rescale: Annotated[float, Field(ge=0, le=1)] = 0.0
    vae: Annotated[str, Field(max_length=1000)] | None = None
    refiner: Annotated[str, Field(max_length=1000)] | None = None
    refiner_switch_at: Annotated[float, Field(ge=0, le=1)] = 0.8
    hires: HiresFields | None = None
    init: InitIn | None = None


class NewJob(BaseModel):
    """A request for the queue. ``save`` false keeps its pictures out of the gallery; ``metadata`` is how much their
    files say of themselves, the settings' if it is not given.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["txt2img"] = "txt2img"
    request: Txt2Img
    model: str | None = None
    save: bool = True
    metadata: Literal["none", "ai-flag", "full"] | None = None


class UpscaleIn(BaseModel):
    """A ``picture``, in base64, to make ``scale`` times as large, or of ``width`` and ``height``; with one of these the
    shape stays.
    """

    model_config = ConfigDict(extra="forbid")

    picture: str
    upscaler: str = "Lanczos"
    scale: Annotated[float, Field(gt=0, le=MAX_SCALE)] = 2.0
    width: Annotated[int, Field(ge=1, le=MAX_SIDE)] | None = None
    height: Annotated[int, Field(ge=1, le=MAX_SIDE)] | None = None

    def measure(self, width: int, height: int) -> tuple[tuple[int, int], None]:
        """The wished size of a picture of that one; nothing is cut off."""
        wish = Hires(scale=self.scale, width=self.width, height=self.height).size_of(width, height)
        return (max(1, wish[0]), max(1, wish[1])), None


class NewUpscale(BaseModel):
    """A picture to make larger, for the queue; ``save`` and ``metadata`` as with what is drawn."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["upscale"]
    request: UpscaleIn
    save: bool = True
    metadata: Literal["none", "ai-flag", "full"] | None = None


def _kind(body: Any) -> str:
    kind = body.get("kind", "txt2img") if isinstance(body, dict) else getattr(body, "kind", "txt2img")
    return kind if isinstance(kind, str) else ""


#: A job of either kind; without a kind it is to be drawn.
New = Annotated[
    Annotated[NewJob, Tag("txt2img")] | Annotated[NewUpscale, Tag("upscale")],
    Discriminator(_kind, custom_error_type="kind", custom_error_message="kind is txt2img or upscale"),
]


class Move(BaseModel):
    """Before which waiting job; none is the end of the queue."""

    before: JobId | None = None
