"""``/v1``: OpenAI's images API."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile

from sfumato.errors import RequestError, SfumatoError
from sfumato.jobs.states import State
from sfumato.request import Txt2ImgRequest
from sfumato.sampling import names
from sfumato.server import images, work
from sfumato.server.api import openai_files
from sfumato.server.failures import DrawingError, NotSupportedError, StoppedError, shape
from sfumato.server.services import Services, client_of
from sfumato.server.strict import Route
from sfumato.server.work import Drawn, Tasks

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
#: Model names of the service that clients have built in; here they mean the model of the settings.
ALIASES = ("dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5")
_SEED_BITS = 32


class Generation(BaseModel):
    """``POST /v1/images/generations``, and as extras what Stable Diffusion has."""

    prompt: Annotated[str, Field(min_length=1, max_length=32_000)]
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = 1
    size: str | None = "auto"
    response_format: Literal["url", "b64_json"] | None = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] | None = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = 100
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    style: str | None = None
    user: str | None = None
    stream: bool | None = False
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = 0
    negative_prompt: Annotated[str, Field(max_length=100_000)] = ""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    sampler: str | None = None
    scheduler: str | None = None
    cfg_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = None


def routes(services: Services, tasks: Tasks) -> APIRouter:
    """Generations, edits, variations and models."""
    router = APIRouter(prefix="/v1", tags=["openai"], route_class=Route)
    keeper = openai_files.Keeper()

    @router.post("/images/generations", response_model=None)
    async def generations(given: Generation, request: Request) -> dict[str, Any] | StreamingResponse:
        """Words to pictures."""
        model, wanted = to_request(given, services)
        if given.stream:
            return StreamingResponse(_stream(given, wanted, model, services, request), media_type="text/event-stream")
        drawn = await tasks.run(
            [wanted], model=model, save=False, client=client_of(request), gone=request.is_disconnected
        )
        data = [await asyncio.to_thread(_item, given, each, keeper, request) for each in drawn]
        return {"created": int(time.time()), "data": data}

    @router.get("/images/files/{name}", response_class=FileResponse, include_in_schema=False)
    def file(name: str) -> Any:
        return keeper.send(name)

    _edit_routes(router, services)
    _model_routes(router, services)
    return router


def _edit_routes(router: APIRouter, services: Services) -> None:
    async def pictures(request: Request) -> list[Any]:
        async with request.form(max_files=16, max_fields=64) as form:
            uploads = [part for key, part in form.multi_items() if key in ("image", "image[]", "mask")]
            files = [await part.read() for part in uploads if isinstance(part, UploadFile)]
        if not files:
            raise RequestError("image: a picture file is needed.")
        most = services.limits.picture_pixels
        return [await asyncio.to_thread(images.from_bytes, data, most) for data in files]

    @router.post("/images/edits")
    async def edits(request: Request) -> dict[str, Any]:
        """A picture and words to pictures: not there yet; the pictures are checked all the same."""
        await pictures(request)
        raise NotSupportedError("Edits are not supported by this server yet.")

    @router.post("/images/variations")
    async def variations(request: Request) -> dict[str, Any]:
        """A picture to others like it: not there yet; the picture is checked all the same."""
        await pictures(request)
        raise NotSupportedError("Variations are not supported by this server yet.")


def _model_routes(router: APIRouter, services: Services) -> None:
    def card(name: str) -> dict[str, Any]:
        path = services.models()[name]
        return {"id": name, "object": "model", "created": int(path.stat().st_mtime), "owned_by": "local"}

    @router.get("/models")
    def models() -> dict[str, Any]:
        """Every model."""
        return {"object": "list", "data": [card(name) for name in services.models()]}

    @router.get("/models/{name}")
    def model(name: str) -> dict[str, Any]:
        """One model."""
        return card(services.find_model(name))


def to_request(given: Generation, services: Services) -> tuple[str, Txt2ImgRequest]:
    """The model and the request.

    Raises:
        RequestError: a size or name that is wrong, or more than this server takes.
    """
    if given.background == "transparent":
        raise NotSupportedError("background=transparent is not supported by this server.")
    width, height = services.defaults.size
    if given.size not in (None, "auto"):
        if (match := _SIZE.fullmatch(given.size or "")) is None:
            raise RequestError(f"size is {given.size!r}; give WIDTHxHEIGHT, as 512x512, or auto.")
        width, height = int(match[1]), int(match[2])
    steps, count = given.steps or services.defaults.steps, given.n or 1
    services.limits.check(steps=steps, width=width, height=height, batch=count)
    names.resolve(given.sampler, given.scheduler)
    request = Txt2ImgRequest(
        prompt=given.prompt,
        negative_prompt=given.negative_prompt,
        width=width,
        height=height,
        steps=steps,
        seed=secrets.randbits(_SEED_BITS) if given.seed is None else given.seed,
        sampler=given.sampler,
        scheduler=given.scheduler,
        cfg_scale=given.cfg_scale,
        batch_size=count,
        clip_skip=given.clip_skip or services.choice.now.clip_skip or services.defaults.clip_skip,
    )
    named = given.model is not None and given.model not in ALIASES
    return services.find_model(given.model or "") if named else services.model, request


def _item(given: Generation, drawn: Drawn, keeper: openai_files.Keeper, request: Request) -> dict[str, Any]:
    data = openai_files.convert(drawn, given.output_format or "png", given.output_compression)
    if given.response_format != "url":
        return {"b64_json": images.to_base64(data)}
    name = keeper.keep(data, given.output_format or "png")
    return {"url": f"{request.base_url}v1/images/files/{name}"}


async def _stream(
    given: Generation, wanted: Txt2ImgRequest, model: str, services: Services, request: Request
) -> AsyncIterator[str]:
    """At most ``partial_images`` previews, then each picture; an error comes as an event of its own.

    Whichever way it ends, also when its reader goes, the job is ended and forgotten.
    """
    queue, job = services.queue, None
    try:
        job = await asyncio.to_thread(
            queue.submit, wanted, model=model, save=False, client=client_of(request), limit=services.limits.jobs
        )
        left, shown = given.partial_images or 0, b""
        async for event in work.events(services, job.id, gone=request.is_disconnected):
            preview = event.progress.preview if event is not None and event.progress is not None else None
            if preview is not None and preview != shown and left > 0:
                yield _event(given, "partial_image", preview, partial_image_index=(given.partial_images or 0) - left)
                left, shown = left - 1, preview
            now = await asyncio.to_thread(queue.get, job.id)
            if now.state.ended:
                break
        else:
            return
        if now.state is State.FAILED and now.cause is not None:
            raise DrawingError(now.cause.kind, now.cause.message)
        if not now.pictures:
            raise StoppedError("The job was cancelled.")
        for drawn in await asyncio.to_thread(work.read_pictures, now):
            data = openai_files.convert(drawn, given.output_format or "png", given.output_compression)
            yield _event(given, "completed", data, usage={"total_tokens": 0, "input_tokens": 0, "output_tokens": 0,
                         "input_tokens_details": {"text_tokens": 0, "image_tokens": 0}})  # fmt: skip
    except SfumatoError as error:
        content = bytes(shape("/v1/", 400, type(error).__name__, str(error)).body).decode()
        yield f"event: error\ndata: {content}\n\n"
    finally:
        if job is not None:
            await asyncio.shield(asyncio.to_thread(work.drop, queue, job.id))


def _event(given: Generation, kind: str, data: bytes, **more: object) -> str:
    name = f"image_generation.{kind}"
    content = {
        "type": name, "b64_json": images.to_base64(data), "created_at": int(time.time()),
        "size": given.size or "auto", "quality": given.quality or "auto", "background": "opaque",
        "output_format": given.output_format or "png", **more,
    }  # fmt: skip
    return f"event: {name}\ndata: {json.dumps(content)}\n\n"
