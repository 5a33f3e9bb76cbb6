"""``/api/v1/trainings``: fine-tuning in processes of their own."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import FileResponse

from sfumato.server.api.native import send_file
from sfumato.server.services import Services
from sfumato.server.strict import Route
from sfumato.server.trainings import Trainings, Wanted


def known(services: Services, new: Wanted) -> Wanted:
    """With the model's name looked up. Raises CheckpointError if there is no such model."""
    return new if new.model is None else replace(new, model=services.find_model(new.model))


def routes(services: Services, trainings: Trainings) -> APIRouter:
    """All of it."""
    router = APIRouter(prefix="/api/v1/trainings", tags=["trainings"], route_class=Route)
    _read_routes(router, trainings)
    _change_routes(router, services, trainings)
    return router


def _read_routes(router: APIRouter, trainings: Trainings) -> None:
    @router.get("")
    def list_trainings() -> dict[str, Any]:
        """All runs, the newest first."""
        return {"trainings": [asdict(each) for each in trainings.list()]}

    @router.get("/{name}")
    def get(name: str) -> dict[str, Any]:
        """One run."""
        return asdict(trainings.get(name))

    @router.get("/{name}/metrics")
    def metrics(name: str, since: Annotated[int, Query(ge=0)] = 0) -> dict[str, Any]:
        """Loss, rate and seconds of each step after one."""
        return {"steps": list(trainings.metrics(name, since))}

    @router.get("/{name}/samples/{step}", response_class=FileResponse)
    def sample(name: str, step: int) -> FileResponse:
        """The sheet of pictures of a step."""
        return send_file(trainings.sample(name, step))


def _change_routes(router: APIRouter, services: Services, trainings: Trainings) -> None:
    @router.post("", status_code=201)
    def start(new: Wanted) -> dict[str, Any]:
        """Begin a run; 409 while another one is under way."""
        return asdict(trainings.start(known(services, new)))

    @router.post("/plan")
    def plan(new: Wanted) -> dict[str, Any]:
        """What is in the folder, and what the run would take. Takes as long as loading the model."""
        return trainings.plan(known(services, new))

    @router.post("/uploads/{name}")
    def upload(name: str, files: Annotated[list[UploadFile], File()]) -> dict[str, Any]:
        """Send pictures and their words; ``upload`` of a new run is the name."""
        counts = [trainings.upload(name, file.filename or "", file.file.read()) for file in files]
        return {"upload": name, "files": counts[-1] if counts else 0}

    @router.post("/{name}/stop")
    def stop(name: str) -> dict[str, Any]:
        """Save the state and end."""
        return asdict(trainings.stop(name))

    @router.post("/{name}/resume")
    def resume(name: str) -> dict[str, Any]:
        """Go on from the last state."""
        return asdict(trainings.resume(name))
