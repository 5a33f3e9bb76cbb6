"""Forms of the OpenAI dialect: pictures to edit, with a mask or without, and to draw others like."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from PIL import Image, ImageOps
from pydantic import Field, ValidationError
from starlette.datastructures import UploadFile

from sfumato.errors import RequestError
from sfumato.imaging import masks
from sfumato.request import InitImage, Mask, Txt2ImgRequest
from sfumato.server import images
from sfumato.server.api.openai_schema import Generation
from sfumato.server.failures import NotSupportedError
from sfumato.server.services import Services

#: How much is drawn anew where no ``strength`` says it: of a whole picture, and of what a mask leaves open.
EDIT, PART, VARIATION = 0.75, 1.0, 0.6


class Edit(Generation):
    """``POST /v1/images/edits``: the fields of a generation, and ``strength`` as an extra."""

    event: ClassVar[str] = "image_edit"

    strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None


class Variation(Edit):
    """``POST /v1/images/variations``: no words are needed."""

    prompt: Annotated[str, Field(max_length=32_000)] = ""


@dataclass(frozen=True)
class Sent:
    """A form's words and pictures."""

    given: Edit
    picture: Image.Image
    mask: Image.Image | None


async def read(request: Request, services: Services, kind: type[Edit]) -> Sent:
    """A form, checked.

    Raises:
        RequestError: a picture is missing or can't be read. RequestValidationError: a field is not what it should be.
        NotSupportedError: several pictures.
    """
    async with request.form(max_files=16, max_fields=64) as form:
        parts = form.multi_items()
        files = {"image": [], "mask": []}
        for key, part in parts:
            if isinstance(part, UploadFile) and (name := key.removesuffix("[]")) in files:
                files[name].append(await part.read())
    most = services.limits.picture_pixels
    pictures = [await asyncio.to_thread(images.from_bytes, data, most) for data in files["image"]]
    shown = [await asyncio.to_thread(images.from_bytes, data, most) for data in files["mask"]]
    if not pictures:
        raise RequestError("image: a picture file is needed.")
    if len(pictures) > 1 or len(shown) > 1:
        raise NotSupportedError("Several pictures are not supported by this server; send one image, and one mask.")
    words = {key: part for key, part in parts if isinstance(part, str)}
    try:
        given = kind.model_validate(words)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    return Sent(given, pictures[0], shown[0] if shown else None)


def to_init(sent: Sent) -> InitImage:
    """What to start from. What lets through in the mask, or without one in the picture, is drawn anew.

    Raises:
        RequestError: a mask that lets through nowhere.
    """
    marked = sent.picture if sent.mask is None else sent.mask
    clear = marked.mode == "RGBA" and marked.getchannel("A").getextrema() != (255, 255)
    if sent.mask is not None and not clear:
        raise RequestError("mask: it is transparent nowhere, so nothing would be drawn.")
    whole = VARIATION if isinstance(sent.given, Variation) else EDIT
    wished, mask = sent.given.strength, None
    if clear and not isinstance(sent.given, Variation):
        mask, whole = Mask(picture=ImageOps.invert(marked.getchannel("A")), fill="fill"), PART
        masks.check(mask)
    return InitImage(picture=sent.picture, denoising_strength=whole if wished is None else wished, mask=mask)


def with_init(request: Txt2ImgRequest, sent: Sent, services: Services) -> Txt2ImgRequest:
    """The request drawn from the picture; its size is the picture's where the form names none."""
    init = to_init(sent)
    if sent.given.size in (None, "auto"):
        width, height = init.picture.size
        services.limits.check(steps=request.steps, width=width, height=height, batch=request.batch_size)
        request = replace(request, width=None, height=None)
    return replace(request, init=init)


def schema(kind: type[Edit]) -> dict[str, Any]:
    """The form for the page of the API."""
    fields = kind.model_json_schema()
    file = {"type": "string", "format": "binary"}
    fields["properties"] |= {"image": file, **({} if kind is Variation else {"mask": file})}
    fields["required"] = [*fields.get("required", []), "image"]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": fields}}}}
