"""``/v1``: OpenAI's images API."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, StreamingResponse

from sfumato.errors import RequestError, SfumatoError
from sfumato.jobs.states import State
from sfumato.request import Txt2ImgRequest
from sfumato.sampling import names
from sfumato.server import images, work
from sfumato.server.api import openai_edits, openai_files
from sfumato.server.api.openai_edits import Edit, Variation
from sfumato.server.api.openai_schema import Generation
from sfumato.server.failures import DrawingError, NotSupportedError, StoppedError, shape
from sfumato.server.services import Services, client_of
from sfumato.server.strict import Route
from sfumato.server.work import Drawn, Tasks

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
#: Model names of the service that clients have built in; here they mean the model of the settings.
ALIASES = ("dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5")
_SEED_BITS = 32
#: A request of a model to the pictures, or to the events of a stream.
Answer = Callable[[Generation, str, Txt2ImgRequest, Request], Awaitable[dict[str, Any] | StreamingResponse]]


def routes(services: Services, tasks: Tasks) -> APIRouter:
    """Generations, edits, variations and models."""
    router = APIRouter(prefix="/v1", tags=["openai"], route_class=Route)
    keeper = openai_files.Keeper()

    async def answer(
        given: Generation, model: str, wanted: Txt2ImgRequest, request: Request
    ) -> dict[str, Any] | StreamingResponse:
        if given.stream:
            return StreamingResponse(_stream(given, wanted, model, services, request), media_type="text/event-stream")
        drawn = await tasks.run(
            [wanted], model=model, save=False, client=client_of(request), gone=request.is_disconnected
        )
        data = [await asyncio.to_thread(_item, given, each, keeper, request) for each in drawn]
        return {"created": int(time.time()), "data": data}

    @router.post("/images/generations", response_model=None)
    async def generations(given: Generation, request: Request) -> dict[str, Any] | StreamingResponse:
        """Words to pictures."""
        model, wanted = to_request(given, services)
        return await answer(given, model, wanted, request)

    @router.get("/images/files/{name}", response_class=FileResponse, include_in_schema=False)
    def file(name: str) -> Any:
        return keeper.send(name)

    _edit_routes(router, services, answer)
    _model_routes(router, services)
    return router


def _edit_routes(router: APIRouter, services: Services, answer: Answer) -> None:
    async def from_form(request: Request, kind: type[Edit]) -> dict[str, Any] | StreamingResponse:
        sent = await openai_edits.read(request, services, kind)
        model, wanted = to_request(sent.given, services)
        wanted = await asyncio.to_thread(openai_edits.with_init, wanted, sent, services)
        return await answer(sent.given, model, wanted, request)

    @router.post("/images/edits", response_model=None, openapi_extra=openai_edits.schema(Edit))
    async def edits(request: Request) -> dict[str, Any] | StreamingResponse:
        """A picture and words to pictures; with a mask, only where that lets through."""
        return await from_form(request, Edit)

    @router.post("/images/variations", response_model=None, openapi_extra=openai_edits.schema(Variation))
    async def variations(request: Request) -> dict[str, Any] | StreamingResponse:
        """A picture to others like it."""
        return await from_form(request, Variation)


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
        vae=services.choice.now.vae,
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
    name = f"{given.event}.{kind}"
    content = {
        "type": name, "b64_json": images.to_base64(data), "created_at": int(time.time()),
        "size": given.size or "auto", "quality": given.quality or "auto", "background": "opaque",
        "output_format": given.output_format or "png", **more,
    }  # fmt: skip
    return f"event: {name}\ndata: {json.dumps(content)}\n\n"
