"""``/api/v1``: jobs, and what can be asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

import sfumato
from sfumato.errors import JobStateError, UnknownJobError
from sfumato.families.models_folder import size_of
from sfumato.imaging.outpaint import extended
from sfumato.jobs.states import State
from sfumato.jobs.types import Event, Job
from sfumato.request import LATENT_UPSCALERS, RESIZERS, Hires, Txt2ImgRequest, UpscaleRequest, expected_size
from sfumato.sampling import names
from sfumato.server import work
from sfumato.server.api.native_init import describe as describe_init
from sfumato.server.api.native_init import to_init
from sfumato.server.api.native_schema import Move, New, NewJob, NewUpscale, Txt2Img
from sfumato.server.checks import check_request
from sfumato.server.forecast import forecast
from sfumato.server.services import Services, client_of
from sfumato.server.strict import Route
from sfumato.server.upscaling import to_upscale

MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


def to_request(given: Txt2Img, services: Services) -> Txt2ImgRequest:
    """A checked request of the engine.

    Raises:
        RequestError: a name is unknown, or more is asked for than this server takes.
    """
    defaults, choice = services.defaults, services.choice.now
    values = given.model_dump(exclude={"init"})
    init = None if given.init is None else to_init(given.init, services)
    if init is None:
        width, height = defaults.size
        values["width"] = width if given.width is None else given.width
        values["height"] = height if given.height is None else given.height
    values["steps"] = defaults.steps if given.steps is None else given.steps
    skip = choice.clip_skip or defaults.clip_skip
    values["clip_skip"] = skip if given.clip_skip is None else given.clip_skip
    values["vae"] = choice.vae if given.vae is None else given.vae
    names.resolve(given.sampler, given.scheduler)
    hires = None if given.hires is None else Hires(**values["hires"])
    request = extended(Txt2ImgRequest(**{**values, "hires": hires}, init=init))
    width, height = expected_size(request)
    services.limits.check(steps=request.steps, width=width, height=height, batch=request.batch_size)
    return check_request(request, services)


def describe(job: Job) -> dict[str, Any]:
    """A job as JSON."""
    request = None if job.request is None else describe_request(job.request)
    progress = job.progress
    return {
        "id": job.id,
        "kind": "upscale" if isinstance(job.request, UpscaleRequest) else "txt2img",
        "state": job.state.value,
        "model": job.model,
        "save": job.save,
        "request": request,
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "attempt": job.attempt,
        "progress": {"step": progress.step, "steps": progress.steps, "eta": progress.eta},
        "pictures": _describe_pictures(job),
        "cause": None if job.cause is None else {"kind": job.cause.kind, "message": job.cause.message},
    }


def _describe_pictures(job: Job) -> list[dict[str, Any]]:
    address = f"/api/v1/jobs/{job.id}/pictures"
    return [{"url": f"{address}/{k}", "info": asdict(each.info)} for k, each in enumerate(job.pictures)]


def describe_request(request: Txt2ImgRequest | UpscaleRequest) -> dict[str, Any]:
    """A request as JSON, without the pixels of its pictures."""
    plain = {name: value for name, value in vars(request).items() if _plain(value)}
    if isinstance(request, UpscaleRequest):
        return {**plain, "size": list(request.picture.size), "crop": request.crop}
    hires = None if request.hires is None else asdict(request.hires)
    return {**plain, "hires": hires, "init": describe_init(request.init)}


def _plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def routes(services: Services) -> APIRouter:
    """All of it but the gallery's."""
    router = APIRouter(prefix="/api/v1", route_class=Route)
    _job_routes(router, services)
    _look_routes(router, services)
    _result_routes(router, services)
    _move_routes(router, services)
    _event_routes(router, services)
    _fact_routes(router, services)
    _list_routes(router, services)
    return router


def _job_routes(router: APIRouter, services: Services) -> None:
    queue = services.queue

    @router.post("/jobs", status_code=201, tags=["jobs"])
    def create(
        new: New,
        request: Request,
        response: Response,
        idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    ) -> dict[str, Any]:
        """Queue a request. The same Idempotency-Key again gives the same job."""
        wanted, model = _wanted(new, services)
        job = queue.submit(
            wanted,
            key=idempotency_key,
            model=model,
            save=new.save,
            metadata=new.metadata,
            client=client_of(request),
            limit=services.limits.jobs,
        )
        response.headers["Location"] = f"/api/v1/jobs/{job.id}"
        return describe(job)


