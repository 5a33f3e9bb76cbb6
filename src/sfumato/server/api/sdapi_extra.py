"""``/sdapi/v1``: larger pictures, and what pictures say of themselves."""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from PIL import Image

from sfumato.errors import RequestError
from sfumato.gallery import files, infotext
from sfumato.server import images
from sfumato.server.api import sdapi_options
from sfumato.server.api.sdapi_schema import Extra, ExtraBatch, ExtraSingle, Interrogate, PngInfo
from sfumato.server.failures import NotSupportedError
from sfumato.server.services import Services, client_of
from sfumato.server.upscaling import scaled, to_upscale
from sfumato.server.work import Tasks

RESIZERS = {"Lanczos": Image.Resampling.LANCZOS, "Nearest": Image.Resampling.NEAREST}


def add(router: APIRouter, services: Services, tasks: Tasks) -> None:
    """Add the routes."""

    @router.post("/extra-single-image")
    async def extra_single(given: ExtraSingle, request: Request) -> dict[str, Any]:
        """A larger picture."""
        found = await _enlarged(given, [given.image], services, tasks, request)
        return {"html_info": "", "image": found[0]}

    @router.post("/extra-batch-images")
    async def extra_batch(given: ExtraBatch, request: Request) -> dict[str, Any]:
        """Larger pictures."""
        texts = [each.data for each in given.imageList]
        return {"html_info": "", "images": await _enlarged(given, texts, services, tasks, request)}

    @router.post("/png-info")
    def png_info(given: PngInfo) -> dict[str, Any]:
        """How a picture was made, as it says itself."""
        if not given.image.strip():
            raise HTTPException(404, "Image not found")
        return _read_info(images.decode(given.image), services)

    @router.post("/interrogate")
    def interrogate(given: Interrogate) -> dict[str, Any]:
        """What a picture shows: needs a model that this server does not have."""
        if not given.image:
            raise HTTPException(404, "Image not found")
        raise NotSupportedError("interrogate is not supported by this server.")


async def _enlarged(
    given: Extra, texts: Sequence[str], services: Services, tasks: Tasks, request: Request
) -> list[str]:
    """The pictures as base64: filters are applied here, networks are the workers'."""
    for name in ("gfpgan_visibility", "codeformer_visibility", "extras_upscaler_2_visibility"):
        if getattr(given, name) > 0:
            raise NotSupportedError(f"{name} is not supported by this server; leave it out.")
    if given.upscaler_1 in ("None", *RESIZERS):
        return [await asyncio.to_thread(_filtered, given, text, services) for text in texts]
    networks = services.upscalers()
    if given.upscaler_1 not in networks:
        known = ", ".join(("None", *RESIZERS, *networks))
        raise HTTPException(422, f"Invalid upscaler {given.upscaler_1!r}; known: {known}")
    if not texts:
        return []
    measure = functools.partial(_measured, given)
    wanted = [await asyncio.to_thread(to_upscale, text, given.upscaler_1, measure, services) for text in texts]
    chosen = services.choice.now
    drawn = await tasks.run(
        wanted,
        model=None,
        save=False,
        metadata=sdapi_options.metadata(chosen, services),
        client=client_of(request),
        gone=request.is_disconnected,
    )
    return [await asyncio.to_thread(sdapi_options.sent, each, chosen.format) for each in drawn]


def _measured(given: Extra, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """The size of a larger picture, and what of it is kept."""
    if given.resize_mode == 0:
        return scaled(width, height, given.upscaling_resize), None
    target = (given.upscaling_resize_w, given.upscaling_resize_h)
    fit = max if given.upscaling_crop else min
    size = scaled(width, height, fit(target[0] / width, target[1] / height))
    return size, target if given.upscaling_crop else None


def _filtered(given: Extra, text: str, services: Services) -> str:
    picture = images.from_base64(text, services.limits.picture_pixels)
    if given.upscaler_1 != "None":
        picture = _resized(given, picture, services)
    format = sdapi_options.FORMATS[services.choice.now.format or "png"]
    picture = picture if format == "png" else picture.convert("RGB")
    return images.to_base64(files.encode(picture, format, None))


def _resized(given: Extra, picture: Image.Image, services: Services) -> Image.Image:
    size, crop = _measured(given, *picture.size)
    if size[0] * size[1] > services.limits.pixels:
        raise RequestError(f"{size[0]}x{size[1]} is too large; at most {services.limits.pixels} pixels are drawn.")
    large = picture.resize(size, RESIZERS[given.upscaler_1])
    if crop is not None:
        left, top = (size[0] - crop[0]) // 2, (size[1] - crop[1]) // 2
        large = large.crop((left, top, left + crop[0], top + crop[1]))
    return large


def _read_info(data: bytes, services: Services) -> dict[str, Any]:
    images.from_bytes(data, services.limits.picture_pixels)
    text = files.read_bytes(data)
    with Image.open(io.BytesIO(data), formats=images.FORMATS) as image:
        items = {key: value for key, value in image.info.items() if isinstance(value, str)}
    return {"info": text or "", "items": items, "parameters": infotext.parse(text) if text else {}}
