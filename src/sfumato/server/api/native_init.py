"""Pictures to start from in ``/api/v1``: what comes in, and what is told of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sfumato.imaging import masks
from sfumato.request import MAX_SIDE, InitImage, Mask
from sfumato.server import images
from sfumato.server.services import Services

Pixels = Annotated[int, Field(ge=0, le=MAX_SIDE)]
Blur = Annotated[float, Field(ge=0, le=masks.MOST_BLUR)]


class MaskIn(BaseModel):
    """Which part is drawn anew: ``picture``, in base64, is white there."""

    model_config = ConfigDict(extra="forbid")

    picture: str
    blur: Blur = 4.0
    blur_y: Blur | None = None
    invert: bool = False
    fill: Literal["fill", "original", "latent noise", "latent nothing"] = "original"
    only_masked: bool = False
    padding: Pixels = 32


class InitIn(BaseModel):
    """A ``picture``, in base64, to start from. ``extend`` is left, top, right and bottom in pixels."""

    model_config = ConfigDict(extra="forbid")

    picture: str
    denoising_strength: Annotated[float, Field(ge=0, le=1)] = 0.75
    resize_mode: Literal["stretch", "crop", "fill", "latent"] = "stretch"
    image_cfg_scale: Annotated[float, Field(ge=0, le=100)] = 1.5
    extend: tuple[Pixels, Pixels, Pixels, Pixels] | None = None
    mask: MaskIn | None = None


def to_init(given: InitIn, services: Services) -> InitImage:
    """The engine's value. Raises RequestError for a picture that can't be read, and a mask under which nothing is."""
    most = services.limits.picture_pixels
    mask = None
    if given.mask is not None:
        plain = given.mask.model_dump(exclude={"picture"})
        mask = Mask(picture=images.from_base64(given.mask.picture, most), **plain)
        masks.check(mask)
    plain = given.model_dump(exclude={"picture", "mask"})
    return InitImage(picture=images.from_base64(given.picture, most), mask=mask, **plain)


def describe(init: InitImage | None) -> dict[str, Any] | None:
    """A picture to start from as JSON, without its pixels."""
    if init is None:
        return None
    names = ("denoising_strength", "resize_mode", "image_cfg_scale", "extend")
    mask, parts = init.mask, ("blur", "blur_y", "invert", "fill", "only_masked", "padding")
    return {
        "size": list(init.picture.size),
        **{name: getattr(init, name) for name in names},
        "mask": None if mask is None else {name: getattr(mask, name) for name in parts},
    }