def _wanted(new: NewJob | NewUpscale, services: Services) -> tuple[Txt2ImgRequest | UpscaleRequest, str | None]:
    """A checked request, and the model that it is for; none for what needs none."""
    if isinstance(new, NewUpscale):
        given = new.request
        return to_upscale(given.picture, given.upscaler, given.measure, services), None
    model = services.model if new.model is None else services.find_model(new.model)
    return to_request(new.request, services), model


def _look_routes(router: APIRouter, services: Services) -> None:
    queue = services.queue

    @router.get("/jobs", tags=["jobs"])
    def list_jobs(
        state: Annotated[list[State] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
        newest_first: bool = False,
    ) -> dict[str, Any]:
        """Jobs in the order of the queue."""
        states = state or tuple(State)
        found = queue.list(states, limit=limit, offset=offset, newest_first=newest_first, pixels=False)
        counts = {each.value: count for each, count in queue.counts().items()}
        return {"jobs": [describe(job) for job in found], "counts": counts}

    @router.get("/jobs/{job}", tags=["jobs"])
    def get(job: str) -> dict[str, Any]:
        """One job."""
        return describe(queue.get(job, pixels=False))


def _result_routes(router: APIRouter, services: Services) -> None:
    queue = services.queue

    @router.get("/jobs/{job}/result", tags=["jobs"])
    def result(job: str) -> dict[str, Any]:
        """The pictures of a done job; 409 as long as there are none."""
        found = queue.get(job, whole=False)
        if found.state is not State.DONE:
            raise JobStateError(f"job {job} is {found.state.value}; there is no result.")
        return {"pictures": _describe_pictures(found)}

    @router.get("/jobs/{job}/pictures/{number}", tags=["jobs"], response_class=FileResponse)
    def picture(job: str, number: int) -> FileResponse:
        """One finished picture's file."""
        pictures = queue.get(job, whole=False).pictures
        if not 0 <= number < len(pictures) or not pictures[number].path.is_file():
            raise UnknownJobError(f"job {job} has no picture {number}.")
        return send_file(pictures[number].path)

    @router.get("/jobs/{job}/preview", tags=["jobs"], response_class=Response)
    def preview(job: str) -> Response:
        """A small JPEG of a running job's first picture as it is; 204 if there is none yet."""
        data = queue.get(job, whole=False).progress.preview
        return Response(status_code=204) if data is None else Response(data, media_type="image/jpeg")


def send_file(path: Path) -> FileResponse:
    """A picture's file, which no browser takes for anything else."""
    headers = {"X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type=MEDIA.get(path.suffix.lower(), "application/octet-stream"), headers=headers)


def _move_routes(router: APIRouter, services: Services) -> None:
    queue = services.queue
    moves = {"cancel": queue.cancel, "pause": queue.pause, "resume": queue.resume, "retry": queue.retry}
    for name, act in moves.items():
        router.add_api_route(f"/jobs/{{job}}/{name}", _bound(act, name), methods=["POST"], tags=["jobs"])

    @router.post("/jobs/{job}/move", tags=["jobs"])
    def move(job: str, to: Move) -> dict[str, Any]:
        """Put a waiting job before another."""
        return describe(queue.move(job, before=to.before))

    @router.delete("/jobs/{job}", status_code=204, tags=["jobs"])
    def forget(job: str) -> None:
        """Forget a job that has ended; its pictures in the gallery stay."""
        queue.forget(job)


def _bound(act: Any, name: str) -> Any:
    def route(job: str) -> dict[str, Any]:
        return describe(act(job))

    route.__doc__ = f"{name.capitalize()} a job; 409 if its state does not allow it."
    route.__name__ = name
    return route


def _event_routes(router: APIRouter, services: Services) -> None:
    @router.get("/events", tags=["jobs"], response_class=StreamingResponse)
    async def all_events(
        request: Request,
        since: Annotated[int | None, Query(ge=0)] = None,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> StreamingResponse:
        """Everything that happens in the queue, as server-sent events."""
        return _stream(services, request, None, _since(since, last_event_id))

    @router.get("/jobs/{job}/events", tags=["jobs"], response_class=StreamingResponse)
    async def job_events(
        job: str,
        request: Request,
        since: Annotated[int | None, Query(ge=0)] = 0,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> StreamingResponse:
        """What happens to one job, from its beginning to its end."""
        services.queue.get(job, whole=False)
        return _stream(services, request, job, _since(since, last_event_id))


def _since(since: int | None, last: str | None) -> int | None:
    return int(last) if last is not None and last.isdecimal() and len(last) < 19 else since


def _stream(services: Services, request: Request, job: str | None, since: int | None) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        ended = False  # seen before the last look for events, so that none after it is left out
        async for event in work.events(services, job, since=since, gone=request.is_disconnected):
            yield ": still here\n\n" if event is None else _line(event)
            if event is None and ended:
                return
            ended = job is not None and await _over(services, job, event)

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _over(services: Services, job: str, event: Event | None) -> bool:
    """Whether nothing more happens to the job."""
    if event is not None and event.kind == "forgotten":
        return True
    try:
        return (await asyncio.to_thread(services.queue.get, job, whole=False)).state.ended
    except UnknownJobError:
        return True


def _line(event: Event) -> str:
    content: dict[str, Any] = {"job": event.job, "at": event.at}
    if event.state is not None:
        content["state"] = event.state.value
    if event.progress is not None:
        content |= {"step": event.progress.step, "steps": event.progress.steps, "eta": event.progress.eta}
    return f"id: {event.number}\nevent: {event.kind}\ndata: {json.dumps(content)}\n\n"


def _fact_routes(router: APIRouter, services: Services) -> None:
    @router.post("/plan", tags=["facts"])
    def plan(new: NewJob) -> dict[str, Any]:
        """What a request would become and take, without drawing it."""
        model = services.model if new.model is None else services.find_model(new.model)
        wanted = to_request(new.request, services)
        chosen = names.resolve(wanted.sampler, wanted.scheduler)
        path = services.models().get(model)
        ahead = services.queue.counts()
        return {
            "request": describe_request(wanted),
            "model": model,
            "model_bytes": None if path is None else size_of(path),
            "sampler": chosen.sampler_label,
            "scheduler": chosen.scheduler_label,
            "jobs_ahead": ahead[State.QUEUED] + ahead[State.RUNNING],
            **asdict(forecast(services, wanted, model)),
        }


def _list_routes(router: APIRouter, services: Services) -> None:
    @router.get("/models", tags=["facts"])
    def models() -> dict[str, Any]:
        """Every model, and which one draws what names none."""
        return {"current": services.model, "models": [_file(name, path) for name, path in services.models().items()]}

    @router.get("/adapters", tags=["facts"])
    def adapters() -> dict[str, Any]:
        """LoRAs and embeddings."""
        kinds = {"loras": services.loras(), "embeddings": services.embeddings()}
        return {kind: [_file(name, path) for name, path in found.items()] for kind, found in kinds.items()}

    @router.get("/upscalers", tags=["facts"])
    def upscalers() -> dict[str, Any]:
        """What enlarges a first pass: latents, or pixels by a filter or a network."""
        networks = [_file(name, path) for name, path in services.upscalers().items()]
        return {"latent": LATENT_UPSCALERS, "filters": RESIZERS, "networks": networks}

    @router.get("/samplers", tags=["facts"])
    def samplers() -> dict[str, Any]:
        """Samplers and schedules with their other spellings."""
        groups = {"samplers": names.SAMPLERS, "schedulers": names.SCHEDULERS}
        return {
            kind: [{"name": each.label, "key": each.key, "aliases": each.aliases} for each in group]
            for kind, group in groups.items()
        }

    @router.get("/settings", tags=["facts"])
    def settings() -> dict[str, Any]:
        """Every setting, and where it came from."""
        return {key: {"value": value, "source": source} for key, (value, source) in services.settings.items()}

    @router.get("/health", tags=["facts"])
    def health() -> dict[str, Any]:
        """That the server answers, and how many jobs are in each state."""
        counts = {state.value: count for state, count in services.queue.counts().items()}
        return {"status": "ok", "version": sfumato.__version__, "jobs": counts}


def _file(name: str, path: Path) -> dict[str, Any]:
    return {"name": name, "kind": "folder" if path.is_dir() else "file", "bytes": size_of(path)}
