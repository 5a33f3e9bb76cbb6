"""``/api/v1/trainings``: fine-tuning in processes of their own."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from sfumato.server.api.native import send_file
from sfumato.server.services import Services
from sfumato.server.strict import Route
from sfumato.server.trainings import Trainings, Wanted

Text = Annotated[str, Field(max_length=1000)]


class NewTraining(BaseModel):
    """What to train; the fields are the flags of ``train``."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=100)]
    data_dir: Annotated[str, Field(max_length=4000)] | None = None
    upload: Annotated[str, Field(max_length=100)] | None = None
    model: str | None = None
    method: str = "lora"
    rank: int = 16
    epochs: int = 100
    max_steps: int | None = None
    learning_rate: float = 1e-4
    batch_size: int = 1
    resolution: int | None = None
    instance_prompt: Text | None = None
    class_prompt: Text | None = None
    class_pictures: int | None = None
    token: Text | None = None
    init_word: Text | None = None
    flip: bool = False
    gradient_checkpointing: bool = False
    save_every: int = 250
    sample_every: int = 250
    seed: int = 0


def wanted(services: Services, new: NewTraining) -> Wanted:
    """With the model's name looked up. Raises CheckpointError if there is no such model."""
    made = Wanted(**new.model_dump())
    return made if made.model is None else replace(made, model=services.find_model(made.model))


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
    def start(new: NewTraining) -> dict[str, Any]:
        """Begin a run; 409 while another one is under way."""
        return asdict(trainings.start(wanted(services, new)))

    @router.post("/plan")
    def plan(new: NewTraining) -> dict[str, Any]:
        """What is in the folder, and what the run would take. Takes as long as loading the model."""
        return trainings.plan(wanted(services, new))

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
